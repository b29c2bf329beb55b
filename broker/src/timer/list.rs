//! What waits, for operators: the next ones due, and taking those with a business key back.

use std::net::SocketAddr;

use tenonmq_protocol::body::timer_desk::{ListTimers, PendingTimer, RecallTimers, RecalledTimers, TimerList};
use tenonmq_protocol::code::ResponseCode;
use tenonmq_storage::Role;

use super::{Timer, index::Key, recall::Target, state, timed::Timed};
use crate::{core::Core, error::Refusal};

/// Timers in one answer, unless fewer are asked for; and at most.
const LISTED: usize = 100;
const LISTED_AT_MOST: usize = 1000;
/// Messages taken back by one request.
const RECALLED_AT_MOST: usize = 1000;

/// The pending timers that are due first. Blocking: reads a record for each one it looks at.
///
/// # Errors
/// None at present.
pub fn list(core: &Core, asked: &ListTimers) -> Result<TimerList, Refusal> {
    let max = asked.max.map_or(LISTED, |max| max as usize).min(LISTED_AT_MOST);
    let keys = pending(core);
    let count = keys.len() as u64;
    let matches = |timed: &Timed<'_>| asked.topic.as_ref().is_none_or(|topic| timed.real_topic == topic);
    Ok(TimerList { pending: count, timers: find(core, keys, max, matches) })
}

/// Takes back what waits with a business key. Blocking, as [`list`].
///
/// # Errors
/// 29 without topic or key, 11 when this broker is not the master, and what the store says.
pub fn recall_by_key(core: &Core, asked: &RecallTimers, from: SocketAddr) -> Result<RecalledTimers, Refusal> {
    for (field, value) in [("topic", &asked.topic), ("key", &asked.key)] {
        if value.trim().is_empty() {
            return Err(Refusal::invalid(format!("the field {field} is empty")));
        }
    }
    if core.store.permit().role != Role::Master {
        return Err(Refusal::new(ResponseCode::SLAVE_NOT_AVAILABLE, "timers are recalled at the master"));
    }
    let has_key = |timed: &Timed<'_>| {
        timed.real_topic == asked.topic
            && timed.unique_key.is_some()
            && timed.keys.is_some_and(|keys| keys.split(' ').any(|key| key == asked.key))
    };
    let recalled = find(core, pending(core), RECALLED_AT_MOST, has_key);
    if !asked.dry_run {
        for timer in &recalled {
            let precision_ms = core.config.load().messages.timer_precision_ms;
            let unique_key = timer.unique_key.as_deref().unwrap_or_default(); // there is one: see above
            let second = state::peek(&core.store, core.timers.queue(), timer.queue_offset, |timed| timed.out_ms);
            let out_ms = second.unwrap_or_else(|| super::out_ms(timer.due_ms, precision_ms));
            let when = Timer { due_ms: out_ms + 1, out_ms };
            Target { topic: &asked.topic, unique_key, timer: when }.recall(core, None, from)?;
        }
    }
    Ok(RecalledTimers { recalled })
}

/// Everything that waits, the next one due first. What came just now is taken in before.
fn pending(core: &Core) -> Vec<Key> {
    let (timers, store) = (&core.timers, &core.store);
    let mut state = timers.state.lock();
    while state.take_in(store, &timers.queue, &timers.metrics, core.clock.now_ms()) {}
    let mut keys: Vec<_> = state.index.pending().collect();
    drop(state);
    keys.sort_unstable();
    keys
}

/// The first ones that `matches`, without those that were recalled or recall others.
fn find(core: &Core, keys: Vec<Key>, max: usize, matches: impl Fn(&Timed<'_>) -> bool) -> Vec<PendingTimer> {
    let (store, queue) = (&core.store, core.timers.queue());
    let look = |key: Key| {
        state::peek(store, queue, key.at, |timed| {
            let wanted =
                timed.deletes.is_none() && matches(timed) && !core.timers.state.lock().is_recalled(store, queue, timed);
            wanted.then(|| shown(timed, key))
        })?
    };
    keys.into_iter().filter_map(look).take(max).collect()
}

fn shown(timed: &Timed<'_>, key: Key) -> PendingTimer {
    PendingTimer {
        due_ms: timed.due_ms,
        keys: timed.keys.map(str::to_owned),
        queue_offset: key.at,
        stored_ms: timed.record.store_timestamp(),
        topic: timed.real_topic.to_owned(),
        unique_key: timed.unique_key.map(str::to_owned),
    }
}
