//! Transactional messages: stored first, visible once the local transaction has committed.
//!
//! ```text
//! half message stored ──► local transaction ──Commit───► visible
//!                                           ├─Rollback─► gone
//!                                           └─Unknown──► the broker asks a producer of the group, later
//! ```
//!
//! With a [`TransactionListener`] the producer runs the local transaction itself
//! ([`send_in_transaction`](TransactionProducer::send_in_transaction)). Without one, a message is
//! [prepared](TransactionProducer::prepare) and decided by hand. In both cases somebody of the group must answer the
//! broker's checks from durable state, because the process that sent the half message may be gone.
//!
//! Invariant: a decision is never guessed. Whatever goes wrong after the half message was stored (a panic, a cancelled
//! future, a lost connection) leaves it undecided, and the check decides.

mod builder;
mod check;
mod listener;
mod prepared;

use std::sync::Arc;

use tenonmq_protocol::header::Verdict;

pub use self::{
    builder::TransactionProducerBuilder,
    listener::{CheckWith, LocalState, NoListener, TransactionListener},
    prepared::Prepared,
};
use crate::{
    config::ClientConfig,
    error::Error,
    message::Message,
    producer::{Outbound, Producer, QueueChoice, SendReceipt, SendStatus},
};

/// What became of a transactional send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionReceipt {
    /// Where the half message lies.
    pub send: SendReceipt,
    /// What the local transaction said.
    pub state: LocalState,
    /// Whether the broker confirmed the decision. If not (always so for [`LocalState::Unknown`]), it will ask again;
    /// the local transaction stands either way.
    pub confirmed: bool,
}

/// Sends transactional messages and answers the broker's checks for its group.
///
/// ```no_run
/// use tenonmq_client::{LocalState, Message, TransactionListener, TransactionProducer};
///
/// struct Orders;
///
/// impl TransactionListener for Orders {
///     type Input = u64;
///     async fn execute_local_transaction(&self, _: &Message, order: u64) -> LocalState {
///         if pay(order).await { LocalState::Commit } else { LocalState::Unknown }
///     }
///     async fn check_local_transaction(&self, message: &Message) -> LocalState {
///         match message.keys().next() {
///             Some(order) if is_paid(order).await => LocalState::Commit,
///             _ => LocalState::Unknown,
///         }
///     }
/// }
/// # async fn pay(_: u64) -> bool { true }
/// # async fn is_paid(_: &str) -> bool { true }
///
/// # async fn example() -> Result<(), tenonmq_client::Error> {
/// let producer = TransactionProducer::builder("127.0.0.1:9876").group("orders").listener(Orders).connect().await?;
/// let receipt = producer.send_in_transaction(Message::new("paid", "order 42").key("42"), 42).await?;
/// assert_eq!(receipt.state, LocalState::Commit);
/// # Ok(()) }
/// ```
pub struct TransactionProducer<L: TransactionListener = NoListener> {
    producer: Producer,
    listener: Arc<L>,
}

impl<L: TransactionListener> Clone for TransactionProducer<L> {
    fn clone(&self) -> Self {
        Self { producer: self.producer.clone(), listener: Arc::clone(&self.listener) }
    }
}

impl TransactionProducer {
    /// Starts building a producer for the given name servers (`host:port;host:port`) or [`ClientConfig`].
    pub fn builder(client: impl Into<ClientConfig>) -> TransactionProducerBuilder<NoListener> {
        TransactionProducerBuilder::new(client.into())
    }
}

impl<L: TransactionListener> TransactionProducer<L> {
    /// Stores a half message, runs the local transaction, and tells the broker its outcome.
    ///
    /// # Errors
    /// Only for what happens before the local transaction: it has then not been run. Once it has, the result is `Ok`
    /// with its state, and [`TransactionReceipt::confirmed`] says whether the broker knows.
    #[tracing::instrument(level = "debug", skip_all, fields(topic = message.topic(), group = self.group()))]
    pub async fn send_in_transaction(&self, message: Message, input: L::Input) -> Result<TransactionReceipt, Error> {
        let mut message = message;
        let prepared = self.store_half(&mut message).await?;
        let send = prepared.receipt().clone();
        let state = self.listener.execute_local_transaction(&message, input).await;
        let confirmed = match state {
            LocalState::Commit => prepared.settle(Verdict::Commit).await,
            LocalState::Rollback => prepared.settle(Verdict::Rollback).await,
            LocalState::Unknown => prepared.leave_undecided().await,
        };
        Ok(TransactionReceipt { send, state, confirmed })
    }

    /// Stores a half message that the caller decides by hand.
    ///
    /// # Errors
    /// As [`Producer::send`]; [`Error::HalfNotSafe`] when the broker stored it less safely than its policy demands.
    pub async fn prepare(&self, message: Message) -> Result<Prepared, Error> {
        let mut message = message;
        self.store_half(&mut message).await
    }

    /// Makes this producer known to the brokers of a topic, so that they ask it about half messages of its group although
    /// it has sent none itself: for a process that only answers checks, or that starts after the one that sent.
    ///
    /// # Errors
    /// [`Error::NoRoute`] when the topic does not exist, or that no name server could be asked.
    pub async fn watch(&self, topic: &str) -> Result<(), Error> {
        let session = &self.producer.session;
        session.route(topic).await?;
        session.heartbeat().await;
        Ok(())
    }

    /// For messages without a transaction, sent by the same group over the same connections.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// The listener.
    pub fn listener(&self) -> &L {
        &self.listener
    }

    /// The producer group.
    pub fn group(&self) -> &str {
        self.producer.group()
    }

    /// Leaves the group and closes the connections. Checks that are being answered are given up; the broker asks
    /// another producer of the group.
    pub async fn shutdown(&self) {
        self.producer.shutdown().await;
    }

    async fn store_half(&self, message: &mut Message) -> Result<Prepared, Error> {
        let outbound = Outbound::half(message, &self.producer.settings, &self.producer.session)?;
        let receipt = self.producer.deliver(&outbound, QueueChoice::InTurn).await?;
        let status = receipt.status;
        let prepared = Prepared::new(self.producer.clone(), outbound.topic, receipt)?;
        if status != SendStatus::Ok {
            prepared.settle(Verdict::Rollback).await;
            return Err(Error::HalfNotSafe { status });
        }
        Ok(prepared)
    }
}
