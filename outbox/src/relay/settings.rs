//! How a relay works.

use std::{sync::Arc, time::Duration};

use super::Relay;
use crate::{database::Dialect, schedule::Schedule, work::Tried};

/// Told of each row that will not be tried again.
pub type Alert = Arc<dyn Fn(&Tried) + Send + Sync>;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) schedule: Schedule,
    pub(super) batch: u32,
    pub(super) batch_bytes: usize,
    pub(super) in_flight: u32,
    pub(super) lease: Duration,
    pub(super) send_limit: Duration,
    pub(super) period: Duration,
    pub(super) on_exhausted: Option<Alert>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            batch: 128,
            batch_bytes: 16 << 20,
            in_flight: 512,
            lease: Duration::from_secs(30),
            send_limit: Duration::from_secs(10),
            period: Duration::from_millis(500),
            on_exhausted: None,
        }
    }
}

impl<D: Dialect, P> Relay<D, P> {
    /// When what failed is sent again. Default [`Schedule::default`].
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.settings.schedule = schedule;
        self
    }

    /// Rows and bytes of content that are claimed at once. Default 128 rows, 16 MiB; at least one row.
    #[must_use]
    pub fn batch(mut self, rows: u32, bytes: usize) -> Self {
        self.settings.batch = rows.clamp(1, 1024);
        self.settings.batch_bytes = bytes.max(1);
        self
    }

    /// Rows that are claimed and not settled at any time. Default 512; at least one.
    #[must_use]
    pub fn in_flight(mut self, rows: u32) -> Self {
        self.settings.in_flight = rows.max(1);
        self
    }

    /// How long a claim holds: what a relay that died has claimed is sent that much later. Default 30 s. A send is not
    /// begun unless it can end within; so it is at least `send_limit` and a second.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease.max(self.settings.send_limit + Duration::from_secs(1));
        self
    }

    /// Longest time for one send, the publisher's own retries included. Default 10 s.
    #[must_use]
    pub fn send_limit(mut self, limit: Duration) -> Self {
        self.settings.send_limit = limit;
        let lease = self.settings.lease;
        self.lease(lease)
    }

    /// How often the table is looked at when nothing calls. Default 500 ms.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.settings.period = period.max(Duration::from_millis(1));
        self
    }

    /// Calls `alert` for each row that will not be tried again. It must not block.
    #[must_use]
    pub fn on_exhausted(mut self, alert: impl Fn(&Tried) + Send + Sync + 'static) -> Self {
        self.settings.on_exhausted = Some(Arc::new(alert));
        self
    }
}
