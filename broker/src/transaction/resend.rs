//! Half messages that a client sent twice.
//!
//! A client whose send got no answer sends the message again, under the same `UNIQ_KEY`, and from then on knows only the
//! second half message. The first is left to the checks, where the listener, which goes by the key, says commit once
//! more. So a commit that answers a check is not published when the other half message has been: the decision of one key
//! is carried out once. Such answers are carried out one after the other, each with an index that knows all that was
//! published before it: both half messages are often answered at the same moment.
//!
//! What tells a resend from an application that sends one message object twice on purpose: it comes soon, from the same
//! group, with the same body. A verdict that comes unasked is always carried out, and so is one of an operator. The
//! published copy is found by the index: while that is switched off, and for messages that are delayed, each half message
//! is published.

use super::{
    End, EndRefused, Ended, Host, Transactions,
    carried::Carried,
    records::{HALF_TOPIC, HalfRecord},
    state::Decision,
};

/// Time between two half messages of one key up to which the second is a resend. In milliseconds: clients give up on a
/// send after seconds.
const RESEND_WINDOW_MS: i64 = 60_000;
/// Messages of one key that are looked at.
const LOOK_AT: usize = 8;
/// Bytes of the log that one answer has indexed; when more are missing, after a start for example, nothing is decided.
const INDEX_AT_ONCE: u64 = 64 << 20;

impl Transactions {
    /// Carries out an answer to a check that says commit.
    pub(super) fn commit_answered(
        &self,
        host: &dyn Host,
        end: &End<'_>,
        half: &HalfRecord<'_>,
    ) -> Result<Ended, EndRefused> {
        let _one_at_a_time = self.answering.lock();
        if !self.store.index_now(INDEX_AT_ONCE) {
            return Err(EndRefused::IndexBehind);
        }
        match self.end_resent(host, end, half)? {
            Some(ended) => Ok(ended),
            None => self.decide(host, end.verdict, half),
        }
    }

    /// Ends `half` without publishing it when the half message that stands for the same send is published. `None` when
    /// there is no such message, or `half` is decided.
    fn end_resent(&self, host: &dyn Host, end: &End<'_>, half: &HalfRecord<'_>) -> Result<Option<Ended>, EndRefused> {
        if !self.is_resend_published(half) {
            return Ok(None);
        }
        let decision = self.state.lock().decide(end.half_offset, end.verdict, || half.unique_key);
        let Decision::First(claim) = decision else { return Ok(None) };
        let (checks, written) = (claim.checks, self.write_op(host, &claim));
        self.conclude(claim, half, written)?;
        self.note(half, checks, "broker", "drop: sent twice by its client, published once", "committed");
        Ok(Some(Ended::Repeated))
    }

    fn is_resend_published(&self, half: &HalfRecord<'_>) -> bool {
        let Some(key) = half.unique_key.filter(|key| !key.is_empty()) else { return false };
        let query = self.store.query_by_key(half.real_topic, key, LOOK_AT, 0, i64::MAX);
        query.records.iter().filter_map(|bytes| HalfRecord::parse(bytes)).any(|other| {
            other.is_commit()
                && other.unique_key == Some(key)
                && (other.record.topic(), other.group) == (half.real_topic, half.group)
                && other.record.body() == half.record.body()
                && self.is_of_resend(&other, half)
        })
    }

    /// Whether `published` came from another half message than `half`, stored at about the same time.
    fn is_of_resend(&self, published: &HalfRecord<'_>, half: &HalfRecord<'_>) -> bool {
        let Ok(prepared) = u64::try_from(published.record.prepared_transaction_offset()) else { return false };
        let is_own = |carried: Carried| carried.places.iter().any(|(_, log_offset)| *log_offset == prepared);
        if half.carried().is_some_and(is_own) {
            return false;
        }
        let bytes = self.store.read(prepared);
        let Some(twin) = bytes.as_deref().and_then(HalfRecord::parse) else {
            // its log file is gone: what is left is the sender's clock, which is the same for both
            let apart = published.record.born_timestamp().abs_diff(half.record.born_timestamp());
            return half.carried().is_some() && apart <= RESEND_WINDOW_MS.unsigned_abs();
        };
        let apart = twin.first_stored().abs_diff(half.first_stored());
        twin.record.topic() == HALF_TOPIC
            && twin.unique_key == half.unique_key
            && twin.record.physical_offset() != half.record.physical_offset()
            && apart <= RESEND_WINDOW_MS.unsigned_abs()
    }
}
