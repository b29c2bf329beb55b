//! PEEK_MESSAGE: what a group would pop, left where it is.

use std::net::SocketAddr;

use bytes::Bytes;
use rand::Rng;
use smallvec::SmallVec;
use tenonmq_protocol::header::{PeekMessage, PopTopic as Kind};
use tenonmq_storage::FetchStatus;

use super::{
    admit, notify,
    read::{all_queues, retry_kind},
};
use crate::{
    core::{Core, names, topics::Topic},
    error::Refusal,
    pull,
};

/// In this share of peeks, in percent, the retry topic comes first.
const RETRY_FIRST_PERCENT: u32 = 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Peeked {
    /// Messages that the group has not popped, these included.
    pub rest: i64,
    /// Stored records, by reference to the log.
    pub records: SmallVec<[Bytes; 4]>,
    /// Messages in `records`.
    pub count: u32,
}

/// Looks.
///
/// # Errors
/// 16, 17, 26 or 29.
pub fn peek(core: &Core, asked: &PeekMessage<'_>, peer: SocketAddr) -> Result<Peeked, Refusal> {
    let topic = admit::look(core, &core.config.load(), &asked.into(), peer)?;
    let mut peeked = Peeked::default();
    let wanted = u32::try_from(asked.max_count).unwrap_or(0);
    let random = rand::rng().random_range(0..100_u32);
    let sign = if retry_kind(core, random) == Kind::RetryV2 { "+" } else { "_" };
    let retry_name = [names::RETRY_PREFIX, asked.consumer_group, sign, asked.topic].concat();
    let retry = core.topics.get(&retry_name);
    let retry_first = random < RETRY_FIRST_PERCENT;
    let mut look = |topic: &Topic, queue_id| of_queue(core, asked.consumer_group, topic, queue_id, wanted, &mut peeked);
    if let Some(retry) = retry.as_deref().filter(|_| retry_first) {
        all_queues(retry, random, |queue_id| look(retry, queue_id));
    }
    if asked.queue_id < 0 {
        all_queues(&topic, random, |queue_id| look(&topic, queue_id));
    } else {
        look(&topic, asked.queue_id);
    }
    if let Some(retry) = retry.as_deref().filter(|_| !retry_first) {
        all_queues(retry, random, |queue_id| look(retry, queue_id));
    }
    Ok(peeked)
}

fn of_queue(core: &Core, group: &str, topic: &Topic, queue_id: i32, wanted: u32, peeked: &mut Peeked) {
    let Some(queue) = topic.queue(&core.store, queue_id) else { return };
    let from = notify::next(core, group, &topic.config.topic_name, queue);
    peeked.rest += (queue.max_offset() - from).max(0);
    if peeked.count >= wanted {
        return;
    }
    let limits = pull::limits(core, &core.config.load().pull, (wanted - peeked.count).cast_signed(), 0);
    let mut fetched = core.store.fetch(queue, from, limits, |_| true);
    if matches!(fetched.status, FetchStatus::OffsetTooSmall | FetchStatus::OffsetOverflowBadly) {
        fetched = core.store.fetch(queue, fetched.next_begin, limits, |_| true);
    }
    peeked.count += fetched.count;
    peeked.records.append(&mut fetched.records);
}
