//! How deadlines are set up.

use std::{fmt, sync::Arc, time::Duration};

use super::Deadlines;
use crate::{database::Dialect, outbox::Outbox, relay::Alert, schedule::Schedule, work::Tried};

/// Settings of [`Deadlines`].
pub struct DeadlinesBuilder<D: Dialect> {
    pub(super) outbox: Outbox<D>,
    pub(super) topic: String,
    pub(super) schedule: Schedule,
    pub(super) time_limit: Duration,
    pub(super) grace: Option<Duration>,
    pub(super) horizon: Duration,
    pub(super) on_exhausted: Option<Alert>,
}

impl<D: Dialect> DeadlinesBuilder<D> {
    pub(super) fn new(outbox: Outbox<D>, topic: String) -> Self {
        Self {
            outbox,
            topic,
            schedule: Schedule::default(),
            time_limit: Duration::from_secs(30),
            grace: Some(Duration::from_secs(30)),
            horizon: Duration::from_secs(2 * 24 * 3600),
            on_exhausted: None,
        }
    }

    /// When a deadline whose effects failed is tried again. Default [`Schedule::default`].
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Longest time for the effects of one deadline; what takes longer is rolled back and counts as failed. Default 30 s.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// How long after its time a deadline whose message did not come passes without it. Default 30 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// How far ahead the broker takes a message. Deadlines that are further away stay in the table, and the keeper writes
    /// their message when they come near. Default two days; the broker's `timerMaxDelaySec` is three.
    #[must_use]
    pub fn horizon(mut self, horizon: Duration) -> Self {
        self.horizon = horizon.max(Duration::from_secs(1));
        self
    }

    /// Writes no messages: the keeper alone lets deadlines pass, up to its period late. For brokers with
    /// `timerWheelEnable=false`, where every message would be refused.
    #[must_use]
    pub fn without_messages(mut self) -> Self {
        self.grace = None;
        self
    }

    /// Calls `alert` for each deadline that will not be tried again. It must not block.
    #[must_use]
    pub fn on_exhausted(mut self, alert: impl Fn(&Tried) + Send + Sync + 'static) -> Self {
        self.on_exhausted = Some(Arc::new(alert));
        self
    }

    /// The deadlines.
    pub fn build(self) -> Deadlines<D> {
        Deadlines::new(self)
    }
}

impl<D: Dialect> fmt::Debug for DeadlinesBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlinesBuilder").field("topic", &self.topic).finish_non_exhaustive()
    }
}
