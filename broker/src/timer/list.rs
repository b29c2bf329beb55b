//! What waits, for operators: the next ones due, one of them whole, and taking them back by handle or by key.

use std::{net::SocketAddr, sync::Arc};

use tenonmq_protocol::{
    body::timer_desk::{ListTimers, PendingTimer, RecallTimers, RecalledTimers, ShowTimer, ShownTimer, TimerList},
    code::ResponseCode,
    header::RecallHandle,
    message::properties::pairs,
};
use tenonmq_storage::Role;

use super::{
    Timer,
    index::Key,
    out_ms,
    recall::{Target, handle},
    state,
    timed::Timed,
};
use crate::{core::Core, error::Refusal};

/// Timers in one answer, unless fewer are asked for; and at most.
const LISTED: usize = 100;
const LISTED_AT_MOST: usize = 1000;
/// Messages taken back by one request.
const RECALLED_AT_MOST: usize = 1000;

/// A pending timer, and its second.
struct Found {
    timer: PendingTimer,
    out_ms: i64,
}

/// The pending timers that are due first. Blocking: reads a record for each one it looks at.
///
/// # Errors
/// None at present.
pub fn list(core: &Core, asked: &ListTimers) -> Result<TimerList, Refusal> {
    let max = asked.max.map_or(LISTED, |max| max as usize).min(LISTED_AT_MOST);
    let keys = pending(core);
    let pending = keys.len() as u64;
    let matches = |timed: &Timed<'_>| {
        asked.topic.as_ref().is_none_or(|topic| timed.real_topic == topic)
            && asked.key.as_ref().is_none_or(|key| has_key(timed, key))
    };
    let found = find(core, keys, max, matches);
    Ok(TimerList { pending, timers: found.into_iter().map(|found| found.timer).collect() })
}

/// One pending timer with everything that is known of it. Blocking.
///
/// # Errors
/// 22 when nothing waits at that place of the timer topic.
pub fn show(core: &Core, asked: &ShowTimer) -> Result<ShownTimer, Refusal> {
    let nothing = || {
        let remark = format!("no message waits at queueOffset {} of {}", asked.queue_offset, Timer::TOPIC);
        Refusal::new(ResponseCode::QUERY_NOT_FOUND, remark)
    };
    take_in(core);
    let is_pending = core.timers.state.lock().index.pending().any(|key| key.at == asked.queue_offset);
    let look = |timed: &Timed<'_>| {
        let timer = Timer { due_ms: timed.due_ms, out_ms: timed.out_ms };
        let who = core.identity.get();
        ShownTimer {
            body_length: timed.record.body().len() as u64,
            born_ms: timed.record.born_timestamp(),
            carried_on: timed.rolls,
            log_offset: timed.record.physical_offset(),
            properties: pairs(timed.text).map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            queue_id: timed.real_queue_id,
            recall_handle: timed.unique_key.and_then(|key| handle(&who, timed.real_topic, &timer, key)),
            recalled: is_recalled(core, timed),
            takes_back: timed.deletes.map(str::to_owned),
            timer: shown(timed, asked.queue_offset),
        }
    };
    is_pending
        .then(|| state::peek(&core.store, core.timers.queue(), asked.queue_offset, look))
        .flatten()
        .ok_or_else(nothing)
}

/// Takes back what waits: the message of a handle, or those with a key. Blocking, as [`list`].
///
/// # Errors
/// 29 with neither handle nor topic and key, 604 for a handle that cannot be read or is of another broker, 11 when this
/// broker is not the master, and what the store says.
pub fn recall(core: &Core, asked: &RecallTimers, from: SocketAddr) -> Result<RecalledTimers, Refusal> {
    if core.store.permit().role != Role::Master {
        return Err(Refusal::new(ResponseCode::SLAVE_NOT_AVAILABLE, "timers are recalled at the master"));
    }
    let mut found = match &asked.handle {
        Some(text) => {
            let handle = parse(core, text)?;
            let out_ms = out_ms(handle.deliver_timestamp, core.config.load().messages.timer_precision_ms);
            let is_it = |timed: &Timed<'_>| {
                timed.out_ms == out_ms
                    && timed.real_topic == handle.topic
                    && timed.unique_key == Some(&*handle.unique_key)
            };
            find(core, pending(core), RECALLED_AT_MOST + 1, is_it)
        }
        None => {
            for (field, value) in [("topic", &asked.topic), ("key", &asked.key)] {
                if value.trim().is_empty() {
                    return Err(Refusal::invalid(format!("the field {field} is empty, and there is no handle")));
                }
            }
            let is_one = |timed: &Timed<'_>| {
                timed.real_topic == asked.topic && timed.unique_key.is_some() && has_key(timed, &asked.key)
            };
            find(core, pending(core), RECALLED_AT_MOST + 1, is_one)
        }
    };
    let mut answer = RecalledTimers { more: found.len() > RECALLED_AT_MOST, ..RecalledTimers::default() };
    found.truncate(RECALLED_AT_MOST);
    for Found { timer, out_ms } in found {
        if asked.dry_run || take_back(core, &timer, out_ms, from)? {
            answer.recalled.push(timer);
        } else {
            answer.too_late.push(timer);
        }
    }
    Ok(answer)
}

fn parse(core: &Core, text: &str) -> Result<RecallHandle, Refusal> {
    let illegal = |why: String| Refusal::new(ResponseCode::ILLEGAL_OPERATION, why);
    let handle = RecallHandle::parse(text).map_err(|_| illegal("the field handle is no recall handle".into()))?;
    if handle.broker_name != core.identity.get().broker {
        return Err(illegal(format!("the handle is of the broker {}", handle.broker_name)));
    }
    Ok(handle)
}

/// False when its time came before that.
fn take_back(core: &Core, timer: &PendingTimer, out_ms: i64, from: SocketAddr) -> Result<bool, Refusal> {
    let is_early = || core.clock.now_ms() < timer.due_ms;
    if !is_early() {
        return Ok(false);
    }
    let unique_key = timer.unique_key.as_deref().unwrap_or_default(); // those without one are not found
    Target { topic: &timer.topic, unique_key, timer: Timer { due_ms: out_ms + 1, out_ms } }.recall(core, None, from)?;
    Ok(is_early())
}

/// Everything that waits, the next one due first. What came just now is taken in before.
fn pending(core: &Core) -> Vec<Key> {
    take_in(core);
    let mut keys: Vec<_> = core.timers.state.lock().index.pending().collect();
    keys.sort_unstable();
    keys
}

fn take_in(core: &Core) {
    let (timers, store) = (&core.timers, &core.store);
    if store.permit().role != Role::Master || core.config.load().messages.stop_timer_enqueue {
        return;
    }
    while timers.state.lock().take_in(store, &timers.queue, &timers.metrics, core.clock.now_ms()) {}
}

/// The first ones that `matches`, without those that were recalled or recall others.
fn find(core: &Core, keys: Vec<Key>, max: usize, matches: impl Fn(&Timed<'_>) -> bool) -> Vec<Found> {
    let look = |key: Key| {
        state::peek(&core.store, core.timers.queue(), key.at, |timed| {
            let wanted = timed.deletes.is_none() && matches(timed) && !is_recalled(core, timed);
            wanted.then(|| Found { timer: shown(timed, key.at), out_ms: timed.out_ms })
        })?
    };
    keys.into_iter().filter_map(look).take(max).collect()
}

fn is_recalled(core: &Core, timed: &Timed<'_>) -> bool {
    let queue = Arc::clone(core.timers.queue());
    let deletions = core.timers.state.lock().deletions_of(timed); // no lock while the log is read
    let deletes = |at| state::peek(&core.store, &queue, at, |other| timed.is_deleted_by(other)).unwrap_or(false);
    deletions.into_iter().any(deletes)
}

/// Whether a word of its KEYS, or its unique key, is this.
fn has_key(timed: &Timed<'_>, key: &str) -> bool {
    timed.unique_key == Some(key) || timed.keys.is_some_and(|keys| keys.split(' ').any(|word| word == key))
}

fn shown(timed: &Timed<'_>, at: i64) -> PendingTimer {
    PendingTimer {
        due_ms: timed.due_ms,
        keys: timed.keys.map(str::to_owned),
        queue_offset: at,
        stored_ms: timed.record.store_timestamp(),
        topic: timed.real_topic.to_owned(),
        unique_key: timed.unique_key.map(str::to_owned),
    }
}
