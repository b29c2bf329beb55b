//! The verdict on a half message (37) and the question for it (39).

use super::HeaderField;
use crate::error::HeaderError;
use crate::writer::FieldSink;

/// What a producer says about a half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Verdict {
    /// It does not know yet (0).
    #[default]
    Unknown,
    /// Publish (8).
    Commit,
    /// Forget (12).
    Rollback,
}

impl<'a> HeaderField<'a> for Verdict {
    fn read(name: &'static str, text: Option<&'a str>) -> Result<Self, HeaderError> {
        match i32::read(name, text)? {
            0 => Ok(Self::Unknown),
            8 => Ok(Self::Commit),
            12 => Ok(Self::Rollback),
            other => Err(HeaderError::invalid(name, other, "0, 8 or 12")),
        }
    }

    fn write(&self, name: &'static str, out: &mut impl FieldSink) {
        out.put(
            name,
            match self {
                Self::Unknown => 0,
                Self::Commit => 8,
                Self::Rollback => 12,
            },
        );
    }
}

requests! {
    /// The producer's verdict on one half message; always oneway. Upstream: `EndTransactionRequestHeader`.
    EndTransaction<'a> = END_TRANSACTION {
        /// The real topic; in an answer to a check the half topic.
        topic: Option<&'a str> = "topic",
        /// Who decides.
        producer_group: &'a str = "producerGroup",
        /// Where the half message sits in the half topic's queue.
        half_queue_offset: i64 = "tranStateTableOffset",
        /// Where its record starts in the commit log.
        commit_log_offset: i64 = "commitLogOffset",
        /// Commit, rollback or unknown.
        verdict: Verdict = "commitOrRollback",
        /// Whether this answers a check.
        from_check: bool = "fromTransactionCheck",
        /// `UNIQ_KEY` of the message.
        message_id: Option<&'a str> = "msgId",
        /// The same.
        transaction_id: Option<&'a str> = "transactionId",
        /// Broker group that is meant.
        broker_name: Option<&'a str> = "bname",
    }

    /// Asks a producer for its verdict; oneway, the body is the half message as a stored record of its real topic.
    /// Upstream: `CheckTransactionStateRequestHeader`.
    CheckTransaction<'a> = CHECK_TRANSACTION_STATE {
        /// The real topic.
        topic: Option<&'a str> = "topic",
        /// Where the newest copy of the half message sits in the half topic's queue.
        half_queue_offset: i64 = "tranStateTableOffset",
        /// Where its record starts in the commit log.
        commit_log_offset: i64 = "commitLogOffset",
        /// `UNIQ_KEY` of the message.
        message_id: Option<&'a str> = "msgId",
        /// The same.
        transaction_id: Option<&'a str> = "transactionId",
        /// Offset message id of the newest copy.
        offset_message_id: Option<&'a str> = "offsetMsgId",
        /// The broker that asks.
        broker_name: Option<&'a str> = "bname",
    }
}
