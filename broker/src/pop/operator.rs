//! What operators see of leases.

use tenonmq_protocol::body::{LeaseList, ListLeases, OpenLease};

use super::{
    lease::deadline,
    table::{PopQueue, QueueState},
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
    let limit = match asked.limit as usize {
        0 => DEFAULT_LIMIT,
        limit => limit.min(LARGEST_LIMIT),
    };
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
