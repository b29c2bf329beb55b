//! How a [`Transactional`] is set up.

use std::{sync::Arc, time::Duration};

use tenonmq_client::{ClientConfig, Error, TransactionProducer};

use super::{Answers, Halves, Link, Shared, Transactional, publish::Pause, table::HalfTable};
use crate::{database::Dialect, outbox::Outbox};

/// Settings of a [`Transactional`]; ends in [`connect`](Self::connect).
#[derive(Debug)]
#[must_use]
pub struct TransactionalBuilder<D: Dialect> {
    outbox: Outbox<D>,
    client: ClientConfig,
    group: String,
    half_limit: Duration,
    pause: Duration,
    delays: bool,
}

impl<D: Dialect> Transactional<D> {
    /// Starts building over an outbox, for the given name servers (`host:port;host:port`) or [`ClientConfig`].
    pub fn builder(outbox: Outbox<D>, client: impl Into<ClientConfig>) -> TransactionalBuilder<D> {
        TransactionalBuilder {
            outbox,
            client: client.into(),
            group: String::new(),
            half_limit: Duration::from_secs(1),
            pause: Duration::from_secs(5),
            delays: false,
        }
    }
}

impl<D: Dialect> TransactionalBuilder<D> {
    /// The producer group, the same for all instances of the service and for no other service: brokers ask any of its
    /// members about any half message. Required.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// How long a transaction may be kept open for its half message, and how long the broker's word on a commit is
    /// waited for. Default 1 s.
    pub fn half_limit(mut self, limit: Duration) -> Self {
        self.half_limit = limit;
        self
    }

    /// How long no half messages are tried after the broker did not take one; the relay sends everything meanwhile.
    /// Default 5 s.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Says that all brokers begin the delay of a half message when it is committed, as TenonMQ's do and Apache's do not: so
    /// messages with a delivery time are half messages too.
    pub fn delays_begin_at_commit(mut self) -> Self {
        self.delays = true;
        self
    }

    /// Connects, and begins to answer checks. When no name server can be reached it goes on trying in the background;
    /// what is published before waits in the outbox.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot work.
    pub async fn connect(self) -> Result<Transactional<D>, Error> {
        let answers = self.answers();
        let (client, group, delays) = (self.client.clone(), self.group.clone(), self.delays);
        let (limit, largest, listener) = (self.half_limit, self.outbox.0.largest, answers.clone());
        let link = Link::begin(move || {
            let builder = TransactionProducer::builder(client.clone())
                .group(&group)
                .listener(listener.clone())
                // one try: a second copy of a half message would only have to be rolled back
                .retries(0)
                .send_timeout(limit)
                .max_message_size(largest);
            if delays { builder.delays_begin_at_commit() } else { builder }
        });
        let link = link.await?;
        Ok(self.finish(answers, link))
    }

    /// Over any broker, which the caller has connected to: for tests, with a broker of their own. Checks are then to be
    /// answered by [`Transactional::answer_check`].
    pub fn over<H: Halves>(self, halves: H) -> Transactional<D, H> {
        let answers = self.answers();
        self.finish(answers, halves)
    }

    fn answers(&self) -> Answers<D> {
        let outbox = &self.outbox.0;
        let table = Arc::new(HalfTable::new(outbox.pool.clone(), &outbox.schema));
        Answers::new(table, Arc::clone(&outbox.clock), outbox.faults.clone())
    }

    fn finish<H: Halves>(self, answers: Answers<D>, halves: H) -> Transactional<D, H> {
        let Self { outbox, pause, delays, .. } = self;
        let table = Arc::clone(answers.table());
        Transactional(Arc::new(Shared {
            outbox,
            halves: Arc::new(halves),
            answers,
            table,
            pause: Pause::new(pause),
            delays,
        }))
    }
}
