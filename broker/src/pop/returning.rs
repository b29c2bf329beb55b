//! What becomes of a message that is not acknowledged in time: a copy goes to the group's retry topic, and its lease ends.
//!
//! One task sleeps until the earliest deadline of all queues. A queue that is popped in order has no copies: it is free
//! again, and whoever waits for it is woken. With `popDeadLetterEnable`, what a group did not acknowledge after its last
//! try goes to its dead letters; Apache's broker gives it again for ever.

use std::sync::Arc;

use tenonmq_protocol::message::{
    NewRecord, RecordView,
    properties::{Table as Order, names as property, tags_code},
};
use tenonmq_storage::{AppendClass, AppendError, Appended, Entry, Role};
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    lease::{Change, LeaseKey},
    state::Armed,
    table::PopQueue,
};
use crate::{
    core::{
        Core, deliver, names,
        topics::{Topic, perm, topic},
    },
    group::stopped,
    retry::dead_letter,
};

/// How long after a failure it is tried again, in milliseconds.
const RETRY_MS: i64 = 1_000;
/// How often `consumerOrderInfo.json` is written, in milliseconds.
const SAVE_MS: i64 = 10_000;
/// Queue of a pop retry topic.
const RETRY_QUEUE: i32 = 0;
/// Messages that are returned before other queues have their turn.
const TURN: usize = 256;
/// Messages of the retry topic that are looked at for a copy that a crash kept from being noted.
const LOOK_BACK: usize = 1_024;

/// Returns what is due, until `stop`; keeps the lease log short and the table of ordered pops saved.
pub async fn keep_returning(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let mut save_at = core.clock.now_ms();
    let mut is_first = true;
    while !*stop.borrow() {
        let now = core.clock.now_ms();
        let saves = now >= save_at;
        let renews = std::mem::take(&mut is_first);
        let worker = Arc::clone(&core);
        let worked = spawn_blocking(move || {
            let returned = step(&worker);
            if saves {
                keep_files(&worker, renews);
            }
            returned
        });
        let (next, created) = match worked.await {
            Ok(returned) => (returned.next, returned.created),
            Err(error) => {
                tracing::error!(%error, "returning expired messages ended early; trying again");
                (Some(now + RETRY_MS), Vec::new())
            }
        };
        for topic in created {
            core.announcer.topic_changed(&topic.config).await;
        }
        if saves {
            save_at = now.saturating_add(SAVE_MS);
        }
        let until = next.map_or(save_at, |next| next.min(save_at));
        tokio::select! {
            () = core.clock.sleep_until(until) => {}
            () = core.pops.sooner.notified() => {}
            () = stopped(&mut stop) => {}
        }
    }
}

/// What a step did.
pub struct Returned {
    /// When the next lease is due; `None`: none is open.
    pub next: Option<i64>,
    /// Retry topics that are new.
    pub created: Vec<Arc<Topic>>,
    /// Messages that were given back.
    pub count: usize,
}

/// Returns what is due now; a slave, whose log is its master's, returns nothing. Blocking.
pub fn step(core: &Core) -> Returned {
    let mut returned = Returned { next: None, created: Vec::new(), count: 0 };
    if core.store.permit().role == Role::Slave {
        returned.next = Some(core.clock.now_ms().saturating_add(RETRY_MS));
        return returned;
    }
    loop {
        let now = core.clock.now_ms();
        let mut deadlines = core.pops.deadlines.lock();
        match deadlines.peek().map(|armed| armed.at) {
            Some(at) if at <= now => {
                let Some(Armed { queue, .. }) = deadlines.pop() else { continue };
                drop(deadlines);
                return_due(core, &queue, now, &mut returned);
            }
            next => {
                returned.next = next;
                return returned;
            }
        }
    }
}

/// Writes the table of ordered pops, and keeps the lease log short; `renews` tells it anew in any case. Blocking.
pub fn keep_files(core: &Core, renews: bool) {
    if let Err(error) = core.pops.save_orders(core) {
        tracing::error!(%error, "ordered pops not saved; the next period tries again");
    }
    if let Err(error) = core.pops.log.prepare() {
        tracing::warn!(%error, "the next file of the lease log is not ready");
    }
    if (renews && core.pops.log.is_used() || core.pops.log.is_long())
        && let Err(error) = core.pops.renew_log(&core.store)
    {
        tracing::error!(%error, "the lease log was not written anew; the next period tries again");
    }
}

fn return_due(core: &Core, queue: &Arc<PopQueue>, now: i64, returned: &mut Returned) {
    let mut given = 0;
    while given < TURN && return_one(core, queue, now, &mut returned.created) {
        given += 1;
    }
    returned.count += given;
    let mut state = queue.state.lock();
    state.armed = None;
    if !state.is_gone {
        core.pops.arm(queue, &mut state, now);
    }
    let was_blocked =
        state.order.as_ref().is_some_and(|order| order.free_at(now).is_none() && order.open().next().is_some());
    drop(state);
    if was_blocked && core.config.load().pop.tells_of_free_queues {
        queue.of.waiting.arrived(queue.queue_id, None);
    }
    if given > 0 {
        wake_poppers(core, queue);
    }
}

/// Returns the first message of the first lease that is due. False when there is none.
fn return_one(core: &Core, queue: &PopQueue, now: i64, created: &mut Vec<Arc<Topic>>) -> bool {
    let Some(due) = first_due(queue, now) else { return false };
    let fate = match find(core, queue, &due) {
        None => Fate::Gone,
        Some(_) if due.inherited && has_copy(core, queue, &due) => Fate::Gone,
        Some(entry) => copy(core, queue, &due, &entry, created),
    };
    let mut state = queue.state.lock();
    let copy_end = match fate {
        Fate::Copied(end) => end,
        Fate::Gone => 0,
        Fate::Failed => {
            state.leases.postpone(due.key, now.saturating_add(RETRY_MS));
            return true;
        }
    };
    let ended = Change::Returned { key: due.key, index: due.index, copy_end };
    if let Err(error) = core.pops.change(queue, &mut state, ended) {
        tracing::error!(%error, "the end of a lease is not written; it may be given again");
        state.leases.postpone(due.key, now.saturating_add(RETRY_MS));
        return true;
    }
    core.pops.store_floor(core, queue, &mut state);
    true
}

/// A message whose time is up.
struct Due {
    key: LeaseKey,
    index: u32,
    offset: i64,
    /// Log offset of the message, where it is known.
    physical: u64,
    deadline: i64,
    /// The lease is of an earlier run, which may have returned it without noting it.
    inherited: bool,
}

fn first_due(queue: &PopQueue, now: i64) -> Option<Due> {
    let state = queue.state.lock();
    if state.is_gone {
        return None;
    }
    let key = state.leases.first_due(now)?;
    let lease = state.leases.get(key)?;
    let index = lease.pending.trailing_zeros();
    Some(Due {
        key,
        index,
        offset: lease.offset(key.start, index),
        physical: if index == 0 { lease.physical } else { 0 },
        deadline: super::lease::deadline(key, lease),
        inherited: key.pop_time < state.inherited_before,
    })
}

fn find(core: &Core, queue: &PopQueue, due: &Due) -> Option<Entry> {
    let stored = core.store.find_queue(&queue.of.topic, queue.queue_id)?;
    let entry = stored.entry(due.offset)?;
    // another message at its place: the topic was deleted and created again
    (due.physical == 0 || entry.physical_offset == due.physical).then_some(entry)
}

enum Fate {
    /// The log ends here after the copy.
    Copied(u64),
    /// There is nothing to copy, or there is a copy already.
    Gone,
    /// It is to be tried again.
    Failed,
}

fn copy(core: &Core, queue: &PopQueue, due: &Due, entry: &Entry, created: &mut Vec<Arc<Topic>>) -> Fate {
    let Some(bytes) = core.store.read_entry(entry) else { return Fate::Gone };
    let Ok(message) = RecordView::parse(&bytes) else { return Fate::Gone };
    let stored = match destination(core, queue, &message) {
        Destination::DeadLetters => {
            let (topic, is_new) = dead_letter::topic_of(core, &queue.of.group);
            created.extend(is_new.then(|| Arc::clone(&topic)));
            let origin = original_topic(queue);
            let buried = dead_letter::bury(core, &topic, &message, origin);
            if buried.is_ok() {
                core.stats.buried(origin, &queue.of.group);
            }
            buried
        }
        Destination::Retry(name) => retry(core, queue, due, &message, name, created),
    };
    match stored {
        Ok(appended) => Fate::Copied(appended.physical_offset + u64::from(appended.size)),
        Err(error) => {
            let (group, topic) = (&*queue.of.group, &*queue.of.topic);
            tracing::error!(%error, group, topic, offset = due.offset, "an expired message is not returned yet");
            Fate::Failed
        }
    }
}

fn retry(
    core: &Core,
    queue: &PopQueue,
    due: &Due,
    message: &RecordView<'_>,
    name: &str,
    created: &mut Vec<Arc<Topic>>,
) -> Result<Appended, AppendError> {
    let (retry, is_new) = core.topics.get_or_create(name, core.clock.now_ms(), || topic(name, 1, perm::READ_WRITE));
    if is_new {
        created.push(Arc::clone(&retry));
        if core.offsets.get(&queue.of.group, name, RETRY_QUEUE).is_none() {
            core.offsets.set(&queue.of.group, name, RETRY_QUEUE, 0);
        }
    }
    let mut properties = message.properties();
    properties.remove(property::CRC32); // that of the record it is copied from
    if message.reconsume_times() == 0 || !properties.contains(property::FIRST_POP_TIME) {
        properties.set(property::FIRST_POP_TIME, due.key.pop_time.to_string());
    }
    let tags_code = tags_code(properties.get(property::TAGS));
    let mut text = Vec::with_capacity(message.properties_bytes().len() + 32);
    properties.encode_as(Order::Fresh, &mut text);
    let address = core.identity.get().address;
    let record = NewRecord {
        topic: name,
        queue_id: RETRY_QUEUE,
        born_host: address,
        store_host: address,
        reconsume_times: message.reconsume_times().saturating_add(1),
        ..NewRecord::copy_of(message, &text)
    };
    let to = core.store.queue(name, RETRY_QUEUE);
    deliver::append(&core.store, &core.waiters, &to, &record, tags_code, AppendClass::Send)
}

/// Where an expired message goes.
enum Destination<'a> {
    /// This retry topic.
    Retry(&'a str),
    /// The group's dead letters.
    DeadLetters,
}

fn destination<'a>(core: &Core, queue: &'a PopQueue, message: &RecordView<'_>) -> Destination<'a> {
    let config = core.config.load();
    let retries = message.reconsume_times();
    let is_last = |most: i32| most >= 0 && retries >= most;
    if config.pop.dead_letters && core.groups.get(&queue.of.group).is_some_and(|group| is_last(group.retry_max_times)) {
        return Destination::DeadLetters;
    }
    if queue.of.topic.starts_with(names::RETRY_PREFIX) {
        return Destination::Retry(&queue.of.topic);
    }
    Destination::Retry(&queue.of.retry[usize::from(config.pop.retry_topic_v2)])
}

/// The topic that the group pops, also of a queue of its retry topic.
fn original_topic(queue: &PopQueue) -> &str {
    let of = &queue.of;
    let rest = of.topic.strip_prefix(names::RETRY_PREFIX).and_then(|rest| rest.strip_prefix(&*of.group));
    rest.and_then(|rest| rest.get(1..)).unwrap_or(&of.topic)
}

/// Whether the retry topic holds a copy that was stored after the lease was due: the last run made it, and ended before it
/// was noted.
fn has_copy(core: &Core, queue: &PopQueue, due: &Due) -> bool {
    let Some(original) = find(core, queue, due).and_then(|entry| core.store.read_entry(&entry)) else { return false };
    let Ok(original) = RecordView::parse(&original) else { return false };
    let dead_letters;
    let name = match destination(core, queue, &original) {
        Destination::Retry(name) => name,
        Destination::DeadLetters => {
            dead_letters = [names::DLQ_PREFIX, &queue.of.group].concat();
            &dead_letters
        }
    };
    let Some(copies) = core.store.find_queue(name, RETRY_QUEUE) else { return false };
    let end = copies.max_offset();
    let from = end.saturating_sub(LOOK_BACK as i64).max(copies.min_offset());
    let key = |record: &RecordView<'_>| record.properties().get(property::UNIQ_KEY).map(str::to_owned);
    let unique = key(&original);
    copies.entries(from).any(|at| {
        let is_copy = |record: &RecordView<'_>| {
            record.store_timestamp() >= due.deadline
                && record.reconsume_times() == original.reconsume_times().saturating_add(1)
                && record.born_timestamp() == original.born_timestamp()
                && record.body_crc() == original.body_crc()
                && record.body() == original.body()
                && key(record) == unique
        };
        unique.is_some() && core.store.peek(&at.entry, is_copy) == Some(true)
    })
}

/// Copies are in the retry topic: those who pop the topic itself get them.
fn wake_poppers(core: &Core, queue: &PopQueue) {
    if let Some(of) = core.pops.table.find(&queue.of.group, original_topic(queue)) {
        of.waiting.arrived_again();
    }
}
