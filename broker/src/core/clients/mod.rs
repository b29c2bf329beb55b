//! Who is connected: producer and consumer groups, their members and subscriptions.
//!
//! A connection belongs to a group from its first heartbeat for it until it unregisters, closes, or stays silent for too
//! long. A group exists while it has a member.
//!
//! Groups are found in a snapshot without a lock; pulls read a group's subscriptions the same way ([`consumers`]).
//! Everything that clients can make grow has a limit ([`Limits`]); what is refused is counted.
//!
//! Lock order: a group's members before the index of connections; never two groups at once.

mod consumers;
mod index;
mod members;
mod producers;
#[cfg(test)]
mod tests;
mod wants;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tenonmq_protocol::body::{ConsumerData, SubscriptionData};

pub use consumers::{ConsumerGroup, GroupView, Heard, Subscription, is_tag_type};
pub use members::{ClientInfo, Member};
pub use producers::ProducerGroup;

use super::snapshot_map::SnapshotMap;
use crate::{filter::Expressions, remoting::Connection};
use index::Index;
use members::Departure;

/// How much clients may make this broker remember about them.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Producer groups, and as many consumer groups, with members at the same time.
    pub groups: usize,
    /// Groups of each kind that one connection may be a member of.
    pub groups_per_connection: usize,
    /// Topics that one group may subscribe to.
    pub subscriptions_per_group: usize,
    /// Length of a client id or group name, in bytes.
    pub name_len: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { groups: 100_000, groups_per_connection: 1_000, subscriptions_per_group: 10_000, name_len: 1_024 }
    }
}

/// A heartbeat that asks for more than [`Limits`] allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many {what}: the limit is {limit}")]
pub struct TooMany {
    what: &'static str,
    limit: usize,
}

/// Numbers for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientCounts {
    /// Consumer groups with members.
    pub consumer_groups: usize,
    /// Producer groups with members.
    pub producer_groups: usize,
    /// Connections that belong to any group.
    pub connections: usize,
    /// Heartbeats, or parts of them, refused for a limit since the start.
    pub refused: u64,
    /// How often members of a group came to disagree, disagreed on something else, or agreed again since the start.
    pub conflict_changes: u64,
}

/// What happened to a consumer group when members left it.
#[derive(Debug)]
pub struct Left {
    /// The group.
    pub group: Arc<ConsumerGroup>,
    /// Those who left.
    pub gone: Vec<Arc<Member>>,
    /// Nobody is left, and the group is gone.
    pub last: bool,
}

/// All producers and consumers that are connected.
#[derive(Debug)]
pub struct Clients {
    consumers: SnapshotMap<ConsumerGroup>,
    producers: SnapshotMap<ProducerGroup>,
    index: Index,
    limits: Limits,
    expressions: Expressions,
    refused: AtomicU64,
    conflict_changes: AtomicU64,
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(Limits::default(), Expressions::default())
    }
}

impl Clients {
    /// Nobody is connected yet.
    pub fn new(limits: Limits, expressions: Expressions) -> Self {
        Self {
            consumers: SnapshotMap::with_limit(limits.groups),
            producers: SnapshotMap::with_limit(limits.groups),
            index: Index::default(),
            limits,
            expressions,
            refused: AtomicU64::new(0),
            conflict_changes: AtomicU64::new(0),
        }
    }

    /// A consumer group that has members.
    pub fn consumer_group(&self, name: &str) -> Option<Arc<ConsumerGroup>> {
        self.consumers.get(name)
    }

    /// A producer group that has members.
    pub fn producer_group(&self, name: &str) -> Option<Arc<ProducerGroup>> {
        self.producers.get(name)
    }

    /// What a group wants of a topic; `None` when the group has no members or does not want it.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<Arc<Subscription>> {
        self.consumers.with(group, |group| group.subscription(topic)).flatten()
    }

    /// Members of a producer group, oldest connection first.
    pub fn producers(&self, group: &str) -> Vec<Arc<Member>> {
        self.producer_group(group).map(|group| group.members()).unwrap_or_default()
    }

    /// The producer to ask next: members take turns.
    pub fn next_producer(&self, group: &str) -> Option<Arc<Member>> {
        self.producer_group(group)?.next()
    }

    /// The connection of a producer by its client id, whatever its groups; the newest when there are several.
    pub fn producer_client(&self, client_id: &str) -> Option<Arc<Connection>> {
        self.index.producer_client(client_id)
    }

    /// Every consumer group with members, in no order.
    pub fn consumer_groups(&self) -> Vec<Arc<ConsumerGroup>> {
        self.consumers.all().into_iter().map(|(_, group)| group).collect()
    }

    /// Every producer group with members, in no order.
    pub fn producer_groups(&self) -> Vec<Arc<ProducerGroup>> {
        self.producers.all().into_iter().map(|(_, group)| group).collect()
    }

    /// Groups whose subscription names the topic.
    pub fn subscribers(&self, topic: &str) -> Vec<Arc<ConsumerGroup>> {
        let groups = self.consumer_groups();
        groups.into_iter().filter(|group| group.view().subscription(topic).is_some()).collect()
    }

    /// Numbers for metrics.
    pub fn counts(&self) -> ClientCounts {
        ClientCounts {
            consumer_groups: self.consumers.len(),
            producer_groups: self.producers.len(),
            connections: self.index.len(),
            refused: self.refused.load(Ordering::Relaxed),
            conflict_changes: self.conflict_changes.load(Ordering::Relaxed),
        }
    }

    /// Takes in one consumer group of a heartbeat. `subscriptions` is `None` when the heartbeat leaves them out;
    /// `fingerprint` is 0 with heartbeats of the first version.
    ///
    /// # Errors
    /// The heartbeat asks for more than the limits allow; nothing has changed.
    pub fn consumer_heard(
        &self,
        info: &ClientInfo<'_>,
        data: &ConsumerData,
        subscriptions: Option<&[SubscriptionData]>,
        fingerprint: i32,
        now_ms: i64,
    ) -> Result<(Arc<ConsumerGroup>, Heard), TooMany> {
        self.check_names(info.client_id, &data.group_name)?;
        let topics = subscriptions.map_or(0, <[_]>::len);
        self.check("subscribed topics", topics, self.limits.subscriptions_per_group)?;
        if !self.consumers.with(&data.group_name, |group| group.has(info.connection)).unwrap_or(false) {
            let (consuming, _) = self.index.memberships(info.connection.id());
            self.check("consumer groups of one connection", consuming + 1, self.limits.groups_per_connection)?;
        }
        loop {
            let found =
                self.consumers.get_or_insert(&data.group_name, || ConsumerGroup::new(data, self.expressions.clone()));
            let Some((group, _)) = found else {
                return Err(self.too_many("consumer groups", self.limits.groups));
            };
            if let Some(heard) = group.heard(info, data, subscriptions, fingerprint, now_ms) {
                if heard.joined {
                    self.index.consumes(info.connection, &group);
                }
                self.count_conflict(heard.conflict_changed);
                return Ok((group, heard));
            }
            self.forget_consumers(&group); // retired a moment ago: its last member has left
        }
    }

    /// How a member would disagree with another member of its group if it wanted this; `None` when it would not.
    pub fn disagreement(&self, info: &ClientInfo<'_>, group: &str, wanted: &[SubscriptionData]) -> Option<String> {
        self.consumer_group(group)?.disagreement(info.client_id, wanted)
    }

    /// Takes in one producer group of a heartbeat. True when the connection was not a member before.
    ///
    /// # Errors
    /// The heartbeat asks for more than the limits allow; nothing has changed.
    pub fn producer_heard(&self, info: &ClientInfo<'_>, group_name: &str, now_ms: i64) -> Result<bool, TooMany> {
        self.check_names(info.client_id, group_name)?;
        if !self.producers.with(group_name, |group| group.has(info.connection)).unwrap_or(false) {
            let (_, producing) = self.index.memberships(info.connection.id());
            self.check("producer groups of one connection", producing + 1, self.limits.groups_per_connection)?;
        }
        loop {
            let found = self.producers.get_or_insert(group_name, || ProducerGroup::new(group_name));
            let Some((group, _)) = found else {
                return Err(self.too_many("producer groups", self.limits.groups));
            };
            match group.heard(info, now_ms) {
                Some(true) => {
                    self.index.produces(info.connection, info.client_id, &group);
                    return Ok(true);
                }
                Some(false) => return Ok(false),
                None => self.forget_producers(&group),
            }
        }
    }

    /// A client leaves a consumer group. `None` when the group has no members at all.
    pub fn consumer_left(&self, connection: &Connection, group: &str) -> Option<Left> {
        let group = self.consumers.get(group)?;
        self.index.consumes_no_more(connection.id(), &group);
        Some(self.after_consumers(group.leave(connection.id()), group))
    }

    /// A client leaves a producer group.
    pub fn producer_left(&self, connection: &Connection, group: &str) {
        let Some(group) = self.producers.get(group) else { return };
        self.index.produces_no_more(connection.id(), &group);
        if group.leave(connection.id()).last {
            self.forget_producers(&group);
        }
    }

    /// A connection has ended: it leaves all its groups. The consumer groups that lost it.
    pub fn connection_closed(&self, connection: &Connection) -> Vec<Left> {
        let Some(memberships) = self.index.remove(connection.id()) else { return Vec::new() };
        for group in memberships.producers {
            if group.leave(connection.id()).last {
                self.forget_producers(&group);
            }
        }
        let leave = |group: Arc<ConsumerGroup>| self.after_consumers(group.leave(connection.id()), group);
        memberships.consumers.into_iter().map(leave).collect()
    }

    /// Removes members that were silent since before `before_ms`. The consumer groups that lost some, and every
    /// connection to close.
    pub fn expire(&self, before_ms: i64) -> (Vec<Left>, Vec<Arc<Connection>>) {
        let mut left = Vec::new();
        let mut closing = Vec::new();
        for group in self.producer_groups() {
            let departure = group.drop_silent(before_ms);
            closing.extend(departure.gone.iter().map(|member| Arc::clone(member.connection())));
            for member in &departure.gone {
                self.index.produces_no_more(member.connection().id(), &group);
            }
            if departure.last {
                self.forget_producers(&group);
            }
        }
        for group in self.consumer_groups() {
            let departure = group.drop_silent(before_ms);
            closing.extend(departure.gone.iter().map(|member| Arc::clone(member.connection())));
            for member in &departure.gone {
                self.index.consumes_no_more(member.connection().id(), &group);
            }
            if !departure.gone.is_empty() || departure.last {
                left.push(self.after_consumers(departure, group));
            }
        }
        closing.sort_unstable_by_key(|connection| connection.id());
        closing.dedup_by_key(|connection| connection.id());
        (left, closing)
    }

    fn after_consumers(&self, departure: Departure, group: Arc<ConsumerGroup>) -> Left {
        if departure.last {
            self.forget_consumers(&group);
        }
        self.count_conflict(departure.conflict_changed);
        Left { group, gone: departure.gone, last: departure.last }
    }

    fn count_conflict(&self, changed: bool) {
        self.conflict_changes.fetch_add(u64::from(changed), Ordering::Relaxed);
    }

    fn forget_consumers(&self, group: &Arc<ConsumerGroup>) {
        self.consumers.remove_if(group.name(), |found| Arc::ptr_eq(found, group));
    }

    fn forget_producers(&self, group: &Arc<ProducerGroup>) {
        self.producers.remove_if(group.name(), |found| Arc::ptr_eq(found, group));
    }

    fn check_names(&self, client_id: &str, group: &str) -> Result<(), TooMany> {
        self.check("bytes in a client id", client_id.len(), self.limits.name_len)?;
        self.check("bytes in a group name", group.len(), self.limits.name_len)
    }

    fn check(&self, what: &'static str, count: usize, limit: usize) -> Result<(), TooMany> {
        if count <= limit { Ok(()) } else { Err(self.too_many(what, limit)) }
    }

    fn too_many(&self, what: &'static str, limit: usize) -> TooMany {
        self.refused.fetch_add(1, Ordering::Relaxed);
        TooMany { what, limit }
    }
}
