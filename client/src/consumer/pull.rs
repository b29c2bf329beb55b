//! Reading queues at one's own pace.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tenonmq_protocol::{
    body::heartbeat::{ConsumeType, MessageModel},
    message::queue::MessageQueue,
};
use tokio::sync::Notify;
use tracing::warn;

use super::{
    ConsumeFrom, Filter,
    fetch::{Fetch, Fetched, PullStatus, fetch},
    filter_check::check_filter,
    push::{consume_from_name, unix_ms},
    queries,
    role::{ConsumerRole, Subscription, Subscriptions},
};
use crate::{
    config::{ClientConfig, validate_group},
    error::Error,
    received::ReceivedMessage,
    received::decode_records,
    session::Session,
    transport::MASTER_ID,
};

/// Settings of a pull consumer; ends in [`connect`](Self::connect).
#[must_use]
pub struct PullConsumerBuilder {
    client: ClientConfig,
    group: String,
    filter: Filter,
    batch: i32,
    hold: Duration,
}

impl PullConsumerBuilder {
    /// The consumer group under which offsets are committed. Required.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// Which messages pulls return. Default all.
    pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
        self.filter = filter.into();
        self
    }

    /// Most messages of one pull. Default 32.
    pub fn pull_batch(mut self, messages: u16) -> Self {
        self.batch = i32::from(messages.max(1));
        self
    }

    /// How long a pull waits for a message when there is none. Default zero: it answers at once.
    pub fn long_poll(mut self, wait: Duration) -> Self {
        self.hold = wait;
        self
    }

    /// Checks the settings and that a name server can be reached.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot work, [`Error::Connect`] when no name server is reachable.
    pub async fn connect(self) -> Result<PullConsumer, Error> {
        validate_group(&self.group)?;
        self.filter.validate("the pull consumer")?;
        let role = ConsumerRole {
            group: self.group.clone(),
            consume_type: ConsumeType::Actively,
            message_model: MessageModel::Clustering,
            consume_from: consume_from_name(ConsumeFrom::default()),
            subscriptions: Arc::new(Subscriptions::new()),
            rebalance: Arc::new(Notify::new()),
            orders: None,
        };
        let session = Session::start(self.client, Arc::new(role)).await?;
        Ok(PullConsumer {
            session,
            group: self.group,
            filter: self.filter,
            batch: self.batch,
            hold: self.hold,
            positions: Mutex::default(),
            checked: Mutex::default(),
        })
    }
}

/// What one pull brought.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Pulled {
    /// What the broker said.
    pub status: PullStatus,
    /// The messages that pass the filter.
    pub messages: Vec<ReceivedMessage>,
    /// Where the next pull of the queue begins.
    pub next_offset: i64,
    /// The oldest offset that the broker holds.
    pub min_offset: i64,
    /// The offset that the next message will get.
    pub max_offset: i64,
}

/// Reads queues that the caller [assigns](Self::assign), from positions that it may [set](Self::seek), and commits
/// offsets when told to. Nothing is divided among members and nothing is committed by itself.
///
/// ```no_run
/// # async fn example() -> Result<(), tenonmq_client::Error> {
/// use tenonmq_client::PullConsumer;
/// let consumer = PullConsumer::builder("127.0.0.1:9876").group("audit").connect().await?;
/// for queue in consumer.queues("paid").await? {
///     consumer.seek(&queue, consumer.min_offset(&queue).await?);
///     let pulled = consumer.pull(&queue).await?;
///     println!("{} messages", pulled.messages.len());
///     consumer.commit(&queue, pulled.next_offset).await?;
/// }
/// consumer.shutdown().await;
/// # Ok(()) }
/// ```
pub struct PullConsumer {
    session: Arc<Session>,
    group: String,
    filter: Filter,
    batch: i32,
    hold: Duration,
    positions: Mutex<BTreeMap<MessageQueue, Position>>,
    /// Topics whose brokers took the filter.
    checked: Mutex<BTreeSet<String>>,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    /// `None`: where the group's committed offset says.
    next: Option<i64>,
    broker_id: i64,
}

const UNSET: Position = Position { next: None, broker_id: MASTER_ID };

impl PullConsumer {
    /// Starts building a consumer for the given name servers (`host:port;host:port`) or [`ClientConfig`].
    pub fn builder(client: impl Into<ClientConfig>) -> PullConsumerBuilder {
        PullConsumerBuilder {
            client: client.into(),
            group: String::new(),
            filter: Filter::All,
            batch: 32,
            hold: Duration::ZERO,
        }
    }

    /// The queues of a topic that can be read, sorted.
    ///
    /// # Errors
    /// [`Error::NoRoute`] when the topic does not exist.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, Error> {
        Ok(self.session.route(topic).await?.subscribe.clone())
    }

    /// Reads these queues and no others with [`poll`](Self::poll). Positions of queues that stay are kept.
    pub fn assign(&self, queues: impl IntoIterator<Item = MessageQueue>) {
        let mut positions = self.positions.lock();
        let kept = queues.into_iter().map(|queue| {
            let position = positions.get(&queue).copied().unwrap_or(UNSET);
            (queue, position)
        });
        *positions = kept.collect();
    }

    /// Sets where the next pull of the queue begins. The queue becomes assigned.
    pub fn seek(&self, queue: &MessageQueue, offset: i64) {
        self.positions.lock().insert(queue.clone(), Position { next: Some(offset), ..UNSET });
    }

    /// Where the next pull of the queue begins, once that is known.
    pub fn position(&self, queue: &MessageQueue) -> Option<i64> {
        self.positions.lock().get(queue).and_then(|position| position.next)
    }

    /// Pulls once from a queue at its position, and moves the position behind what was pulled. Without a position it
    /// begins at the group's committed offset, or at the oldest message when there is none.
    ///
    /// # Errors
    /// The broker's refusal, or that it could not be asked; the position stays.
    pub async fn pull(&self, queue: &MessageQueue) -> Result<Pulled, Error> {
        let position = self.positions.lock().get(queue).copied().unwrap_or(UNSET);
        let offset = match position.next {
            Some(offset) => offset,
            None => self.begin(queue).await?,
        };
        self.check_filter(&queue.topic).await?;
        let route = self.session.route(&queue.topic).await?;
        let what = Fetch {
            group: &self.group,
            queue,
            offset,
            max_messages: self.batch,
            hold: self.hold,
            version: 0,
            filter: &self.filter,
            own_filter: true,
        };
        let fetched = fetch(&self.session, &route, position.broker_id, &what).await?;
        let next = Position { next: Some(fetched.next), broker_id: fetched.suggested };
        self.positions.lock().insert(queue.clone(), next);
        Ok(self.pulled(queue, &fetched))
    }

    /// Pulls once from each assigned queue, all at the same time, and returns their messages.
    ///
    /// # Errors
    /// The first failure when no queue brought a message; otherwise failures are left to the next poll.
    pub async fn poll(&self) -> Result<Vec<ReceivedMessage>, Error> {
        let assigned: Vec<MessageQueue> = self.positions.lock().keys().cloned().collect();
        let pulls = futures_util::future::join_all(assigned.iter().map(|queue| self.pull(queue))).await;
        let (mut messages, mut failure) = (Vec::new(), None);
        for pulled in pulls {
            match pulled {
                Ok(pulled) => messages.extend(pulled.messages),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) if messages.is_empty() => Err(error),
            _ => Ok(messages),
        }
    }

    /// Saves the group's offset of a queue: that of the first message that is not done.
    ///
    /// # Errors
    /// The broker's refusal, or that it could not be asked.
    pub async fn commit(&self, queue: &MessageQueue, offset: i64) -> Result<(), Error> {
        queries::commit_offset(&self.session, &self.group, queue, offset).await
    }

    /// The group's saved offset; `None` when it has none.
    ///
    /// # Errors
    /// The broker's refusal, or that it could not be asked.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, Error> {
        queries::consumer_offset(&self.session, &self.group, queue).await
    }

    /// The oldest offset that the broker holds; 0 for a queue that never had a message.
    ///
    /// # Errors
    /// The broker's refusal, or that it could not be asked.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, Error> {
        Ok(queries::min_offset(&self.session, queue).await?.max(0))
    }

    /// The offset that the next message will get.
    ///
    /// # Errors
    /// The broker's refusal, or that it could not be asked.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, Error> {
        queries::max_offset(&self.session, queue).await
    }

    /// The first offset whose message was stored at `time` or later.
    ///
    /// # Errors
    /// The broker's refusal, or that it could not be asked.
    pub async fn offset_by_time(&self, queue: &MessageQueue, time: SystemTime) -> Result<i64, Error> {
        queries::offset_by_time(&self.session, queue, unix_ms(time)).await
    }

    /// Leaves the group and closes the connections. Nothing is committed.
    pub async fn shutdown(&self) {
        self.session.stop().await;
    }

    /// Once for each topic, because not every broker minds an expression that does not parse when it comes with a pull.
    async fn check_filter(&self, topic: &str) -> Result<(), Error> {
        if !matches!(self.filter, Filter::Sql(_)) || self.checked.lock().contains(topic) {
            return Ok(());
        }
        check_filter(&self.session, &self.group, topic, &Subscription::new(self.filter.clone())).await?;
        self.checked.lock().insert(topic.to_owned());
        Ok(())
    }

    async fn begin(&self, queue: &MessageQueue) -> Result<i64, Error> {
        match self.committed(queue).await? {
            Some(offset) => Ok(offset),
            None => self.min_offset(queue).await,
        }
    }

    fn pulled(&self, queue: &MessageQueue, fetched: &Fetched) -> Pulled {
        let mut messages = Vec::new();
        if fetched.status == PullStatus::Found {
            for decoded in decode_records(Some(&Arc::new(queue.clone())), &fetched.records) {
                match decoded {
                    Ok(message) if self.filter.accepts(&message.inner.properties) => messages.push(message),
                    Ok(_) => {}
                    Err(error) => {
                        warn!(topic = queue.topic, queue = queue.queue_id, %error, "a message cannot be read and is passed over");
                    }
                }
            }
        }
        Pulled {
            status: fetched.status,
            messages,
            next_offset: fetched.next,
            min_offset: fetched.min,
            max_offset: fetched.max,
        }
    }
}
