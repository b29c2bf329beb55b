//! What was asked of the broker and what it answered. Judged by [`crate::verdict`].
//!
//! Invariant: an operation is noted before it is asked for, and its answer before anything follows from it.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Tries after the first, before a message of the workers is a dead letter.
pub(crate) const MAX_RETRIES: i32 = 2;

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Plain,
    Leased,
    /// Sent back now and then.
    Hard,
    /// To be seen at that time, in milliseconds since the epoch, or later.
    Timed(i64),
    Paid,
}

/// What a transaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Commit,
    Rollback,
}

/// What became of the wish to take a timer back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recall {
    Unasked,
    /// Not answered, or answered so late that the timer may have been due before.
    Unknown,
    Done,
}

/// Queue and offset.
pub(crate) type Place = (i32, i64);

/// Send-backs of one message after the same number of tries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backs {
    pub(crate) asked: u32,
    pub(crate) answered: u32,
}

/// All that is known of one message.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) body_len: usize,
    /// Its send, or that of its half message, was answered with this place.
    pub(crate) stored: Option<Place>,
    pub(crate) decision: Option<Decision>,
    pub(crate) recall: Recall,
    /// It was asked to be acknowledged.
    pub(crate) acknowledges: bool,
    /// When that was answered.
    pub(crate) acknowledged: Option<Instant>,
    /// By the number of tries before.
    pub(crate) backs: BTreeMap<i32, Backs>,
}

/// A group's offset of one queue.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Offset {
    pub(crate) asked: i64,
    pub(crate) answered: Option<i64>,
}

/// Group, topic and queue.
pub(crate) type OffsetKey = (&'static str, &'static str, i32);

/// The last message of a queue: its offset and its name.
type Last = (i64, String);

/// Everything of a run.
pub(crate) struct Ledger {
    entries: Mutex<BTreeMap<String, Entry>>,
    offsets: Mutex<BTreeMap<OffsetKey, Offset>>,
    /// The last message of each queue whose send was answered.
    last: Mutex<BTreeMap<(&'static str, i32), Last>>,
    violations: Mutex<Vec<String>>,
    last_due: Mutex<Instant>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            entries: Mutex::default(),
            offsets: Mutex::default(),
            last: Mutex::default(),
            violations: Mutex::default(),
            last_due: Mutex::new(Instant::now()),
        }
    }

    /// A message is about to be sent.
    pub(crate) fn sends(&self, name: &str, kind: Kind, body_len: usize) {
        let entry = Entry {
            kind,
            body_len,
            stored: None,
            decision: None,
            recall: Recall::Unasked,
            acknowledges: false,
            acknowledged: None,
            backs: BTreeMap::new(),
        };
        if let Kind::Timed(due) = kind {
            let wait = Duration::from_millis((due - now_ms()).max(0).unsigned_abs());
            let mut last = self.last_due.lock();
            *last = (*last).max(Instant::now() + wait);
        }
        self.entries.lock().insert(name.to_owned(), entry);
    }

    /// Its send was answered with success.
    pub(crate) fn stored(&self, name: &str, place: Place) {
        self.with(name, |entry| entry.stored = Some(place));
    }

    /// The same, for a message that can be seen at once.
    pub(crate) fn visible(&self, name: &str, topic: &'static str, place: Place) {
        self.stored(name, place);
        let mut last = self.last.lock();
        let last = last.entry((topic, place.0)).or_insert_with(|| (-1, String::new()));
        if last.0 < place.1 {
            *last = (place.1, name.to_owned());
        }
    }

    /// The first decision stands; what it is.
    pub(crate) fn decide(&self, name: &str, decision: Decision) -> Decision {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(name) else {
            drop(entries);
            self.violation(format!("{name}: the broker asks for a transaction that nobody began"));
            return Decision::Rollback;
        };
        *entry.decision.get_or_insert(decision)
    }

    pub(crate) fn recall(&self, name: &str, recall: Recall) {
        self.with(name, |entry| entry.recall = recall);
    }

    pub(crate) fn sends_back(&self, name: &str, tries: i32) {
        self.with(name, |entry| entry.backs.entry(tries).or_default().asked += 1);
    }

    pub(crate) fn sent_back(&self, name: &str, tries: i32) {
        self.with(name, |entry| entry.backs.entry(tries).or_default().answered += 1);
    }

    pub(crate) fn acknowledges(&self, name: &str) {
        self.with(name, |entry| entry.acknowledges = true);
    }

    pub(crate) fn acknowledged(&self, name: &str) {
        self.with(name, |entry| entry.acknowledged = Some(Instant::now()));
    }

    /// A lease was given by an answer to a question that was asked at `asked`.
    pub(crate) fn leased(&self, name: &str, asked: Instant) {
        let acknowledged = self.entries.lock().get(name).map(|entry| entry.acknowledged);
        match acknowledged {
            None => self.violation(format!("{name}: received, but nobody sent it")),
            Some(Some(at)) if at < asked => {
                self.violation(format!("{name}: came again after it was acknowledged"));
            }
            _ => {}
        }
    }

    pub(crate) fn commits(&self, key: OffsetKey, offset: i64) {
        let mut offsets = self.offsets.lock();
        let known = offsets.entry(key).or_default();
        known.asked = known.asked.max(offset);
    }

    pub(crate) fn committed(&self, key: OffsetKey, offset: i64) {
        self.offsets.lock().entry(key).or_default().answered = Some(offset);
    }

    pub(crate) fn offsets(&self) -> BTreeMap<OffsetKey, Offset> {
        self.offsets.lock().clone()
    }

    pub(crate) fn last_stored(&self) -> BTreeMap<(&'static str, i32), Last> {
        self.last.lock().clone()
    }

    /// Something that must not happen, seen while it happened.
    pub(crate) fn violation(&self, what: String) {
        self.violations.lock().push(what);
    }

    pub(crate) fn has_violations(&self) -> bool {
        !self.violations.lock().is_empty()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }

    /// Things that are known to be unfinished.
    pub(crate) fn open(&self) -> usize {
        let entries = self.entries.lock();
        let is_open = |entry: &&Entry| match entry.kind {
            Kind::Leased => entry.stored.is_some() && !entry.acknowledges,
            Kind::Paid => entry.stored.is_some() && entry.decision.is_none(),
            _ => false,
        };
        entries.values().filter(is_open).count() + usize::from(*self.last_due.lock() > Instant::now())
    }

    /// Gives all entries to the function.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&BTreeMap<String, Entry>) -> T) -> T {
        look(&self.entries.lock())
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.lock().get_mut(name) {
            change(entry);
        }
    }
}

/// By the clock that the broker goes by, too.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A body that begins with the name, and is as long as that says.
pub(crate) fn body(name: &str, len: usize) -> String {
    format!("{name}:{}", ".".repeat(len.saturating_sub(name.len() + 1)))
}

/// The name in a body, if the rest of it is what it was.
pub(crate) fn name_in(body: &[u8]) -> Option<&str> {
    let (name, fill) = std::str::from_utf8(body).ok()?.split_once(':')?;
    fill.bytes().all(|byte| byte == b'.').then_some(name)
}
