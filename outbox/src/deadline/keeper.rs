//! The net under the messages.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::warn;

use super::{Deadlines, Expiry, Passed};
use crate::{
    clock::millis,
    database::{Dialect, Value},
    error::Error,
    running::Running,
    wake::AFTER_TROUBLE,
    work::WrongClock,
};

/// Sees to deadlines whose message is overdue, far away or came early, and tries again what failed. Any number may run, in
/// any number of processes.
pub struct Keeper<D: Dialect, E> {
    deadlines: Deadlines<D>,
    expiry: Arc<E>,
    at_once: usize,
    period: Duration,
    /// Under which it claims.
    owner: String,
    wrong_clock: WrongClock,
}

impl<D: Dialect, E: Expiry<D>> Keeper<D, E> {
    pub(super) fn new(deadlines: Deadlines<D>, expiry: E) -> Self {
        let owner = format!("{:016x}", rand::random::<u64>());
        Self {
            deadlines,
            expiry: Arc::new(expiry),
            at_once: 4,
            period: Duration::from_millis(500),
            owner,
            wrong_clock: WrongClock::default(),
        }
    }

    /// Deadlines that pass side by side. Default 4.
    #[must_use]
    pub fn at_once(mut self, deadlines: usize) -> Self {
        self.at_once = deadlines.max(1);
        self
    }

    /// How often the table is looked at when nothing calls. Default 500 ms.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period.max(Duration::from_millis(1));
        self
    }

    /// Sees to what is due now, one after the other, and returns how many things expired. For tests and for jobs; a service
    /// starts the keeper.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn pass(&self) -> Result<usize, Error> {
        let mut expired = 0;
        while let Some(passed) = self.one().await? {
            expired += usize::from(passed == Passed::Expired);
        }
        Ok(expired)
    }

    /// Starts, in tasks of its own.
    pub fn start(self) -> RunningKeeper {
        let (mut running, stopped) = Running::new();
        let this = Arc::new(self);
        for _ in 0..this.at_once {
            running.spawn(Arc::clone(&this).run(stopped.clone()));
        }
        RunningKeeper(running)
    }

    async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let shared = &self.deadlines.0;
        while !*stopped.borrow() {
            let next_ms = match self.one().await {
                Ok(Some(_)) => continue,
                Ok(None) => self.next_look().await,
                Err(error) => {
                    warn!(%error, topic = shared.topic, "no deadline can be looked at; once more in a while");
                    self.deadlines.now_ms().saturating_add(millis(AFTER_TROUBLE))
                }
            };
            tokio::select! {
                () = shared.outbox.0.clock.wait_until(next_ms) => {}
                () = shared.wake.called() => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Sees to the row that is due longest, if one is.
    async fn one(&self) -> Result<Option<Passed>, Error> {
        match self.deadlines.claim_due(&self.owner).await? {
            Some(claimed) => self.deadlines.look(&self.owner, claimed, &*self.expiry).await.map(Some),
            None => Ok(None),
        }
    }

    async fn next_look(&self) -> i64 {
        let shared = &*self.deadlines.0;
        let now_ms = self.deadlines.now_ms();
        let due = async {
            let mut connection = shared.outbox.0.pool.acquire().await?;
            shared.table.next_due_ms(&mut connection, &[shared.topic.as_str().into()]).await
        };
        self.amend_clock(now_ms).await;
        let due_ms = due.await.ok().flatten().unwrap_or(i64::MAX);
        due_ms.clamp(now_ms.saturating_add(1), now_ms.saturating_add(millis(self.period)))
    }

    /// Rows that are to wait longer after their time than anything does.
    async fn amend_clock(&self, now_ms: i64) {
        let shared = &*self.deadlines.0;
        let lease = Duration::from_millis(self.deadlines.lease_ms().unsigned_abs());
        let grace = shared.grace.unwrap_or_default();
        let longest = shared.schedule.horizon().map(|horizon| horizon.max(lease).max(grace));
        let amend = async |longest_ms: i64| {
            let values: [Value<'_>; 4] = [
                now_ms.into(),
                shared.topic.as_str().into(),
                now_ms.saturating_add(longest_ms).into(),
                longest_ms.into(),
            ];
            let mut connection = shared.outbox.0.pool.acquire().await?;
            Ok(D::execute(&mut connection, &shared.amend, &values).await?)
        };
        if self.wrong_clock.look(now_ms, longest, amend).await > 0 {
            shared.wake.now();
        }
    }
}

/// A keeper at work. Dropping it ends it as a crash would; what it had claimed is seen to when the leases have ended.
#[derive(Debug)]
pub struct RunningKeeper(Running);

impl RunningKeeper {
    /// Lets what is passing end, and ends.
    pub async fn shutdown(self) {
        self.0.shutdown().await;
    }
}
