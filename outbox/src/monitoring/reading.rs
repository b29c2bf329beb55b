//! Numbers.

use std::{
    fmt::Write,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Halves, Inbox, Outbox, Transactional, database::Dialect, error::Error, work::Backlog};

/// Counters of one part, from the start of the process.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    done: AtomicU64,
    failed: AtomicU64,
    exhausted: AtomicU64,
    duplicates: AtomicU64,
}

/// What an outbox, inbox or notifier of this process has counted since it was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Tries that succeeded: sent, handled or delivered.
    pub done: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Rows whose last try failed.
    pub exhausted: u64,
    /// Messages that an inbox had handled before.
    pub duplicates: u64,
}

impl Tally {
    pub(crate) fn done(&self, times: usize) {
        add(&self.done, times);
    }

    pub(crate) fn failed(&self, times: usize) {
        add(&self.failed, times);
    }

    pub(crate) fn exhausted(&self, times: usize) {
        add(&self.exhausted, times);
    }

    pub(crate) fn duplicate(&self) {
        add(&self.duplicates, 1);
    }

    pub(crate) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            done: read(&self.done),
            failed: read(&self.failed),
            exhausted: read(&self.exhausted),
            duplicates: read(&self.duplicates),
        }
    }
}

fn add(counter: &AtomicU64, times: usize) {
    counter.fetch_add(times as u64, Ordering::Relaxed);
}

/// What one part is up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// `outbox`, `half`, `inbox/<group>`, `compensation/<name>`, `notification` or `coordinator`.
    pub part: String,
    /// What waits, in the table: the same for all instances of a service.
    pub backlog: Backlog,
    /// What this instance did.
    pub counts: Counts,
    /// WAL in bytes that a change relay's slot makes the server keep.
    pub held_bytes: Option<u64>,
}

impl Reading {
    /// Of a part whose rows wait in a table.
    pub fn of(part: String, backlog: Backlog, counts: Counts) -> Self {
        Self { part, backlog, counts, held_bytes: None }
    }
}

/// Something that can be read: [`Outbox`], [`Transactional`], [`Inbox`], `Notifier`, or what one writes oneself.
pub trait Part: Send + Sync + 'static {
    /// Its name, as in [`Reading::part`].
    fn name(&self) -> String;

    /// Reads it. Counts the pending rows, so it costs more the more there are.
    fn read(&self) -> Pin<Box<dyn Future<Output = Result<Reading, Error>> + Send + '_>>;
}

impl<D: Dialect> Part for Outbox<D> {
    fn name(&self) -> String {
        "outbox".to_owned()
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Result<Reading, Error>> + Send + '_>> {
        Box::pin(async { Ok(Reading::of(self.name(), self.backlog().await?, self.counts())) })
    }
}

impl<D: Dialect> Part for Inbox<D> {
    fn name(&self) -> String {
        format!("inbox/{}", self.group())
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Result<Reading, Error>> + Send + '_>> {
        Box::pin(async { Ok(Reading::of(self.name(), self.backlog().await?, self.counts())) })
    }
}

/// The half messages beside their outbox: one that is held or being decided for long waits for its broker to come back.
impl<D: Dialect, H: Halves> Part for Transactional<D, H> {
    fn name(&self) -> String {
        "half".to_owned()
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Result<Reading, Error>> + Send + '_>> {
        Box::pin(async { Ok(Reading::of(self.name(), self.undecided().await?, self.counts())) })
    }
}

/// Open gaps wait; done are those that were closed after a repair.
impl<D: Dialect> Part for crate::compensation::Compensation<D> {
    fn name(&self) -> String {
        format!("compensation/{}", self.name())
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Result<Reading, Error>> + Send + '_>> {
        Box::pin(async { Ok(Reading::of(Part::name(self), self.backlog().await?, self.counts())) })
    }
}

#[cfg(feature = "notification")]
impl<D: Dialect> Part for crate::notification::Notifier<D> {
    fn name(&self) -> String {
        "notification".to_owned()
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Result<Reading, Error>> + Send + '_>> {
        Box::pin(async { Ok(Reading::of(self.name(), self.backlog().await?, self.counts())) })
    }
}

/// A page in Prometheus' text format, to be appended to others'.
///
/// ```
/// use tenonmq_outbox::monitoring::prometheus_text;
/// assert!(prometheus_text(&[]).contains("# TYPE tenonmq_outbox_pending gauge"));
/// ```
pub fn prometheus_text(readings: &[Reading]) -> String {
    type Value = fn(&Reading) -> Option<f64>;
    let metrics: [(&str, &str, &str, Value); 8] = [
        ("pending", "gauge", "Rows to be tried, now or later.", |one| Some(one.backlog.pending as f64)),
        ("exhausted", "gauge", "Rows that people must decide about.", |one| Some(one.backlog.exhausted as f64)),
        ("oldest_seconds", "gauge", "Age of the oldest row to be tried.", |one| {
            one.backlog.oldest_ms.map(|age_ms| age_ms as f64 / 1_000.0)
        }),
        ("held_bytes", "gauge", "WAL that a change relay's slot makes the server keep.", |one| {
            one.held_bytes.map(|bytes| bytes as f64)
        }),
        ("done_total", "counter", "Tries that succeeded.", |one| Some(one.counts.done as f64)),
        ("failed_total", "counter", "Tries that failed.", |one| Some(one.counts.failed as f64)),
        ("given_up_total", "counter", "Rows whose last try failed.", |one| Some(one.counts.exhausted as f64)),
        ("duplicates_total", "counter", "Messages that were handled before.", |one| Some(one.counts.duplicates as f64)),
    ];
    let mut page = String::new();
    for (name, kind, help, value) in metrics {
        let _ = writeln!(page, "# HELP tenonmq_outbox_{name} {help}\n# TYPE tenonmq_outbox_{name} {kind}"); // a String takes all
        for reading in readings {
            if let Some(value) = value(reading) {
                let part = reading.part.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = writeln!(page, "tenonmq_outbox_{name}{{part=\"{part}\"}} {value}");
            }
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_metric_of_each_part_once() {
        let tally = Tally::default();
        tally.failed(3);
        tally.duplicate();
        let reading = |part: &str, oldest_ms| Reading {
            part: part.to_owned(),
            backlog: Backlog { pending: 2, exhausted: 1, oldest_ms },
            counts: tally.counts(),
            held_bytes: None,
        };
        let page = prometheus_text(&[reading("outbox", Some(1_500)), reading("inbox/a\"b", None)]);
        for line in [
            "tenonmq_outbox_pending{part=\"outbox\"} 2",
            "tenonmq_outbox_exhausted{part=\"inbox/a\\\"b\"} 1",
            "tenonmq_outbox_oldest_seconds{part=\"outbox\"} 1.5",
            "tenonmq_outbox_failed_total{part=\"outbox\"} 3",
            "tenonmq_outbox_duplicates_total{part=\"outbox\"} 1",
        ] {
            assert_eq!(page.lines().filter(|found| *found == line).count(), 1, "{line} in\n{page}");
        }
        assert!(!page.contains("oldest_seconds{part=\"inbox"), "an empty table has no oldest row");
    }
}
