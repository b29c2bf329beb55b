//! Dividing the queues of a topic among the members of a group, for clients that ask the broker to (400).
//!
//! All queues of the topic are divided, those of other brokers too: a client asks any one of them. The members are those
//! that are connected here; clients connect to every broker of a topic, so all brokers divide in the same way.

use std::sync::Arc;

use tenonmq_protocol::{
    body::{Assignment, Assignments, MessageModel, MessageRequestMode, QueryAssignment, SetMessageRequestMode},
    message::MessageQueue,
};

use crate::core::{Core, names::RETRY_PREFIX};

/// Queue id that stands for all queues of a broker.
const ALL_QUEUES: i32 = -1;

/// Which queues a member shall read, and how. Without a list when topic, group or strategy are unknown: the client then
/// keeps what it has.
pub fn assign(core: &Core, asked: &QueryAssignment, queues: Option<Vec<MessageQueue>>) -> Assignments {
    let mode = mode_of(core, &asked.topic, &asked.consumer_group);
    let queues = queues.and_then(|queues| queues_for(core, asked, &mode, queues));
    let assigned = |queue| Assignment { attachments: None, message_queue: Some(queue), mode: mode.mode };
    Assignments { message_queue_assignments: queues.map(|queues| queues.into_iter().map(assigned).collect()) }
}

/// Queues of a topic that may be read, by broker and number. `None` when nobody knows it.
pub async fn queues(core: &Core, topic: &str) -> Option<Vec<MessageQueue>> {
    let (own, broker) = (core.topics.get(topic), core.identity.get().broker.clone());
    let own = own.as_deref().map(|own| (own, broker.as_str()));
    core.routes.readable(topic, own, core.clock.now_ms(), core.config.load().clients.route_period).await
}

fn mode_of(core: &Core, topic: &str, group: &str) -> SetMessageRequestMode {
    core.request_modes.get(topic, group).unwrap_or_else(|| {
        let pop = &core.config.load().pop;
        let pops = pop.by_default && !topic.starts_with(RETRY_PREFIX);
        SetMessageRequestMode {
            consumer_group: group.to_owned(),
            mode: if pops { MessageRequestMode::Pop } else { MessageRequestMode::Pull },
            pop_share_queue_num: if pops { pop.default_share_queues } else { 0 },
            topic: topic.to_owned(),
        }
    })
}

fn queues_for(
    core: &Core,
    asked: &QueryAssignment,
    mode: &SetMessageRequestMode,
    queues: Vec<MessageQueue>,
) -> Option<Vec<MessageQueue>> {
    if asked.message_model == MessageModel::Broadcasting || !core.config.load().clients.balance {
        return Some(queues);
    }
    let strategy = Strategy::named(&asked.strategy_name)?;
    let members = core.clients.consumer_group(&asked.consumer_group)?.client_ids();
    let share = |member: &str| strategy.share(member, &queues, &members);
    if mode.mode == MessageRequestMode::Pull {
        return Some(share(&asked.client_id));
    }
    let sharing = usize::try_from(mode.pop_share_queue_num).unwrap_or(0);
    if sharing == 0 || sharing + 1 >= members.len() {
        return Some(one_of_each_broker(queues));
    }
    let at = members.iter().position(|member| **member == *asked.client_id);
    let Some(at) = at else { return Some(Vec::new()) };
    if members.len() > queues.len() {
        return Some(at.checked_rem(queues.len()).and_then(|index| queues.get(index)).cloned().into_iter().collect());
    }
    let neighbours = members.iter().cycle().skip(at).take(sharing + 1);
    Some(neighbours.flat_map(|member| share(member)).collect())
}

/// All queues of each broker as one.
fn one_of_each_broker(mut queues: Vec<MessageQueue>) -> Vec<MessageQueue> {
    queues.dedup_by(|one, other| one.broker_name == other.broker_name);
    queues.iter_mut().for_each(|queue| queue.queue_id = ALL_QUEUES);
    queues
}

/// How queues are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    /// In runs of neighbours, the first members getting one more.
    Averagely,
    /// In turns.
    ByCircle,
}

impl Strategy {
    fn named(name: &str) -> Option<Self> {
        match name {
            "AVG" => Some(Self::Averagely),
            "AVG_BY_CIRCLE" => Some(Self::ByCircle),
            _ => None,
        }
    }

    /// The queues of one member; none for a stranger. `members` are ordered.
    fn share(self, member: &str, queues: &[MessageQueue], members: &[Arc<str>]) -> Vec<MessageQueue> {
        let Some(at) = members.iter().position(|other| **other == *member) else { return Vec::new() };
        match self {
            Self::Averagely => {
                let (each, more) = (queues.len() / members.len(), queues.len() % members.len());
                let start = at * each + at.min(more);
                queues.iter().skip(start).take(each + usize::from(at < more)).cloned().collect()
            }
            Self::ByCircle => queues.iter().skip(at).step_by(members.len()).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(strategy: Strategy, queues: i32, members: usize) -> Vec<Vec<i32>> {
        let queues: Vec<_> = (0..queues).map(|queue_id| MessageQueue::new("orders", "broker-a", queue_id)).collect();
        let members: Vec<Arc<str>> = (0..members).map(|at| format!("member {at}").into()).collect();
        let ids = |member: &Arc<str>| strategy.share(member, &queues, &members).iter().map(|q| q.queue_id).collect();
        members.iter().map(ids).collect()
    }

    #[test]
    fn queues_are_divided_in_runs_or_in_turns() {
        assert_eq!(shares(Strategy::Averagely, 5, 2), [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(shares(Strategy::ByCircle, 5, 2), [vec![0, 2, 4], vec![1, 3]]);
        assert_eq!(shares(Strategy::Averagely, 2, 3), [vec![0], vec![1], vec![]]);
        assert_eq!(shares(Strategy::ByCircle, 2, 3), [vec![0], vec![1], vec![]]);
    }

    #[test]
    fn a_client_that_pops_all_queues_pops_them_on_each_broker() {
        let queue = |broker, queue_id| MessageQueue::new("orders", broker, queue_id);
        let all = one_of_each_broker(vec![queue("a", 0), queue("a", 1), queue("b", 0)]);
        assert_eq!(all, [queue("a", -1), queue("b", -1)]);
    }
}
