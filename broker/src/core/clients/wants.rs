//! What each member of a group wants, and where members disagree.
//!
//! A group has one subscription for each topic, that of the newest version, and the broker goes by it for every member. A
//! member that wants something else gets the wrong messages, and its own are passed over in silence. So each member's own
//! wishes are kept beside it and compared whenever one of them changes.

use std::{collections::BTreeMap, sync::Arc};

use tenonmq_protocol::body::{GroupConflict, SubscriptionData, TopicConflict, WantedExpression};

use super::{consumers::GroupView, members::Member};
use crate::{
    core::names::RETRY_PREFIX,
    filter::{TAG, is_tag_type},
};

/// What one member wants.
#[derive(Debug, Default)]
pub(super) struct Wants {
    /// Ordered by topic, for comparing. Retry topics are left out: every member has its group's.
    wanted: Vec<Wanted>,
    /// As the member said it, ordered by topic.
    said: Vec<SubscriptionData>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    topic: String,
    kind: String,
    expression: String,
}

impl Wants {
    /// The wishes in a heartbeat.
    pub(super) fn of(subscriptions: &[SubscriptionData]) -> Self {
        let mut wants: Vec<_> =
            subscriptions.iter().filter(|data| !data.topic.starts_with(RETRY_PREFIX)).map(Wanted::of).collect();
        wants.sort_unstable();
        let mut said = subscriptions.to_vec();
        said.sort_unstable_by(|one, other| one.topic.cmp(&other.topic));
        Self { wanted: wants, said }
    }

    /// Whether both want the same, in whatever version.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.wanted == other.wanted
    }

    /// Whether both say the same, versions included.
    pub(super) fn is(&self, subscriptions: &[SubscriptionData]) -> bool {
        self.said.len() == subscriptions.len()
            && subscriptions.iter().all(|data| self.said_of(&data.topic) == Some(data))
    }

    /// What it said about a topic.
    pub(super) fn said_of(&self, topic: &str) -> Option<&SubscriptionData> {
        let at = self.said.binary_search_by(|data| data.topic.as_str().cmp(topic)).ok()?;
        self.said.get(at)
    }

    /// Members that assign queues themselves tell of no topics; nothing can be said about them.
    pub(super) fn is_known(&self) -> bool {
        !self.wanted.is_empty()
    }

    fn get(&self, topic: &str) -> Option<&Wanted> {
        let at = self.wanted.binary_search_by(|wanted| wanted.topic.as_str().cmp(topic)).ok()?;
        self.wanted.get(at)
    }

    /// The first difference to what another member wants, in words.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        if self.agrees(other) || !self.is_known() || !other.is_known() {
            return None;
        }
        let topics = self.wanted.iter().chain(&other.wanted).map(|wanted| &*wanted.topic);
        topics.map(|topic| (topic, self.get(topic), other.get(topic))).find(|(_, one, two)| one != two).map(
            |(topic, one, two)| {
                let said = |wanted: Option<&Wanted>| match wanted {
                    Some(wanted) => format!("{} [{}]", wanted.kind, wanted.expression),
                    None => "nothing".to_owned(),
                };
                format!("of topic {topic} it wants {}, the other one {}", said(one), said(two))
            },
        )
    }
}

impl Wanted {
    fn of(data: &SubscriptionData) -> Self {
        let kind = data.expression_type.as_deref().filter(|kind| !is_tag_type(Some(kind))).unwrap_or(TAG).to_owned();
        let expression = if kind == TAG { ordered_tags(&data.sub_string) } else { data.sub_string.clone() };
        Self { topic: data.topic.clone(), kind, expression }
    }
}

/// Tags in order and once, so that `b || a` is `a||b`.
fn ordered_tags(expression: &str) -> String {
    let mut tags: Vec<_> = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()).collect();
    tags.sort_unstable();
    tags.dedup();
    if tags.is_empty() { "*".to_owned() } else { tags.join("||") }
}

/// Where members disagree; `None` when they do not. Topics and expressions are in order.
pub(super) fn conflict(group: &str, members: &[Arc<Member>], view: &GroupView, since: i64) -> Option<GroupConflict> {
    let members: Vec<_> = members
        .iter()
        .map(|member| (member.client_id(), member.wants()))
        .filter(|(_, wants)| wants.is_known())
        .collect();
    let (first, others) = members.split_first()?;
    if others.iter().all(|(_, wants)| wants.agrees(&first.1)) {
        return None;
    }
    let mut topics: BTreeMap<&str, BTreeMap<(&str, &str), Vec<String>>> = BTreeMap::new();
    for (client_id, wants) in &members {
        for wanted in &wants.wanted {
            let clients =
                topics.entry(&wanted.topic).or_default().entry((&wanted.kind, &wanted.expression)).or_default();
            clients.push(client_id.to_string());
        }
    }
    let disputed = topics.into_iter().filter_map(|(topic, expressions)| {
        let unwanted: Vec<_> = members.iter().filter(|(_, wants)| wants.get(topic).is_none()).collect();
        let is_disputed = expressions.len() > 1 || !unwanted.is_empty();
        is_disputed.then(|| TopicConflict {
            effective: view.subscription(topic).map(|subscription| wanted_expression(&Wanted::of(&subscription.data))),
            topic: topic.to_owned(),
            unwanted_by: unwanted.into_iter().map(|(client_id, _)| client_id.to_string()).collect(),
            wanted: expressions
                .into_iter()
                .map(|((kind, expression), clients)| WantedExpression {
                    clients,
                    expression: expression.to_owned(),
                    expression_type: kind.to_owned(),
                })
                .collect(),
        })
    });
    Some(GroupConflict { group: group.to_owned(), since, topics: disputed.collect() })
}

/// Whether two subscriptions to one topic ask for the same messages.
pub(super) fn same(one: &SubscriptionData, other: &SubscriptionData) -> bool {
    Wanted::of(one) == Wanted::of(other)
}

fn wanted_expression(wanted: &Wanted) -> WantedExpression {
    WantedExpression {
        clients: Vec::new(),
        expression: wanted.expression.clone(),
        expression_type: wanted.kind.clone(),
    }
}

/// Says where members disagree.
pub(super) fn tell(conflict: &GroupConflict) {
    for topic in &conflict.topics {
        let wanted: Vec<_> = topic
            .wanted
            .iter()
            .map(|wanted| format!("{} [{}] by {:?}", wanted.expression_type, wanted.expression, wanted.clients))
            .collect();
        tracing::warn!(
            group = conflict.group,
            topic = topic.topic,
            wanted = wanted.join(", "),
            unwanted_by = ?topic.unwanted_by,
            "members of one group want different things, which loses messages"
        );
    }
}
