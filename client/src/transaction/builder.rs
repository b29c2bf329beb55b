//! Building a [`TransactionProducer`].

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    CheckListener, NoListener, TransactionProducer,
    answer::{CHECK_QUEUE, Desk, answer_checks},
};
use crate::{
    config::{ClientConfig, Compression, validate_group},
    error::Error,
    producer::{Producer, ProducerBuilder, Replies, role::ProducerRole},
    session::Session,
};

/// Settings of a transactional producer; ends in [`connect`](Self::connect).
#[must_use]
pub struct TransactionProducerBuilder<L> {
    inner: ProducerBuilder,
    listener: L,
    check_timeout: Duration,
    max_messages: usize,
}

impl TransactionProducerBuilder<NoListener> {
    pub(super) fn new(client: ClientConfig) -> Self {
        Self {
            inner: ProducerBuilder::new(client),
            listener: NoListener,
            check_timeout: Duration::from_secs(30),
            max_messages: 128,
        }
    }
}

impl<L: CheckListener> TransactionProducerBuilder<L> {
    /// Answers checks: a closure, a [`CheckListener`], a [`CheckRouter`](crate::CheckRouter) with several of them, or a
    /// [`TransactionListener`](crate::TransactionListener), which runs local transactions too.
    pub fn listener<T: CheckListener>(self, listener: T) -> TransactionProducerBuilder<T> {
        let Self { inner, listener: _, check_timeout, max_messages } = self;
        TransactionProducerBuilder { inner, listener, check_timeout, max_messages }
    }

    /// Longest duration of one check; one that takes longer is answered *unknown*. Default 30 s.
    pub fn check_timeout(mut self, limit: Duration) -> Self {
        self.check_timeout = limit;
        self
    }

    /// Most messages in one [`Transaction`](crate::Transaction). Default 128.
    pub fn max_transaction_messages(mut self, count: usize) -> Self {
        self.max_messages = count;
        self
    }

    /// Allows delays ([`Message::delay`](crate::Message::delay), `deliver_at`, `delay_level`) on half messages: they begin
    /// with the commit. Only for clusters of TenonMQ brokers: Apache's lose such a message, or delay it before it is a
    /// half message, so without this word it is refused.
    pub fn delays_begin_at_commit(self) -> Self {
        self.with(ProducerBuilder::delayed_halves)
    }

    /// The producer group. Required. Brokers ask any producer of the group about any half message of it.
    pub fn group(self, group: impl Into<String>) -> Self {
        self.with(|inner| inner.group(group))
    }

    /// Longest duration of storing one half message, retries included, and of confirming one decision. Default 3 s.
    pub fn send_timeout(self, timeout: Duration) -> Self {
        self.with(|inner| inner.send_timeout(timeout))
    }

    /// Further attempts to store a half message. Default 2.
    pub fn retries(self, retries: u32) -> Self {
        self.with(|inner| inner.retries(retries))
    }

    /// How large bodies are compressed. Default zlib.
    pub fn compression(self, compression: Compression) -> Self {
        self.with(|inner| inner.compression(compression))
    }

    /// Bodies of more bytes than this are compressed. Default 4096.
    pub fn compress_over(self, bytes: usize) -> Self {
        self.with(|inner| inner.compress_over(bytes))
    }

    /// Largest body in bytes, before compression. Default 4 MiB.
    pub fn max_message_size(self, bytes: usize) -> Self {
        self.with(|inner| inner.max_message_size(bytes))
    }

    /// Checks the settings, reaches a name server, and starts answering checks.
    ///
    /// Brokers learn of this producer with its first message; see [`TransactionProducer::watch`] for a process that
    /// only answers checks.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot work, [`Error::Connect`] when no name server is reachable.
    pub async fn connect(self) -> Result<TransactionProducer<L>, Error> {
        let (client, settings) = self.inner.into_parts();
        validate_group(&settings.group)?;
        let (checks, queue) = mpsc::channel(CHECK_QUEUE);
        let replies = Arc::new(Replies::default());
        let role = ProducerRole::new(&settings.group, Arc::clone(&replies), Some(checks));
        let session = Session::start(client, Arc::new(role)).await?;
        let listener = Arc::new(self.listener);
        let desk = Desk { listener: Arc::clone(&listener), group: settings.group.clone(), limit: self.check_timeout };
        tokio::spawn(answer_checks(queue, desk, session.closing.clone()));
        let producer = Producer::new(session, settings, replies);
        Ok(TransactionProducer { producer, listener, max_messages: self.max_messages })
    }

    fn with(self, change: impl FnOnce(ProducerBuilder) -> ProducerBuilder) -> Self {
        Self { inner: change(self.inner), ..self }
    }
}
