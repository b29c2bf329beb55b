//! The coordinator as a task.

use tokio::sync::watch;
use tracing::{debug, warn};

use super::{coordinator::Coordinator, plan::LONGEST_LIMIT};
use crate::{clock::millis, database::Dialect, running::Running, wake::AFTER_TROUBLE};

/// How often rows that were written under a wrong clock are looked for.
const AMEND_EACH_MS: i64 = 60_000;

/// A coordinator at work. Dropping it ends it as a crash would; another goes on.
#[derive(Debug)]
pub struct RunningCoordinator(Running);

impl RunningCoordinator {
    /// Writes down what is at hand, and ends.
    pub async fn shutdown(self) {
        self.0.shutdown().await;
    }
}

impl<D: Dialect> Coordinator<D> {
    /// Starts doing what depends on the time, in a task of its own: deadlines, and commands that are repeated. Run it in one
    /// instance of the service or in all.
    pub fn start(&self) -> RunningCoordinator {
        let (mut running, stopped) = Running::new();
        running.spawn(self.clone().run(stopped));
        RunningCoordinator(running)
    }

    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let shared = &*self.0;
        let clock = std::sync::Arc::clone(&shared.outbox.0.clock);
        let mut next_amend_ms = i64::MIN;
        while !*stopped.borrow() {
            let next_ms = match self.one().await {
                Ok(true) => continue,
                Ok(false) => {
                    self.amend_clock(&mut next_amend_ms).await;
                    let (now_ms, due_ms) = (clock.now_ms(), shared.next_due_ms().await.ok().flatten());
                    let last_ms = now_ms.saturating_add(millis(shared.period));
                    due_ms.unwrap_or(i64::MAX).clamp(now_ms.saturating_add(1).min(last_ms), last_ms)
                }
                Err(error) => {
                    warn!(%error, "a global transaction cannot go on; once more in a while");
                    clock.now_ms().saturating_add(millis(AFTER_TROUBLE))
                }
            };
            tokio::select! {
                () = clock.wait_until(next_ms) => {}
                () = shared.wake.called() => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }
    }

    async fn amend_clock(&self, next_ms: &mut i64) {
        let shared = &*self.0;
        let now_ms = shared.outbox.0.clock.now_ms();
        if now_ms < *next_ms && *next_ms - now_ms <= AMEND_EACH_MS {
            return;
        }
        *next_ms = now_ms.saturating_add(AMEND_EACH_MS);
        let Some(horizon) = shared.schedule.horizon() else { return };
        let horizon_ms = millis(horizon.max(LONGEST_LIMIT)).saturating_add(AMEND_EACH_MS);
        let amended = async {
            let mut connection = shared.outbox.0.pool.acquire().await?;
            shared.table.amend_clock(&mut connection, &[], now_ms, horizon_ms).await
        };
        match amended.await {
            Ok(0) => {}
            Ok(rows) => warn!(rows, "rows were to wait longer than anything does: the clock was set; they are due now"),
            Err(error) => debug!(%error, "rows written under a wrong clock cannot be looked for"),
        }
    }
}
