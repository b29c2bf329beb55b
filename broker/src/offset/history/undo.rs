//! Taking a recorded move back.

use tenonmq_protocol::{
    body::offset_desk::{OffsetMove, OffsetStep, UndoMove},
    code::ResponseCode,
};

use super::Moved;
use crate::{core::Core, error::Refusal};

/// An offset that stands for none: Apache reads it as none, too.
const NONE: i64 = -1;

/// Brings a group back to where it was before the entry (540,011); the entry that says so. Live members are led there by
/// a reset mark, which their next pull takes.
///
/// # Errors
/// 22: no such entry. 29: it stands for moves that were not recorded one by one. 604: it was taken back already, or the
/// group has moved on since; not with `force`.
pub fn undo(core: &Core, asked: &UndoMove, by: &str) -> Result<OffsetMove, Refusal> {
    let id = asked.id;
    let Some(entry) = core.offset_history.find(id) else {
        return Err(Refusal::new(ResponseCode::QUERY_NOT_FOUND, format!("id: the history has no entry {id}")));
    };
    if entry.queues.is_empty() {
        return Err(Refusal::invalid(format!("id: entry {id} names no queues")));
    }
    if core.topics.get(&entry.topic).is_none() {
        let remark = format!("id: the topic {} of entry {id} does not exist any more", entry.topic);
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    }
    if !asked.force {
        check_unmoved(core, &entry)?;
    }
    let back = |step: &OffsetStep| {
        let from = standing(core, &entry, step.queue_id);
        OffsetStep { from, queue_id: step.queue_id, to: step.from }
    };
    let steps: Vec<_> = entry.queues.iter().map(back).collect();
    let moved =
        Moved { action: "undo", by, group: &entry.group, topic: &entry.topic, reason: &asked.reason, undoes: Some(id) };
    tracing::info!(group = entry.group, topic = entry.topic, id, by, "a move of offsets was taken back");
    let undone = core.offset_history.moved(&moved, steps, core.clock.now_ms());
    entry.queues.iter().try_for_each(|step| bring_back(core, &entry, step))?;
    Ok(undone)
}

fn standing(core: &Core, entry: &OffsetMove, queue_id: i32) -> Option<i64> {
    core.offsets.get(&entry.group, &entry.topic, queue_id)
}

fn check_unmoved(core: &Core, entry: &OffsetMove) -> Result<(), Refusal> {
    let id = entry.id;
    if let Some(undone) = core.offset_history.undone_by(id) {
        let remark = format!("entry {id} was taken back by entry {}", undone.id);
        return Err(Refusal::new(ResponseCode::ILLEGAL_OPERATION, remark));
    }
    for step in &entry.queues {
        let stands = standing(core, entry, step.queue_id);
        if stands != step.to.filter(|offset| *offset >= 0) {
            let shown = |offset: Option<i64>| offset.map_or("nowhere".to_owned(), |offset| offset.to_string());
            let (queue_id, stands, to) = (step.queue_id, shown(stands), shown(step.to));
            let remark = format!("queue {queue_id} stands at {stands}, not {to} as after entry {id}; force overrides");
            return Err(Refusal::new(ResponseCode::ILLEGAL_OPERATION, remark));
        }
        let end = core.store.find_queue(&entry.topic, step.queue_id).map_or(0, |queue| queue.max_offset());
        if let Some(offset) = step.from.filter(|offset| *offset > end) {
            let remark = format!("queue {} ends at {end}, before the {offset} of entry {id}", step.queue_id);
            return Err(Refusal::new(ResponseCode::ILLEGAL_OPERATION, remark));
        }
    }
    Ok(())
}

fn bring_back(core: &Core, entry: &OffsetMove, step: &OffsetStep) -> Result<(), Refusal> {
    let (group, topic, queue_id) = (&*entry.group, &*entry.topic, step.queue_id);
    let done = match step.from.filter(|offset| *offset >= 0) {
        Some(offset) => core.offsets.reset(group, topic, queue_id, offset),
        None => {
            core.offsets.take_reset(group, topic, queue_id);
            core.offsets.set(group, topic, queue_id, NONE) != crate::offset::Commit::Full
        }
    };
    if done {
        core.wake_for_reset(group, topic, queue_id);
        return Ok(());
    }
    Err(Refusal::new(ResponseCode::SYSTEM_BUSY, format!("the offset of queue {queue_id} cannot be stored")))
}
