//! Building a [`TransactionProducer`].

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    CheckWith, LocalState, NoListener, TransactionListener, TransactionProducer,
    check::{CHECK_QUEUE, answer_checks},
};
use crate::{
    config::{ClientConfig, Compression, validate_group},
    error::Error,
    message::Message,
    producer::{Producer, ProducerBuilder, Replies, role::ProducerRole},
    session::Session,
};

/// Settings of a transactional producer; ends in [`connect`](Self::connect).
#[must_use]
pub struct TransactionProducerBuilder<L> {
    inner: ProducerBuilder,
    listener: L,
}

impl TransactionProducerBuilder<NoListener> {
    pub(super) fn new(client: ClientConfig) -> Self {
        Self { inner: ProducerBuilder::new(client), listener: NoListener }
    }
}

impl<L: TransactionListener> TransactionProducerBuilder<L> {
    /// Runs local transactions and answers checks.
    pub fn listener<T: TransactionListener>(self, listener: T) -> TransactionProducerBuilder<T> {
        TransactionProducerBuilder { inner: self.inner, listener }
    }

    /// Answers checks only; messages are decided by hand after [`TransactionProducer::prepare`].
    pub fn check_with<F, Fut>(self, check: F) -> TransactionProducerBuilder<CheckWith<F>>
    where
        F: Fn(Message) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = LocalState> + Send,
    {
        self.listener(CheckWith(check))
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
        tokio::spawn(answer_checks(queue, Arc::clone(&listener), settings.group.clone(), session.closing.clone()));
        Ok(TransactionProducer { producer: Producer::new(session, settings, replies), listener })
    }

    fn with(self, change: impl FnOnce(ProducerBuilder) -> ProducerBuilder) -> Self {
        Self { inner: change(self.inner), listener: self.listener }
    }
}
