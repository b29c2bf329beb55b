//! What a consumer tells brokers, and what it does when they speak first.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use tenonmq_protocol::{
    Command, RequestCode,
    body::heartbeat::{ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, MessageModel, SubscriptionData},
    message::properties::java_hash,
};
use tokio::sync::{Notify, mpsc};
use tracing::{debug, warn};

use super::{Filter, operators::Order};
use crate::{
    session::{Role, now_ms},
    transport::Connection,
};

/// One topic of a group.
pub(crate) struct Subscription {
    pub(crate) filter: Filter,
    /// Raised whenever this member's queues of the topic change; brokers compare it with that of the pulls.
    version: AtomicI64,
}

impl Subscription {
    pub(crate) fn new(filter: Filter) -> Self {
        Self { filter, version: AtomicI64::new(now_ms()) }
    }

    pub(crate) fn version(&self) -> i64 {
        self.version.load(Ordering::Relaxed)
    }

    /// A higher version, of the clock unless that stood still.
    pub(crate) fn renew(&self) {
        let now = now_ms();
        // only the balancing task renews, so nothing can come in between
        self.version.store(now.max(self.version() + 1), Ordering::Relaxed);
    }

    /// What brokers are told of it.
    pub(crate) fn data(&self, topic: &str) -> SubscriptionData {
        let tags: Vec<String> = match &self.filter {
            Filter::Tags(tags) => tags.iter().cloned().collect(),
            Filter::All | Filter::Sql(_) => Vec::new(),
        };
        SubscriptionData {
            topic: topic.to_owned(),
            sub_string: self.filter.expression(),
            code_set: tags.iter().map(|tag| java_hash(tag)).collect(),
            tags_set: tags.into_iter().collect(),
            sub_version: self.version(),
            expression_type: Some(self.filter.kind().to_owned()),
            ..SubscriptionData::default()
        }
    }
}

pub(crate) type Subscriptions = BTreeMap<Arc<str>, Subscription>;

/// What the session of a consumer says and hears.
pub(crate) struct ConsumerRole {
    pub(crate) group: String,
    pub(crate) consume_type: ConsumeType,
    pub(crate) message_model: MessageModel,
    pub(crate) consume_from: ConsumeFromWhere,
    pub(crate) subscriptions: Arc<Subscriptions>,
    /// Told when the division of queues has to be looked at.
    pub(crate) rebalance: Arc<Notify>,
    /// Where operators' requests are served, if at all.
    pub(crate) orders: Option<mpsc::Sender<Order>>,
}

impl Role for ConsumerRole {
    fn heartbeat(&self, client_id: &str) -> HeartbeatData {
        let consumer = ConsumerData {
            group_name: self.group.clone(),
            consume_type: self.consume_type,
            message_model: self.message_model,
            consume_from_where: self.consume_from,
            subscription_data_set: self.subscriptions.iter().map(|(topic, s)| s.data(topic)).collect(),
            unit_mode: false,
        };
        HeartbeatData { client_id: client_id.to_owned(), consumer_data_set: vec![consumer], ..HeartbeatData::default() }
    }

    fn groups(&self) -> (Option<&str>, Option<&str>) {
        (None, Some(&self.group))
    }

    fn request(&self, connection: &Arc<Connection>, request: Command) {
        match (RequestCode(request.code), &self.orders) {
            (RequestCode::NOTIFY_CONSUMER_IDS_CHANGED, _) => {
                debug!(group = self.group, peer = connection.address(), "the group's members changed");
                self.rebalance.notify_one();
            }
            (_, Some(orders)) => {
                if orders.try_send((Arc::clone(connection), request)).is_err() {
                    warn!(group = self.group, "too many requests of operators at once: one is dropped");
                }
            }
            (code, None) => debug!(code = code.0, "a broker's request that this consumer does not serve"),
        }
    }

    fn route_changed(&self) {
        self.rebalance.notify_one();
    }
}
