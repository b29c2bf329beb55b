//! The verdict on a half message: commit, rollback, or "do not know".
//!
//! Rules, codes and remarks: `transactions-retry-delay.md` section 1.3; what is written: `store.md` section 12. Beyond
//! Apache: the first decision wins. A repeat does nothing and succeeds, a contradiction is refused.

use smallvec::SmallVec;
use tenonmq_protocol::{code::ResponseCode, message::NewRecord};
use tenonmq_storage::{AppendClass, AppendError, Boundary, Queue, Unwritable};

use super::{
    Host, Transactions, Verdict,
    half::{back_off_percent, immunity_ms},
    records::{HalfRecord, OP_TAGS_CODE, OpBody, PARKED_TOPIC, QUEUE},
    state::{Claim, Decision, Half},
    tally::Count,
    trail::{Contradiction, Said},
};
use crate::core::names::{SCHEDULE_TOPIC, TIMER_TOPIC};

/// Messages looked through for the visible copy of one that was decided before a restart.
const LOOK_AHEAD: usize = 4096;

/// What a producer says about a half message.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Its group.
    pub group: &'a str,
    /// Where the half message sits in the half queue.
    pub half_offset: i64,
    /// Where its record starts in the commit log.
    pub log_offset: i64,
    /// Commit ([`Verdict::Committed`]) or rollback.
    pub verdict: Verdict,
    /// Whether this answers a check.
    pub from_check: bool,
}

/// What an accepted verdict did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was the first one and is in the log.
    Decided,
    /// It repeats the decision: nothing was done.
    Repeated,
}

/// Why a verdict is refused.
#[derive(Debug, thiserror::Error)]
pub enum EndRefused {
    /// This broker is a slave.
    #[error("the broker is a slave: transactions are ended at the master")]
    Slave,
    /// There is no record at the log offset (any more).
    #[error("Find prepared transaction message failed")]
    NotFound,
    /// It comes unasked after the immunity that its sender wished for: the check decides.
    #[error(
        "the transaction may only be ended by the answer to a check now: it is {age_ms} ms old, its immunity was {immunity_ms} ms"
    )]
    TooLate {
        /// Age of the half message.
        age_ms: i64,
        /// How long it could be ended unasked.
        immunity_ms: i64,
    },
    /// Another group sent the half message.
    #[error("The producer group wrong")]
    WrongGroup,
    /// The record has another half-queue offset.
    #[error("The transaction state table offset wrong")]
    WrongHalfOffset,
    /// The record has another log offset.
    #[error("The commit log offset wrong")]
    WrongLogOffset,
    /// The record is no half message, or has no real topic.
    #[error("the record at this offset is not a half message")]
    NotHalf,
    /// It was decided otherwise.
    #[error("the transaction is {} already", .0.name())]
    Contradiction(Verdict),
    /// The real topic was deleted. The message stays undecided.
    #[error("topic[{0}] not exist, apply first please!")]
    TopicGone(String),
    /// Its log file is to go, and the log takes no copy of it now. It stays undecided.
    #[error("the half message is being carried forward and the log takes no records now, see the disk of the broker")]
    Moving,
    /// Whether another half message of the same key was published cannot be told yet. The message stays undecided.
    #[error("keys are being indexed: the transaction is asked about again")]
    IndexBehind,
    /// The log takes no records now. The message stays undecided.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl EndRefused {
    /// The code that Apache answers, or its nearest relative.
    pub fn code(&self) -> ResponseCode {
        match self {
            Self::Slave | Self::Append(AppendError::Unwritable(Unwritable::NotMaster)) => {
                ResponseCode::SLAVE_NOT_AVAILABLE
            }
            Self::TooLate { .. } | Self::Contradiction(_) => ResponseCode::ILLEGAL_OPERATION,
            Self::TopicGone(_) => ResponseCode::TOPIC_NOT_EXIST,
            Self::Moving | Self::Append(AppendError::Unwritable(_)) => ResponseCode::SERVICE_NOT_AVAILABLE,
            Self::Append(
                AppendError::TooLarge { .. } | AppendError::PropertiesTooLarge { .. } | AppendError::Topic { .. },
            ) => ResponseCode::MESSAGE_ILLEGAL,
            Self::NotFound
            | Self::WrongGroup
            | Self::WrongHalfOffset
            | Self::WrongLogOffset
            | Self::NotHalf
            | Self::IndexBehind
            | Self::Append(_) => ResponseCode::SYSTEM_ERROR,
        }
    }
}

impl Transactions {
    /// Carries out the first decision on a half message.
    ///
    /// # Errors
    /// With the code that Apache answers; nothing is written then.
    pub fn end(&self, host: &dyn Host, end: &End<'_>) -> Result<Ended, EndRefused> {
        if self.is_slave() {
            return Err(EndRefused::Slave);
        }
        let log_offset = u64::try_from(end.log_offset).map_err(|_| EndRefused::NotFound)?;
        let bytes = match self.store.read(log_offset) {
            Some(bytes) => bytes,
            None => self.carried_for(end)?,
        };
        let half = HalfRecord::parse(&bytes).ok_or(EndRefused::NotFound)?;
        self.admit(end, &half)?;
        let outcome = if end.from_check && end.verdict == Verdict::Committed {
            self.commit_answered(host, end, &half)
        } else {
            self.decide(host, end.verdict, &half)
        };
        self.leave_trail(end, &half, &outcome);
        outcome
    }

    /// Remembers what operators will ask for: answers to checks, and contradictions. Of other verdicts there is nothing
    /// to remember.
    fn leave_trail(&self, end: &End<'_>, half: &HalfRecord<'_>, outcome: &Result<Ended, EndRefused>) {
        if end.from_check {
            let place = half.record.queue_offset();
            let said = match (outcome, end.verdict) {
                (Err(EndRefused::Contradiction(_)) | Ok(_), Verdict::Committed) => Said::Commit,
                (Err(EndRefused::Contradiction(_)) | Ok(_), _) => Said::Rollback,
                (Err(_), _) => Said::Failed,
            };
            self.tally.answered(said);
            self.trail.answered(place, self.now_ms(), said);
        }
        if matches!(outcome, Ok(Ended::Repeated)) {
            self.tally.count(Count::Repeats);
        }
        if let Err(refused @ EndRefused::Contradiction(decided)) = outcome {
            self.tally.count(Count::Contradictions);
            let contradiction = Contradiction { at: self.now_ms(), wanted: end.verdict, decided: *decided };
            if self.trail.contradicted(end.half_offset, contradiction) {
                self.note(half, 0, "producer", end.verdict.action(), format!("refused: {refused}"));
            }
        }
    }

    /// A producer says that it does not know yet: nothing is done, but an open question is answered. `from_check`: it was
    /// asked; a sender says so unasked as well.
    pub fn unknown(&self, half_offset: i64, log_offset: i64, from_check: bool) {
        let bytes = std::cell::OnceCell::new();
        let place = self.state.lock().place_of(half_offset);
        let wake = self.state.lock().unknown(half_offset, || {
            let record = bytes.get_or_init(|| self.store.read(u64::try_from(log_offset).unwrap_or(u64::MAX)));
            HalfRecord::parse(record.as_deref()?)?.unique_key
        });
        self.wake_checker(wake);
        if from_check {
            self.tally.answered(Said::Unknown);
            self.trail.answered(place, self.now_ms(), Said::Unknown);
        }
    }

    /// Whether the verdict fits the record that it names.
    fn admit(&self, end: &End<'_>, half: &HalfRecord<'_>) -> Result<(), EndRefused> {
        if !end.from_check && half.immunity.is_some() {
            let immunity_ms = immunity_ms(half.immunity, self.timeout_ms());
            let age_ms = self.now_ms() - half.first_stored();
            if age_ms > immunity_ms {
                return Err(EndRefused::TooLate { age_ms, immunity_ms });
            }
        }
        if half.group != end.group {
            return Err(EndRefused::WrongGroup);
        }
        let (half_offset, log_offset) = (half.record.queue_offset(), half.record.physical_offset());
        if (half_offset, log_offset) != (end.half_offset, end.log_offset) && !stood_at(half, end) {
            let is_queue = half_offset != end.half_offset;
            return Err(if is_queue { EndRefused::WrongHalfOffset } else { EndRefused::WrongLogOffset });
        }
        if half.real_topic.is_empty() {
            return Err(EndRefused::NotHalf);
        }
        Ok(())
    }

    /// Claims the message, writes what the verdict asks for, and settles the claim.
    pub(super) fn decide(&self, host: &dyn Host, verdict: Verdict, half: &HalfRecord<'_>) -> Result<Ended, EndRefused> {
        let named = half.record.queue_offset();
        let mut decision = self.state.lock().decide(named, verdict, || half.unique_key);
        if matches!(decision, Decision::Forgotten) && self.learn(half) {
            decision = self.state.lock().decide(named, verdict, || half.unique_key);
        }
        if matches!(decision, Decision::Moving) {
            self.wait_for_carrier();
            decision = self.state.lock().decide(named, verdict, || half.unique_key);
        }
        match decision {
            Decision::First(claim) => self.carry_out(host, claim, half),
            Decision::Repeat => Ok(Ended::Repeated),
            Decision::Contradiction(before) => Err(EndRefused::Contradiction(before)),
            Decision::Moving => Err(EndRefused::Moving),
            Decision::Forgotten => self.repeat_of_forgotten(named, verdict, half),
        }
    }

    fn carry_out(&self, host: &dyn Host, claim: Claim, half: &HalfRecord<'_>) -> Result<Ended, EndRefused> {
        let written = match claim.verdict {
            Verdict::Committed => self.write_commit(host, &claim, half),
            Verdict::RolledBack | Verdict::Parked => self.write_op(host, &claim),
        };
        let (verdict, stored_at) = (claim.verdict, claim.stored_at());
        let ended = self.conclude(claim, half, written)?;
        self.tally.decided(half.real_topic, verdict, self.now_ms().saturating_sub(stored_at));
        Ok(ended)
    }

    /// Settles the claim when its records are `written`, or gives it back.
    pub(super) fn conclude(
        &self,
        claim: Claim,
        half: &HalfRecord<'_>,
        written: Result<(), EndRefused>,
    ) -> Result<Ended, EndRefused> {
        match written {
            Ok(()) => {
                let wake = self.state.lock().settle(&claim, half.unique_key);
                self.wake_checker(wake);
                Ok(Ended::Decided)
            }
            Err(refused) => {
                tracing::warn!(half_offset = claim.offset, topic = half.real_topic, %refused, "verdict not carried out");
                let wake = self.state.lock().give_back(claim, self.now_ms());
                self.wake_checker(wake);
                Err(refused)
            }
        }
    }

    /// The visible message and, right behind it, the op record.
    fn write_commit(&self, host: &dyn Host, claim: &Claim, half: &HalfRecord<'_>) -> Result<(), EndRefused> {
        let queue = host
            .real_queue(half.real_topic, half.real_queue_id)
            .ok_or_else(|| EndRefused::TopicGone(half.real_topic.to_owned()))?;
        let op = op_of(claim);
        let tags_code = half.tags_code();
        let op_record = op.record(host.address(), self.now_ms());
        let level = half.delay_level();
        if level > 0
            && let Some((queue, delay_ms)) = host.delayed_queue(level)
        {
            let text = half.text_delayed(queue.queue_id() + 1);
            let record = half.committed_delayed(queue.queue_id(), &text);
            let items: [(&Queue, _, _); 2] = [(&queue, record, delay_ms), (&self.op, op_record, OP_TAGS_CODE)];
            self.store.append_all(&items, AppendClass::Settle)?;
            host.delayed(level);
            return Ok(());
        }
        if level <= 0
            && half.is_timed
            && let (Some(timer), Some(queue)) = (host.time_of(half.text), host.timer_queue())
        {
            let text = half.text_timed(&timer);
            let record = half.committed_timed(&text);
            let items: [(&Queue, _, _); 2] = [(&queue, record, tags_code), (&self.op, op_record, OP_TAGS_CODE)];
            self.store.append_all(&items, AppendClass::Settle)?;
            host.timed(&timer);
            return Ok(());
        }
        let text = half.text_committed();
        let visible = NewRecord { properties: &text, ..half.committed() };
        let items: [(&Queue, _, _); 2] = [(&queue, visible, tags_code), (&self.op, op_record, OP_TAGS_CODE)];
        let appended = self.store.append_all(&items, AppendClass::Settle)?;
        if let Some(visible) = appended.first() {
            host.arrived(&queue, visible.queue_offset, tags_code);
        }
        Ok(())
    }

    pub(super) fn write_op(&self, host: &dyn Host, claim: &Claim) -> Result<(), EndRefused> {
        let op = op_of(claim);
        let record = op.record(host.address(), self.now_ms());
        self.store.append(&self.op, &record, OP_TAGS_CODE, AppendClass::Settle)?;
        Ok(())
    }

    /// Takes up a half message that is in the half queue and was never reported. False when it is known.
    pub(super) fn learn(&self, half: &HalfRecord<'_>) -> bool {
        let record = &half.record;
        let (offset, stored_at) = (record.queue_offset(), record.store_timestamp());
        let in_queue = |log_offset: i64| {
            self.half.entry(offset).is_some_and(|entry| entry.physical_offset.cast_signed() == log_offset)
        };
        let mut state = self.state.lock();
        if offset < state.frontier() || state.find(offset).is_some() || !in_queue(record.physical_offset()) {
            return false;
        }
        let unchecked = self.unchecked_ms(half.group, half.immunity);
        state.insert(&Half {
            offset,
            log_offset: record.physical_offset().unsigned_abs(),
            stored_at,
            first_check_at: stored_at.saturating_add(unchecked),
            group: half.group,
            topic: half.real_topic,
            checks: 0,
            asked_at: None,
            copy_of: None,
            back_off: back_off_percent(half.back_off),
        });
        true
    }

    /// A decision on a message that was decided before this process began: the log knows how.
    fn repeat_of_forgotten(&self, named: i64, verdict: Verdict, half: &HalfRecord<'_>) -> Result<Ended, EndRefused> {
        let before = self.verdict_in_log(half);
        self.state.lock().remember(named, before);
        if before == verdict { Ok(Ended::Repeated) } else { Err(EndRefused::Contradiction(before)) }
    }

    /// How a decided half message ended, found by its unique key: published, parked, or neither.
    pub(super) fn verdict_in_log(&self, half: &HalfRecord<'_>) -> Verdict {
        let Some(key) = half.unique_key else { return Verdict::RolledBack };
        let found = |topic: &str, is: &dyn Fn(&HalfRecord<'_>) -> bool| {
            let query = self.store.query_by_key(topic, key, 32, 0, i64::MAX);
            query
                .records
                .iter()
                .filter_map(|bytes| HalfRecord::parse(bytes))
                .any(|other| other.unique_key == Some(key) && other.record.topic() == topic && is(&other))
        };
        let is_delayed = |other: &HalfRecord<'_>| other.is_commit() && other.real_topic == half.real_topic;
        if found(half.real_topic, &|other: &HalfRecord<'_>| other.is_commit())
            || (half.delay_level() > 0 && found(SCHEDULE_TOPIC, &is_delayed))
            || (half.is_timed && found(TIMER_TOPIC, &is_delayed))
            || self.is_published(half)
        {
            Verdict::Committed
        } else if found(PARKED_TOPIC, &|other: &HalfRecord<'_>| is_behind(other, half)) || self.is_parked(half) {
            Verdict::Parked
        } else {
            Verdict::RolledBack
        }
    }

    /// Whether the visible copy of `half` lies among the first messages that came into its real queue after it: the
    /// index may be behind, or switched off.
    fn is_published(&self, half: &HalfRecord<'_>) -> bool {
        let real = self.store.find_queue(half.real_topic, half.real_queue_id);
        let highest = self.store.config().delay_levels_ms.len().try_into().unwrap_or(i32::MAX);
        let level = half.delay_level().min(highest);
        let delayed = (level > 0).then(|| self.store.find_queue(SCHEDULE_TOPIC, level - 1)).flatten();
        let timed = half.is_timed.then(|| self.store.find_queue(TIMER_TOPIC, 0)).flatten();
        real.iter().chain(&delayed).chain(&timed).any(|queue| self.is_in(queue, half))
    }

    /// Whether `half` is among the last messages that were parked.
    fn is_parked(&self, half: &HalfRecord<'_>) -> bool {
        let Some(queue) = self.store.find_queue(PARKED_TOPIC, QUEUE) else { return false };
        let from = (queue.max_offset() - LOOK_AHEAD as i64).max(queue.min_offset());
        queue.entries(from).any(|at| {
            let is_it = self.store.peek(&at.entry, |record| {
                let other = HalfRecord::of(*record);
                other.unique_key == half.unique_key && is_behind(&other, half)
            });
            is_it == Some(true)
        })
    }

    /// Whether a committed copy of `half` is among the first messages that came into `queue` after it.
    fn is_in(&self, queue: &Queue, half: &HalfRecord<'_>) -> bool {
        let from = self.store.offset_by_time(queue, half.record.store_timestamp(), Boundary::Lower);
        queue.entries(from.max(queue.min_offset())).take(LOOK_AHEAD).any(|at| {
            let is_it = self.store.peek(&at.entry, |record| {
                let other = HalfRecord::of(*record);
                other.is_commit() && other.unique_key == half.unique_key
            });
            is_it == Some(true)
        })
    }
}

/// Whether `half` was carried forward from the place that the verdict names.
pub(super) fn stood_at(half: &HalfRecord<'_>, end: &End<'_>) -> bool {
    let named = (end.half_offset, end.log_offset.unsigned_abs());
    half.carried().is_some_and(|carried| carried.places.contains(&named))
}

/// Whether `other` came into the log after `half`: what was parked before it was resumed as `half` is no verdict on that.
fn is_behind(other: &HalfRecord<'_>, half: &HalfRecord<'_>) -> bool {
    other.record.physical_offset() > half.record.physical_offset()
}

/// The op record's body: the offset that was decided, and that of the older copy which the decision named.
pub(super) fn op_of(claim: &Claim) -> OpBody {
    let mut offsets: SmallVec<[i64; 2]> = SmallVec::new();
    offsets.push(claim.named);
    if claim.offset != claim.named {
        offsets.push(claim.offset);
    }
    OpBody::of(&offsets)
}
