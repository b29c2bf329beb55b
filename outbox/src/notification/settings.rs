//! How a courier works.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{CircuitSettings, Courier, Resolver, Task};
use crate::{database::Dialect, schedule::Schedule};

/// Told of each task that will not be tried again.
pub type ExhaustedAlert = Arc<dyn Fn(&Task) + Send + Sync>;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) strategies: HashMap<String, Schedule>,
    pub(super) otherwise: Schedule,
    pub(super) call_limit: Duration,
    pub(super) lease: Duration,
    pub(super) period: Duration,
    pub(super) per_target: u32,
    pub(super) in_flight: u32,
    pub(super) circuit: CircuitSettings,
    pub(super) longest_wait: Duration,
    pub(super) on_exhausted: Option<ExhaustedAlert>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategies: HashMap::new(),
            otherwise: Schedule::growing(),
            call_limit: Duration::from_secs(10),
            lease: Duration::from_secs(30),
            period: Duration::from_millis(500),
            per_target: 4,
            in_flight: 1_024,
            circuit: CircuitSettings::default(),
            longest_wait: Duration::from_secs(3_600),
            on_exhausted: None,
        }
    }
}

impl Settings {
    pub(super) fn strategy_of(&self, business_type: &str) -> &Schedule {
        self.strategies.get(business_type).unwrap_or(&self.otherwise)
    }

    /// Longer than any task waits, as far as is known.
    pub(super) fn horizon(&self) -> Option<Duration> {
        let mut all = self.strategies.values().chain([&self.otherwise]);
        all.try_fold(self.lease.max(self.longest_wait), |longest, schedule| Some(longest.max(schedule.horizon()?)))
    }
}

impl<D: Dialect> Courier<D> {
    /// When what failed is tried again, for one business type. [`Schedule::growing`] and [`Schedule::doubling_minutes`]
    /// are the usual ones.
    #[must_use]
    pub fn strategy(mut self, business_type: impl Into<String>, schedule: Schedule) -> Self {
        self.settings.strategies.insert(business_type.into(), schedule);
        self
    }

    /// The same for types without a strategy of their own. Default [`Schedule::growing`].
    #[must_use]
    pub fn otherwise(mut self, schedule: Schedule) -> Self {
        self.settings.otherwise = schedule;
        self
    }

    /// Longest time for a connection, and for a whole call with it. Default 3 s and 10 s.
    #[must_use]
    pub fn call_limits(mut self, connect: Duration, whole: Duration) -> Self {
        self.postman.dialer.limit = connect.min(whole);
        self.postman.limit = whole;
        self.settings.call_limit = whole;
        let lease = self.settings.lease;
        self.lease(lease)
    }

    /// How long a claim holds: what a courier that died has claimed is tried that much later. Default 30 s; at least twice
    /// a call's limit and a second, so that no lease ends under a call.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease.max(self.settings.call_limit * 2 + Duration::from_secs(1));
        self
    }

    /// Calls to one target (host and port) at the same time, and to all. Default 4 and 1,024; at least 1.
    #[must_use]
    pub fn concurrency(mut self, per_target: u32, in_all: u32) -> Self {
        self.settings.per_target = per_target.max(1);
        self.settings.in_flight = in_all.max(1);
        self
    }

    /// When a target is left alone.
    #[must_use]
    pub fn circuit(mut self, settings: CircuitSettings) -> Self {
        self.settings.circuit = settings;
        self
    }

    /// Longest pause that an endpoint may ask for by `Retry-After`, in seconds or as a date, with an answer 429 or 503.
    /// Default 1 h; zero is none.
    ///
    /// The task is not tried again before, nor sooner than its strategy has it; and this courier leaves the whole target
    /// alone meanwhile, which uses up no tries of its other tasks. Then one call is made to see.
    #[must_use]
    pub fn longest_wait(mut self, wait: Duration) -> Self {
        self.settings.longest_wait = wait;
        self
    }

    /// How often the table is looked at when nothing calls. Default 500 ms.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.settings.period = period.max(Duration::from_millis(1));
        self
    }

    /// Finds addresses. Default the system's resolver.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.postman.dialer.resolver = Arc::new(resolver);
        self
    }

    /// Calls `alert` for each task that will not be tried again. It must not block.
    #[must_use]
    pub fn on_exhausted(mut self, alert: impl Fn(&Task) + Send + Sync + 'static) -> Self {
        self.settings.on_exhausted = Some(Arc::new(alert));
        self
    }

    /// Trusts certificates of these authorities (PEM, one or several) too, beside those that Mozilla trusts: for endpoints
    /// in a network of one's own. Takes the place of what [`tls`](Self::tls) set.
    ///
    /// # Errors
    /// [`NoAuthority`](super::NoAuthority) when there is no certificate in the text, or one that cannot be read.
    #[cfg(feature = "notification-tls")]
    pub fn trust(mut self, pem: &[u8]) -> Result<Self, super::NoAuthority> {
        self.postman.dialer.tls.trust(pem)?;
        Ok(self)
    }

    /// Settings of TLS: other authorities than Mozilla's, or a certificate of ours.
    #[cfg(feature = "notification-tls")]
    #[must_use]
    pub fn tls(mut self, settings: Arc<tokio_rustls::rustls::ClientConfig>) -> Self {
        self.postman.dialer.tls = settings.into();
        self
    }
}
