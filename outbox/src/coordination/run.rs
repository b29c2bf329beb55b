//! The coordinator as a task.

use tokio::sync::watch;
use tracing::warn;

use super::{coordinator::Coordinator, plan::LONGEST_LIMIT};
use crate::{clock::millis, database::Dialect, running::Running, wake::AFTER_TROUBLE, work::WrongClock};

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
        let wrong_clock = WrongClock::default();
        while !*stopped.borrow() {
            let next_ms = match self.one().await {
                Ok(true) => continue,
                Ok(false) => {
                    self.amend_clock(&wrong_clock).await;
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

    /// Once a minute: rows that were written under a wrong clock.
    async fn amend_clock(&self, wrong_clock: &WrongClock) {
        let shared = &*self.0;
        let now_ms = shared.outbox.0.clock.now_ms();
        let longest = shared.schedule.horizon().map(|horizon| horizon.max(LONGEST_LIMIT));
        let amend = async |horizon_ms| {
            let mut connection = shared.outbox.0.pool.acquire().await?;
            shared.table.amend_clock(&mut connection, &[], now_ms, horizon_ms).await
        };
        wrong_clock.look(now_ms, longest, amend).await;
    }
}
