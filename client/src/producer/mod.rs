//! Sending messages.
//!
//! A send picks a queue in turn, addresses the master of its broker, and tries another broker when that fails in a way
//! that may pass ([`Error::is_retryable`](crate::Error::is_retryable)). Sends share one connection per broker and do
//! not wait for one another: run many at once for throughput.

mod batch;
mod builder;
mod outbound;
mod queue_choice;
mod recall;
mod receipt;
mod request;
mod retry;
pub(crate) mod role;

use std::{sync::Arc, time::Duration};

use tenonmq_protocol::message::queue::MessageQueue;

pub use self::{
    builder::ProducerBuilder,
    queue_choice::index_by_key,
    receipt::{BatchReceipt, SendReceipt, SendStatus},
};
pub(crate) use self::{outbound::Outbound, queue_choice::QueueChoice, request::Replies};
use crate::{
    config::{ClientConfig, Compression},
    error::Error,
    message::Message,
    session::Session,
};

/// Sends messages. Cloning is cheap, and all clones are one producer.
///
/// ```no_run
/// # async fn example() -> Result<(), tenonmq_client::Error> {
/// use tenonmq_client::{Message, Producer};
/// let producer = Producer::builder("127.0.0.1:9876").group("orders").connect().await?;
/// let receipt = producer.send(Message::new("paid", "order 42").tag("card").key("42")).await?;
/// println!("stored as {} in {:?}", receipt.message_id, receipt.queue);
/// producer.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Producer {
    pub(crate) session: Arc<Session>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) replies: Arc<Replies>,
}

/// How a producer sends.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) group: String,
    pub(crate) send_timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) compression: Compression,
    pub(crate) compress_over: usize,
    pub(crate) max_message_size: usize,
    /// Whether half messages may carry delays, because every broker begins them at the commit.
    pub(crate) delayed_halves: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            group: String::new(),
            send_timeout: Duration::from_secs(3),
            retries: 2,
            compression: Compression::Zlib,
            compress_over: 4096,
            max_message_size: 4 << 20,
            delayed_halves: false,
        }
    }
}

impl Producer {
    /// Starts building a producer for the given name servers (`host:port;host:port`) or [`ClientConfig`].
    pub fn builder(client: impl Into<ClientConfig>) -> ProducerBuilder {
        ProducerBuilder::new(client.into())
    }

    /// `replies` are those that the session's role hands on.
    pub(crate) fn new(session: Arc<Session>, settings: Settings, replies: Arc<Replies>) -> Self {
        Self { session, settings: Arc::new(settings), replies }
    }

    /// Sends a message and waits until a broker has stored it, as safely as the broker's policy says
    /// ([`SendReceipt::status`]).
    ///
    /// # Errors
    /// The failure of the last attempt. After [`Error::Timeout`] or [`Error::Disconnected`] the message may have been
    /// stored all the same.
    pub async fn send(&self, message: Message) -> Result<SendReceipt, Error> {
        self.send_with(QueueChoice::InTurn, message).await
    }

    /// Sends to one queue, which is tried again when an attempt fails.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_to(&self, queue: &MessageQueue, message: Message) -> Result<SendReceipt, Error> {
        self.send_with(QueueChoice::Exactly(queue), message).await
    }

    /// Sends to the queue that `choose` picks by its index in the topic's queues. An index out of range is wrapped.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_choosing(
        &self,
        message: Message,
        choose: impl FnOnce(&[Arc<MessageQueue>]) -> usize,
    ) -> Result<SendReceipt, Error> {
        message.validate()?;
        let route = self.session.publish_route(message.topic()).await?;
        let count = route.publish.len().max(1);
        let chosen = route.publish.get(choose(&route.publish) % count);
        let queue = chosen.ok_or_else(|| Error::NoRoute { topic: message.topic().to_owned() })?;
        self.send_to(queue, message).await
    }

    /// Sends all messages of one key to one queue, so that their order is kept while the number of queues is.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_by_key(&self, key: &str, message: Message) -> Result<SendReceipt, Error> {
        self.send_choosing(message.sharding_key(key), |queues| index_by_key(key, queues.len())).await
    }

    /// Hands a message to the connection and does not wait for the broker: it may be lost without notice.
    ///
    /// # Errors
    /// What goes wrong before the message is in the write buffer.
    pub async fn send_oneway(&self, message: Message) -> Result<(), Error> {
        let outbound = Outbound::from_message(message, &self.settings, &self.session)?;
        self.oneway(&outbound).await
    }

    /// Stores several messages of one topic in one step: all or none, with consecutive offsets in one queue.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`Error::InvalidMessage`] for messages that cannot be in one batch (different topics,
    /// delays, transactions).
    pub async fn send_batch(&self, messages: Vec<Message>) -> Result<BatchReceipt, Error> {
        let outbound = batch::pack(messages, &self.settings, &self.session)?;
        let receipt = self.deliver(&outbound, QueueChoice::InTurn).await?;
        Ok(receipt.into())
    }

    /// The queues of a topic that take messages.
    ///
    /// # Errors
    /// [`Error::NoRoute`] when the topic does not exist.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, Error> {
        let route = self.session.route(topic).await?;
        Ok(route.publish.iter().map(|queue| MessageQueue::clone(queue)).collect())
    }

    /// The producer group.
    pub fn group(&self) -> &str {
        &self.settings.group
    }

    /// The id under which brokers know this producer.
    pub fn client_id(&self) -> &str {
        &self.session.client_id
    }

    /// Leaves the group and closes the connections. Sends that are under way fail.
    pub async fn shutdown(&self) {
        self.session.stop().await;
    }

    async fn send_with(&self, choice: QueueChoice<'_>, message: Message) -> Result<SendReceipt, Error> {
        let outbound = Outbound::from_message(message, &self.settings, &self.session)?;
        self.deliver(&outbound, choice).await
    }
}
