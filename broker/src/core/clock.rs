//! The one clock. Everything in the broker that depends on time asks it, so that tests can move time by hand.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;

/// Longest single sleep of the system clock: a wall clock that is set forward is noticed within this time.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// Wall-clock time in milliseconds, and sleeping until a point of it. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<ManualClock>),
}

/// Time that stands still until a test moves it.
#[derive(Default)]
pub struct ManualClock {
    now_ms: AtomicI64,
    moved: Notify,
}

impl ManualClock {
    /// A clock that shows `now_ms`, milliseconds since the Unix epoch.
    pub fn at(now_ms: i64) -> Arc<Self> {
        Arc::new(Self { now_ms: AtomicI64::new(now_ms), moved: Notify::new() })
    }

    /// Moves time forward and wakes every sleeper that is due.
    pub fn advance(&self, by: Duration) {
        self.now_ms.fetch_add(millis(by), Ordering::AcqRel);
        self.moved.notify_waiters();
    }
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that a test moves.
    pub fn manual(clock: Arc<ManualClock>) -> Self {
        Self(Source::Manual(clock))
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis),
            Source::Manual(clock) => clock.now_ms.load(Ordering::Acquire),
        }
    }

    /// Resolves when the clock shows `at_ms` or later.
    pub fn sleep_until(&self, at_ms: i64) -> impl Future<Output = ()> + Send + 'static {
        let clock = self.clone();
        async move {
            loop {
                match &clock.0 {
                    Source::System => {
                        let left = at_ms - clock.now_ms();
                        if left <= 0 {
                            return;
                        }
                        tokio::time::sleep(Duration::from_millis(left.unsigned_abs()).min(LONGEST_NAP)).await;
                    }
                    Source::Manual(manual) => {
                        let moved = manual.moved.notified(); // no move after this line is missed
                        if manual.now_ms.load(Ordering::Acquire) >= at_ms {
                            return;
                        }
                        moved.await;
                    }
                }
            }
        }
    }

    /// Resolves `duration` from this call, whatever the wall clock does meanwhile.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let clock = self.clone();
        let deadline_ms = self.now_ms().saturating_add(millis(duration));
        let deadline = tokio::time::Instant::now() + duration;
        async move {
            match clock.0 {
                Source::System => tokio::time::sleep_until(deadline).await,
                Source::Manual(_) => clock.sleep_until(deadline_ms).await,
            }
        }
    }
}

impl tenonmq_storage::clock::Clock for Clock {
    fn now_ms(&self) -> i64 {
        Clock::now_ms(self)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_test_moves_time_to_its_deadline_and_not_before() {
        let manual = ManualClock::at(1_000);
        let clock = Clock::manual(Arc::clone(&manual));
        let mut nap = Box::pin(clock.sleep(Duration::from_secs(2)));
        manual.advance(Duration::from_millis(1_999));
        assert!(futures_util::poll!(nap.as_mut()).is_pending());
        manual.advance(Duration::from_millis(1));
        assert!(futures_util::poll!(nap.as_mut()).is_ready());
        assert_eq!(clock.now_ms(), 3_000);
    }
}
