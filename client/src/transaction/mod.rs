//! Transactional messages: stored first, visible once the local transaction has committed.
//!
//! ```text
//! half message stored ──► local transaction ──Commit───► visible
//!                                           ├─Rollback─► gone
//!                                           └─Unknown──► the broker asks a producer of the group, later
//! ```
//!
//! The producer runs the local transaction: a future that is handed to the send
//! ([`send_with`](TransactionProducer::send_with)) or a method of its [`TransactionListener`]
//! ([`send_in_transaction`](TransactionProducer::send_in_transaction)). Or a message is
//! [prepared](TransactionProducer::prepare) and decided by hand, alone or [together](TransactionProducer::begin) with
//! others. In all cases somebody of the group must answer the broker's checks from durable state, because the process
//! that sent the half message may be gone: a [`CheckListener`], or several behind a [`CheckRouter`].
//!
//! Invariant: a decision is never guessed. Whatever goes wrong after the half message was stored (a panic, a cancelled
//! future, a lost connection) leaves it undecided, and the check decides.

mod answer;
mod builder;
mod check;
mod listener;
mod prepared;
mod router;
mod several;
#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc};

use tracing::warn;

pub(crate) use self::several::{ID_PROPERTY, PART_PROPERTY};
pub use self::{
    builder::TransactionProducerBuilder,
    check::{Check, CheckError},
    listener::{CheckListener, IntoAnswer, LocalState, NoListener, TransactionListener},
    prepared::{HalfPlace, Prepared},
    router::CheckRouter,
    several::{MessageOutcome, Transaction, TransactionOutcome},
};
use crate::{
    config::ClientConfig,
    error::Error,
    message::Message,
    producer::{Producer, QueueChoice, SendReceipt},
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
/// use tenonmq_client::{Check, LocalState, Message, TransactionProducer};
///
/// # async fn pay(_: u64) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn is_paid(_: Option<&str>) -> Result<bool, std::io::Error> { Ok(true) }
/// # async fn example() -> Result<(), tenonmq_client::Error> {
/// let producer = TransactionProducer::builder("127.0.0.1:9876")
///     .group("orders")
///     .listener(async |check: Check| {
///         // from the database; an error is answered "unknown", and the broker asks again
///         let paid = is_paid(check.key()).await?;
///         Ok::<_, std::io::Error>(if paid { LocalState::Commit } else { LocalState::Unknown })
///     })
///     .connect()
///     .await?;
/// let message = Message::new("paid", "order 42").key("42");
/// let receipt = producer
///     .send_with(message, async |_: Message| {
///         pay(42).await?;
///         Ok::<_, std::io::Error>(LocalState::Commit)
///     })
///     .await?;
/// assert_eq!(receipt.state, LocalState::Commit);
/// # Ok(()) }
/// ```
pub struct TransactionProducer<L: CheckListener = NoListener> {
    producer: Producer,
    listener: Arc<L>,
    max_messages: usize,
}

impl<L: CheckListener> Clone for TransactionProducer<L> {
    fn clone(&self) -> Self {
        let listener = Arc::clone(&self.listener);
        Self { producer: self.producer.clone(), listener, max_messages: self.max_messages }
    }
}

impl TransactionProducer {
    /// Starts building a producer for the given name servers (`host:port;host:port`) or [`ClientConfig`].
    pub fn builder(client: impl Into<ClientConfig>) -> TransactionProducerBuilder<NoListener> {
        TransactionProducerBuilder::new(client.into())
    }
}

impl<L: TransactionListener> TransactionProducer<L> {
    /// Stores a half message, has the listener run the local transaction, and tells the broker its outcome.
    ///
    /// # Errors
    /// Only for what happens before the local transaction: it has then not been run. Once it has, the result is `Ok`
    /// with its state, and [`TransactionReceipt::confirmed`] says whether the broker knows.
    #[tracing::instrument(level = "debug", skip_all, fields(topic = message.topic(), group = self.group()))]
    pub async fn send_in_transaction(&self, message: Message, input: L::Input) -> Result<TransactionReceipt, Error> {
        let mut message = message;
        let prepared = self.store_half(&mut message).await?;
        let state = self.listener.execute_local_transaction(&message, input).await;
        Ok(prepared.decide(state).await)
    }
}

impl<L: CheckListener> TransactionProducer<L> {
    /// Stores a half message, runs the given local transaction, and tells the broker its outcome. The local transaction
    /// is handed the message with its id, and returns a [`LocalState`] or a `Result<LocalState, E>`.
    ///
    /// # Errors
    /// Only for what happens before the local transaction: it has then not been run. Once it has, the result is `Ok`
    /// with its state, and [`TransactionReceipt::confirmed`] says whether the broker knows. If the local transaction
    /// itself fails with an error, that is logged and the state is [`LocalState::Unknown`]: the check decides.
    #[tracing::instrument(level = "debug", skip_all, fields(topic = message.topic(), group = self.group()))]
    pub async fn send_with<F, Fut>(&self, message: Message, local: F) -> Result<TransactionReceipt, Error>
    where
        F: FnOnce(Message) -> Fut + Send,
        Fut: Future<Output: IntoAnswer> + Send,
    {
        let mut message = message;
        let prepared = self.store_half(&mut message).await?;
        let state = local(message).await.into_answer().unwrap_or_else(|error| {
            warn!(
                id = prepared.message_id(),
                error, "the local transaction failed: the check will ask for its outcome"
            );
            LocalState::Unknown
        });
        Ok(prepared.decide(state).await)
    }

    /// Stores a half message that the caller decides by hand.
    ///
    /// # Errors
    /// As [`Producer::send`]; [`Error::HalfNotSafe`] when the broker stored it less safely than its policy demands.
    pub async fn prepare(&self, message: Message) -> Result<Prepared, Error> {
        let mut message = message;
        self.store_half(&mut message).await
    }

    /// A half message that this producer or another one of its group stored, to be decided by hand. Nothing is asked of
    /// the broker: whether the message is there, and undecided, shows when it is decided.
    ///
    /// # Errors
    /// [`Error::NoRoute`], or that no name server could be asked.
    pub async fn adopt(&self, place: HalfPlace) -> Result<Prepared, Error> {
        self.producer.session.publish_route(&place.topic).await?;
        Ok(Prepared::adopted(self.producer.clone(), place))
    }

    /// Begins a transaction of several messages that the caller decides by hand, all at once.
    pub fn begin(&self) -> Transaction {
        let id = self.producer.session.next_key().as_str().to_owned();
        Transaction::new(self.producer.clone(), id, self.max_messages)
    }

    /// As [`begin`](Self::begin), under an id of the application's own, such as an order's. Transactions under one id
    /// share their fate, so never use one twice.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] for an id that is empty, longer than 255 bytes, or contains U+0001 or U+0002.
    pub fn begin_as(&self, id: impl Into<String>) -> Result<Transaction, Error> {
        let id = id.into();
        several::validate_id(&id)?;
        Ok(Transaction::new(self.producer.clone(), id, self.max_messages))
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
        let outbound = prepared::outbound(&self.producer, message)?;
        prepared::store(&self.producer, outbound, QueueChoice::InTurn).await
    }
}
