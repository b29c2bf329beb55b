//! One group's place in one queue: where a pop begins to read, and what may be stored as the group's offset.

use std::sync::{Arc, atomic::Ordering};

use tenonmq_storage::{FileError, Queue, Store};

use super::{
    lease::{Change, Leases},
    record::Event,
    state::Pops,
    table::{PopQueue, PopTopic, QueueState},
};
use crate::{
    core::{Core, names},
    offset::Commit,
};

/// Where a group begins that never popped: at the first message.
pub(super) const FROM_MIN: i32 = 0;

/// The state of a queue, made when the group pops it for the first time.
///
/// # Errors
/// The log cannot be written.
pub(super) fn open(
    core: &Core,
    of: &Arc<PopTopic>,
    queue: &Queue,
    init_mode: i32,
) -> Result<Option<Arc<PopQueue>>, FileError> {
    let queue_id = queue.queue_id();
    if let Some(found) = of.queue(queue_id) {
        return Ok(Some(found));
    }
    let stored = core.offsets.get(&of.group, &of.topic, queue_id);
    let next = stored.unwrap_or_else(|| first_offset(core, queue, init_mode));
    let leases = Leases::starting_at(next);
    let state = QueueState { leases, stored: next, read_from: Some(next), ..QueueState::default() };
    let tell = |queue: &PopQueue| core.pops.log.append(queue.id, &core.pops.told(queue, 0, &queue.state.lock()));
    let Some(added) = core.pops.table.add(of, queue_id, None, state, tell)? else { return Ok(None) };
    if stored.is_none() {
        core.offsets.set(&of.group, &of.topic, queue_id, next);
    }
    Ok(Some(added))
}

/// Where a group without an offset begins.
pub(super) fn first_offset(core: &Core, queue: &Queue, init_mode: i32) -> i64 {
    if init_mode == FROM_MIN || queue.topic().starts_with(names::RETRY_PREFIX) {
        return queue.min_offset().max(0);
    }
    let is_young = || {
        let end = core.store.watermarks().appended;
        let first = queue.entry(0);
        queue.min_offset() <= 0 && first.is_some_and(|first| end - first.physical_offset <= core.memory_hint_bytes)
    };
    if core.config.load().pop.init_by_memory && is_young() {
        return 0;
    }
    (queue.max_offset() - 1).max(0) // the last message is popped, as Apache does
}

impl Pops {
    /// Takes in what others have stored as the group's offset since the last time: a reset, or a commit of its own.
    pub(super) fn follow_offset(&self, core: &Core, queue: &PopQueue, state: &mut QueueState) -> Result<(), FileError> {
        let (group, topic) = (&*queue.of.group, &*queue.of.topic);
        if let Some(reset) = core.offsets.take_reset(group, topic, queue.queue_id) {
            self.set_order(queue, state, None)?;
            self.change(queue, state, Change::Reset { next: reset })?;
            state.stored = reset;
            return Ok(());
        }
        let Some(stored) = core.offsets.get(group, topic, queue.queue_id) else { return Ok(()) };
        if stored != state.stored {
            if stored > state.leases.next() || stored < state.stored {
                self.set_order(queue, state, None)?;
                self.change(queue, state, Change::Reset { next: stored })?;
            }
            state.stored = stored;
        }
        Ok(())
    }

    /// The group's offset was reset: a pop that waits for the queue looks again.
    pub fn wake(&self, group: &str, topic: &str, queue_id: i32) {
        if let Some(of) = self.table.find(group, topic) {
            of.waiting.arrived(queue_id, None);
        }
    }

    /// Stores how far the group is: never past its lowest open lease. It goes backward where a queue ends before the
    /// offset that was stored, and where a reset finds leases open; then the history says so.
    pub(super) fn store_floor(&self, core: &Core, queue: &PopQueue, state: &mut QueueState) {
        let offset = state.leases.floor();
        let (group, topic) = (&*queue.of.group, &*queue.of.topic);
        if offset != state.stored && !state.is_gone && !core.offsets.has_reset(group, topic, queue.queue_id) {
            if let Commit::Backward { from } = core.offsets.set(group, topic, queue.queue_id, offset) {
                let by = || "the broker, for its lowest open lease or the end of the queue".to_owned();
                let at = (group, topic, queue.queue_id);
                core.offset_history.backward(at, (from, offset), core.clock.now_ms(), by);
            }
            state.stored = offset;
        }
    }

    /// What an ordered group holds now.
    pub(super) fn set_order(
        &self,
        queue: &PopQueue,
        state: &mut QueueState,
        order: Option<super::order::Order>,
    ) -> Result<(), FileError> {
        if order.is_none() && state.order.is_none() {
            return Ok(());
        }
        let event = Event::Ordered(order);
        self.log.append(queue.id, &event)?;
        if let Event::Ordered(order) = event {
            state.order = order;
        }
        self.orders.note_change();
        Ok(())
    }

    /// A topic is gone: its leases are over, whoever holds them.
    pub fn remove_topic(&self, topic: &str) {
        for of in self.table.all() {
            if &*of.topic == topic {
                self.remove(&of);
            }
        }
    }

    /// A group is gone, and its leases with it.
    pub fn remove_group(&self, group: &str) {
        self.table.of_group(group).iter().for_each(|of| self.remove(of));
    }

    fn remove(&self, of: &PopTopic) {
        let Some(of) = self.table.remove(&of.group, &of.topic) else { return };
        for queue in of.queues() {
            let mut state = queue.state.lock();
            state.is_gone = true;
            if state.order.take().is_some() {
                self.orders.note_change();
            }
            self.open.fetch_sub(state.leases.len() as i64, Ordering::Relaxed);
            state.leases = Leases::default();
            if let Err(error) = self.log.append(queue.id, &Event::Dropped) {
                tracing::error!(%error, topic = &*of.topic, "the end of leases is not written");
            }
        }
        of.waiting.wake_all();
    }

    /// The record that begins the telling of a state.
    pub(super) fn told(&self, queue: &PopQueue, leases: usize, state: &QueueState) -> Event {
        Event::Queue {
            group: queue.of.group.to_string(),
            topic: queue.of.topic.to_string(),
            queue_id: queue.queue_id,
            next: state.leases.next(),
            leases: u32::try_from(leases).unwrap_or(u32::MAX),
            order: state.order.clone(),
        }
    }

    /// Tells every state anew and drops what the log held before. Blocking.
    pub(super) fn renew_log(&self, store: &Store) -> Result<(), FileError> {
        let tell = || {
            for queue in self.table.all().iter().flat_map(|of| of.queues()) {
                let state = queue.state.lock();
                if state.is_gone {
                    continue;
                }
                self.log.append(queue.id, &self.told(&queue, state.leases.len(), &state))?;
                for (key, lease) in state.leases.iter() {
                    self.log.append(queue.id, &Event::Kept(key, lease.clone()))?;
                }
            }
            Ok(())
        };
        // Copies that ended a lease must be as durable as the log that no longer tells of it.
        self.log.renew(tell, || store.flush())
    }
}
