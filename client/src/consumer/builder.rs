//! Building a [`PushConsumer`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{BroadcastOffsets, ConsumeFrom, Filter, MessageListener, PushConsumer, flow::FlowLimits, push::start};
use crate::{
    config::{ClientConfig, validate_group},
    error::Error,
    message::validate_topic,
};

/// How a push consumer works.
#[derive(Debug, Clone)]
pub(crate) struct PushSettings {
    pub(crate) group: String,
    pub(crate) subscriptions: BTreeMap<String, Filter>,
    pub(crate) from: ConsumeFrom,
    /// `None`: clustering.
    pub(crate) broadcast: Option<BroadcastOffsets>,
    pub(crate) concurrency: usize,
    pub(crate) batch: i32,
    /// Of each queue.
    pub(crate) limits: FlowLimits,
    /// Of all queues together.
    pub(crate) total: FlowLimits,
    pub(crate) ordered: bool,
    /// Whether the broker divides the queues.
    pub(crate) broker_assigned: bool,
    /// How long popped messages are this member's.
    pub(crate) lease: Duration,
    /// Whether to stay out of a group whose members have other filters.
    pub(crate) strict: bool,
    /// Before a failed message is tried again in its place.
    pub(crate) suspend: Duration,
    pub(crate) consume_timeout: Duration,
    /// `None`: 16, or no limit for ordered consumers.
    pub(crate) max_reconsume_times: Option<i32>,
    pub(crate) long_poll: Duration,
    pub(crate) commit_interval: Duration,
    pub(crate) rebalance_interval: Duration,
    pub(crate) drain_timeout: Duration,
}

/// Settings of a push consumer; ends in [`connect`](Self::connect), once it has a listener.
#[must_use]
pub struct PushConsumerBuilder<L = ()> {
    client: ClientConfig,
    settings: PushSettings,
    listener: L,
}

impl PushConsumerBuilder {
    pub(super) fn new(client: ClientConfig) -> Self {
        let settings = PushSettings {
            group: String::new(),
            subscriptions: BTreeMap::new(),
            from: ConsumeFrom::default(),
            broadcast: None,
            concurrency: 20,
            batch: 32,
            limits: FlowLimits { messages: 1000, bytes: 100 << 20 },
            total: FlowLimits::NONE,
            ordered: false,
            broker_assigned: false,
            lease: Duration::from_secs(60),
            strict: false,
            suspend: Duration::from_secs(1),
            consume_timeout: Duration::from_secs(15 * 60),
            max_reconsume_times: None,
            long_poll: Duration::from_secs(15),
            commit_interval: Duration::from_secs(5),
            rebalance_interval: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(10),
        };
        Self { client, settings, listener: () }
    }
}

impl<L> PushConsumerBuilder<L> {
    /// Handles the messages. Required: a [`MessageListener`], or an
    /// `Fn(ReceivedMessage) -> impl Future<Output = ConsumeOutcome>`.
    pub fn listener<T: MessageListener>(self, listener: T) -> PushConsumerBuilder<T> {
        PushConsumerBuilder { client: self.client, settings: self.settings, listener }
    }

    /// The consumer group. Required. All members subscribe to the same topics with the same filters.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.settings.group = group.into();
        self
    }

    /// Adds a topic. The filter is a [`Filter`], or text: `"*"` for all, `"a || b"` for messages with one of these tags.
    pub fn subscribe(mut self, topic: impl Into<String>, filter: impl Into<Filter>) -> Self {
        self.settings.subscriptions.insert(topic.into(), filter.into());
        self
    }

    /// Has the broker divide the queues among the members, and say whether they are pulled or popped (upstream's
    /// `setConsumerMessageMode`). Popped messages are leased one by one, so that a slow member or message holds no queue
    /// up.
    pub fn broker_assigned(mut self) -> Self {
        self.settings.broker_assigned = true;
        self
    }

    /// How long a popped message is this member's: a handler that takes longer may find its message handled again.
    /// Default 60 s.
    pub fn lease(mut self, invisible: Duration) -> Self {
        self.settings.lease = invisible;
        self
    }

    /// Refuses to [`connect`](Self::connect) while members of the group subscribe to a topic with another filter, which
    /// would lose messages for both. Without this the difference is only logged, because groups pass through it when
    /// their filter is changed member by member.
    pub fn strict_subscriptions(mut self) -> Self {
        self.settings.strict = true;
        self
    }

    /// Where the group begins in a queue that it has never consumed. Default [`ConsumeFrom::Latest`].
    pub fn consume_from(mut self, from: ConsumeFrom) -> Self {
        self.settings.from = from;
        self
    }

    /// Every member gets every message, and keeps its own offsets. Failed messages are not retried.
    pub fn broadcast(mut self, offsets: BroadcastOffsets) -> Self {
        self.settings.broadcast = Some(offsets);
        self
    }

    /// Messages handled at the same time, over all queues. Default 20.
    pub fn concurrency(mut self, messages: usize) -> Self {
        self.settings.concurrency = messages.max(1);
        self
    }

    /// Most messages of one pull. Default 32.
    pub fn pull_batch(mut self, messages: u16) -> Self {
        self.settings.batch = i32::from(messages.max(1));
        self
    }

    /// Fetched and unfinished messages of one queue beyond which it is not pulled. Default 1000 messages, 100 MiB.
    pub fn flow_control(mut self, messages: usize, bytes: usize) -> Self {
        self.settings.limits = FlowLimits { messages: messages.max(1), bytes: bytes.max(1) };
        self
    }

    /// Fetched and unfinished messages of all queues together beyond which none is pulled. Default no limit.
    pub fn total_flow_control(mut self, messages: usize, bytes: usize) -> Self {
        self.settings.total = FlowLimits { messages: messages.max(1), bytes: bytes.max(1) };
        self
    }

    /// Handles the messages of a queue in their order, one at a time, and no queue in two members of the group at once.
    /// A message that failed is tried again in its place, after [`suspend_time`](Self::suspend_time), and holds its queue
    /// up; without [`max_reconsume_times`](Self::max_reconsume_times) it does so until it succeeds.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), tenonmq_client::Error> {
    /// use tenonmq_client::{ConsumeOutcome, PushConsumer, ReceivedMessage};
    /// let consumer = PushConsumer::builder("127.0.0.1:9876")
    ///     .group("ledger")
    ///     .subscribe("bookings", "*")
    ///     .ordered()
    ///     .max_reconsume_times(100)
    ///     .listener(async |booking: ReceivedMessage| {
    ///         println!("{:?} in queue {}", booking.body(), booking.queue().queue_id);
    ///         ConsumeOutcome::Done
    ///     })
    ///     .connect()
    ///     .await?;
    /// # drop(consumer);
    /// # Ok(()) }
    /// ```
    pub fn ordered(mut self) -> Self {
        self.settings.ordered = true;
        self
    }

    /// How long an ordered consumer waits before it tries a failed message again. Default 1 s.
    pub fn suspend_time(mut self, pause: Duration) -> Self {
        self.settings.suspend = pause;
        self
    }

    /// A handler that takes longer is dropped and its message delivered again later. Default 15 minutes.
    pub fn consume_timeout(mut self, timeout: Duration) -> Self {
        self.settings.consume_timeout = timeout;
        self
    }

    /// Deliveries after the first, before a message goes to the group's dead-letter topic. Default 16; for ordered
    /// consumers no limit.
    pub fn max_reconsume_times(mut self, times: u16) -> Self {
        self.settings.max_reconsume_times = Some(i32::from(times));
        self
    }

    /// How long a broker holds a pull when there is no message. Default 15 s.
    pub fn long_poll(mut self, wait: Duration) -> Self {
        self.settings.long_poll = wait;
        self
    }

    /// How often progress is saved. Default 5 s; it is saved at shutdown too.
    pub fn commit_interval(mut self, period: Duration) -> Self {
        self.settings.commit_interval = period;
        self
    }

    /// How often the division of queues is looked at, beside each change that a broker tells of. Default 20 s.
    pub fn rebalance_interval(mut self, period: Duration) -> Self {
        self.settings.rebalance_interval = period;
        self
    }

    /// How long a shutdown waits for handlers that are running. Default 10 s.
    pub fn drain_timeout(mut self, wait: Duration) -> Self {
        self.settings.drain_timeout = wait;
        self
    }
}

impl<L: MessageListener> PushConsumerBuilder<L> {
    /// Checks the settings, joins the group, and starts to consume the queues that fall to this member.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot work, [`Error::Connect`] when no name server is reachable. Topics
    /// that do not exist yet are no error: they are consumed once they do.
    pub async fn connect(self) -> Result<PushConsumer, Error> {
        let settings = &self.settings;
        validate_group(&settings.group)?;
        if settings.subscriptions.is_empty() {
            return Err(Error::Config("a push consumer subscribes to at least one topic".into()));
        }
        for (topic, filter) in &settings.subscriptions {
            validate_topic(topic).map_err(|error| Error::Config(error.to_string()))?;
            filter.validate(topic)?;
        }
        if settings.commit_interval.is_zero() || settings.rebalance_interval.is_zero() {
            return Err(Error::Config("periods must not be zero".into()));
        }
        if settings.broker_assigned && (settings.ordered || settings.broadcast.is_some()) {
            return Err(Error::Config("a broker divides no queues of ordered or broadcasting consumers".into()));
        }
        start(self.client, self.settings, Arc::new(self.listener)).await
    }
}
