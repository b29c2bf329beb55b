//! Building a [`SimpleConsumer`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tenonmq_protocol::body::heartbeat::{ConsumeType, MessageModel};
use tokio::sync::Notify;

use super::{Leases, SimpleConsumer};
use crate::{
    config::{ClientConfig, validate_group},
    consumer::{
        ConsumeFrom, ConsumerRole, Filter, Subscription, Subscriptions, check_conflicts, check_filters,
        consume_from_name,
    },
    error::Error,
    message::validate_topic,
    session::Session,
};

/// How a simple consumer asks.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) group: String,
    pub(super) hold: Duration,
    pub(super) from: ConsumeFrom,
}

/// Settings of a simple consumer; ends in [`connect`](Self::connect).
#[derive(Debug, Clone)]
#[must_use]
pub struct SimpleConsumerBuilder {
    client: ClientConfig,
    settings: Settings,
    subscriptions: BTreeMap<String, Filter>,
}

impl SimpleConsumerBuilder {
    pub(super) fn new(client: ClientConfig) -> Self {
        let settings = Settings { group: String::new(), hold: Duration::from_secs(15), from: ConsumeFrom::default() };
        Self { client, settings, subscriptions: BTreeMap::new() }
    }

    /// The consumer group. Required. All members subscribe to the same topics with the same filters.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.settings.group = group.into();
        self
    }

    /// Adds a topic. The filter is a [`Filter`], or text: `"*"` for all, `"a || b"` for messages with one of these tags.
    pub fn subscribe(mut self, topic: impl Into<String>, filter: impl Into<Filter>) -> Self {
        self.subscriptions.insert(topic.into(), filter.into());
        self
    }

    /// Where the group begins in a queue that it has never consumed: at the oldest message, or (default) behind the
    /// newest. The protocol knows no time here.
    pub fn consume_from_earliest(mut self) -> Self {
        self.settings.from = ConsumeFrom::Earliest;
        self
    }

    /// Longest wait of a `receive` for its first message. Default 15 s; zero asks and does not wait.
    pub fn await_duration(mut self, wait: Duration) -> Self {
        self.settings.hold = wait;
        self
    }

    /// Checks the settings and joins the group.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that cannot work, [`Error::Connect`] when no name server is reachable,
    /// [`Error::Refused`] when a broker does not take an SQL filter. Topics that do not exist yet are no error here.
    pub async fn connect(self) -> Result<SimpleConsumer, Error> {
        validate_group(&self.settings.group)?;
        if self.subscriptions.is_empty() {
            return Err(Error::Config("a simple consumer subscribes to at least one topic".into()));
        }
        for (topic, filter) in &self.subscriptions {
            validate_topic(topic).map_err(|error| Error::Config(error.to_string()))?;
            filter.validate(topic)?;
        }
        let wanted = self.subscriptions.into_iter();
        let subscriptions: Subscriptions = wanted.map(|(topic, f)| (topic.into(), Subscription::new(f))).collect();
        let subscriptions = Arc::new(subscriptions);
        let role = ConsumerRole {
            group: self.settings.group.clone(),
            consume_type: ConsumeType::Actively,
            message_model: MessageModel::Clustering,
            consume_from: consume_from_name(self.settings.from),
            subscriptions: Arc::clone(&subscriptions),
            rebalance: Arc::new(Notify::new()),
            orders: None,
        };
        let session = Session::start(self.client, Arc::new(role)).await?;
        join_all(subscriptions.keys().map(|topic| session.route(topic))).await;
        check_filters(&session, &self.settings.group, &subscriptions).await?;
        check_conflicts(&session, &self.settings.group, &subscriptions, false).await?;
        session.heartbeat().await;
        let Settings { group, hold, from } = self.settings;
        Ok(SimpleConsumer { leases: Leases { session, group, subscriptions, from }, hold, turn: 0.into() })
    }
}
