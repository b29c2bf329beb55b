//! How far a peer is ahead of what is served to it, and when its sends are refused for that.
//!
//! What a peer sends faster than it is served gathers in the socket. A long read is followed by a look at how much is left
//! there; with the speed of serving since the peer got ahead, that is how long the last of it
//! will wait. Beyond the limit (`waitTimeMillsInSendQueue`) sends are refused, as Apache's broker does with what waited
//! so long in the queue of its send threads, until the peer is caught up with. A refusal costs a fraction of a send, but
//! still something: a peer that is ahead even of its refusals would never get anything stored. So refusing ends after
//! as long as the limit says, and then as long is served.
//!
//! A peer that keeps pace costs nothing here.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

/// The speed of serving is that of the last so much time.
const MEMORY: Duration = Duration::from_millis(500);

/// One peer's.
#[derive(Default)]
pub(super) struct Backlog(Option<Box<Ahead>>);

struct Ahead {
    /// `served` bytes have been served since then.
    since: Instant,
    served: usize,
    /// How long the last byte in the socket will wait.
    wait: Duration,
    phase: Phase,
    phase_began: Instant,
    /// What those that are refused are told; written once a read.
    remark: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Caught,
    Refusing,
    Serving,
}

impl Backlog {
    /// There is nothing more in the socket.
    pub(super) fn caught_up(&mut self) {
        if self.0.is_some() {
            self.0 = None;
        }
    }

    /// A read brought `read` bytes, and `waiting` bytes are in the socket still.
    pub(super) fn is_ahead(&mut self, now: Instant, read: usize, waiting: usize, limit: Duration) {
        let Some(ahead) = &mut self.0 else {
            self.0 = Some(Box::new(Ahead {
                since: now,
                served: read,
                wait: Duration::ZERO,
                phase: Phase::Caught,
                phase_began: now,
                remark: String::new(),
            }));
            return;
        };
        let elapsed = now.saturating_duration_since(ahead.since);
        ahead.wait = elapsed.mul_f64(waiting as f64 / ahead.served.max(1) as f64);
        ahead.served += read;
        if elapsed > MEMORY {
            ahead.since = now.checked_sub(elapsed / 2).unwrap_or(now);
            ahead.served /= 2;
        }
        let in_phase = now.saturating_duration_since(ahead.phase_began);
        let next = match ahead.phase {
            _ if limit.is_zero() => Phase::Caught,
            Phase::Caught if ahead.wait > limit => Phase::Refusing,
            Phase::Refusing if ahead.wait < limit / 2 => Phase::Caught,
            Phase::Refusing if in_phase >= limit => Phase::Serving,
            Phase::Serving if in_phase >= limit => Phase::Caught,
            same => same,
        };
        if next != ahead.phase {
            (ahead.phase, ahead.phase_began) = (next, now);
        }
        if next == Phase::Refusing {
            ahead.tell(waiting);
        }
    }

    /// Why the peer's sends are refused, if they are.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.0.as_ref().filter(|ahead| ahead.phase == Phase::Refusing).map(|ahead| ahead.remark.as_str())
    }
}

impl Ahead {
    fn tell(&mut self, waiting: usize) {
        self.remark.clear();
        let told = write!(
            self.remark,
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: {}ms, bytes in queue: {waiting}",
            self.wait.as_millis()
        );
        debug_assert!(told.is_ok(), "a string takes whatever is written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);
    const KIB: usize = 1024;

    /// A peer of whom 1 MiB a second is served, with so much in the socket at each read.
    fn after(waiting: &[usize]) -> (Backlog, Vec<bool>) {
        let (mut backlog, begin) = (Backlog::default(), Instant::now());
        let refused = waiting.iter().zip(0..).map(|(&waiting, step)| {
            backlog.is_ahead(begin + Duration::from_millis(125) * step, 128 * KIB, waiting, LIMIT);
            backlog.refusal().is_some()
        });
        let refused = refused.collect();
        (backlog, refused)
    }

    #[test]
    fn a_peer_is_refused_when_what_waits_takes_longer_than_the_limit() {
        assert_eq!(after(&[9_000 * KIB, 100 * KIB, 190 * KIB]).1, [false, false, false]);
        let (backlog, refused) = after(&[300 * KIB, 300 * KIB]);
        assert_eq!(refused, [false, true]);
        let told = backlog.refusal().unwrap();
        assert!(told.ends_with("period in queue: 292ms, bytes in queue: 307200"), "{told}");
    }

    #[test]
    fn refusing_ends_when_the_peer_is_caught_up_with() {
        assert_eq!(after(&[0, 300 * KIB, 50 * KIB]).1, [false, true, false]);
        let (mut backlog, _) = after(&[0, 300 * KIB]);
        backlog.caught_up();
        assert!(backlog.refusal().is_none());
    }

    #[test]
    fn a_peer_that_is_ahead_of_its_refusals_is_served_half_of_the_time() {
        let (_, refused) = after(&[4096 * KIB; 42]);
        let served = refused.iter().filter(|refused| !**refused).count();
        assert!((18..=26).contains(&served), "{served} of 42");
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        let mut backlog = Backlog::default();
        let begin = Instant::now();
        for step in 0..10 {
            backlog.is_ahead(begin + Duration::from_secs(step), 1, 1 << 30, Duration::ZERO);
            assert!(backlog.refusal().is_none());
        }
    }
}
