//! What producers did and what the log says, kept apart from the engine: the model that it is held against.
//!
//! [`Ledger::observe`] is told every record that the engine appends, in order, and refuses what must not happen. After a
//! restart the ledger is made again from the log and compared with what it was.

use std::collections::BTreeMap;

use tenonmq_broker::transaction::Verdict;
use tenonmq_protocol::message::{RecordView, TransactionType, properties};

pub(super) const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
pub(super) const OP: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
pub(super) const PARKED: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
pub(super) const SCHEDULE: &str = "SCHEDULE_TOPIC_XXXX";

/// A broken promise: which one, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant, as `docs/ARCHITECTURE.md` has it.
    pub invariant: &'static str,
    /// What was seen.
    pub seen: String,
}

pub(super) type Checked<T = ()> = Result<T, Violation>;

pub(super) fn broken<T>(invariant: &'static str, seen: impl Into<String>) -> Checked<T> {
    Err(Violation { invariant, seen: seen.into() })
}

pub(super) const ONCE: &str = "a committed message is visible exactly once";
pub(super) const NEVER: &str = "a message that nobody committed is never visible";
pub(super) const FORGOTTEN: &str = "nothing undecided is forgotten: it is pending, settled, or parked";
pub(super) const NO_CHECK: &str = "there is no check after a decision";
pub(super) const FIRST_WINS: &str = "the first decision wins: repeats succeed and contradictions are refused";
pub(super) const CONTENT: &str = "the visible message is the one that was sent";
pub(super) const OFFSETS: &str = "saved offsets never pass what is undecided";
pub(super) const ATTEMPTS: &str = "an attempt is spent only on a producer that was asked";
pub(super) const DURABLE: &str = "what is durable survives the machine";
pub(super) const SETTLES: &str = "in the end everything is settled";
pub(super) const OPENS: &str = "the broker starts whatever happened to it";

/// What an application sends in one transaction.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) group: &'static str,
    pub(super) topic: &'static str,
    pub(super) queue_id: i32,
    pub(super) key: String,
    pub(super) body: String,
    /// User properties and those that ask for something, in their stored form.
    pub(super) text: String,
    pub(super) immunity_s: Option<i64>,
    /// How the local transaction ended.
    pub(super) truth: Verdict,
    pub(super) manner: Manner,
}

/// How an application answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// With the truth.
    Truthful,
    /// With "unknown" at first.
    Hesitant,
    /// Never, until the end.
    Silent,
    /// Now this, now that.
    Contradictory,
}

/// How a half message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Undecided,
    Decided(Verdict),
}

/// One record of the half queue.
#[derive(Debug, Clone)]
pub(super) struct Half {
    /// Which transaction.
    pub(super) sent: usize,
    pub(super) queue_offset: i64,
    pub(super) log_offset: u64,
    /// Where it was before it was carried forward, oldest first.
    pub(super) former: Vec<(i64, u64)>,
    /// End of its first record.
    pub(super) end: u64,
    pub(super) stored_at: i64,
    pub(super) fate: Fate,
    /// End of the log when the decision was in it.
    pub(super) decided_end: u64,
    /// Number of the start after which it was decided.
    pub(super) decided_run: u32,
    /// Log offset of its visible copy.
    pub(super) visible: Option<u64>,
    /// Place in the op queue of the first record that names it.
    pub(super) op: Option<i64>,
    /// Whether it was dropped because its twin is published.
    pub(super) is_dropped: bool,
    /// Questions that a producer took.
    pub(super) asks: u32,
    /// Its record was removed from the log by retention.
    pub(super) is_gone: bool,
}

impl Half {
    /// Whether its record is, or was, at this place: queue offset and log offset.
    pub(super) fn was_at(&self, place: (i64, u64)) -> bool {
        (self.queue_offset, self.log_offset) == place || self.former.contains(&place)
    }

    /// Whether one of its records begins at this log offset.
    fn lay_at(&self, at: u64) -> bool {
        self.log_offset == at || self.former.iter().any(|(_, log_offset)| *log_offset == at)
    }
}

/// Who may decide what while records are appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Half messages only.
    Nothing,
    /// This verdict on the half message at this offset of the half queue.
    Verdict(i64, Verdict),
    /// Parking.
    Parking,
    /// Appending again what lies in a file that is to go.
    Carrying,
    /// Op records that a crash lost.
    Mending,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    pub(super) sent: Vec<Sent>,
    pub(super) by_key: BTreeMap<String, usize>,
    /// By place in the half queue.
    pub(super) halves: BTreeMap<i64, Half>,
    /// First byte of the log when it was looked at from its beginning.
    pub(super) min: u64,
    /// Where half messages are now that were carried forward: half-queue offsets.
    moved: BTreeMap<i64, i64>,
    /// Ids of parked records, with the transaction.
    pub(super) parked: Vec<(String, usize)>,
    /// Number of the present start.
    pub(super) run: u32,
    /// End of the log that was looked at.
    pub(super) seen: u64,
    /// Transaction of the parked copy that was appended last, if nothing came after it.
    parked_last: Option<usize>,
    /// Half-queue offset of the visible copy that was appended last, if nothing came after it.
    visible_last: Option<i64>,
}

impl Ledger {
    /// A ledger of the next start that knows the same transactions and nothing of the log.
    pub(super) fn blank(&self) -> Self {
        Self { sent: self.sent.clone(), by_key: self.by_key.clone(), run: self.run + 1, ..Self::default() }
    }

    pub(super) fn undecided(&self) -> impl Iterator<Item = &Half> {
        self.halves.values().filter(|half| half.fate == Fate::Undecided && !half.is_gone)
    }

    /// Where the half message is now that was at this half-queue offset.
    pub(super) fn place_of(&self, offset: i64) -> i64 {
        self.moved.get(&offset).copied().unwrap_or(offset)
    }

    /// The half message that is, or was, at `offset`.
    pub(super) fn half_at(&self, offset: i64) -> Option<&Half> {
        self.halves.get(&self.place_of(offset))
    }

    /// The half message that one of an earlier ledger is now.
    pub(super) fn same_as(&mut self, old: &Half) -> Option<&mut Half> {
        let place = self.place_of(old.queue_offset);
        let first = old.former.first().copied().unwrap_or((old.queue_offset, old.log_offset));
        let is_same = |half: &&mut Half| {
            half.sent == old.sent && (half.was_at((old.queue_offset, old.log_offset)) || half.was_at(first))
        };
        // most are where they were
        if self.halves.get_mut(&place).as_ref().is_some_and(is_same) {
            return self.halves.get_mut(&place);
        }
        self.halves.values_mut().find(is_same)
    }

    /// Takes over from an earlier ledger a half message whose record is gone from the log.
    pub(super) fn keep_gone(&mut self, old: &Half) {
        self.halves.entry(old.queue_offset).or_insert_with(|| Half { is_gone: true, ..old.clone() });
    }

    /// A record was appended, while `allowed` was being done.
    pub(super) fn observe(&mut self, record: &RecordView<'_>, allowed: Allowed) -> Checked {
        let at = record.physical_offset().cast_unsigned();
        self.seen = at + record.len() as u64;
        let (parked_before, visible_before) = (self.parked_last.take(), self.visible_last.take());
        match record.topic() {
            HALF => self.half(record, allowed),
            OP => self.op(record, parked_before, visible_before, allowed),
            PARKED => {
                let Some(sent) = self.sent_of(record) else { return broken(CONTENT, "a parked record of nobody") };
                self.parked.push((record.message_id().to_string(), sent));
                self.parked_last = Some(sent);
                if matches!(allowed, Allowed::Parking | Allowed::Mending) {
                    Ok(())
                } else {
                    broken(FORGOTTEN, format!("parked during {allowed:?}"))
                }
            }
            _ if record.sys_flag().transaction() == TransactionType::Commit => self.visible(record, allowed),
            topic => broken(NEVER, format!("a record in {topic} that is none of a transaction")),
        }
    }

    fn sent_of(&self, record: &RecordView<'_>) -> Option<usize> {
        let key = properties::find(record.properties_text(), "UNIQ_KEY")?;
        self.by_key.get(key).copied()
    }

    fn half(&mut self, record: &RecordView<'_>, allowed: Allowed) -> Checked {
        let Some(sent) = self.sent_of(record) else { return broken(CONTENT, "a half message of nobody") };
        let mut half = Half {
            sent,
            queue_offset: record.queue_offset(),
            log_offset: record.physical_offset().cast_unsigned(),
            former: Vec::new(),
            end: self.seen,
            stored_at: record.store_timestamp(),
            fate: Fate::Undecided,
            decided_end: 0,
            decided_run: 0,
            visible: None,
            op: None,
            is_dropped: false,
            asks: 0,
            is_gone: false,
        };
        if let Some(carried) = properties::find(record.properties_text(), "TENON_CARRIED") {
            if !matches!(allowed, Allowed::Carrying | Allowed::Mending) {
                return broken(FORGOTTEN, format!("half {} is carried forward during {allowed:?}", half.queue_offset));
            }
            self.carry(carried, &mut half);
        }
        match self.halves.insert(half.queue_offset, half) {
            None => Ok(()),
            Some(before) => broken(FORGOTTEN, format!("half offset {} is given twice", before.queue_offset)),
        }
    }

    /// `half` stands for those that are named.
    fn carry(&mut self, carried: &str, half: &mut Half) {
        let places = carried.rsplit(';').next().unwrap_or_default().split(',');
        let place =
            |text: &str| text.split_once('@').and_then(|(queue, log)| Some((queue.parse().ok()?, log.parse().ok()?)));
        half.former = places.filter_map(place).collect();
        let mut before = None;
        for (offset, log_offset) in &half.former {
            let is_it =
                self.halves.get(offset).is_some_and(|old| old.log_offset == *log_offset && old.sent == half.sent);
            if is_it {
                before = self.halves.remove(offset);
            }
            self.moved.insert(*offset, half.queue_offset);
        }
        if let Some(before) = before {
            half.end = before.end;
            half.stored_at = before.stored_at;
            half.asks = before.asks;
            half.fate = before.fate;
            half.decided_end = before.decided_end;
            half.decided_run = before.decided_run;
        }
    }

    fn visible(&mut self, record: &RecordView<'_>, allowed: Allowed) -> Checked {
        let prepared = record.prepared_transaction_offset().cast_unsigned();
        let Some(half) = self.halves.values_mut().find(|half| half.lay_at(prepared) && !half.is_gone) else {
            if prepared < self.min {
                return Ok(()); // its half message is gone with its file
            }
            return broken(NEVER, format!("a visible copy of nothing at {prepared}"));
        };
        let (offset, at) = (half.queue_offset, record.physical_offset().cast_unsigned());
        if let Some(first) = half.visible.replace(at) {
            return broken(ONCE, format!("half {offset} is visible at {first} and at {at}"));
        }
        if half.fate != Fate::Undecided {
            return broken(NEVER, format!("half {offset} is {:?} and becomes visible", half.fate));
        }
        let is_meant = matches!(allowed, Allowed::Verdict(_, Verdict::Committed) | Allowed::Mending);
        if !is_meant {
            return broken(NEVER, format!("half {offset} becomes visible during {allowed:?}"));
        }
        half.fate = Fate::Decided(Verdict::Committed);
        half.decided_end = self.seen;
        half.decided_run = self.run;
        self.visible_last = Some(offset);
        let sent = self.sent.get(half.sent);
        let same = sent.is_some_and(|sent| is_what_was_sent(sent, record));
        if same { Ok(()) } else { broken(CONTENT, format!("half {offset} differs from its visible copy")) }
    }

    fn op(
        &mut self,
        record: &RecordView<'_>,
        parked: Option<usize>,
        visible: Option<i64>,
        allowed: Allowed,
    ) -> Checked {
        let body = std::str::from_utf8(record.body()).unwrap_or_default();
        for offset in body.split(',').filter_map(|offset| offset.parse::<i64>().ok()) {
            let Some(half) = self.halves.get_mut(&offset) else { continue }; // its file is gone
            half.op.get_or_insert(record.queue_offset());
            if half.fate != Fate::Undecided {
                continue;
            }
            let verdict = match allowed {
                _ if parked == Some(half.sent) => Verdict::Parked,
                Allowed::Verdict(named, verdict) if named == offset => {
                    half.is_dropped = verdict == Verdict::Committed && visible != Some(offset);
                    verdict
                }
                // while the log is read again: what no copy stands before was rolled back
                Allowed::Mending => Verdict::RolledBack,
                _ => return broken(FORGOTTEN, format!("half {offset} is given up during {allowed:?}")),
            };
            half.fate = Fate::Decided(verdict);
            half.decided_end = self.seen;
            half.decided_run = self.run;
        }
        Ok(())
    }
}

/// Whether a visible record holds body and properties as they were sent, in the topic that they were sent to.
fn is_what_was_sent(sent: &Sent, record: &RecordView<'_>) -> bool {
    let found = record.properties();
    let is_delayed = record.topic() == SCHEDULE;
    let target = (record.topic() == sent.topic && record.queue_id() == sent.queue_id)
        || (is_delayed
            && found.get("REAL_TOPIC") == Some(sent.topic)
            && found.get("REAL_QID").and_then(|id| id.parse().ok()) == Some(sent.queue_id));
    let wants_delay = properties::find(&sent.text, "DELAY").is_some();
    target
        && wants_delay == is_delayed
        && record.body() == sent.body.as_bytes()
        && properties::pairs(&sent.text).all(|(name, value)| found.get(name) == Some(value) || name == "TRAN_MSG")
}
