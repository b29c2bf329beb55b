//! What was sent, decided and delivered, and what disturbed it. Judged at the end by [`crate::verdict`].

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Plain,
    /// One of a sequence; each is sent once the one before is stored.
    Ordered {
        key: u32,
        number: u32,
    },
    Timed(Duration),
    Paid,
    Leased,
}

/// What a transaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Commit,
    Rollback,
}

/// What became of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    Refused,
    /// Found among the dead letters at the end.
    Buried,
}

/// One time that a consumer, or a look among the dead letters, got a message.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) at: Instant,
    /// The id that the producer's client gave this copy: another one for each send of the same message.
    pub(crate) copy: String,
    pub(crate) fate: Fate,
    /// When its acknowledgement was confirmed; leases only.
    pub(crate) acknowledged: Option<Instant>,
}

/// All that is known of one message.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) sends: Vec<Instant>,
    pub(crate) stored: bool,
    pub(crate) decision: Option<Decision>,
    pub(crate) deliveries: Vec<Delivery>,
}

impl Entry {
    /// Whether it must arrive.
    pub(crate) fn is_due(&self) -> bool {
        match self.kind {
            Kind::Paid => self.decision == Some(Decision::Commit),
            _ => self.stored,
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.deliveries.iter().any(|delivery| delivery.fate != Fate::Refused)
    }
}

/// What may make a message come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// The broker was killed; lasts until it is ready again.
    Crash,
    /// A consumer vanished, or queues changed hands.
    Members,
}

/// Everything of a run.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: Mutex<BTreeMap<String, Entry>>,
    disturbances: Mutex<Vec<(Disturbance, Instant, Instant)>>,
    violations: Mutex<Vec<String>>,
    names: AtomicU64,
}

impl Ledger {
    /// Opens an entry for a new message; its name is the message's body.
    pub(crate) fn open_entry(&self, kind: Kind) -> String {
        let name = format!("m{:07}", self.names.fetch_add(1, Ordering::Relaxed));
        let entry = Entry { kind, sends: Vec::new(), stored: false, decision: None, deliveries: Vec::new() };
        self.entries.lock().insert(name.clone(), entry);
        name
    }

    pub(crate) fn sends(&self, name: &str) {
        self.with(name, |entry| entry.sends.push(Instant::now()));
    }

    pub(crate) fn stored(&self, name: &str) {
        self.with(name, |entry| entry.stored = true);
    }

    /// The first decision stands; what it is.
    pub(crate) fn decide(&self, name: &str, decision: Decision) -> Decision {
        let mut entries = self.entries.lock();
        entries.get_mut(name).map_or(decision, |entry| *entry.decision.get_or_insert(decision))
    }

    /// Records a delivery; its number among those of the message.
    pub(crate) fn delivered(&self, name: &str, copy: String, fate: Fate) -> usize {
        let delivery = Delivery { at: Instant::now(), copy, fate, acknowledged: None };
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(name) else {
            self.violation(format!("{name}: delivered, but nobody sent it"));
            return 0;
        };
        entry.deliveries.push(delivery);
        entry.deliveries.len() - 1
    }

    pub(crate) fn acknowledged(&self, name: &str, delivery: usize) {
        self.with(name, |entry| {
            if let Some(delivery) = entry.deliveries.get_mut(delivery) {
                delivery.acknowledged = Some(Instant::now());
            }
        });
    }

    /// Adds what lies among the dead letters: names and copies.
    pub(crate) fn buried(&self, letters: Vec<(String, String)>) {
        for (name, copy) in letters {
            self.delivered(&name, copy, Fate::Buried);
        }
    }

    /// Records a disturbance that began then and ends now.
    pub(crate) fn disturbed(&self, by: Disturbance, since: Instant) {
        self.disturbances.lock().push((by, since, Instant::now()));
    }

    /// Which disturbance, if any, touches the time between the two.
    pub(crate) fn disturbance(&self, from: Instant, to: Instant) -> Option<Disturbance> {
        let all = self.disturbances.lock();
        all.iter().find(|(_, begin, end)| *begin <= to && *end >= from).map(|(by, ..)| *by)
    }

    /// Something that must not happen, seen while it happened.
    pub(crate) fn violation(&self, what: String) {
        self.violations.lock().push(what);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }

    /// Messages that must arrive and have not. A dead letter counts as open until somebody looks there, unless it was
    /// refused as often as it may be.
    pub(crate) fn open(&self) -> usize {
        let refusals_to_the_end = crate::consumers::MAX_RETRIES as usize + 1;
        self.entries
            .lock()
            .values()
            .filter(|entry| entry.is_due() && !entry.is_settled() && entry.deliveries.len() < refusals_to_the_end)
            .count()
    }

    /// Gives every entry to the function.
    pub(crate) fn each(&self, mut look: impl FnMut(&str, &Entry)) {
        for (name, entry) in self.entries.lock().iter() {
            look(name, entry);
        }
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.lock().get_mut(name) {
            change(entry);
        }
    }
}
