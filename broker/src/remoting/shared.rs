//! What all connections of a listener share: its limits, who is connected, and how much memory is stuck.
//!
//! Memory is stuck while a peer keeps us waiting: for the rest of a frame, or until it reads its replies. It is counted
//! only then, so that a connection whose peer keeps up pays nothing. From three quarters of the limit on, who has
//! kept us waiting for long is disconnected; who would go over the limit, at once.
//!
//! Invariant: `stuck` is the sum of all [`Stuck`] shares but for small ones, and no share is granted that takes it above
//! [`Limits::max_stuck`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tracing::warn;

use super::{Connection, server::Limits};

/// How often the stalled are looked for, at most.
const MAKE_ROOM_EVERY_MS: u64 = 1000;
/// What is held of so much at most does not count: a short frame that comes in two pieces is nobody's attack.
const SMALL: usize = 4096;

/// The shared part of a [`Server`](super::Server) and its connections' tasks.
pub(super) struct Shared {
    pub(super) limits: Limits,
    open: Mutex<FxHashMap<u64, Arc<Connection>>>,
    /// Requests of all connections that wait for their reply.
    held: AtomicUsize,
    /// Bytes.
    stuck: AtomicUsize,
    /// Sends refused because their peer was too far ahead.
    refused: AtomicU64,
    started: Instant,
    made_room_ms: AtomicU64,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Mutex::default(),
            held: AtomicUsize::new(0),
            stuck: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            started: Instant::now(),
            made_room_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.open.lock().len()
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    pub(super) fn stuck(&self) -> usize {
        self.stuck.load(Relaxed)
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    pub(super) fn refuses(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn joined(&self, connection: &Arc<Connection>) {
        self.open.lock().insert(connection.id(), Arc::clone(connection));
    }

    pub(super) fn left(&self, connection: &Connection) {
        self.open.lock().remove(&connection.id());
    }

    /// Runs `look` on every connection.
    pub(super) fn for_each(&self, look: impl Fn(&Connection)) {
        self.open.lock().values().for_each(|connection| look(connection));
    }

    /// A request of a connection that has `of_connection` waiting already wants to wait too. `false` when there is no room.
    pub(super) fn hold(&self, of_connection: usize) -> bool {
        if of_connection >= self.limits.max_held {
            return false;
        }
        let fits = self.held.fetch_add(1, Relaxed) < self.limits.max_held_together;
        if !fits {
            self.held.fetch_sub(1, Relaxed);
        }
        fits
    }

    pub(super) fn release(&self, count: usize) {
        self.held.fetch_sub(count, Relaxed);
    }

    /// Whether buffers should be cut to what they hold before they are left alone.
    pub(super) fn is_tight(&self) -> bool {
        self.stuck() > self.limits.max_stuck / 8
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Disconnects peers that have kept us waiting for long.
    fn make_room(&self, now_ms: u64) {
        let last = self.made_room_ms.load(Relaxed);
        let is_due = now_ms >= last.saturating_add(MAKE_ROOM_EVERY_MS) || last == 0;
        if !is_due || self.made_room_ms.compare_exchange(last, now_ms.max(1), Relaxed, Relaxed).is_err() {
            return;
        }
        let patience = millis(self.limits.stall_timeout);
        let open = self.open.lock();
        let stalled = open.values().filter(|connection| connection.stalled_for(now_ms) >= Some(patience));
        let closed = stalled.inspect(|connection| connection.close()).count();
        drop(open);
        let (stuck, limit) = (self.stuck(), self.limits.max_stuck);
        warn!(stuck, limit, closed, "memory is held by peers that neither finish their frames nor read their replies");
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// There is no room for what a connection would hold.
#[derive(Debug, thiserror::Error)]
#[error("too much memory is held by peers that keep us waiting (remotingStuckBytesMax)")]
pub(super) struct NoRoom;

/// One connection's share of the memory that is stuck.
pub(super) struct Stuck {
    shared: Arc<Shared>,
    bytes: usize,
    since_ms: Option<u64>,
}

impl Stuck {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, bytes: 0, since_ms: None }
    }

    /// The connection waits for its peer and holds so much meanwhile.
    pub(super) fn holds(&mut self, connection: &Connection, bytes: usize) -> Result<(), NoRoom> {
        if self.since_ms.is_none() {
            let now_ms = self.shared.now_ms();
            self.since_ms = Some(now_ms);
            connection.stalls(now_ms);
        }
        let bytes = if bytes <= SMALL { 0 } else { bytes };
        let shared = &*self.shared;
        let limit = shared.limits.max_stuck;
        let others = shared.stuck.fetch_sub(self.bytes, Relaxed).saturating_sub(self.bytes);
        self.bytes = 0;
        if others.saturating_add(bytes) > limit / 4 * 3 {
            shared.make_room(shared.now_ms());
        }
        let before = shared.stuck.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) > limit {
            shared.stuck.fetch_sub(bytes, Relaxed);
            return Err(NoRoom);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// The peer did what it was waited for.
    pub(super) fn goes_on(&mut self, connection: &Connection) {
        if self.since_ms.take().is_some() {
            connection.goes_on();
            self.shared.stuck.fetch_sub(std::mem::take(&mut self.bytes), Relaxed);
        }
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.shared.stuck.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn shared(max_stuck: usize, stall_timeout: Duration) -> Arc<Shared> {
        Arc::new(Shared::new(Limits {
            max_stuck,
            stall_timeout,
            max_held: 2,
            max_held_together: 3,
            ..Limits::default()
        }))
    }

    fn peer(shared: &Arc<Shared>, id: u64) -> (Arc<Connection>, Stuck) {
        let (connection, _) = Connection::detached(id);
        shared.joined(&connection);
        (connection, Stuck::new(Arc::clone(shared)))
    }

    #[test]
    fn who_would_go_over_the_limit_is_refused_and_the_rest_is_given_back() {
        let shared = shared(100 * KIB, Duration::from_secs(3600));
        let ((one, mut of_one), (other, mut of_other)) = (peer(&shared, 1), peer(&shared, 2));
        of_one.holds(&one, 60 * KIB).unwrap();
        assert!(of_other.holds(&other, 41 * KIB).is_err());
        of_other.holds(&other, 40 * KIB).unwrap();
        of_one.holds(&one, 50 * KIB).unwrap(); // it holds less now
        assert_eq!(shared.stuck(), 90 * KIB);
        let (small, mut of_small) = peer(&shared, 3);
        of_small.holds(&small, SMALL).unwrap(); // is not counted
        assert_eq!(shared.stuck(), 90 * KIB);
        of_one.goes_on(&one);
        drop(of_other);
        assert_eq!(shared.stuck(), 0);
        assert!(one.is_open() && other.is_open());
    }

    #[test]
    fn who_kept_us_waiting_for_long_is_disconnected_when_memory_is_short() {
        let shared = shared(100 * KIB, Duration::ZERO);
        let ((slow, mut of_slow), (next, mut of_next)) = (peer(&shared, 1), peer(&shared, 2));
        of_slow.holds(&slow, 60 * KIB).unwrap();
        assert!(slow.is_open());
        of_next.goes_on(&next); // was not waiting
        of_next.holds(&next, 30 * KIB).unwrap();
        assert!(!slow.is_open());
    }

    #[test]
    fn requests_wait_within_the_limits_of_their_connection_and_of_all() {
        let shared = shared(100 * KIB, Duration::ZERO);
        assert!(shared.hold(0) && shared.hold(1) && !shared.hold(2));
        assert!(shared.hold(0) && !shared.hold(1));
        shared.release(1);
        assert!(shared.hold(0));
        assert_eq!(shared.held(), 3);
    }
}
