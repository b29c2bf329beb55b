//! How long what a peer sends waits in its socket, and when its sends are refused for that.
//!
//! What a peer sends faster than it is served gathers in the socket. A long read is followed by a look at how much is
//! left there: that has come by now, and so it is known, when it is read at last, how long it has waited at least. From
//! the limit on (`waitTimeMillsInSendQueue`) sends are refused, as Apache's broker does with what waited so long in the
//! queue of its send threads, until what is read waited for less than half of it. So what is stored is answered in time,
//! and a peer that pauses is served again as soon as the old is refused.
//!
//! A refusal costs a fraction of a send, but still something, and the system keeps megabytes for a socket: a peer that
//! is ahead even of its refusals would find everything that it sends too old. So the socket of one that is refused gets
//! no more room than it has taken, and less when that is not caught up with; the rest waits at the peer, which TCP
//! holds back. Only when less room does not help either, old sends are stored for as long as they were refused.
//!
//! A peer that keeps pace costs nothing here.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::net::TcpStream;
use tracing::debug;

/// A read of so much is followed by a look at how much more there is.
const MANY: usize = 32 * 1024;
/// Looks that are remembered; when there are more, every second one is forgotten.
const LOOKS: usize = 64;
/// The time between two looks that are remembered is this part of the limit at least.
const FINENESS: u32 = 16;
/// The least room for a socket: less than one read would cost more reads.
const LEAST_ROOM: usize = 128 * 1024;
/// The room of a socket that is no longer too far ahead; the system cuts it to what it allows (`net.core.rmem_max`).
const FULL_ROOM: usize = 4 << 20;
/// Who was caught up with for so many times the limit gets it back.
const CALM: u32 = 10;

/// One peer's.
#[derive(Default)]
pub(super) struct Backlog(Option<Box<Ahead>>);

struct Ahead {
    /// Bytes read since the peer got ahead.
    read: u64,
    /// By then so many had come, oldest first; bytes after the last one come after it.
    looks: VecDeque<(Instant, u64)>,
    /// How long the first byte of the last read had waited, at least.
    waited: Duration,
    phase: Phase,
    /// Since then the phase goes on, or the room is what it is.
    since: Instant,
    read_before: u64,
    /// What the socket was given, if it was.
    room: Option<usize>,
    /// The last look that found something.
    last: Instant,
    /// What those that are refused are told; written once a read.
    remark: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    InTime,
    Refusing,
    /// Whatever its age.
    Serving,
}

impl Backlog {
    /// A read brought `read` bytes from `stream`.
    pub(super) fn has_read(&mut self, stream: &TcpStream, read: usize, limit: Duration) {
        let waiting = match read >= MANY && !limit.is_zero() {
            true => rustix::io::ioctl_fionread(stream).unwrap_or(0),
            false if self.0.is_none() => return,
            false => 0,
        };
        let waiting = usize::try_from(waiting).unwrap_or(usize::MAX);
        if waiting == 0 && self.0.is_none() {
            return;
        }
        if let Some(room) = self.look(Instant::now(), read, waiting, limit)
            && let Err(error) = SockRef::from(stream).set_recv_buffer_size(room)
        {
            debug!(room, %error, "the room of a socket cannot be set");
        }
    }

    /// Notes that so many bytes wait in the socket still, and decides. The answer is the room that the socket is to have
    /// from now on.
    pub(super) fn look(&mut self, now: Instant, read: usize, waiting: usize, limit: Duration) -> Option<usize> {
        if waiting == 0 {
            let ahead = self.0.as_mut()?;
            ahead.caught_up(now);
            let is_calm = ahead.room.is_none() || now.saturating_duration_since(ahead.last) >= limit * CALM;
            return self.0.take_if(|_| is_calm).and_then(|ahead| ahead.room).map(|_| FULL_ROOM);
        }
        let ahead = self.0.get_or_insert_with(|| Box::new(Ahead::new(now)));
        ahead.notes(now, read, waiting, limit);
        ahead.decides(now, waiting, limit)
    }

    #[cfg(test)]
    pub(super) fn remembers(&self) -> usize {
        self.0.as_ref().map_or(0, |ahead| ahead.looks.len())
    }

    /// Why the peer's sends are refused, if they are.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.0.as_ref().filter(|ahead| ahead.phase == Phase::Refusing).map(|ahead| ahead.remark.as_str())
    }
}

impl Ahead {
    fn new(now: Instant) -> Self {
        let (read, read_before, waited, room) = Default::default();
        let (looks, remark, phase) = (VecDeque::new(), String::new(), Phase::InTime);
        Self { read, looks, waited, phase, since: now, read_before, room, last: now, remark }
    }

    fn caught_up(&mut self, now: Instant) {
        self.looks.clear();
        self.waited = Duration::ZERO;
        self.enters(Phase::InTime, now);
    }

    fn notes(&mut self, now: Instant, read: usize, waiting: usize, limit: Duration) {
        self.last = now;
        while self.looks.front().is_some_and(|&(_, come)| come <= self.read) {
            self.looks.pop_front();
        }
        self.waited = self.looks.front().map_or(Duration::ZERO, |&(by, _)| now.saturating_duration_since(by));
        self.read += read as u64;
        let come = self.read + waiting as u64;
        let is_news =
            |&(by, before): &(Instant, u64)| come > before && now.saturating_duration_since(by) >= limit / FINENESS;
        if self.looks.back().is_none_or(is_news) {
            self.looks.push_back((now, come));
        }
        if self.looks.len() > LOOKS {
            let mut stays = true; // the oldest; what came by one that goes had come by the next, too
            self.looks.retain(|_| {
                stays = !stays;
                !stays
            });
        }
    }

    fn decides(&mut self, now: Instant, waiting: usize, limit: Duration) -> Option<usize> {
        let in_phase = now.saturating_duration_since(self.since);
        let mut room = None;
        match self.phase {
            Phase::InTime if self.waited >= limit => {
                self.enters(Phase::Refusing, now);
                room = self.narrows(waiting.min(FULL_ROOM));
            }
            Phase::Refusing if self.waited < limit / 2 => self.enters(Phase::InTime, now),
            Phase::Refusing if in_phase >= limit * 2 => {
                let a_second = (self.read - self.read_before) as f64 / in_phase.as_secs_f64();
                let is_full = self.room.is_some_and(|room| waiting <= room * 2);
                room = self.narrows((a_second * limit.as_secs_f64() / 4.0) as usize);
                let next = if room.is_none() && is_full { Phase::Serving } else { Phase::Refusing };
                self.enters(next, now);
            }
            Phase::Serving if in_phase >= limit => self.enters(Phase::InTime, now),
            _ => {}
        }
        if self.phase == Phase::Refusing {
            self.tell(waiting);
        }
        room
    }

    fn enters(&mut self, phase: Phase, now: Instant) {
        (self.phase, self.since, self.read_before) = (phase, now, self.read);
    }

    /// Less room, if it is much less than now.
    fn narrows(&mut self, room: usize) -> Option<usize> {
        let room = room.max(LEAST_ROOM);
        let is_less = self.room.is_none_or(|now| room <= now / 4 * 3);
        is_less.then(|| *self.room.insert(room))
    }

    fn tell(&mut self, waiting: usize) {
        self.remark.clear();
        let told = write!(
            self.remark,
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: {}ms, bytes in queue: {waiting}",
            self.waited.as_millis()
        );
        debug_assert!(told.is_ok(), "a string takes whatever is written");
    }
}
