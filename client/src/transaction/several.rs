//! Several half messages that share one decision.
//!
//! ```text
//! begin ──► prepare … prepare ──► commit ──► END_TRANSACTION for each half message
//!              │ (one broker)        └─ one that is not confirmed: its check asks, and gets the same answer
//!              └─ failed after something was sent: the rest may only be rolled back
//! ```
//!
//! Brokers know nothing of it: each half message is one of Apache's. What ties them together is the property
//! `TENON_TX_ID`, under which the check is answered.
//!
//! Invariant: no message of a transaction is committed unless all that were tried are known to be stored.

use std::fmt;

use futures_util::future::join_all;
use tenonmq_protocol::header::Verdict;
use tracing::warn;

use super::{HalfPlace, LocalState, Prepared, prepared};
use crate::{
    error::Error,
    message::Message,
    producer::{Producer, QueueChoice, SendReceipt},
};

/// Names the transaction that several half messages share.
pub(crate) const ID_PROPERTY: &str = "TENON_TX_ID";
/// Which of its transaction's half messages it is, from 0.
pub(crate) const PART_PROPERTY: &str = "TENON_TX_PART";
/// Longest id of a transaction, in bytes.
const LONGEST_ID: usize = 255;

/// Half messages to any topics of one broker group, and one decision for all of them.
///
/// The first message chooses the broker group. Each half message carries the transaction's [id](Self::id), which checks
/// show as [`Check::transaction_id`](super::Check::transaction_id): record the id in the local transaction and answer by it.
/// A broker or producer that dies between the decisions then leaves nothing halfway, because every half message that was
/// not told the decision asks for it.
///
/// Dropping the transaction undecided is allowed and says nothing to the broker: the checks decide all of it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tenonmq_client::{Check, LocalState, Message, TransactionProducer};
/// # async fn pay(_: &str) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn is_recorded(_: &str) -> Result<bool, std::io::Error> { Ok(true) }
/// let producer = TransactionProducer::builder("127.0.0.1:9876")
///     .group("orders")
///     .listener(async |check: Check| match check.transaction_id() {
///         Some(id) if is_recorded(id).await? => Ok(LocalState::Commit),
///         _ => Ok::<_, std::io::Error>(LocalState::Unknown),
///     })
///     .connect()
///     .await?;
///
/// let mut transaction = producer.begin();
/// transaction.prepare(Message::new("stock", "order 42")).await?;
/// transaction.prepare(Message::new("points", "order 42")).await?;
/// pay(transaction.id()).await?; // records the id with the payment
/// let outcome = transaction.commit().await?;
/// println!("{} of {} confirmed", outcome.confirmed(), outcome.messages.len());
/// # Ok(()) }
/// ```
#[must_use = "undecided messages stay hidden until the broker's checks"]
pub struct Transaction {
    producer: Producer,
    id: String,
    limit: usize,
    stored: Vec<Prepared>,
    /// Why it can no longer be committed. Set while a message is on its way.
    fault: Option<String>,
}

impl Transaction {
    pub(super) fn new(producer: Producer, id: String, limit: usize) -> Self {
        Self { producer, id, limit, stored: Vec::new(), fault: None }
    }

    /// What names this transaction in the checks of all its messages.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The broker group that holds it, once the first message is stored.
    pub fn broker(&self) -> Option<&str> {
        self.stored.first().map(|first| first.receipt().queue.broker_name.as_str())
    }

    /// Where the half messages lie, in the order of their sending.
    pub fn receipts(&self) -> impl ExactSizeIterator<Item = &SendReceipt> {
        self.stored.iter().map(Prepared::receipt)
    }

    /// The same, with all that it takes to decide them elsewhere.
    pub fn places(&self) -> impl ExactSizeIterator<Item = HalfPlace> {
        self.stored.iter().map(Prepared::place)
    }

    /// Stores a half message and returns where.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`], [`Error::MessageTooLarge`], [`Error::NotOnBroker`] for a topic without a queue at the
    /// transaction's broker, [`Error::TransactionFull`]: nothing was sent, and the transaction is as it was. After any
    /// other error the message may be stored, and the transaction can only be rolled back: begin a new one.
    pub async fn prepare(&mut self, mut message: Message) -> Result<&SendReceipt, Error> {
        self.refuse_if_broken()?;
        if self.stored.len() >= self.limit {
            return Err(Error::TransactionFull { limit: self.limit });
        }
        message.put(ID_PROPERTY, &self.id);
        message.put(PART_PROPERTY, &self.stored.len().to_string());
        let outbound = prepared::outbound(&self.producer, &mut message)?;
        let broker = self.broker().map(str::to_owned);
        let choice = broker.as_deref().map_or(QueueChoice::InTurn, QueueChoice::AtBroker);
        let route = self.producer.session.publish_route(&outbound.topic).await?;
        let is_elsewhere =
            broker.is_some() && !route.publish.iter().any(|queue| Some(&queue.broker_name) == broker.as_ref());
        if is_elsewhere {
            return Err(choice.not_found(&outbound.topic));
        }
        self.fault = Some(format!("a message to {} was given up while it was sent", outbound.topic));
        match prepared::store(&self.producer, outbound, choice).await {
            Ok(stored) => {
                self.fault = None;
                self.stored.push(stored);
                // just pushed: there is a last one
                self.stored.last().map(Prepared::receipt).ok_or(Error::Closed)
            }
            Err(error) => {
                self.fault = Some(format!("a message may not be stored: {error}"));
                Err(error)
            }
        }
    }

    /// Makes all messages visible and waits for the broker's word about each.
    ///
    /// # Errors
    /// [`Error::TransactionBroken`] when a message may not be stored; nothing was decided. What fails after the decision
    /// began is told by message in the outcome.
    pub async fn commit(self) -> Result<TransactionOutcome, Error> {
        self.refuse_if_broken()?;
        Ok(self.end(Verdict::Commit, LocalState::Commit).await)
    }

    /// Drops all messages and waits for the broker's word about each.
    pub async fn rollback(self) -> TransactionOutcome {
        self.end(Verdict::Rollback, LocalState::Rollback).await
    }

    async fn end(self, verdict: Verdict, state: LocalState) -> TransactionOutcome {
        let told = join_all(self.stored.iter().map(|half| half.end(verdict))).await;
        let messages = self.stored.into_iter().zip(told).map(|(half, told)| {
            if let Err(error) = &told {
                warn!(id = half.message_id(), transaction = self.id, %error, "a decision is not confirmed");
            }
            MessageOutcome { receipt: half.into_receipt(), told }
        });
        TransactionOutcome { state, messages: messages.collect() }
    }

    fn refuse_if_broken(&self) -> Result<(), Error> {
        match &self.fault {
            Some(reason) => Err(Error::TransactionBroken { id: self.id.clone(), reason: reason.clone() }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Transaction");
        debug.field("id", &self.id).field("messages", &self.stored.len()).field("fault", &self.fault).finish()
    }
}

/// What became of a transaction of several messages.
#[derive(Debug)]
#[non_exhaustive]
pub struct TransactionOutcome {
    /// The decision.
    pub state: LocalState,
    /// Each message, in the order of sending.
    pub messages: Vec<MessageOutcome>,
}

impl TransactionOutcome {
    /// Whether the broker confirmed the decision for every message.
    pub fn is_confirmed(&self) -> bool {
        self.messages.iter().all(|message| message.told.is_ok())
    }

    /// For how many messages the broker confirmed the decision.
    pub fn confirmed(&self) -> usize {
        self.messages.iter().filter(|message| message.told.is_ok()).count()
    }
}

/// One message of a decided transaction.
#[derive(Debug)]
#[non_exhaustive]
pub struct MessageOutcome {
    /// Where its half message lies.
    pub receipt: SendReceipt,
    /// `Ok` when the broker confirmed the decision. After a retryable error its check asks for the decision; a refusal
    /// says that a check was answered otherwise before.
    pub told: Result<(), Error>,
}

/// Refuses ids that cannot travel in a property.
pub(super) fn validate_id(id: &str) -> Result<(), Error> {
    let reason = match id {
        "" => "the transaction's id is empty".to_owned(),
        _ if id.len() > LONGEST_ID => format!("the transaction's id takes {} bytes of {LONGEST_ID}", id.len()),
        _ if id.contains(['\u{1}', '\u{2}']) => "the transaction's id contains U+0001 or U+0002".to_owned(),
        _ => return Ok(()),
    };
    Err(Error::InvalidMessage { reason })
}
