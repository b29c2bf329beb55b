//! Rows that were written under a wrong clock, and would wait for it.

use std::{
    future::Future,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tracing::{debug, warn};

use crate::{clock::millis, error::Error};

/// They are looked for that often.
const EACH_MS: i64 = 60_000;

/// When they are looked for next. Tasks of one worker share it.
#[derive(Debug, Default)]
pub(crate) struct WrongClock {
    next_ms: AtomicI64,
}

impl WrongClock {
    /// Once a minute has `amend` make due what is to wait longer than so many ms, which is more than `longest`, the longest
    /// that anything waits; never, where that is not known. Returns how many rows there were.
    pub(crate) async fn look<F>(&self, now_ms: i64, longest: Option<Duration>, amend: impl FnOnce(i64) -> F) -> u64
    where
        F: Future<Output = Result<u64, Error>>,
    {
        let Some(longest) = longest else { return 0 };
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        // a clock that was set back does not put it off either
        if now_ms < next_ms && next_ms - now_ms <= EACH_MS {
            return 0;
        }
        self.next_ms.store(now_ms.saturating_add(EACH_MS), Ordering::Relaxed);
        match amend(millis(longest).saturating_add(EACH_MS)).await {
            Ok(0) => 0,
            Ok(rows) => {
                warn!(rows, "rows were to wait longer than anything does: the clock was set; they are due now");
                rows
            }
            Err(error) => {
                debug!(%error, "rows written under a wrong clock cannot be looked for");
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_looked_once_a_minute_and_at_once_when_the_clock_was_set_back() {
        let gate = WrongClock::default();
        let mut looked = Vec::new();
        for now_ms in [1_000_000, 1_000_001, 1_059_999, 1_060_000, 1_000_000, 1_000_001, 900_000] {
            gate.look(now_ms, Some(Duration::from_secs(1)), |horizon_ms| {
                looked.push((now_ms, horizon_ms));
                std::future::ready(Ok(1))
            })
            .await;
        }
        assert_eq!(looked, [1_000_000, 1_060_000, 1_000_000, 900_000].map(|now_ms| (now_ms, 61_000)));
        assert_eq!(gate.look(0, None, |_| std::future::ready(Ok(1))).await, 0, "nothing is known to wait too long");
    }
}
