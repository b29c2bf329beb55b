//! Ordered pops on disk: `config/consumerOrderInfo.json`, as Apache writes and reads it.
//!
//! The lease log has the same and more; the file is for Apache's broker, and for what Apache's broker left.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tenonmq_protocol::body::{OrderTable, QueueOrder};
use tenonmq_storage::{ConfigFile, FileError, Store};

use super::{
    lease::Leases,
    order::{ORDER_MAX, Order},
    state::Pops,
    table::{PopQueue, QueueState},
};
use crate::{
    core::{Core, LoadError, load_json, save_json},
    offset::Offsets,
};

/// Name of the file below `config/`.
pub const FILE_NAME: &str = "consumerOrderInfo.json";
/// What was not popped for this long is left out, in milliseconds.
const FORGOTTEN_MS: i64 = 24 * 3_600 * 1_000;

/// Where the table is kept, and how far it has come there.
pub(super) struct OrderFile {
    file: ConfigFile,
    changes: AtomicU64,
    /// Held while the file is written.
    saved: Mutex<u64>,
}

impl OrderFile {
    pub(super) fn new(store: &Store) -> Self {
        Self { file: store.config_file(FILE_NAME), changes: AtomicU64::new(0), saved: Mutex::new(0) }
    }

    pub(super) fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

impl Pops {
    /// Takes over what the file says of queues of which the log knows nothing newer.
    pub(super) fn load_orders(&self, offsets: &Offsets, now: i64) -> Result<(), LoadError> {
        let table: OrderTable = load_json(&self.orders.file)?.unwrap_or_default();
        for (key, queues) in table.table {
            let Some((topic, group)) = key.split_once('@') else { continue };
            let Some(of) = self.table.topic(group, topic) else { continue };
            for (queue_id, stored) in queues {
                let order = read(stored);
                if let Some(queue) = of.queue(queue_id) {
                    let mut state = queue.state.lock();
                    if state.order.as_ref().is_none_or(|own| own.pop_time < order.pop_time) {
                        state.order = Some(order);
                        self.arm(&queue, &mut state, now);
                    }
                    continue;
                }
                let Some(next) = offsets.get(group, topic, queue_id) else { continue };
                let leases = Leases::starting_at(next);
                let state = QueueState { leases, order: Some(order), stored: next, ..QueueState::default() };
                let tell = |queue: &PopQueue| self.log.append(queue.id, &self.told(queue, 0, &queue.state.lock()));
                match self.table.add(&of, queue_id, None, state, tell) {
                    Ok(Some(queue)) => self.arm(&queue, &mut queue.state.lock(), now),
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, key, queue_id, "an ordered pop is not taken over"),
                }
            }
        }
        Ok(())
    }

    /// Writes the file if something has changed since the last time. Blocking.
    ///
    /// # Errors
    /// It cannot be written; the next call tries again.
    pub fn save_orders(&self, core: &Core) -> Result<(), FileError> {
        let mut saved = self.orders.saved.lock();
        let changes = self.orders.changes.load(Ordering::Acquire); // what comes later is saved the next time
        if *saved == changes {
            return Ok(());
        }
        save_json(&self.orders.file, &self.order_table(core))?;
        *saved = changes;
        Ok(())
    }

    /// The table in the shape of the file.
    pub fn order_table(&self, core: &Core) -> OrderTable {
        let now = core.clock.now_ms();
        let mut table = OrderTable::default();
        for of in self.table.all() {
            let Some(topic) = core.topics.get(&of.topic) else { continue };
            let mut queues = BTreeMap::new();
            for queue in of.queues() {
                let mut state = queue.state.lock();
                let is_old = state.order.as_ref().is_some_and(|order| now - order.last_consumed > FORGOTTEN_MS);
                if is_old || queue.queue_id >= topic.config.read_queue_nums {
                    state.order = None;
                }
                if let Some(order) = &state.order {
                    queues.insert(queue.queue_id, written(order));
                }
            }
            if !queues.is_empty() && core.groups.contains(&of.group) {
                table.table.insert(format!("{}@{}", of.topic, of.group), queues);
            }
        }
        table
    }
}

fn written(order: &Order) -> QueueOrder {
    let first = order.offsets.first().copied().unwrap_or(0);
    let differences =
        order.offsets.iter().enumerate().map(|(at, offset)| if at == 0 { *offset } else { offset - first });
    QueueOrder {
        attempt_id: order.attempt.as_deref().map(str::to_owned),
        acked_bits: order.acked.cast_signed(),
        invisible_millis: Some(order.invisible),
        last_consumed: order.last_consumed,
        offsets: Some(differences.collect()),
        counts: (!order.counts.is_empty()).then(|| order.counts.clone()),
        visible_at: (!order.visible_at.is_empty()).then(|| order.visible_at.clone()),
        pop_time: order.pop_time,
    }
}

fn read(stored: QueueOrder) -> Order {
    let differences = stored.offsets.unwrap_or_default();
    let first = differences.first().copied().unwrap_or(0);
    let offset = |(at, difference): (usize, i64)| if at == 0 { difference } else { first.saturating_add(difference) };
    Order {
        pop_time: stored.pop_time,
        invisible: stored.invisible_millis.unwrap_or(0),
        offsets: differences.into_iter().enumerate().take(ORDER_MAX).map(offset).collect(),
        visible_at: stored.visible_at.unwrap_or_default(),
        counts: stored.counts.unwrap_or_default(),
        last_consumed: stored.last_consumed,
        acked: stored.acked_bits.cast_unsigned(),
        attempt: stored.attempt_id.map(Into::into),
    }
}
