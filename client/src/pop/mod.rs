//! Leasing messages one by one: what is received stays invisible to the rest of the group until it is acknowledged or
//! its lease ends.
//!
//! Members of a group divide nothing: any of them may get a message of any queue, a slow message holds no other back,
//! and the broker keeps the group's progress. [`lease`] makes receipt handles, [`request`] asks, [`ack`] settles; push
//! consumers whose broker says so pop by the same [`Leases`].

mod ack;
mod builder;
mod lease;
mod request;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

pub(crate) use self::request::Target;
pub use self::{builder::SimpleConsumerBuilder, lease::PoppedMessage};
use crate::{
    config::ClientConfig,
    consumer::{ConsumeFrom, Subscriptions},
    error::Error,
    session::Session,
};

/// Most messages that a broker gives in one answer.
const MOST_PER_POP: u16 = 32;

/// Asks brokers for leases on messages, and settles them.
pub(crate) struct Leases {
    pub(crate) session: Arc<Session>,
    pub(crate) group: String,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) from: ConsumeFrom,
}

/// Receives messages under leases, and settles each by its own.
///
/// ```no_run
/// # async fn example() -> Result<(), tenonmq_client::Error> {
/// use std::time::Duration;
/// use tenonmq_client::SimpleConsumer;
/// let consumer = SimpleConsumer::builder("127.0.0.1:9876").group("billing").subscribe("paid", "*").connect().await?;
/// for mut message in consumer.receive(16, Duration::from_secs(30)).await? {
///     if message.body().len() > 1_000_000 {
///         consumer.change_invisible(&mut message, Duration::from_secs(300)).await?; // this one takes longer
///     }
///     println!("{}: {:?}", message.id(), message.body());
///     consumer.ack(&message).await?;
/// }
/// consumer.shutdown().await;
/// # Ok(()) }
/// ```
pub struct SimpleConsumer {
    leases: Leases,
    hold: Duration,
    turn: AtomicUsize,
}

impl SimpleConsumer {
    /// Starts building a consumer for the given name servers (`host:port;host:port`) or [`ClientConfig`].
    pub fn builder(client: impl Into<ClientConfig>) -> SimpleConsumerBuilder {
        SimpleConsumerBuilder::new(client.into())
    }

    /// Up to `max` messages (at most 32), which nobody else of the group gets for `invisible`. Waits for the first one
    /// as long as the builder's `await_duration` says; an empty list when none came.
    ///
    /// Topics and brokers are asked in turn, so that none of them starves.
    ///
    /// # Errors
    /// The broker's refusal, or that none could be asked. Messages that a lost answer held come again after
    /// `invisible`.
    pub async fn receive(&self, max: u16, invisible: Duration) -> Result<Vec<PoppedMessage>, Error> {
        let max = max.clamp(1, MOST_PER_POP);
        let deadline = Instant::now() + self.hold;
        let targets = self.targets().await?;
        if let [only] = targets.as_slice() {
            return self.leases.pop(only, max, invisible, self.hold).await;
        }
        loop {
            let found = self.sweep(&targets, max, invisible).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !found.is_empty() || left.is_zero() || !self.somewhere(&targets, left).await? {
                return Ok(found);
            }
        }
    }

    /// The message is done and does not come again.
    ///
    /// # Errors
    /// The broker's refusal, or that it could not be asked: the message may come again.
    pub async fn ack(&self, message: &PoppedMessage) -> Result<(), Error> {
        self.leases.ack(message).await
    }

    /// Acknowledges many with one request for each broker.
    ///
    /// # Errors
    /// The first failure. What lies at other brokers is acknowledged all the same, and acknowledging again does no harm.
    pub async fn ack_batch(&self, messages: &[PoppedMessage]) -> Result<(), Error> {
        self.leases.ack_batch(messages).await
    }

    /// Ends the lease `invisible` from now instead of when it would have ended: later for work that takes long, sooner
    /// for a message that others shall try. The message gets a new handle; the old one is void.
    ///
    /// # Errors
    /// The broker's refusal, or that it could not be asked; the handle stays.
    pub async fn change_invisible(&self, message: &mut PoppedMessage, invisible: Duration) -> Result<(), Error> {
        self.leases.change_invisible(message, invisible).await
    }

    /// The consumer group.
    pub fn group(&self) -> &str {
        &self.leases.group
    }

    /// The id under which brokers know this consumer.
    pub fn client_id(&self) -> &str {
        &self.leases.session.client_id
    }

    /// Leaves the group and closes the connections. What is leased and not acknowledged comes again after its time.
    pub async fn shutdown(&self) {
        self.leases.session.stop().await;
    }

    /// Every topic at every broker that holds it, beginning with the next in turn.
    async fn targets(&self) -> Result<Vec<Target>, Error> {
        let mut targets = Vec::new();
        let mut failure = None;
        for topic in self.leases.subscriptions.keys() {
            match self.leases.session.route(topic).await {
                Ok(route) => {
                    let brokers: BTreeSet<&str> = route.subscribe.iter().map(|q| q.broker_name.as_str()).collect();
                    targets.extend(brokers.into_iter().map(|broker| Target::all(topic, broker)));
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) if targets.is_empty() => Err(error),
            _ => {
                let first = self.turn.fetch_add(1, Ordering::Relaxed) % targets.len().max(1);
                targets.rotate_left(first);
                Ok(targets)
            }
        }
    }

    /// Asks one after the other, without waiting, until one has something.
    async fn sweep(&self, targets: &[Target], max: u16, invisible: Duration) -> Result<Vec<PoppedMessage>, Error> {
        let mut failure = None;
        let mut asked = false;
        for target in targets {
            match self.leases.pop(target, max, invisible, Duration::ZERO).await {
                Ok(found) if !found.is_empty() => return Ok(found),
                Ok(_) => asked = true,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) if !asked => Err(error),
            _ => Ok(Vec::new()),
        }
    }

    /// Waits until one of them has something. Nothing is leased by waiting, so the others can be given up.
    async fn somewhere(&self, targets: &[Target], wait: Duration) -> Result<bool, Error> {
        let mut waiting: FuturesUnordered<_> =
            targets.iter().map(|target| self.leases.has_message(target, wait)).collect();
        let mut failure = None;
        let mut asked = false;
        while let Some(answer) = waiting.next().await {
            match answer {
                Ok(true) => return Ok(true),
                Ok(false) => asked = true,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) if !asked => Err(error),
            _ => Ok(false),
        }
    }
}

impl Drop for SimpleConsumer {
    fn drop(&mut self) {
        self.leases.session.closing.cancel();
    }
}
