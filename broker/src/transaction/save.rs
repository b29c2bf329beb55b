//! What is saved while running: the offsets from which anybody may go on, check counts, and counts for Apache's tools.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenonmq_storage::{ConfigFile, DataVersion, FileError, Store};

use super::{SafeOffsets, Transactions, snapshot::Snapshot};

/// Records in half and op queue after which what is undecided is written down again, so that a start need not read them.
const SNAPSHOT_AFTER: i64 = 100_000;
/// Time between two savings of the counts. Only a start of Apache's broker reads them.
const METRICS_PERIOD_MS: i64 = 30_000;
/// Entries listed under one hold of the lock.
const PAGE: usize = 1024;

/// Saves what changed.
pub(super) struct Saver {
    /// How far everything was at some moment, which counts once the log is flushed to its end then.
    candidate: Option<Candidate>,
    /// The first unknown half message when last looked.
    stuck_at: i64,
    /// Where the last snapshot was taken.
    pub(super) snapshot: SafeOffsets,
    file: ConfigFile,
    metrics: Metrics,
}

#[derive(Clone, Copy)]
struct Candidate {
    safe: SafeOffsets,
    /// Where the log ended.
    end: u64,
    /// Commit-log offset of the oldest record that was needed.
    needed: u64,
}

/// `config/transactionMetrics`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metrics {
    data_version: DataVersion,
    transaction_count: BTreeMap<String, Count>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Count {
    count: u64,
    time_stamp: i64,
}

impl Saver {
    pub(super) fn new(store: &Store) -> Self {
        let file = store.config_file("transactionMetrics");
        let parse = |bytes: &[u8]| serde_json::from_slice::<Metrics>(bytes);
        // counts are made anew from the log; only the version goes on
        let metrics = file.load_with(parse).ok().flatten().unwrap_or_default();
        Self { candidate: None, stuck_at: -1, snapshot: SafeOffsets::default(), file, metrics }
    }
}

impl Transactions {
    /// Periodic work, every few seconds: saves counts, and returns the offsets of
    /// `CID_RMQ_SYS_TRANS` that may be saved now, if there are new ones.
    ///
    /// They never pass an undecided half message, and they count only decisions that are flushed: so neither this broker
    /// after a crash nor Apache's, started on this directory, misses one.
    pub fn persist(&self) -> Option<SafeOffsets> {
        if self.is_slave() {
            self.carrier.lock().release(u64::MAX);
            return None;
        }
        self.take_up_unreported();
        let mut saver = self.saver.lock();
        self.save_metrics(&mut saver, METRICS_PERIOD_MS);
        self.snapshot_if_behind(&mut saver);
        let flushed = self.store.watermarks().flushed;
        match saver.candidate {
            Some(Candidate { safe, end, needed }) if end <= flushed => {
                self.carrier.lock().release(needed);
                saver.candidate = Some(self.candidate());
                Some(safe)
            }
            Some(_) => None,
            None => {
                saver.candidate = Some(self.candidate());
                None
            }
        }
    }

    /// The offsets to save at a clean stop, when everything is flushed.
    pub fn final_offsets(&self) -> SafeOffsets {
        self.save_metrics(&mut self.saver.lock(), 0);
        if let Err(error) = self.take_snapshot() {
            tracing::warn!(%error, "undecided transactions not listed; the next start reads more of the log");
        }
        self.candidate().safe
    }

    fn candidate(&self) -> Candidate {
        let end = self.store.watermarks().appended; // what comes later lies behind it
        let op_end = self.op.max_offset(); // before the half messages are looked at, see `Floor::safe`
        let needed = self.oldest_needed(end);
        let safe = self.state.lock().safe_offsets(op_end);
        Candidate { safe, end: self.store.watermarks().appended, needed }
    }

    /// Half messages that are in the queue and were reported by nobody hold the saved offset back: takes up the first.
    fn take_up_unreported(&self) {
        let frontier = self.state.lock().frontier();
        let stuck = std::mem::replace(&mut self.saver.lock().stuck_at, frontier) == frontier;
        if !stuck || frontier >= self.half.max_offset() {
            return;
        }
        let record = self.half.entry(frontier).and_then(|entry| self.store.read_entry(&entry));
        match record.as_deref().and_then(super::records::HalfRecord::parse) {
            Some(half) => drop(self.learn(&half)),
            None => self.state.lock().know_all_below(frontier + 1),
        }
    }

    /// Takes a snapshot when a start would have much to read.
    fn snapshot_if_behind(&self, saver: &mut Saver) {
        let (half, op) = (self.state.lock().frontier(), self.op.max_offset());
        let behind = half - saver.snapshot.half + op - saver.snapshot.op;
        let pending = self.pending() as u64;
        if behind < SNAPSHOT_AFTER + 2 * pending.cast_signed() && self.checks.entries() < 4096 + 2 * pending {
            return;
        }
        match self.take_snapshot() {
            Ok(Some(next)) => saver.snapshot = next,
            Ok(None) => {} // the next time
            Err(error) => tracing::warn!(%error, "undecided transactions not listed; a start reads more of the log"),
        }
    }

    /// Writes down what is undecided. Everybody else goes on meanwhile: what is decided while the list is made has its op
    /// record behind the place in the op queue that is noted first. `None` while a message is known behind one that is
    /// not: op records before the place that would be noted may name it.
    pub(super) fn take_snapshot(&self) -> Result<Option<SafeOffsets>, FileError> {
        let op = self.op.max_offset();
        let half = {
            let state = self.state.lock();
            if state.has_gap() {
                return Ok(None);
            }
            state.frontier()
        };
        let next = SafeOffsets { half, op };
        self.checks.rotate()?;
        let (mut pending, mut from) = (Vec::new(), 0);
        while from < half {
            let (page, next) = self.state.lock().page(from, half, PAGE);
            pending.extend(page);
            from = next;
        }
        self.store.write_out()?; // what is no longer pending has its op record in the log
        if half == 0 {
            // what a crash of the machine took away must not be told of the messages that come to its place
            Snapshot::remove(&self.store)?;
            self.checks.forget_old()?;
        } else if let Some(snapshot) = Snapshot::new(&self.half, &self.op, next, pending) {
            snapshot.save(&self.store)?;
            self.checks.forget_old()?;
        }
        Ok(Some(next))
    }

    /// Saves the counts unless that was done less than `period_ms` ago: each time costs two flushes of a file.
    fn save_metrics(&self, saver: &mut Saver, period_ms: i64) {
        let now = self.now_ms();
        if now - saver.metrics.data_version.timestamp < period_ms {
            return;
        }
        let counts: BTreeMap<String, u64> =
            self.state.lock().topic_counts().map(|(topic, count)| (topic.to_owned(), count)).collect();
        let before = saver.metrics.transaction_count.len();
        saver.metrics.transaction_count.retain(|topic, _| counts.contains_key(topic));
        let mut changed = saver.metrics.transaction_count.len() != before;
        for (topic, count) in counts {
            let known = saver.metrics.transaction_count.entry(topic).or_default();
            if known.count != count || known.time_stamp == 0 {
                changed = true;
                *known = Count { count, time_stamp: now };
            }
        }
        if !changed {
            return;
        }
        saver.metrics.data_version.raise(0, now);
        let saved = serde_json::to_vec(&saver.metrics).map_err(std::io::Error::other);
        let outcome = saved
            .map_err(|error| error.to_string())
            .and_then(|text| saver.file.save(&text).map_err(|error| error.to_string()));
        if let Err(error) = outcome {
            tracing::warn!(%error, "transaction counts not saved");
        }
    }
}
