//! What people see of undecided transactions, and what they can do about them by hand.
//!
//! Everything done here leaves a line in `<root>/tenonmq/transaction-audit.jsonl`.

use std::net::SocketAddr;

use tenonmq_protocol::message::OffsetMessageId;
use tenonmq_storage::AppendClass;

use super::{
    Host, Transactions, Verdict,
    end::{EndRefused, Ended},
    half::back_off_percent,
    records::HalfRecord,
    state::{Half, Unresolved},
};

/// Messages that one page of a list holds at most.
pub const PAGE: usize = 1000;

/// An undecided transaction with what its record says.
#[derive(Debug, Clone)]
pub struct Hanging {
    /// Where it stands.
    pub state: Unresolved,
    /// Age in milliseconds by the broker's clock.
    pub age_ms: i64,
    /// `UNIQ_KEY`, which is the transaction id.
    pub unique_key: Option<String>,
    /// `KEYS`.
    pub keys: Option<String>,
    /// `TAGS`.
    pub tags: Option<String>,
    /// Queue of the real topic.
    pub queue_id: i32,
    /// Who sent it.
    pub born_host: Option<SocketAddr>,
}

/// Who does something by hand.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// Name or address.
    pub who: &'a str,
    /// Why; empty when nobody asked for one.
    pub reason: &'a str,
}

impl<'a> From<&'a str> for By<'a> {
    fn from(who: &'a str) -> Self {
        Self { who, reason: "" }
    }
}

/// What became of a message that was to be taken up again. Offsets are of the half queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// It is undecided again.
    Again(i64),
    /// It was undecided already.
    Already(i64),
}

/// Why a message of `TRANS_CHECK_MAX_TIME_TOPIC` could not be taken up again.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// No such id, no such record, or it came from no half message.
    #[error("{0} is not the id of a half message that is still in the log")]
    NotFound(String),
    /// The log takes no records now.
    #[error(transparent)]
    Append(#[from] tenonmq_storage::AppendError),
}

/// Why a transaction could not be dealt with by hand.
#[derive(Debug, thiserror::Error)]
pub enum ByHandError {
    /// Nothing undecided at this offset of the half queue.
    #[error("no undecided half message at offset {0}")]
    NotPending(i64),
    /// The verdict was refused.
    #[error(transparent)]
    Refused(#[from] EndRefused),
}

impl Transactions {
    /// Undecided transactions after the half-queue offset `after`, oldest first, at most `limit` (and [`PAGE`]).
    pub fn unresolved(&self, after: Option<i64>, limit: usize) -> Vec<Hanging> {
        let page: Vec<Unresolved> = self.state.lock().unresolved(after).take(limit.min(PAGE)).collect();
        page.into_iter().map(|state| self.describe(state)).collect()
    }

    /// The undecided transaction at a half-queue offset.
    pub fn find(&self, half_offset: i64) -> Option<Hanging> {
        let state = self.state.lock().find(half_offset)?;
        Some(self.describe(state))
    }

    /// Undecided messages by producer group.
    pub fn pending_by_group(&self) -> Vec<(String, u64)> {
        self.state.lock().group_counts().map(|(group, count)| (group.to_owned(), count)).collect()
    }

    /// Asks a producer now, whatever the due time. Nothing is sent before the checker ran.
    ///
    /// # Errors
    /// Nothing is undecided there.
    pub fn check_by_hand<'a>(&self, half_offset: i64, by: impl Into<By<'a>>) -> Result<(), ByHandError> {
        let rules = self.rules();
        let (now, not_pending) = (self.now_ms(), ByHandError::NotPending(half_offset));
        let found = self.state.lock().find(half_offset).ok_or(not_pending)?;
        let bytes = self.store.read(found.log_offset);
        if let Some(half) = bytes.as_deref().and_then(HalfRecord::parse) {
            self.note(&half, found.checks, by, "check", "asked for");
        }
        self.state.lock().check_now(half_offset, now, &rules);
        self.wake.notify_one();
        Ok(())
    }

    /// Commits ([`Verdict::Committed`]) or rolls back an undecided transaction, whatever its producer will say.
    ///
    /// # Errors
    /// Nothing is undecided there, or the log takes no records.
    pub fn decide_by_hand<'a>(
        &self,
        host: &dyn Host,
        half_offset: i64,
        verdict: Verdict,
        by: impl Into<By<'a>>,
    ) -> Result<Ended, ByHandError> {
        let by = by.into();
        let found = self.state.lock().find(half_offset).ok_or(ByHandError::NotPending(half_offset))?;
        let bytes = self.store.read(found.log_offset).ok_or(EndRefused::NotFound)?;
        let half = HalfRecord::parse(&bytes).ok_or(EndRefused::NotFound)?;
        let outcome = self.decide(host, verdict, &half);
        let action = verdict.action();
        let result = match &outcome {
            Ok(Ended::Decided) => "done".to_owned(),
            Ok(Ended::Repeated) => "was decided so meanwhile".to_owned(),
            Err(refused) => format!("refused: {refused}"),
        };
        tracing::info!(half_offset, by = by.who, action, result, "transaction decided by hand");
        self.note(&half, found.checks, by, action, result);
        Ok(outcome?)
    }

    /// Puts a message of `TRANS_CHECK_MAX_TIME_TOPIC` back into the half topic, to be checked from the start
    /// (`RESUME_CHECK_HALF_MESSAGE`, 323). `id` is its offset message id. One that is taken up already stays as it is.
    ///
    /// # Errors
    /// The id names no such message, or the log takes no records.
    pub fn resume<'a>(&self, id: &str, by: impl Into<By<'a>>) -> Result<Resumed, ResumeError> {
        let by = by.into();
        let not_found = || ResumeError::NotFound(id.to_owned());
        let parsed: OffsetMessageId = id.parse().map_err(|_| not_found())?;
        let at = u64::try_from(parsed.offset).map_err(|_| not_found())?;
        let bytes = self.store.read(at).ok_or_else(not_found)?;
        let half = HalfRecord::parse(&bytes).filter(|half| !half.real_topic.is_empty()).ok_or_else(not_found)?;
        let _one_at_a_time = self.resuming.lock();
        if let Some(offset) = half.unique_key.and_then(|key| self.undecided_of(key).first().copied()) {
            self.note_at(offset, &half, 0, by, "resume", "is undecided already");
            return Ok(Resumed::Already(offset));
        }
        let text = half.text_resumed();
        let record = half.resumed(&text);
        let appended = self.store.append(&self.half, &record, half.tags_code(), AppendClass::Settle)?;
        let unchecked = self.unchecked_ms(half.group, half.immunity);
        let wake = self.state.lock().insert(&Half {
            offset: appended.queue_offset,
            log_offset: appended.physical_offset,
            stored_at: appended.store_timestamp,
            first_check_at: appended.store_timestamp.saturating_add(unchecked),
            group: half.group,
            topic: half.real_topic,
            checks: 0,
            asked_at: None,
            copy_of: None,
            back_off: back_off_percent(half.back_off),
        });
        self.wake_checker(wake);
        self.note_at(
            appended.queue_offset,
            &half,
            0,
            by,
            "resume",
            format!("half message at offset {}", appended.queue_offset),
        );
        Ok(Resumed::Again(appended.queue_offset))
    }

    pub(super) fn describe(&self, state: Unresolved) -> Hanging {
        let bytes = self.store.read(state.log_offset);
        let half = bytes.as_deref().and_then(HalfRecord::parse);
        let text = |value: Option<&str>| value.map(str::to_owned);
        Hanging {
            age_ms: self.now_ms() - state.stored_at,
            unique_key: half.and_then(|half| text(half.unique_key)),
            keys: half.and_then(|half| text(half.keys)),
            tags: half.and_then(|half| text(half.tags)),
            queue_id: half.map_or(-1, |half| half.real_queue_id),
            born_host: half.map(|half| half.record.born_host()),
            state,
        }
    }
}
