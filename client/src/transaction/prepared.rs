//! A half message waiting for its decision.

use std::fmt;

use tenonmq_protocol::{
    RequestCode,
    header::{EndTransaction, Verdict},
    message::id::OffsetMessageId,
};
use tracing::warn;

use crate::{
    error::Error,
    producer::{Producer, SendReceipt},
    transport::{Reply, expect_success},
};

/// A stored half message: invisible until it is committed.
///
/// Decide it with [`commit`](Self::commit) or [`rollback`](Self::rollback). Dropping it undecided is allowed and says
/// nothing to the broker, which will ask a producer of the group.
#[must_use = "an undecided message stays hidden until the broker's check"]
pub struct Prepared {
    producer: Producer,
    topic: String,
    receipt: SendReceipt,
    place: OffsetMessageId,
}

impl Prepared {
    pub(super) fn new(producer: Producer, topic: String, receipt: SendReceipt) -> Result<Self, Error> {
        let place = receipt.offset_message_id.parse().map_err(|_| Error::Protocol {
            operation: "SEND_MESSAGE_V2",
            reason: format!("the message id {:?} names no place in the log", receipt.offset_message_id),
        })?;
        Ok(Self { producer, topic, receipt, place })
    }

    /// Where the half message lies.
    pub fn receipt(&self) -> &SendReceipt {
        &self.receipt
    }

    /// The message's id, which is also the transaction's.
    pub fn message_id(&self) -> &str {
        &self.receipt.message_id
    }

    /// Makes the message visible and waits for the broker's word.
    ///
    /// # Errors
    /// The broker refused (it was decided otherwise before), or its answer did not come; in the latter case the check
    /// decides unless the request arrived.
    pub async fn commit(self) -> Result<(), Error> {
        self.end(Verdict::Commit).await
    }

    /// Drops the message and waits for the broker's word.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn rollback(self) -> Result<(), Error> {
        self.end(Verdict::Rollback).await
    }

    /// Tells the broker; a failure is logged, because the check makes up for it.
    pub(super) async fn settle(self, verdict: Verdict) -> bool {
        let told = self.end(verdict).await;
        if let Err(error) = &told {
            warn!(id = self.message_id(), ?verdict, %error, "the decision is not confirmed: the check will ask for it");
        }
        told.is_ok()
    }

    /// Tells the broker that the outcome is unknown. It never answers that.
    pub(super) async fn leave_undecided(self) -> bool {
        let limit = self.producer.settings.send_timeout;
        let told = async {
            let connection = self.producer.session.broker(&self.address()?, limit).await?;
            connection.oneway(&self.header(Verdict::Unknown), &[]).await
        };
        drop(told.await); // as good as never sent: the broker asks all the same
        false
    }

    async fn end(&self, verdict: Verdict) -> Result<(), Error> {
        let limit = self.producer.settings.send_timeout;
        let session = &self.producer.session;
        let decode = |reply: Reply<'_>| expect_success(RequestCode::END_TRANSACTION, &reply);
        session.call(&self.address()?, &self.header(verdict), &[], limit, decode).await
    }

    fn address(&self) -> Result<String, Error> {
        self.producer.session.master(&self.receipt.queue.broker_name)
    }

    fn header(&self, verdict: Verdict) -> EndTransaction<'_> {
        EndTransaction {
            topic: Some(&self.topic),
            producer_group: self.producer.group(),
            half_queue_offset: self.receipt.queue_offset,
            commit_log_offset: self.place.offset,
            verdict,
            from_check: false,
            message_id: Some(&self.receipt.message_id),
            transaction_id: Some(self.receipt.transaction_id.as_deref().unwrap_or(&self.receipt.message_id)),
            broker_name: Some(&self.receipt.queue.broker_name),
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("topic", &self.topic).field("receipt", &self.receipt).finish()
    }
}
