//! An open loop: operations begin when they are due, whatever is outstanding.
//!
//! Their latency counts from the moment they were due. A server (or a generator) that stalls thereby pays for every
//! operation that fell due meanwhile, as the people who would have sent them do; a closed loop would leave these out.

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tenonmq_protocol::command::{CommandView, HeaderScratch};

use super::{Tally, invalid, is_success};
use crate::peer::Peer;

/// How long answers are waited for after the last operation was due.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest time without a look at the clock.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes that wait for the server to read; more requests are not written then, and become late.
const BACKLOG: usize = 4 << 20;
/// Operations of a connection are told apart by these bits of `opaque`.
const NUMBER: i32 = (1 << 30) - 1;

/// The times of a run, the same for all connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) start: Instant,
    pub(crate) measured_from: Instant,
    pub(crate) end: Instant,
    /// Operations a second, of all connections.
    pub(crate) rate: u64,
}

/// When the requests of one connection are due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    window: Window,
    first: Instant,
    interval: Duration,
    /// Operations that one request stands for.
    operations: u64,
}

/// What the answer to a request means for its operation.
pub(super) enum Answer {
    /// It is done.
    Complete,
    /// Its next request is in the output.
    GoesOn,
}

impl Window {
    /// The share of connection `index`: connections take turns, evenly spread over time.
    pub(super) fn of(self, index: usize, connections: usize, operations: u64) -> Schedule {
        let apart = operations as f64 / self.rate as f64;
        let first = self.start + Duration::from_secs_f64(apart * index as f64);
        Schedule { window: self, first, interval: Duration::from_secs_f64(apart * connections as f64), operations }
    }
}

impl Schedule {
    fn due(&self, number: i32) -> Instant {
        let nanos = self.interval.as_nanos() as u64;
        self.first + Duration::from_nanos(nanos.saturating_mul(number.unsigned_abs().into()))
    }

    fn counts(&self, number: i32) -> bool {
        (self.window.measured_from..self.window.end).contains(&self.due(number))
    }
}

/// Begins requests on time until the window ends, then waits for what is outstanding. `begin` appends a request with that
/// `opaque`; `answer` looks at a success.
pub(super) fn run(
    peer: &mut Peer,
    schedule: Schedule,
    mut begin: impl FnMut(i32, &mut Vec<u8>),
    mut answer: impl FnMut(&CommandView<'_>, &mut Vec<u8>) -> io::Result<Answer>,
) -> io::Result<Tally> {
    peer.set_nonblocking()?;
    let mut tally = Tally::new()?;
    let mut scratch = HeaderScratch::default();
    let (mut next, mut ended) = (0_i32, 0_i32);
    let mut remaining = (0..).take_while(|&number| schedule.due(number) < schedule.window.end);
    let mut upcoming = remaining.next();
    let give_up = schedule.window.end + PATIENCE;
    while upcoming.is_some() || ended < next {
        let now = Instant::now();
        if now > give_up {
            break;
        }
        while let Some(number) = upcoming.filter(|&number| schedule.due(number) <= now && peer.unwritten() < BACKLOG) {
            begin(number, &mut peer.output);
            next = number + 1;
            upcoming = remaining.next();
        }
        peer.write_some()?;
        await_event(peer, upcoming.map_or(LOOK, |number| schedule.due(number).saturating_duration_since(now)))?;
        peer.receive_ready(|frame, output| {
            let command = CommandView::parse(frame, &mut scratch).map_err(invalid)?;
            if command.flag & tenonmq_protocol::FLAG_RESPONSE == 0 {
                return Ok(()); // the server asks something
            }
            let succeeded = is_success(command.code);
            if succeeded && matches!(answer(&command, output)?, Answer::GoesOn) {
                return Ok(());
            }
            ended += 1;
            let number = command.opaque & NUMBER;
            if schedule.counts(number) {
                if succeeded {
                    tally.count(schedule.operations, schedule.due(number));
                } else {
                    tally.failures += schedule.operations;
                }
            }
            Ok(())
        })?;
    }
    let due = (0..).take_while(|&number| schedule.due(number) < schedule.window.end);
    let measured = due.filter(|&number| schedule.counts(number)).count() as u64 * schedule.operations;
    tally.unanswered = measured - tally.operations - tally.failures;
    Ok(tally)
}

/// Waits until the server has something to say, or can be told what waits to be written, or `time` is over.
fn await_event(peer: &Peer, time: Duration) -> io::Result<()> {
    let time = time.min(LOOK);
    let timeout = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    let interest = if peer.unwritten() > 0 { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    match poll(&mut [PollFd::from_borrowed_fd(peer.as_fd(), interest)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
