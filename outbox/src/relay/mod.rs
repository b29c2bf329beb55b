//! Sending what the outbox holds.
//!
//! A relay claims rows, sends them, and writes down what became of them. Rows without an order key are sent side by side, each in
//! a lane of its own; rows of one key share a lane, one after the other. A lane that is slow holds nothing up but itself: claims
//! go on while there is room. Any number of relays may run, in any number of processes.

#[cfg_attr(not(feature = "postgres-cdc"), allow(dead_code))]
mod feed;
mod lane;
mod publisher;
mod run;
mod settings;

use std::sync::Arc;

#[cfg(feature = "postgres-cdc")]
pub(crate) use self::feed::{Feed, Rows};
use self::{lane::lanes_of, settings::Settings};
pub use self::{
    publisher::{PublishError, Publisher},
    run::RunningRelay,
    settings::Alert,
};
use crate::{
    database::Dialect,
    error::Error,
    outbox::{Claims, Outbox, Outcome, Settled},
};

/// Sends an outbox's messages. Set it up, then [start](Self::start) it.
pub struct Relay<D: Dialect, P> {
    outbox: Outbox<D>,
    publisher: Arc<P>,
    settings: Settings,
    /// Under which it claims.
    owner: String,
}

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pass {
    /// Messages that the broker has.
    pub sent: usize,
    /// Tries that failed.
    pub failed: usize,
    /// Messages that will not be tried again.
    pub exhausted: usize,
}

impl<D: Dialect, P: Publisher> Relay<D, P> {
    pub(crate) fn new(outbox: Outbox<D>, publisher: P) -> Self {
        let owner = format!("{:016x}", rand::random::<u64>());
        Self { outbox, publisher: Arc::new(publisher), settings: Settings::default(), owner }
    }

    /// Sends what is due now and what becomes due meanwhile, and returns. For tests and for jobs; a service starts the relay.
    ///
    /// # Errors
    /// [`Error::Database`]. What was sent and could not be written down is sent again when its lease has ended.
    pub async fn pass(&self) -> Result<Pass, Error> {
        let mut pass = Pass::default();
        loop {
            let claimed = self.outbox.claim(self.claims(self.settings.in_flight)).await?;
            if claimed.is_empty() {
                return Ok(pass);
            }
            let mut lanes = tokio::task::JoinSet::new();
            let until_ms = self.lease_end();
            for lane in lanes_of(claimed) {
                lanes.spawn(self.send(lane, until_ms));
            }
            let mut outcomes = Vec::new();
            while let Some(lane) = lanes.join_next().await {
                outcomes.extend(lane.unwrap_or_else(|_| Ok(Vec::new()))?);
            }
            let settled = self.settle(&outcomes).await?;
            pass.sent += settled.sent;
            pass.failed += settled.failed;
            pass.exhausted += settled.exhausted.len();
        }
    }

    /// What it sends.
    #[cfg(feature = "postgres-cdc")]
    pub(crate) fn outbox(&self) -> &Outbox<D> {
        &self.outbox
    }

    /// Claims for `room` more rows.
    fn claims(&self, room: u32) -> Claims<'_> {
        let Settings { batch, batch_bytes, lease, .. } = self.settings;
        Claims {
            owner: &self.owner,
            lease_ms: crate::clock::millis(lease),
            rows: batch.min(room),
            bytes: i64::try_from(batch_bytes).unwrap_or(i64::MAX),
        }
    }

    /// When a lease ends that began before now.
    fn lease_end(&self) -> i64 {
        self.outbox.0.clock.now_ms().saturating_add(crate::clock::millis(self.settings.lease))
    }

    async fn settle(&self, outcomes: &[Outcome]) -> Result<Settled, Error> {
        let settled = self.outbox.settle(&self.owner, &self.settings.schedule, outcomes).await?;
        let tally = &self.outbox.0.tally;
        tally.done(settled.sent);
        tally.failed(settled.failed);
        tally.exhausted(settled.exhausted.len());
        for row in &settled.exhausted {
            self.alert(*row).await;
        }
        Ok(settled)
    }

    async fn alert(&self, row: i64) {
        let shared = &self.outbox.0;
        let found = async {
            let mut connection = shared.pool.acquire().await?;
            shared.table.find(&mut connection, "id = ?", &[row.into()]).await
        };
        match found.await {
            Ok(Some(tried)) => {
                tracing::error!(
                    row,
                    topic = tried.topic,
                    id = tried.business_key,
                    cause = tried.last_error,
                    "given up"
                );
                if let Some(alert) = &self.settings.on_exhausted {
                    alert(&tried);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(row, %error, "given up; its row cannot be shown"),
        }
    }
}
