//! A half message waiting for its decision.

use std::fmt;

use tenonmq_protocol::{
    RequestCode,
    header::{EndTransaction, Verdict},
    message::{id::OffsetMessageId, queue::MessageQueue},
};
use tracing::warn;

use super::{LocalState, TransactionReceipt};
use crate::{
    error::Error,
    message::Message,
    producer::{Outbound, Producer, QueueChoice, SendReceipt, SendStatus},
    transport::{Reply, expect_success},
};

/// Makes a message a half message, ready to be sent. Fails for what is wrong with the message itself.
pub(super) fn outbound(producer: &Producer, message: &mut Message) -> Result<Outbound, Error> {
    Outbound::half(message, &producer.settings, &producer.session)
}

/// Stores a half message, safely or not at all.
pub(super) async fn store(producer: &Producer, outbound: Outbound, choice: QueueChoice<'_>) -> Result<Prepared, Error> {
    let receipt = producer.deliver(&outbound, choice).await?;
    let status = receipt.status;
    let prepared = Prepared::new(producer.clone(), outbound.topic, receipt)?;
    if status != SendStatus::Ok {
        prepared.settle(Verdict::Rollback).await;
        return Err(Error::HalfNotSafe { status });
    }
    Ok(prepared)
}

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

/// Where a half message lies, and all that it takes to decide it: for those who record it and decide in another process
/// ([`TransactionProducer::adopt`](crate::TransactionProducer::adopt)).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HalfPlace {
    /// Its topic.
    pub topic: String,
    /// The broker's name.
    pub broker: String,
    /// Its position in the broker's queue of half messages.
    pub half_queue_offset: i64,
    /// Its position in the broker's log, in bytes.
    pub commit_log_offset: i64,
    /// The message's id, which is also the transaction's.
    pub message_id: String,
}

impl Prepared {
    pub(super) fn adopted(producer: Producer, place: HalfPlace) -> Self {
        let HalfPlace { topic, broker, half_queue_offset, commit_log_offset, message_id } = place;
        // its host is what only the sender's receipt shows
        let host = (std::net::Ipv4Addr::UNSPECIFIED, 0).into();
        let place = OffsetMessageId { host, offset: commit_log_offset };
        let receipt = SendReceipt {
            status: SendStatus::Ok,
            message_id,
            offset_message_id: place.to_string(),
            queue: MessageQueue::new(topic.as_str(), broker, 0),
            queue_offset: half_queue_offset,
            transaction_id: None,
            recall_handle: None,
        };
        Self { producer, topic, receipt, place }
    }

    fn new(producer: Producer, topic: String, receipt: SendReceipt) -> Result<Self, Error> {
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

    /// What to record in order to decide it elsewhere.
    pub fn place(&self) -> HalfPlace {
        HalfPlace {
            topic: self.topic.clone(),
            broker: self.receipt.queue.broker_name.clone(),
            half_queue_offset: self.receipt.queue_offset,
            commit_log_offset: self.place.offset,
            message_id: self.receipt.message_id.clone(),
        }
    }

    /// Whether its broker can be spoken to at this moment: connects, and tells it nothing of the decision.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); nothing was said to the broker.
    pub async fn reach(&self) -> Result<(), Error> {
        let limit = self.producer.settings.send_timeout;
        let session = &self.producer.session;
        session.publish_route(&self.topic).await?;
        session.broker(&self.address()?, limit).await.map(|_| ())
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

    /// Tells the broker what a local transaction came to.
    pub(super) async fn decide(self, state: LocalState) -> TransactionReceipt {
        let send = self.receipt.clone();
        let confirmed = match state {
            LocalState::Commit => self.settle(Verdict::Commit).await,
            LocalState::Rollback => self.settle(Verdict::Rollback).await,
            LocalState::Unknown => self.leave_undecided().await,
        };
        TransactionReceipt { send, state, confirmed }
    }

    /// Tells the broker; a failure is logged, because the check makes up for it.
    async fn settle(self, verdict: Verdict) -> bool {
        let told = self.end(verdict).await;
        if let Err(error) = &told {
            warn!(id = self.message_id(), ?verdict, %error, "the decision is not confirmed: the check will ask for it");
        }
        told.is_ok()
    }

    /// Tells the broker that the outcome is unknown. It never answers that.
    async fn leave_undecided(self) -> bool {
        let limit = self.producer.settings.send_timeout;
        let told = async {
            let connection = self.producer.session.broker(&self.address()?, limit).await?;
            connection.oneway(&self.header(Verdict::Unknown), &[]).await
        };
        drop(told.await); // as good as never sent: the broker asks all the same
        false
    }

    pub(super) fn into_receipt(self) -> SendReceipt {
        self.receipt
    }

    pub(super) async fn end(&self, verdict: Verdict) -> Result<(), Error> {
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
