//! Acknowledging: ACK_MESSAGE and BATCH_ACK_MESSAGE.
//!
//! Whoever acknowledges what is not leased any more, because it is done or because its time is up, is answered like anybody
//! else, as Apache does: the client has nothing left to do either way.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use tenonmq_protocol::{
    body::{BatchAck, BatchAckRequest},
    code::ResponseCode,
    header::{AckMessage, ORDERED_REVIVE_QUEUE, PopTopic as Kind, ReceiptHandle},
};

use super::{
    admit,
    lease::{Change, LeaseKey},
    order::{Acked, ORDER_MAX},
    record::Event,
    table::PopQueue,
};
use crate::{
    core::{Core, names, topics::Topic},
    error::Refusal,
};

/// What is odd about a handle, for people; the answer is success all the same.
pub type Oddity = Option<Cow<'static, str>>;

/// One message is done.
///
/// # Errors
/// 1: the handle cannot be read. 13: no such queue, or an ordered message that nobody popped. 17: no such topic.
/// 208: no such message.
pub fn ack(core: &Core, asked: &AckMessage<'_>, peer: SocketAddr) -> Result<Oddity, Refusal> {
    let topic = admit::existing(core, asked.topic)?;
    let (min, max) = queue_bounds(core, &topic, asked.queue_id, peer)?;
    if asked.offset < min || asked.offset > max {
        let remark = out_of_queue(asked.topic, asked.queue_id, asked.offset, min, max);
        return Err(Refusal::new(ResponseCode::NO_MESSAGE, remark));
    }
    let handle = ReceiptHandle::parse(asked.extra_info)?;
    let odd = odd(core, &handle, asked.topic, asked.consumer_group, asked.queue_id);
    let Some(queue) = find(core, asked.consumer_group, asked.topic, asked.queue_id) else { return Ok(odd) };
    if handle.is_ordered() {
        ack_ordered(core, &queue, asked.offset, handle.pop_time, peer)?;
        return Ok(odd);
    }
    if odd.is_none() {
        let key = LeaseKey { start: handle.start_offset, pop_time: handle.pop_time };
        ack_leased(core, &queue, key, std::iter::once(asked.offset))?;
    }
    Ok(odd)
}

/// Several messages are done. Those that are not there are passed over, as Apache does.
///
/// # Errors
/// 208: none are named. 13: as for one. 1: what kind of topic they are of cannot be read.
pub fn batch_ack(core: &Core, asked: &BatchAckRequest, peer: SocketAddr) -> Result<(), Refusal> {
    if asked.acks.is_empty() {
        return Err(Refusal::new(ResponseCode::NO_MESSAGE, "acks: none are named"));
    }
    let mut outcome = Ok(());
    for ack in &asked.acks {
        // the others are done even if one of them is not: the last refusal is the answer
        if let Err(refusal) = one_of_batch(core, ack, peer) {
            outcome = Err(refusal);
        }
    }
    outcome
}

fn one_of_batch(core: &Core, ack: &BatchAck, peer: SocketAddr) -> Result<(), Refusal> {
    let Some(kind) = Kind::from_text(&ack.kind) else {
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, format!("r: {:?} is no kind of topic", ack.kind)));
    };
    let real = real_topic(&ack.topic, &ack.consumer_group, kind);
    let Some(queue) = find(core, &ack.consumer_group, &real, ack.queue_id) else { return Ok(()) };
    if ack.revive_queue_id != ORDERED_REVIVE_QUEUE {
        let key = LeaseKey { start: ack.start_offset, pop_time: ack.pop_time };
        return ack_leased(core, &queue, key, ack.offsets());
    }
    let Some(stored) = core.store.find_queue(&real, ack.queue_id) else { return Ok(()) };
    let there = stored.min_offset()..=stored.max_offset();
    let mut outcome = Ok(());
    for offset in ack.offsets().filter(|offset| there.contains(offset)).take(ORDER_MAX) {
        if let Err(refusal) = ack_ordered(core, &queue, offset, ack.pop_time, peer) {
            outcome = Err(refusal);
        }
    }
    outcome
}

fn ack_leased(core: &Core, queue: &PopQueue, key: LeaseKey, offsets: impl Iterator<Item = i64>) -> Result<(), Refusal> {
    let mut state = queue.state.lock();
    let Some(lease) = state.leases.get(key) else { return Ok(()) };
    let last = lease.offset(key.start, u32::from(lease.count).saturating_sub(1));
    let known = offsets.take_while(|offset| *offset <= last).filter_map(|offset| lease.index(key.start, offset));
    let bits = known.fold(0, |bits, index| bits | 1u32 << index) & lease.pending;
    if bits == 0 {
        return Ok(());
    }
    core.pops.change(queue, &mut state, Change::Acked { key, bits }).map_err(not_written)?;
    core.pops.store_floor(core, queue, &mut state);
    drop(state);
    core.stats.acknowledged(&queue.of.topic, &queue.of.group, bits.count_ones().into());
    Ok(())
}

fn ack_ordered(
    core: &Core,
    queue: &Arc<PopQueue>,
    offset: i64,
    pop_time: i64,
    peer: SocketAddr,
) -> Result<(), Refusal> {
    let mut state = queue.state.lock();
    let old = state.leases.floor();
    if offset < old {
        return Ok(()); // done long ago
    }
    let acked = match state.order.as_mut() {
        Some(order) => order.ack(offset, pop_time),
        None => return Ok(()), // nobody holds it: nothing to move. Apache moves the group's offset behind it.
    };
    let next = match acked {
        Acked::Next(next) => next,
        Acked::Other => return Ok(()),
        Acked::Unknown => {
            let (topic, group, queue_id) = (&queue.of.topic, &queue.of.group, queue.queue_id);
            let remark = format!(
                "offset is illegal, key:{topic}@{group}@{queue_id}, old:{old}, commit:{offset}, next:-1, {peer}"
            );
            return Err(Refusal::new(ResponseCode::MESSAGE_ILLEGAL, remark));
        }
    };
    if let Some(bits) = state.order.as_ref().map(|order| order.acked) {
        core.pops.log.append(queue.id, &Event::OrderAcked { pop_time, bits }).map_err(not_written)?;
        core.pops.orders.note_change();
    }
    state.leases.advance(next.max(old));
    core.pops.store_floor(core, queue, &mut state);
    let now = core.clock.now_ms();
    let is_free = state.order.as_ref().is_none_or(|order| !order.blocks(None, now));
    if !is_free {
        core.pops.arm(queue, &mut state, now); // without this message it may be free sooner
    }
    drop(state);
    core.stats.acknowledged(&queue.of.topic, &queue.of.group, 1);
    if is_free {
        queue.of.waiting.arrived(queue.queue_id, None);
    }
    Ok(())
}

/// First offset of a queue and that of its next message.
///
/// # Errors
/// 13: the topic has no such queue.
pub(super) fn queue_bounds(core: &Core, topic: &Topic, queue_id: i32, peer: SocketAddr) -> Result<(i64, i64), Refusal> {
    let queue = topic.queue(&core.store, queue_id).filter(|_| queue_id < topic.config.read_queue_nums);
    let illegal = || Refusal::new(ResponseCode::MESSAGE_ILLEGAL, admit::illegal_queue(topic, queue_id, peer));
    queue.map(|queue| (queue.min_offset(), queue.max_offset())).ok_or_else(illegal)
}

/// That a queue has no such message, in Apache's words.
pub(super) fn out_of_queue(topic: &str, queue_id: i32, offset: i64, min: i64, max: i64) -> String {
    format!("offset is illegal, key:{topic}@{queue_id}, commit:{offset}, store:{min}~{max}")
}

/// The state of a queue that a group has popped.
pub(super) fn find(core: &Core, group: &str, topic: &str, queue_id: i32) -> Option<Arc<PopQueue>> {
    core.pops.table.find(group, topic)?.queue(queue_id)
}

/// What in a handle does not belong to the request that carries it.
pub(super) fn odd(core: &Core, handle: &ReceiptHandle<'_>, topic: &str, group: &str, queue_id: i32) -> Oddity {
    let own = core.identity.get();
    if handle.broker_name != &*own.broker {
        return Some(format!("extraInfo: it is of broker {}, this is {}", handle.broker_name, own.broker).into());
    }
    if handle.queue_id != queue_id {
        return Some(format!("extraInfo: it is of queue {}, queueId is {queue_id}", handle.queue_id).into());
    }
    if handle.kind != kind_of(topic, group) {
        let kind = handle.kind.as_str();
        return Some(format!("extraInfo: it is of a topic of kind {kind}, topic is {topic}").into());
    }
    None
}

/// What kind of topic this is for a group.
pub fn kind_of(topic: &str, group: &str) -> Kind {
    match topic.strip_prefix(names::RETRY_PREFIX) {
        None => Kind::Normal,
        Some(rest) if rest.strip_prefix(group).is_some_and(|rest| rest.starts_with('+')) => Kind::RetryV2,
        Some(_) => Kind::RetryV1,
    }
}

/// The topic that messages of this kind were popped from.
fn real_topic<'a>(topic: &'a str, group: &str, kind: Kind) -> Cow<'a, str> {
    let sign = match kind {
        Kind::Normal => return topic.into(),
        Kind::RetryV1 => "_",
        Kind::RetryV2 => "+",
    };
    [names::RETRY_PREFIX, group, sign, topic].concat().into()
}

pub(super) fn not_written(error: tenonmq_storage::FileError) -> Refusal {
    Refusal::new(ResponseCode::SYSTEM_ERROR, format!("the lease log cannot be written: {error}"))
}
