//! A member of a consumer group that is handed its messages.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tenonmq_protocol::{
    body::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel},
    message::queue::MessageQueue,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    ConsumeFrom, Filter, MessageListener, PushConsumerBuilder, QueueProgress, Scope,
    builder::PushSettings,
    conflict::check_conflicts,
    dispatch::{Delivery, dispatch},
    filter_check::check_filters,
    flow::Budget,
    lock, members,
    offset::OffsetStore,
    operators::{self, ORDER_QUEUE},
    ordered::{Lane, open_lanes},
    pause::Pauses,
    pop_lane::{PopQueue, open_pops},
    process_queue::ProcessQueue,
    progress,
    role::{ConsumerRole, Subscription, Subscriptions},
};
use crate::{
    config::ClientConfig,
    error::Error,
    pop::Leases,
    session::{Session, now_ms, ticker},
};

/// Consumes the queues that fall to it, until [shut down](Self::shutdown). Dropping it stops consuming at once;
/// progress since the last save is then consumed again.
///
/// ```no_run
/// # async fn example() -> Result<(), tenonmq_client::Error> {
/// use tenonmq_client::{ConsumeFrom, ConsumeOutcome, PushConsumer, ReceivedMessage};
/// let consumer = PushConsumer::builder("127.0.0.1:9876")
///     .group("billing")
///     .subscribe("paid", "card || cash")
///     .consume_from(ConsumeFrom::Earliest)
///     .listener(async |message: ReceivedMessage| {
///         println!("{}: {:?}", message.id(), message.body());
///         ConsumeOutcome::Done
///     })
///     .connect()
///     .await?;
/// tokio::signal::ctrl_c().await.ok();
/// consumer.shutdown().await;
/// # Ok(()) }
/// ```
pub struct PushConsumer {
    member: Arc<Member>,
}

/// What the tasks of one consumer share.
pub(crate) struct Member {
    pub(crate) session: Arc<Session>,
    pub(crate) settings: PushSettings,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) offsets: OffsetStore,
    pub(crate) queues: Mutex<HashMap<MessageQueue, Arc<ProcessQueue>>>,
    /// Queues that fall to this member and could not be taken, with why.
    pub(crate) not_taken: Mutex<BTreeMap<MessageQueue, String>>,
    pub(crate) rebalance: Arc<Notify>,
    pub(crate) pauses: Pauses,
    /// What all queues hold together.
    pub(crate) budget: Arc<Budget>,
    /// Queues that are popped.
    pub(crate) popped: Mutex<HashMap<MessageQueue, Arc<PopQueue>>>,
    /// Where they get their task.
    pub(crate) pops: mpsc::UnboundedSender<Arc<PopQueue>>,
    pub(crate) leases: Leases,
    /// Where an ordered consumer's queues get their task.
    pub(crate) lanes: mpsc::UnboundedSender<Lane>,
    /// Fetched messages on their way to the listener; the flow limits of the queues bound it.
    pub(crate) deliveries: mpsc::UnboundedSender<Delivery>,
    /// One permit for each message that may be handled at the same time.
    pub(crate) permits: Arc<Semaphore>,
    /// When it was started, ms since the Unix epoch.
    pub(crate) started_ms: i64,
    /// No more pulls, no more handlers.
    pub(crate) stopping: CancellationToken,
}

impl Member {
    pub(crate) fn is_broadcast(&self) -> bool {
        self.settings.broadcast.is_some()
    }

    /// Whether a queue is only handled under the group's lock.
    pub(crate) fn needs_locks(&self) -> bool {
        self.settings.ordered && !self.is_broadcast()
    }

    /// Deliveries after the first.
    pub(crate) fn max_reconsume_times(&self) -> i32 {
        self.settings.max_reconsume_times.unwrap_or(if self.settings.ordered { i32::MAX } else { 16 })
    }

    pub(crate) fn retry_topic(&self) -> String {
        retry_topic(&self.settings.group)
    }
}

/// Where a group's failed messages come back from.
pub(crate) fn retry_topic(group: &str) -> String {
    format!("%RETRY%{group}")
}

impl PushConsumer {
    /// Starts building a consumer for the given name servers (`host:port;host:port`) or [`ClientConfig`].
    pub fn builder(client: impl Into<ClientConfig>) -> PushConsumerBuilder {
        PushConsumerBuilder::new(client.into())
    }

    #[cfg(test)]
    pub(super) fn member(&self) -> &Member {
        &self.member
    }

    /// The queues that this member consumes now, sorted. Queue −1 stands for all that a broker has of the topic, popped.
    pub fn assignment(&self) -> Vec<MessageQueue> {
        let mut queues: Vec<_> = self.member.queues.lock().keys().cloned().collect();
        queues.extend(self.member.popped.lock().keys().cloned());
        queues.sort();
        queues
    }

    /// The consumer group.
    pub fn group(&self) -> &str {
        &self.member.settings.group
    }

    /// The id under which brokers know this member.
    pub fn client_id(&self) -> &str {
        &self.member.session.client_id
    }

    /// Starts no further handler and no further pull for this, until it is [resumed](Self::resume). Handlers that run
    /// go on; queues stay this member's. What is paused twice is paused once.
    ///
    /// ```no_run
    /// # async fn example(consumer: tenonmq_client::PushConsumer) {
    /// use tenonmq_client::Scope;
    /// consumer.pause("paid"); // a topic
    /// consumer.pause(Scope::Consumer);
    /// consumer.resume(Scope::Consumer);
    /// for queue in consumer.progress() {
    ///     println!("{:?}: {:?}, {} behind", queue.queue, queue.state, queue.lag());
    /// }
    /// # }
    /// ```
    pub fn pause(&self, scope: impl Into<Scope>) {
        self.member.pauses.add(scope.into());
    }

    /// Ends a [pause](Self::pause) of exactly this.
    pub fn resume(&self, scope: impl Into<Scope>) {
        self.member.pauses.lift(&scope.into());
    }

    /// What is paused, sorted.
    pub fn paused(&self) -> Vec<Scope> {
        self.member.pauses.list()
    }

    /// How far each queue of this member has come, and what it is doing or waiting for, sorted. Asks nobody.
    pub fn progress(&self) -> Vec<QueueProgress> {
        progress::of(&self.member)
    }

    /// Saves progress now instead of at the next interval.
    pub async fn commit(&self) {
        self.member.offsets.save().await;
    }

    /// Stops pulling, lets running handlers finish (for at most the drain timeout), saves progress and leaves the
    /// group, so that the other members take over at once.
    pub async fn shutdown(self) {
        let member = &self.member;
        member.stopping.cancel();
        let all = u32::try_from(member.settings.concurrency).unwrap_or(u32::MAX);
        let drained = timeout(member.settings.drain_timeout, member.permits.acquire_many(all)).await.is_ok();
        if !drained {
            warn!(group = self.group(), "shutdown does not wait longer for handlers");
        }
        member.offsets.save().await;
        if member.needs_locks() && drained {
            // after the offsets, so that the next owner begins behind what is done
            lock::unlock(member, &self.assignment()).await;
        }
        member.session.stop().await;
        info!(group = self.group(), "consumer stopped");
    }
}

impl Drop for PushConsumer {
    fn drop(&mut self) {
        self.member.stopping.cancel();
        self.member.session.closing.cancel();
    }
}

/// Joins the group and starts the tasks.
pub(super) async fn start<L: MessageListener>(
    client: ClientConfig,
    settings: PushSettings,
    listener: Arc<L>,
) -> Result<PushConsumer, Error> {
    let subscriptions = Arc::new(subscriptions_of(&settings));
    let rebalance = Arc::new(Notify::new());
    let (orders, ordered) = mpsc::channel(ORDER_QUEUE);
    let role = ConsumerRole {
        group: settings.group.clone(),
        consume_type: ConsumeType::Passively,
        message_model: if settings.broadcast.is_some() { MessageModel::Broadcasting } else { MessageModel::Clustering },
        consume_from: consume_from_name(settings.from),
        subscriptions: Arc::clone(&subscriptions),
        rebalance: Arc::clone(&rebalance),
        orders: Some(orders),
    };
    let session = Session::start(client, Arc::new(role)).await?;
    join_all(subscriptions.keys().map(|topic| session.route(topic))).await;
    check_filters(&session, &settings.group, &subscriptions).await?;
    check_conflicts(&session, &settings.group, &subscriptions, settings.strict).await?;
    let offsets = match &settings.broadcast {
        Some(place) => OffsetStore::local(&settings.group, place.clone()).await?,
        None => OffsetStore::remote(Arc::clone(&session), &settings.group),
    };
    let (deliveries, fetched) = mpsc::unbounded_channel();
    let (lanes, opened) = mpsc::unbounded_channel();
    let (pops, popping) = mpsc::unbounded_channel();
    let leases = Leases {
        session: Arc::clone(&session),
        group: settings.group.clone(),
        subscriptions: Arc::clone(&subscriptions),
        from: settings.from,
    };
    let budget = Arc::new(Budget::new(settings.total));
    let member = Arc::new(Member {
        permits: Arc::new(Semaphore::new(settings.concurrency)),
        session,
        settings,
        subscriptions,
        offsets,
        queues: Mutex::default(),
        not_taken: Mutex::default(),
        rebalance,
        pauses: Pauses::default(),
        budget,
        popped: Mutex::default(),
        pops,
        leases,
        lanes,
        deliveries,
        started_ms: now_ms(),
        stopping: CancellationToken::new(),
    });
    let consumer = PushConsumer { member: Arc::clone(&member) };
    members::join(&member).await;
    tokio::spawn(operators::serve(Arc::clone(&member), Arc::clone(&listener), ordered));
    if member.settings.broker_assigned {
        tokio::spawn(open_pops(Arc::clone(&member), Arc::clone(&listener), popping));
    }
    if member.settings.ordered {
        tokio::spawn(open_lanes(Arc::clone(&member), listener, opened));
    } else {
        tokio::spawn(dispatch(Arc::clone(&member), listener, fetched));
    }
    if member.needs_locks() {
        tokio::spawn(lock::keep_locked(Arc::clone(&member)));
    }
    tokio::spawn(members::keep_balanced(Arc::clone(&member)));
    tokio::spawn(save_periodically(member));
    Ok(consumer)
}

fn subscriptions_of(settings: &PushSettings) -> Subscriptions {
    let wanted = settings.subscriptions.iter();
    let mut all: Subscriptions =
        wanted.map(|(topic, filter)| (topic.as_str().into(), Subscription::new(filter.clone()))).collect();
    if settings.broadcast.is_none() {
        all.insert(retry_topic(&settings.group).into(), Subscription::new(Filter::All));
    }
    all
}

async fn save_periodically(member: Arc<Member>) {
    let mut ticks = ticker(member.settings.commit_interval);
    loop {
        tokio::select! { _ = ticks.tick() => {} () = member.stopping.cancelled() => return }
        member.offsets.save().await;
    }
}

/// The wire's word, for people who look at the group with its tools: the client itself decides.
pub(crate) fn consume_from_name(from: ConsumeFrom) -> ConsumeFromWhere {
    match from {
        ConsumeFrom::Latest => ConsumeFromWhere::LastOffset,
        ConsumeFrom::Earliest => ConsumeFromWhere::FirstOffset,
        ConsumeFrom::Timestamp(_) => ConsumeFromWhere::Timestamp,
    }
}

/// Milliseconds since the Unix epoch; 0 for times before it.
pub(super) fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64)
}
