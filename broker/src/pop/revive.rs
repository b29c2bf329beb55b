//! Taking over what Apache's broker left open: its check points and acknowledgements in the revive topic.
//!
//! This broker writes no such records. Those of a directory that Apache's broker had come from the revive topic itself,
//! or out of the timer wheel when they are due. A check point becomes a lease here; an acknowledgement, which follows its
//! check point within a second, ends it. Invariant: the revive group's offset is that of the last record taken over, as
//! Apache stores it, so that neither broker reads a record twice, and none is passed over.
//!
//! Rules: `remoting.md` section 6.3, `store.md` section 13.

use std::sync::Arc;

use tenonmq_protocol::{
    body::{PopAck, PopCheckPoint, json},
    message::{
        RecordView,
        properties::{find, names as property},
    },
};
use tenonmq_storage::{FileError, Queue, Role};
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
};

use super::{
    lease::{Change, LEASE_MAX, Lease, LeaseKey, deadline},
    queue::{self, FROM_MIN},
    table::PopQueue,
};
use crate::{
    core::{Core, topics::Topic, waiters::Watcher},
    group::stopped,
};

/// Begins the name of the revive topic of any cluster.
const TOPIC_PREFIX: &str = "rmq_sys_REVIVE_LOG_";
/// The group whose offset says how far the revive topic is read.
const GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";
/// A lease lasts at least this long from its check point on, in milliseconds, so that its acknowledgements are seen.
const GRACE_MS: i64 = 3_000;
/// How often a slave, which takes nothing over, looks whether it still is one, in milliseconds.
const SLAVE_MS: i64 = 5_000;

struct Arrivals(Arc<Notify>);

impl Watcher for Arrivals {
    fn arrived(&self, _offset: i64, _tags_code: i64) {
        self.0.notify_one();
    }
}

/// Takes over what is there and what the timer wheel still brings, until `stop`.
pub async fn keep_taking_over(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let arrived = Arc::new(Notify::new());
    let watches: Vec<_> =
        queues(&core).iter().map(|queue| core.waiters.watch(queue, Arc::new(Arrivals(Arc::clone(&arrived))))).collect();
    while !watches.is_empty() && !*stop.borrow() {
        let is_slave = core.store.permit().role == Role::Slave;
        if !is_slave {
            let worker = Arc::clone(&core);
            if let Err(error) = spawn_blocking(move || step(&worker)).await {
                tracing::error!(%error, "taking check points over ended early");
            }
        }
        let look_again = core.clock.now_ms().saturating_add(SLAVE_MS);
        tokio::select! {
            () = arrived.notified() => {}
            () = core.clock.sleep_until(look_again), if is_slave => {}
            () = stopped(&mut stop) => {}
        }
    }
}

fn queues(core: &Core) -> Vec<Arc<Queue>> {
    let topics = core.topics.all().into_iter().filter(|topic| topic.config.topic_name.starts_with(TOPIC_PREFIX));
    let of_topic = |topic: Arc<Topic>| {
        let ids = 0..topic.queue_count();
        ids.filter_map(|id| topic.queue(&core.store, id).cloned()).collect::<Vec<_>>()
    };
    topics.flat_map(of_topic).collect()
}

/// Takes over what has not been. Blocking.
pub fn step(core: &Core) {
    for queue in queues(core) {
        if let Err(error) = take_over(core, &queue) {
            tracing::error!(%error, topic = queue.topic(), queue_id = queue.queue_id(), "check points are not taken over");
        }
    }
}

fn take_over(core: &Core, revive: &Queue) -> Result<(), FileError> {
    let known = core.offsets.get(GROUP, revive.topic(), revive.queue_id());
    let from = known.map_or(0, |last| last.saturating_add(1)).max(revive.min_offset());
    let mut last = None;
    for at in revive.entries(from) {
        let Some(bytes) = core.store.read_entry(&at.entry) else { continue };
        if let Ok(record) = RecordView::parse(&bytes) {
            take_record(core, &record)?;
        }
        last = Some(at.queue_offset);
    }
    if let Some(last) = last {
        core.offsets.set(GROUP, revive.topic(), revive.queue_id(), last);
    }
    Ok(())
}

fn take_record(core: &Core, record: &RecordView<'_>) -> Result<(), FileError> {
    let tags = find(record.properties_text(), property::TAGS).unwrap_or_default();
    let unreadable = |error: json::JsonError| {
        tracing::warn!(%error, tags, log_offset = record.physical_offset(), "a revive record cannot be read; passed over");
        Ok(())
    };
    match tags {
        "ck" => match json::from_slice::<PopCheckPoint>(record.body()) {
            Ok(point) => open(core, &point),
            Err(error) => unreadable(error),
        },
        "ack" | "bAck" => match json::from_slice::<PopAck>(record.body()) {
            Ok(ack) => end(core, &ack),
            Err(error) => unreadable(error),
        },
        _ => Ok(()),
    }
}

/// A check point of a topic or group that is gone concerns nobody, as with Apache.
fn open(core: &Core, point: &PopCheckPoint) -> Result<(), FileError> {
    let now = core.clock.now_ms();
    let Some(mut lease) = lease_of(point) else {
        tracing::warn!(?point, "a check point that names no messages is passed over");
        return Ok(());
    };
    let group = &*point.consumer_group;
    let stored = core.topics.get(&point.topic).and_then(|topic| topic.queue(&core.store, point.queue_id).cloned());
    let Some(stored) = stored.filter(|_| core.groups.contains(group)) else { return Ok(()) };
    let Some(of) = core.pops.table.topic(group, &point.topic) else {
        tracing::warn!(?point, "popPollingMapSize is reached; a check point is not taken over");
        return Ok(());
    };
    let Some(queue) = queue::open(core, &of, &stored, FROM_MIN)? else { return Ok(()) };
    let mut state = queue.state.lock();
    core.pops.follow_offset(core, &queue, &mut state)?;
    // Where a kill took the group's offset back, what was leased is popped here once more: then it need not come again.
    lease.end_from(point.start_offset, state.read_from.unwrap_or(i64::MAX));
    if lease.pending == 0 {
        return Ok(());
    }
    state.inherited_before = state.inherited_before.max(now); // Apache may have given some back already
    let key = LeaseKey { start: point.start_offset, pop_time: point.pop_time };
    let next = state.leases.next();
    let is_late = deadline(key, &lease) < now + GRACE_MS;
    core.pops.change(&queue, &mut state, Change::Leased { key, lease, next })?;
    if is_late {
        state.leases.postpone(key, now + GRACE_MS);
    }
    let before = state.stored;
    core.pops.store_floor(core, &queue, &mut state);
    if state.stored < before {
        let place = (group, &*point.topic, point.queue_id);
        let by = || "a lease of the broker before".to_owned();
        core.offset_history.backward(place, (before, state.stored), now, by);
    }
    core.pops.arm(&queue, &mut state, now);
    Ok(())
}

fn lease_of(point: &PopCheckPoint) -> Option<Lease> {
    let count = usize::try_from(point.count).ok().filter(|count| (1..=LEASE_MAX).contains(count))?;
    let offsets: Vec<i64> = match &point.offset_deltas {
        Some(deltas) => deltas.iter().take(count).map(|delta| point.start_offset + i64::from(*delta)).collect(),
        None => (point.start_offset..).take(count).collect(),
    };
    let ascends = offsets.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascends || offsets.first().is_none_or(|first| *first < point.start_offset || *first < 0) {
        return None;
    }
    let mut lease = Lease::of(point.start_offset, &offsets, point.invisible_millis, 0, 0);
    lease.pending &= !point.bit_map.cast_unsigned();
    Some(lease)
}

fn end(core: &Core, ack: &PopAck) -> Result<(), FileError> {
    let found = core.pops.table.find(&ack.consumer_group, &ack.topic).and_then(|of| of.queue(ack.queue_id));
    let Some(queue) = found else { return Ok(()) };
    let offsets = ack.ack_offsets.as_deref().unwrap_or(std::slice::from_ref(&ack.ack_offset));
    let key = LeaseKey { start: ack.start_offset, pop_time: ack.pop_time };
    end_messages(core, &queue, key, offsets)
}

fn end_messages(core: &Core, queue: &PopQueue, key: LeaseKey, offsets: &[i64]) -> Result<(), FileError> {
    let mut state = queue.state.lock();
    let indices = offsets.iter().filter_map(|offset| state.leases.pending_index(key, *offset));
    let bits = indices.fold(0, |bits, index| bits | 1u32 << index);
    if bits != 0 {
        core.pops.change(queue, &mut state, Change::Acked { key, bits })?;
        core.pops.store_floor(core, queue, &mut state);
    }
    Ok(())
}
