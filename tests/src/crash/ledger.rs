//! What was asked of the broker and what it answered. Judged by [`super::verdict`].
//!
//! Invariant: an operation is noted before it is asked for, and its answer before anything follows from it.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Tries after the first, before a message of the workers is a dead letter.
pub(super) const MAX_RETRIES: i32 = 2;

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
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
pub(super) enum Decision {
    Commit,
    Rollback,
}

/// What became of the wish to take a timer back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recall {
    Unasked,
    /// Not answered, or answered so late that the timer may have been due before.
    Unknown,
    Done,
}

/// Queue and offset.
pub(super) type Place = (i32, i64);

/// Send-backs of one message after the same number of tries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backs {
    pub(super) asked: u32,
    pub(super) answered: u32,
}

/// All that is known of one message.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) body_len: usize,
    /// Its send, or that of its half message, was answered with this place.
    pub(super) stored: Option<Place>,
    pub(super) decision: Option<Decision>,
    pub(super) recall: Recall,
    /// It was asked to be acknowledged.
    pub(super) acknowledges: bool,
    /// When that was answered.
    pub(super) acknowledged: Option<Instant>,
    /// By the number of tries before.
    pub(super) backs: BTreeMap<i32, Backs>,
}

/// A group's offset of one queue.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Offset {
    pub(super) asked: i64,
    pub(super) answered: Option<i64>,
}

/// Group, topic and queue.
pub(super) type OffsetKey = (&'static str, &'static str, i32);

/// The last message of a queue: its offset and its name.
type Last = (i64, String);

/// Everything of a run.
pub(super) struct Ledger {
    entries: Mutex<BTreeMap<String, Entry>>,
    offsets: Mutex<BTreeMap<OffsetKey, Offset>>,
    /// The last message of each queue whose send was answered.
    last: Mutex<BTreeMap<(&'static str, i32), Last>>,
    violations: Mutex<Vec<String>>,
    last_due: Mutex<Instant>,
    /// Only processes end. Power cuts may undo what is not answered, and acknowledgements, which are not synced.
    is_for_kills: bool,
}

impl Ledger {
    pub(super) fn new(is_for_kills: bool) -> Self {
        Self {
            entries: Mutex::default(),
            offsets: Mutex::default(),
            last: Mutex::default(),
            violations: Mutex::default(),
            last_due: Mutex::new(Instant::now()),
            is_for_kills,
        }
    }

    /// A message is about to be sent.
    pub(super) fn sends(&self, name: &str, kind: Kind, body_len: usize) {
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
    pub(super) fn stored(&self, name: &str, place: Place) {
        self.with(name, |entry| entry.stored = Some(place));
    }

    /// The same, for a message that can be seen at once.
    pub(super) fn visible(&self, name: &str, topic: &'static str, place: Place) {
        self.stored(name, place);
        let mut last = self.last.lock();
        let last = last.entry((topic, place.0)).or_insert_with(|| (-1, String::new()));
        if last.0 < place.1 {
            *last = (place.1, name.to_owned());
        }
    }

    /// The first decision stands; what it is.
    pub(super) fn decide(&self, name: &str, decision: Decision) -> Decision {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(name) else {
            drop(entries);
            self.violation(format!("{name}: the broker asks for a transaction that nobody began"));
            return Decision::Rollback;
        };
        *entry.decision.get_or_insert(decision)
    }

    pub(super) fn recall(&self, name: &str, recall: Recall) {
        self.with(name, |entry| entry.recall = recall);
    }

    pub(super) fn sends_back(&self, name: &str, tries: i32) {
        self.with(name, |entry| entry.backs.entry(tries).or_default().asked += 1);
    }

    pub(super) fn sent_back(&self, name: &str, tries: i32) {
        self.with(name, |entry| entry.backs.entry(tries).or_default().answered += 1);
    }

    pub(super) fn acknowledges(&self, name: &str) {
        self.with(name, |entry| entry.acknowledges = true);
    }

    pub(super) fn acknowledged(&self, name: &str) {
        self.with(name, |entry| entry.acknowledged = Some(Instant::now()));
    }

    /// A lease was given by an answer to a question that was asked at `asked`.
    pub(super) fn leased(&self, name: &str, asked: Instant) {
        let acknowledged = self.entries.lock().get(name).map(|entry| entry.acknowledged);
        match acknowledged {
            None => self.violation(format!("{name}: received, but nobody sent it")),
            Some(Some(at)) if at < asked && self.is_for_kills => {
                self.violation(format!("{name}: came again after it was acknowledged"));
            }
            _ => {}
        }
    }

    pub(super) fn is_for_kills(&self) -> bool {
        self.is_for_kills
    }

    pub(super) fn commits(&self, key: OffsetKey, offset: i64) {
        let mut offsets = self.offsets.lock();
        let known = offsets.entry(key).or_default();
        known.asked = known.asked.max(offset);
    }

    pub(super) fn committed(&self, key: OffsetKey, offset: i64) {
        self.offsets.lock().entry(key).or_default().answered = Some(offset);
    }

    pub(super) fn offsets(&self) -> BTreeMap<OffsetKey, Offset> {
        self.offsets.lock().clone()
    }

    pub(super) fn last_stored(&self) -> BTreeMap<(&'static str, i32), Last> {
        self.last.lock().clone()
    }

    /// Something that must not happen, seen while it happened.
    pub(super) fn violation(&self, what: String) {
        self.violations.lock().push(what);
    }

    pub(super) fn has_violations(&self) -> bool {
        !self.violations.lock().is_empty()
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }

    /// Things that are known to be unfinished.
    pub(super) fn open(&self) -> usize {
        let entries = self.entries.lock();
        let is_open = |entry: &&Entry| match entry.kind {
            Kind::Leased => entry.stored.is_some() && !entry.acknowledges,
            Kind::Paid => entry.stored.is_some() && entry.decision.is_none(),
            _ => false,
        };
        entries.values().filter(is_open).count() + usize::from(*self.last_due.lock() > Instant::now())
    }

    /// Gives all entries to the function.
    pub(super) fn look<T>(&self, look: impl FnOnce(&BTreeMap<String, Entry>) -> T) -> T {
        look(&self.entries.lock())
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.lock().get_mut(name) {
            change(entry);
        }
    }
}

/// By the clock that the broker goes by, too.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A body that begins with the name, and is as long as that says.
pub(super) fn body(name: &str, len: usize) -> String {
    format!("{name}:{}", ".".repeat(len.saturating_sub(name.len() + 1)))
}

/// The name in a body, if the rest of it is what it was.
pub(super) fn name_in(body: &[u8]) -> Option<&str> {
    let (name, fill) = std::str::from_utf8(body).ok()?.split_once(':')?;
    fill.bytes().all(|byte| byte == b'.').then_some(name)
}
