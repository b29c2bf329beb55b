//! One consumer group as its members describe it.
//!
//! What pulls need (how the group consumes, and its subscriptions) is an immutable [`GroupView`], replaced as a whole
//! when a heartbeat changes it. A heartbeat that changes nothing writes one time stamp.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tenonmq_protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, GroupConflict, MessageModel, SubscriptionData,
};

use super::{
    members::{ClientInfo, Departure, Member, MemberList},
    wants::{self, Wants},
};
use crate::{
    filter::{self, Expressions, Filter},
    remoting::Connection,
};

/// What a group wants of one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// As the client sent it.
    pub data: SubscriptionData,
    /// Its filter, ready for use. [`Filter::NOTHING`] when the expression does not compile.
    pub filter: Filter,
}

impl Subscription {
    /// Prepares what a client sent.
    pub fn new(data: SubscriptionData, expressions: &Expressions) -> Self {
        let filter = Filter::subscribed(&data, expressions);
        Self { data, filter }
    }

    /// Whether it filters by tag.
    pub fn is_tag_type(&self) -> bool {
        is_tag_type(&self.data)
    }
}

/// Whether a subscription's expression is of type `TAG`, which is also what a missing type means.
pub fn is_tag_type(data: &SubscriptionData) -> bool {
    filter::is_tag_type(data.expression_type.as_deref())
}

/// How a group consumes, and what.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupView {
    /// By pulling, pushing or popping.
    pub consume_type: ConsumeType,
    /// Whether members share the messages or each gets all of them.
    pub message_model: MessageModel,
    /// Where members start without a stored offset.
    pub consume_from_where: ConsumeFromWhere,
    subscriptions: FxHashMap<String, Arc<Subscription>>,
}

impl GroupView {
    /// What the group wants of a topic; `None` when it is not subscribed.
    pub fn subscription(&self, topic: &str) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(topic)
    }

    /// Everything that the group wants, in no order.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        self.subscriptions.values()
    }

    fn of(data: &ConsumerData) -> Self {
        Self {
            consume_type: data.consume_type,
            message_model: data.message_model,
            consume_from_where: data.consume_from_where,
            subscriptions: FxHashMap::default(),
        }
    }

    fn describes(&self, data: &ConsumerData) -> bool {
        self.consume_type == data.consume_type
            && self.message_model == data.message_model
            && self.consume_from_where == data.consume_from_where
    }

    /// Whether every one of `wanted` is here in that version or a newer one, and nothing else but what `others` want.
    fn covers(&self, wanted: &[SubscriptionData], others: impl Fn(&str) -> bool) -> bool {
        let is_known = |data: &SubscriptionData| {
            self.subscriptions.get(&data.topic).is_some_and(|old| old.data.sub_version >= data.sub_version)
        };
        wanted.iter().all(is_known)
            && self.subscriptions.keys().all(|topic| wanted.iter().any(|data| data.topic == *topic) || others(topic))
    }

    /// Takes over what a member wants: newer versions replace older ones, topics that neither it nor `others` want go away.
    /// True when a topic came or went.
    fn update(
        &mut self,
        wanted: &[SubscriptionData],
        others: impl Fn(&str) -> bool,
        group: &ConsumerGroup,
        client_id: &str,
    ) -> bool {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| wanted.iter().any(|data| data.topic == *topic) || others(topic));
        let mut changed = self.subscriptions.len() != before;
        for data in wanted {
            match self.subscriptions.get(&data.topic) {
                None => changed = true,
                Some(old) if data.sub_version <= old.data.sub_version => continue,
                Some(old) if old.data.sub_string != data.sub_string => {
                    tracing::debug!(
                        group = %group.name,
                        topic = data.topic,
                        old = old.data.sub_string,
                        new = data.sub_string,
                        client_id,
                        "the group's subscription changed"
                    );
                }
                Some(_) => {}
            }
            let subscription = Subscription::new(data.clone(), &group.expressions);
            self.subscriptions.insert(data.topic.clone(), Arc::new(subscription));
        }
        changed
    }
}

/// What a heartbeat did to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// The connection was not a member before.
    pub joined: bool,
    /// A subscribed topic came or went.
    pub topics_changed: bool,
    /// Where members disagree has changed.
    pub conflict_changed: bool,
    /// The sender must send its subscriptions: they differ from what the group sent before, or none are known.
    pub wants_subscriptions: bool,
}

impl Heard {
    /// Whether the members have to divide the queues anew.
    pub fn rebalances(&self) -> bool {
        self.joined || self.topics_changed
    }
}

#[derive(Debug, Default)]
struct State {
    members: MemberList,
    /// Of the last heartbeat; 0 with a heartbeat of the first version.
    fingerprint: Option<i32>,
    /// Whether any heartbeat has brought subscriptions, even an empty set.
    has_subscriptions: bool,
    /// Where members disagree.
    conflict: Option<Arc<GroupConflict>>,
}

/// A consumer group with at least one member.
#[derive(Debug)]
pub struct ConsumerGroup {
    name: Arc<str>,
    expressions: Expressions,
    view: ArcSwap<GroupView>,
    state: Mutex<State>,
}

impl ConsumerGroup {
    pub(super) fn new(data: &ConsumerData, expressions: Expressions) -> Self {
        Self {
            name: data.group_name.as_str().into(),
            expressions,
            view: ArcSwap::from_pointee(GroupView::of(data)),
            state: Mutex::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How it consumes at this moment. No lock, no reference counted.
    pub fn view(&self) -> Guard<Arc<GroupView>> {
        self.view.load()
    }

    /// What it wants of a topic; `None` when it is not subscribed.
    pub fn subscription(&self, topic: &str) -> Option<Arc<Subscription>> {
        self.view().subscription(topic).cloned()
    }

    /// Whether each member gets all messages.
    pub fn is_broadcasting(&self) -> bool {
        self.view().message_model == MessageModel::Broadcasting
    }

    /// Its members, oldest connection first.
    pub fn members(&self) -> Vec<Arc<Member>> {
        self.state.lock().members.all().to_vec()
    }

    /// The names of its members, ordered, each once: a client that reconnected counts once although its old
    /// connection is not gone yet, or a queue would be given to nobody.
    pub fn client_ids(&self) -> Vec<Arc<str>> {
        let mut ids: Vec<_> =
            self.state.lock().members.all().iter().map(|member| Arc::clone(member.client_id())).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The member of that name; the newest connection when there are several.
    pub fn member(&self, client_id: &str) -> Option<Arc<Member>> {
        let state = self.state.lock();
        state.members.all().iter().rev().find(|member| **member.client_id() == *client_id).cloned()
    }

    /// Whether that connection is a member.
    pub fn has(&self, connection: &Connection) -> bool {
        self.state.lock().members.has(connection.id())
    }

    /// Takes in a heartbeat. `subscriptions` is `None` when it carries none. `None` when the group was just retired.
    pub(super) fn heard(
        &self,
        info: &ClientInfo<'_>,
        data: &ConsumerData,
        subscriptions: Option<&[SubscriptionData]>,
        fingerprint: i32,
        now_ms: i64,
    ) -> Option<Heard> {
        let mut state = self.state.lock();
        if state.members.retired {
            return None;
        }
        let known_before = state.has_subscriptions;
        state.has_subscriptions |= subscriptions.is_some();
        let before = state.fingerprint.replace(fingerprint);
        let differs = before.is_some_and(|before| before != fingerprint);
        let joined = state.members.seen(info, now_ms);
        let wants_changed = subscriptions.is_some_and(|wanted| state.members.wants(info.connection.id(), wanted));
        let topics_changed = self.update_view(data, subscriptions, info, &state.members);
        Some(Heard {
            joined,
            topics_changed,
            conflict_changed: wants_changed && self.compare(&mut state, now_ms),
            wants_subscriptions: differs || (subscriptions.is_none() && !known_before),
        })
    }

    /// Called with the state's lock held, so that views do not overtake each other.
    fn update_view(
        &self,
        data: &ConsumerData,
        subscriptions: Option<&[SubscriptionData]>,
        info: &ClientInfo<'_>,
        members: &MemberList,
    ) -> bool {
        // Apache drops such a topic, and takes it in again with the next heartbeat of the member that wants it.
        let others = |topic: &str| {
            let others = members.all().iter().filter(|member| **member.client_id() != *info.client_id);
            others.into_iter().any(|member| member.wants().said_of(topic).is_some())
        };
        let view = self.view.load();
        if view.describes(data) && subscriptions.is_none_or(|wanted| view.covers(wanted, others)) {
            return false;
        }
        let mut next = GroupView { subscriptions: view.subscriptions.clone(), ..GroupView::of(data) };
        let changed = subscriptions.is_some_and(|wanted| next.update(wanted, others, self, info.client_id));
        self.view.store(Arc::new(next));
        changed
    }

    /// Where its members disagree.
    pub fn conflict(&self) -> Option<Arc<GroupConflict>> {
        self.state.lock().conflict.clone()
    }

    /// How a member would disagree with another one if it wanted this.
    pub(super) fn disagreement(&self, client_id: &str, wanted: &[SubscriptionData]) -> Option<String> {
        let wants = Wants::of(wanted);
        let others = self.members();
        let others = others.iter().filter(|member| **member.client_id() != *client_id);
        others.into_iter().find_map(|member| {
            let difference = wants.difference(&member.wants())?;
            let (group, other) = (&self.name, member.client_id());
            Some(format!("member [{client_id}] of group [{group}] does not agree with member [{other}]: {difference}"))
        })
    }

    pub(super) fn leave(&self, connection_id: u64) -> Departure {
        self.depart(|members| members.remove(connection_id).into_iter().collect())
    }

    pub(super) fn drop_silent(&self, before_ms: i64) -> Departure {
        self.depart(|members| members.remove_silent(before_ms))
    }

    fn depart(&self, remove: impl FnOnce(&mut MemberList) -> Vec<Arc<Member>>) -> Departure {
        let mut state = self.state.lock();
        let mut departure = state.members.depart(remove);
        // Members that leave cannot bring a conflict about, only change or end one.
        if state.conflict.is_some() && !departure.gone.is_empty() {
            self.go_by(state.members.all());
            departure.conflict_changed = self.compare(&mut state, 0);
        }
        departure
    }

    /// Goes by what the members want that are still there. With Apache the expression of a member that has left stays in
    /// force as long as it is the newest.
    fn go_by(&self, members: &[Arc<Member>]) {
        let wants: Vec<_> = members.iter().map(|member| member.wants()).collect();
        if !wants.iter().all(|wants| wants.is_known()) {
            return;
        }
        let view = self.view.load();
        let mut next = GroupView::clone(&view);
        for (topic, subscription) in &view.subscriptions {
            let said = || wants.iter().filter_map(|wants| wants.said_of(topic));
            if said().any(|data| wants::same(data, &subscription.data)) {
                continue;
            }
            if let Some(newest) = said().max_by_key(|data| data.sub_version) {
                let subscription = Subscription::new(newest.clone(), &self.expressions);
                next.subscriptions.insert(topic.clone(), Arc::new(subscription));
            }
        }
        if next != **view {
            self.view.store(Arc::new(next));
        }
    }

    /// Looks anew where members disagree; true when that has changed. Said in the log once for each change.
    fn compare(&self, state: &mut State, now_ms: i64) -> bool {
        let since = state.conflict.as_ref().map_or(now_ms, |conflict| conflict.since);
        let found = wants::conflict(&self.name, state.members.all(), &self.view(), since);
        match (&state.conflict, &found) {
            (None, None) => return false,
            (Some(old), Some(new)) if old.topics == new.topics => return false,
            (_, Some(new)) => wants::tell(new),
            (Some(_), None) => tracing::info!(group = %self.name, "the members of the group agree again"),
        }
        state.conflict = found.map(Arc::new);
        true
    }
}
