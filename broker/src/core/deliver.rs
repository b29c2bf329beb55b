//! The one way in which a message becomes visible: append it, then wake exactly those who wait on its queue.

use smallvec::SmallVec;
use tenonmq_protocol::message::record::NewRecord;
use tenonmq_storage::{AppendClass, AppendError, Appended, Queue, Store};

use super::waiters::Waiters;

/// Appends one record to `queue` and wakes the pulls that it concerns.
///
/// # Errors
/// What the store says; nothing was appended then.
pub fn append(
    store: &Store,
    waiters: &Waiters,
    queue: &Queue,
    record: &NewRecord<'_>,
    tags_code: i64,
    class: AppendClass,
) -> Result<Appended, AppendError> {
    let appended = store.append(queue, record, tags_code, class)?;
    waiters.arrived(queue, appended.queue_offset, tags_code);
    Ok(appended)
}

/// Appends several records in one step, all or nothing, and wakes the pulls that they concern.
///
/// # Errors
/// What the store says; nothing was appended then.
pub fn append_all(
    store: &Store,
    waiters: &Waiters,
    items: &[(&Queue, NewRecord<'_>, i64)],
    class: AppendClass,
) -> Result<SmallVec<[Appended; 2]>, AppendError> {
    let appended = store.append_all(items, class)?;
    for ((queue, _, tags_code), appended) in items.iter().zip(&appended) {
        waiters.arrived(queue, appended.queue_offset, *tags_code);
    }
    Ok(appended)
}

/// Appends a batch of `count` messages as one record and wakes every pull of the queue: the tags are inside.
///
/// # Errors
/// What the store says; nothing was appended then.
pub fn append_inner_batch(
    store: &Store,
    waiters: &Waiters,
    queue: &Queue,
    record: &NewRecord<'_>,
    count: u16,
    class: AppendClass,
) -> Result<Appended, AppendError> {
    let appended = store.append_inner_batch(queue, record, count, class)?;
    waiters.wake_all(queue);
    Ok(appended)
}
