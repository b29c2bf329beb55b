//! No stored offset lies beyond the end of its queue: else a group would pass over what is stored there later.
//!
//! A power cut can take messages from the log that a group had consumed, and leave the offset behind them. So at the start
//! after it such an offset is brought back to the end of the queue, and saved before the first message comes.

use std::collections::BTreeMap;

use tenonmq_protocol::body::offset_desk::OffsetStep;
use tenonmq_storage::{FileError, Role, Store};

use super::{
    Offsets, StoredOffset,
    history::{History, Moved},
};

/// Brings offsets back to the ends of their queues. A slave's may be ahead of what has come from its master. Blocking.
///
/// # Errors
/// The offsets cannot be saved.
pub fn bring_back(store: &Store, offsets: &Offsets, history: &History, now_ms: i64) -> Result<(), FileError> {
    if !store.recovery().machine_died || store.permit().role == Role::Slave {
        return Ok(());
    }
    let end = |topic: &str, queue_id| store.find_queue(topic, queue_id).map_or(0, |queue| queue.max_offset());
    let mut moved: BTreeMap<(String, String), Vec<OffsetStep>> = BTreeMap::new();
    for StoredOffset { group, topic, queue_id, offset } in offsets.beyond(&end) {
        let to = end(&topic, queue_id);
        tracing::warn!(group, topic, queue_id, offset, to, "an offset beyond the end of its queue is brought back");
        offsets.set(&group, &topic, queue_id, to);
        let step = OffsetStep { queue_id, from: Some(offset), to: Some(to) };
        moved.entry((group, topic)).or_default().push(step);
    }
    if moved.is_empty() {
        return Ok(());
    }
    offsets.save(now_ms)?;
    for ((group, topic), queues) in moved {
        let reason = "the log ends before it";
        let moved = Moved { action: "bring-back", by: "start", group: &group, topic: &topic, reason, undoes: None };
        history.moved(&moved, queues, now_ms);
    }
    Ok(())
}
