//! Peers and a broker on a clock that the test moves: what comes, what waits, what is stored and what is refused.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::backlog::Backlog;

const LIMIT: Duration = Duration::from_millis(200);
const KIB: usize = 1024;
/// What one read takes at most.
const READ: usize = 128 * KIB;
/// What the system keeps for a socket.
const SYSTEM: usize = 32 << 20;

/// A socket, and the broker's end of it. Speeds are in bytes a second.
struct Peer {
    backlog: Backlog,
    begin: Instant,
    now: Duration,
    sends: usize,
    /// Of what is in the socket, when it came and how much of it is left.
    socket: VecDeque<(Duration, usize)>,
    room: usize,
    stored: usize,
    refused: usize,
    /// The longest that anything waited that was stored.
    longest: Duration,
}

/// The broker stores 10 MiB a second of it.
const STORES: usize = 10 << 20;

impl Peer {
    fn new(sends: usize) -> Self {
        let (now, socket, stored, refused, longest) = Default::default();
        let backlog = Backlog::default();
        Self { backlog, begin: Instant::now(), now, sends, socket, room: SYSTEM, stored, refused, longest }
    }

    fn waiting(&self) -> usize {
        self.socket.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Time passes; what the peer sends meanwhile comes as far as there is room.
    fn passes(&mut self, time: Duration) {
        let step = Duration::from_millis(1);
        let end = self.now + time;
        while self.now < end {
            let step = step.min(end - self.now);
            self.now += step;
            let sent = (self.sends as f64 * step.as_secs_f64()) as usize;
            let fits = sent.min(self.room.saturating_sub(self.waiting()));
            if fits > 0 {
                self.socket.push_back((self.now, fits));
            }
        }
    }

    /// Serves for so long, where a refusal is so many times as fast as a send.
    fn served(&mut self, time: Duration, refusals: f64) {
        let end = self.now + time;
        while self.now < end {
            let (mut read, oldest) = (0, self.socket.front().map(|&(came, _)| came));
            while read < READ
                && let Some((_, bytes)) = self.socket.front_mut()
            {
                let part = (*bytes).min(READ - read);
                (read, *bytes) = (read + part, *bytes - part);
                if *bytes == 0 {
                    self.socket.pop_front();
                }
            }
            if read == 0 {
                self.passes(Duration::from_millis(1));
                continue;
            }
            if let Some(room) = self.backlog.look(self.begin + self.now, read, self.waiting(), LIMIT) {
                self.room = room;
            }
            let waited = oldest.map_or(Duration::ZERO, |came| self.now - came);
            let speed = match self.backlog.refusal() {
                Some(_) => {
                    self.refused += read;
                    STORES as f64 * refusals
                }
                None => {
                    self.stored += read;
                    self.longest = self.longest.max(waited);
                    STORES as f64
                }
            };
            self.passes(Duration::from_secs_f64(read as f64 / speed));
        }
    }
}

/// A read and a look later than the limit.
fn in_time() -> Duration {
    LIMIT + Duration::from_secs_f64(READ as f64 / STORES as f64) * 3
}

#[test]
fn a_peer_that_keeps_pace_is_never_refused_and_keeps_its_room() {
    let mut peer = Peer::new(STORES / 10 * 9);
    peer.served(Duration::from_secs(10), 4.0);
    assert_eq!((peer.refused, peer.room), (0, SYSTEM));
    assert!(peer.backlog.refusal().is_none());
}

#[test]
fn what_is_stored_of_five_times_the_rate_has_not_waited_longer_than_the_limit() {
    for refusals in [8.0, 5.0, 3.0, 2.0, 1.5] {
        let mut peer = Peer::new(STORES * 5);
        peer.served(Duration::from_secs(20), refusals);
        assert!(peer.longest <= in_time(), "{:?} where refusals are {refusals} times as fast", peer.longest);
        assert!(peer.refused > 0);
        let share = peer.stored as f64 / (STORES * 20) as f64;
        assert!(share > 0.3, "{share} of what could be is stored where refusals are {refusals} times as fast");
    }
}

#[test]
fn a_burst_is_refused_at_once_when_it_waited_too_long_and_the_next_send_is_stored() {
    let mut peer = Peer::new(STORES * 5);
    peer.served(Duration::from_secs(2), 3.0);
    peer.sends = 0;
    let left = peer.waiting();
    peer.served(LIMIT * 2, 3.0);
    assert_eq!(peer.waiting(), 0, "of {left}");
    peer.sends = STORES / 2;
    let refused = peer.refused;
    peer.longest = Duration::ZERO;
    peer.served(Duration::from_secs(5), 3.0);
    assert_eq!(peer.refused, refused);
    assert!(peer.longest < LIMIT / 10, "{:?}", peer.longest);
    assert!(peer.room >= 4 << 20, "the room comes back: {}", peer.room);
}

#[test]
fn those_that_are_refused_are_told_how_long_they_waited() {
    let (mut backlog, begin) = (Backlog::default(), Instant::now());
    backlog.look(begin, READ, 300 * KIB, LIMIT);
    backlog.look(begin + LIMIT / 2, READ, 400 * KIB, LIMIT);
    assert!(backlog.refusal().is_none());
    let room = backlog.look(begin + LIMIT, READ, 500 * KIB, LIMIT);
    let told = backlog.refusal().unwrap();
    let words = "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: 200ms, bytes in queue: 512000";
    assert_eq!((told, room), (words, Some(500 * KIB)));
    // 300 KiB had come by the first look; what is read now came later
    backlog.look(begin + LIMIT + LIMIT / 2, READ, 400 * KIB, LIMIT);
    assert!(backlog.refusal().unwrap().contains("in queue: 300ms"));
    backlog.look(begin + LIMIT + LIMIT / 2, READ, 400 * KIB, LIMIT);
    assert!(backlog.refusal().unwrap().contains("in queue: 200ms"));
    backlog.look(begin + LIMIT + LIMIT / 2, 0, 0, LIMIT);
    assert!(backlog.refusal().is_none());
}

#[test]
fn what_is_remembered_of_a_peer_is_bounded_and_never_makes_it_older() {
    let (mut backlog, begin) = (Backlog::default(), Instant::now());
    let mut waiting = 1 << 30;
    for step in 0..10_000 {
        backlog.look(begin + LIMIT * step, KIB, waiting, LIMIT);
        waiting += KIB;
        assert!(backlog.remembers() <= 64);
    }
    assert!(backlog.refusal().is_some_and(|told| told.contains("period in queue: 1999800ms")));
}
