//! What operators see of leases.

use tenonmq_protocol::body::{LeaseList, LeaseQueue, LeaseQueues, ListLeaseQueues, ListLeases, OpenLease};

use super::{
    lease::deadline,
    table::{PopQueue, PopTopic, QueueState},
    wait::{ANY_QUEUE, Kind},
};
use crate::{core::Core, error::Refusal};

const DEFAULT_LIMIT: usize = 1_000;
const LARGEST_LIMIT: usize = 100_000;

/// Open leases of a group, by topic, queue and start.
///
/// # Errors
/// 29: the group is not named.
pub fn list(core: &Core, asked: &ListLeases) -> Result<LeaseList, Refusal> {
    if asked.group.is_empty() {
        return Err(Refusal::invalid("group: it is not named"));
    }
    let limit = limit(asked.limit);
    let mut list = LeaseList::default();
    let mut topics = core.pops.table.of_group(&asked.group);
    topics.retain(|of| asked.topic.as_deref().is_none_or(|topic| topic == &*of.topic));
    topics.sort_by(|one, other| one.topic.cmp(&other.topic));
    for queue in topics.iter().flat_map(|of| of.queues()) {
        if asked.queue_id.is_none_or(|queue_id| queue_id == queue.queue_id) {
            add(&queue, &queue.state.lock(), limit, &mut list);
        }
    }
    Ok(list)
}

/// Queues of which something is leased, by group, topic and queue.
pub fn queues(core: &Core, asked: &ListLeaseQueues) -> LeaseQueues {
    let limit = limit(asked.limit);
    let mut topics = match &asked.group {
        Some(group) => core.pops.table.of_group(group),
        None => core.pops.table.all(),
    };
    topics.retain(|of| asked.topic.as_deref().is_none_or(|topic| topic == &*of.topic));
    topics.sort_by(|one, other| (&one.group, &one.topic).cmp(&(&other.group, &other.topic)));
    let mut found = LeaseQueues { open: core.pops.open_leases(), ..LeaseQueues::default() };
    for (of, queue) in topics.iter().flat_map(|of| of.queues().into_iter().map(move |queue| (of, queue))) {
        let Some(told) = of_queue(of, &queue, core.clock.now_ms()) else { continue };
        found.total += 1;
        if found.queues.len() < limit {
            found.queues.push(told);
        }
    }
    found
}

fn of_queue(of: &PopTopic, queue: &PopQueue, now: i64) -> Option<LeaseQueue> {
    let state = queue.state.lock();
    let held = state.order.as_ref().map_or(0, |order| order.open().count());
    if state.leases.is_empty() && held == 0 {
        return None;
    }
    let free_at = state.order.as_ref().and_then(|order| order.free_at(now));
    let held_since = state.order.as_ref().filter(|_| held > 0).map(|order| order.pop_time);
    let told = LeaseQueue {
        group: of.group.to_string(),
        leases: state.leases.len() as i64 + i64::from(held > 0),
        messages: (state.leases.pending() + held) as i64,
        next: state.leases.next(),
        next_due: state.leases.earliest().into_iter().chain(free_at).min(),
        offset: state.leases.floor(),
        oldest: state.leases.iter().map(|(key, _)| key.pop_time).chain(held_since).min(),
        ordered: held > 0,
        queue_id: queue.queue_id,
        topic: of.topic.to_string(),
        waiting: 0,
    };
    drop(state);
    let waiting = of.waiting.count(Kind::Pop, ANY_QUEUE) + of.waiting.count(Kind::Pop, queue.queue_id);
    Some(LeaseQueue { waiting: waiting as i64, ..told })
}

fn limit(asked: u32) -> usize {
    match asked as usize {
        0 => DEFAULT_LIMIT,
        limit => limit.min(LARGEST_LIMIT),
    }
}

fn add(queue: &PopQueue, state: &QueueState, limit: usize, list: &mut LeaseList) {
    let topic = || queue.of.topic.to_string();
    for (key, lease) in state.leases.iter() {
        list.total += 1;
        list.messages += i64::from(lease.pending_count());
        if list.leases.len() < limit {
            list.leases.push(OpenLease {
                topic: topic(),
                queue_id: queue.queue_id,
                start: key.start,
                pop_time: key.pop_time,
                deadline: deadline(key, lease),
                count: lease.count.into(),
                acked: i32::from(lease.count) - lease.pending_count().cast_signed(),
                pending: lease.pending_offsets(key.start).collect(),
                ordered: false,
            });
        }
    }
    let Some(order) = state.order.as_ref().filter(|order| order.open().next().is_some()) else { return };
    let pending: Vec<i64> = order.open().collect();
    list.total += 1;
    list.messages += pending.len() as i64;
    if list.leases.len() < limit {
        let count = i32::try_from(order.offsets.len()).unwrap_or(i32::MAX);
        list.leases.push(OpenLease {
            topic: topic(),
            queue_id: queue.queue_id,
            start: order.offsets.first().copied().unwrap_or(0),
            pop_time: order.pop_time,
            deadline: order.free_at(i64::MIN).unwrap_or(order.pop_time),
            count,
            acked: count - pending.len() as i32,
            pending,
            ordered: true,
        });
    }
}
