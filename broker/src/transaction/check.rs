//! The checker: carries out what the state decides, and sleeps until it has something to do.

use std::sync::Arc;

use bytes::Bytes;
use tenonmq_protocol::{
    code::RequestCode,
    command::Command,
    message::{
        NewRecord, OffsetMessageId,
        record::{MAX_PROPERTIES, RecordView},
    },
};
use tenonmq_storage::{AppendClass, Queue};

use super::{
    Host, Transactions, Verdict,
    audit::AuditLine,
    check_log::Checked,
    end::op_of,
    operator::By,
    records::{HALF_TOPIC, HalfRecord, OP_TAGS_CODE},
    state::{self, Claim, Decision, Next, ParkReason},
    tally::Count,
};

/// Time between two looks of a slave whether it has become the master.
const SLAVE_LOOK_MS: i64 = 1000;

/// What a producer is asked: is this half message to be committed?
#[derive(Debug, Clone)]
pub struct Question {
    /// Offset of the half message in the half queue; the answer names it.
    pub half_offset: i64,
    /// Its offset in the commit log; the answer names it.
    pub log_offset: u64,
    /// `UNIQ_KEY`, which is the transaction id.
    pub unique_key: String,
    /// Id of the half record.
    pub offset_message_id: String,
    /// This broker.
    pub broker_name: String,
    /// Number of this check, from 1.
    pub attempt: u32,
    /// The message as a stored record of its real topic.
    pub record: Bytes,
}

impl Question {
    /// The question as `CHECK_TRANSACTION_STATE` (39), oneway.
    pub fn command(&self) -> Command {
        Command::request(RequestCode::CHECK_TRANSACTION_STATE)
            .with_field("topic", HALF_TOPIC)
            .with_field("tranStateTableOffset", self.half_offset)
            .with_field("commitLogOffset", self.log_offset)
            .with_field("msgId", &self.unique_key)
            .with_field("transactionId", &self.unique_key)
            .with_field("offsetMsgId", &self.offset_message_id)
            .with_field("bname", &self.broker_name)
            .with_body(self.record.clone())
            .oneway()
    }
}

impl Transactions {
    /// Does what is due now, a bounded amount of it. Says when to call it again.
    pub fn check(&self, host: &dyn Host) -> Next {
        let now = self.now_ms();
        if self.is_slave() {
            return Next::At(now.saturating_add(SLAVE_LOOK_MS));
        }
        let rules = self.rules();
        let mut commands = Vec::new();
        let next = self.state.lock().step(now, &rules, |group| host.is_online(group), &mut commands);
        let mut checked = Vec::new();
        for command in commands {
            match command {
                state::Command::Ask { offset, log_offset, group, attempt, turn } => {
                    if self.ask(host, offset, log_offset, &group, attempt, turn) {
                        self.tally.count(Count::ChecksSent);
                        checked.push((offset, Checked { log_offset, asked_at: now, checks: attempt }));
                    }
                }
                state::Command::Park { claim, reason } => self.park(host, claim, reason),
            }
        }
        if let Err(error) = self.checks.append(&checked) {
            tracing::warn!(%error, "check counts not saved");
        }
        next
    }

    /// Resolves when something wants the checker to run before its time.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// True when a producer took the question.
    fn ask(&self, host: &dyn Host, offset: i64, log_offset: u64, group: &Arc<str>, attempt: u16, turn: usize) -> bool {
        let Some(bytes) = self.store.read(log_offset) else {
            self.lose(offset, log_offset, group);
            return false;
        };
        let Some(half) = HalfRecord::parse(&bytes) else {
            self.lose(offset, log_offset, group);
            return false;
        };
        let question = Question {
            half_offset: offset,
            log_offset,
            unique_key: half.unique_key.unwrap_or_default().to_owned(),
            offset_message_id: offset_message_id(&half.record).to_string(),
            broker_name: host.broker_name(),
            attempt: u32::from(attempt),
            record: half.question(u32::from(attempt)).into(),
        };
        let asked = host.ask(group, turn, &question);
        if let Some(whom) = &asked {
            self.trail.asked(offset, question.attempt, self.now_ms(), Arc::clone(whom));
        }
        let mut state = self.state.lock();
        match asked {
            Some(whom) => {
                state.was_asked(offset, self.now_ms(), whom);
                true
            }
            None => {
                state.not_asked(offset, self.now_ms(), &self.rules());
                false
            }
        }
    }

    /// Copies a message that nobody decided into `TRANS_CHECK_MAX_TIME_TOPIC`, with its op record behind it.
    pub(super) fn park(&self, host: &dyn Host, claim: Claim, reason: ParkReason) {
        let Some(bytes) = self.store.read(claim.log_offset) else { return self.lose_claim(claim) };
        let Some(half) = HalfRecord::parse(&bytes) else { return self.lose_claim(claim) };
        let text = half.text_with_checks(u32::from(claim.checks));
        let text = if text.len() > MAX_PROPERTIES { half.text.as_bytes() } else { &text };
        let now = self.now_ms();
        let op = op_of(&claim);
        let queue = host.parked_queue();
        let tags_code = half.tags_code();
        let items: [(&Queue, NewRecord<'_>, i64); 2] =
            [(&queue, half.parked(text), tags_code), (&self.op, op.record(host.address(), now), OP_TAGS_CODE)];
        match self.store.append_all(&items, AppendClass::Settle) {
            Ok(appended) => {
                if let Some(parked) = appended.first() {
                    host.arrived(&queue, parked.queue_offset, tags_code);
                }
                let action = match reason {
                    ParkReason::Exhausted => "park: checked as often as allowed",
                    ParkReason::Expired => "park: older than transactionGiveUpAfterHours",
                    ParkReason::Uncarried => "park: too large to be carried forward",
                };
                tracing::warn!(half_offset = claim.offset, group = half.group, topic = half.real_topic, action);
                self.tally.parked(reason);
                self.note(&half, claim.checks, "broker", action, "parked");
                self.state.lock().settle(&claim, half.unique_key);
            }
            Err(error) => {
                tracing::warn!(half_offset = claim.offset, %error, "half message not parked, trying again");
                let retry_at = now.saturating_add(self.rules().of(half.group).interval_ms);
                self.state.lock().give_back(claim, retry_at);
            }
        }
    }

    /// The record of an undecided message is gone from the log: all that can be done is to say so.
    pub(super) fn lose(&self, offset: i64, log_offset: u64, group: &str) {
        tracing::error!(half_offset = offset, log_offset, group, "undecided half message is gone from the log");
        if let Decision::First(claim) = self.state.lock().decide(offset, Verdict::Parked, || None) {
            self.lose_claim(claim);
        }
    }

    fn lose_claim(&self, claim: Claim) {
        self.tally.count(Count::Lost);
        self.audit.write(&AuditLine {
            time: self.now_ms(),
            by: "broker",
            reason: "",
            action: "lose",
            half_queue_offset: claim.offset,
            commit_log_offset: claim.log_offset.cast_signed(),
            group: "",
            topic: "",
            unique_key: "",
            checks: claim.checks,
            result: "the log was deleted before anybody decided".into(),
        });
        self.state.lock().settle(&claim, None);
    }

    /// Writes an audit line about `half`, a record of the half queue.
    pub(super) fn note<'a>(
        &self,
        half: &HalfRecord<'_>,
        checks: u16,
        by: impl Into<By<'a>>,
        action: &str,
        result: impl Into<String>,
    ) {
        self.note_at(half.record.queue_offset(), half, checks, by, action, result);
    }

    /// Writes an audit line about `half`, whose place in the half queue is `offset`; -1 when it has none any more.
    pub(super) fn note_at<'a>(
        &self,
        offset: i64,
        half: &HalfRecord<'_>,
        checks: u16,
        by: impl Into<By<'a>>,
        action: &str,
        result: impl Into<String>,
    ) {
        let by = by.into();
        self.audit.write(&AuditLine {
            time: self.now_ms(),
            by: by.who,
            reason: by.reason,
            action,
            half_queue_offset: offset,
            commit_log_offset: half.record.physical_offset(),
            group: half.group,
            topic: half.real_topic,
            unique_key: half.unique_key.unwrap_or_default(),
            checks,
            result: result.into(),
        });
    }
}

pub(super) fn offset_message_id(record: &RecordView<'_>) -> OffsetMessageId {
    OffsetMessageId { host: record.store_host(), offset: record.physical_offset() }
}
