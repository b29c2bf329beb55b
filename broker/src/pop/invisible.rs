//! CHANGE_MESSAGE_INVISIBLETIME: a message that is leased stays so for another time, in a lease of its own.

use std::net::SocketAddr;

use tenonmq_protocol::{
    code::ResponseCode,
    header::{ChangeInvisibleTime, ChangeInvisibleTimeResult, ReceiptHandle},
};

use super::{
    ack::{Oddity, find, not_written, odd, queue_bounds},
    admit,
    lease::{Change, LeaseKey},
    table::PopQueue,
};
use crate::{core::Core, error::Refusal};

/// What the client's new handle consists of; `None`: nothing is to be changed any more.
pub type Changed = Option<ChangeInvisibleTimeResult>;

/// Gives a message another time.
///
/// # Errors
/// 1: the handle cannot be read. 13: no such queue. 17: no such topic. 208: no such message.
pub fn change(core: &Core, asked: &ChangeInvisibleTime<'_>, peer: SocketAddr) -> Result<(Changed, Oddity), Refusal> {
    let topic = admit::existing(core, asked.topic)?;
    let (min, max) = queue_bounds(core, &topic, asked.queue_id, peer)?;
    if asked.offset < min || asked.offset >= max {
        let remark = super::ack::out_of_queue(asked.topic, asked.queue_id, asked.offset, min, max);
        return Err(Refusal::new(ResponseCode::NO_MESSAGE, remark));
    }
    let handle = ReceiptHandle::parse(asked.extra_info)?;
    let now = core.clock.now_ms();
    let new = |pop_time| ChangeInvisibleTimeResult {
        pop_time,
        invisible_millis: asked.invisible_millis,
        revive_queue_id: handle.revive_queue_id,
    };
    let odd = odd(core, &handle, asked.topic, asked.consumer_group, asked.queue_id);
    let queue = find(core, asked.consumer_group, asked.topic, asked.queue_id);
    if handle.is_ordered() {
        let changed = queue.map(|queue| change_ordered(core, &queue, asked, &handle)).transpose()?;
        return Ok((changed.flatten(), odd));
    }
    let Some(queue) = queue.filter(|_| odd.is_none()) else {
        return Ok((Some(new(now)), odd.or(Some(NOT_LEASED.into()))));
    };
    let mut state = queue.state.lock();
    let key = LeaseKey { start: handle.start_offset, pop_time: handle.pop_time };
    let Some(index) = state.leases.pending_index(key, asked.offset) else {
        return Ok((Some(new(now)), Some(NOT_LEASED.into())));
    };
    let pop_time = state.leases.free_pop_time(asked.offset, now);
    let stored = topic.queue(&core.store, asked.queue_id);
    let physical = stored.and_then(|queue| queue.entry(asked.offset)).map_or(0, |entry| entry.physical_offset);
    let moved = Change::Moved { key, index, pop_time, invisible: asked.invisible_millis, physical };
    core.pops.change(&queue, &mut state, moved).map_err(not_written)?;
    core.pops.arm(&queue, &mut state, now);
    Ok((Some(new(pop_time)), None))
}

const NOT_LEASED: &str = "extraInfo: no such message is leased; it is done, or was given back";

fn change_ordered(
    core: &Core,
    queue: &std::sync::Arc<PopQueue>,
    asked: &ChangeInvisibleTime<'_>,
    handle: &ReceiptHandle<'_>,
) -> Result<Changed, Refusal> {
    let mut state = queue.state.lock();
    if asked.offset < state.leases.floor() {
        return Ok(None); // done long ago
    }
    let now = core.clock.now_ms();
    let visible_at = now.saturating_add(asked.invisible_millis);
    let mut order = state.order.clone();
    if order.as_mut().is_some_and(|order| order.show_at(asked.offset, handle.pop_time, visible_at)) {
        core.pops.set_order(queue, &mut state, order).map_err(not_written)?;
        state.armed = None; // it may be free sooner now
        core.pops.arm(queue, &mut state, now);
    }
    Ok(Some(ChangeInvisibleTimeResult {
        pop_time: handle.pop_time,
        invisible_millis: visible_at.saturating_sub(handle.pop_time),
        revive_queue_id: handle.revive_queue_id,
    }))
}
