//! Popping: which queues are read in which order, and how what is found becomes a lease.

use std::{net::SocketAddr, sync::Arc, sync::atomic::Ordering};

use bytes::Bytes;
use rand::Rng;
use smallvec::SmallVec;
use tenonmq_protocol::{
    code::ResponseCode,
    header::{ORDERED_REVIVE_QUEUE, PopMessage, PopTopic as Kind, ReceiptHandle},
    message::RecordView,
};
use tenonmq_storage::{FetchStatus, Fetched, FileError, Queue, Role};

use super::{
    admit,
    info::Info,
    lease::{Change, LEASE_MAX, Lease, LeaseKey},
    order::Order,
    queue, retried,
    table::{PopQueue, PopTopic, QueueState},
    wait::{Kind as Held, Wait, Waiting},
};
use crate::{
    core::{Core, topics::Topic},
    error::Refusal,
    filter::{self, Filter},
    pull,
};

/// Times that a queue is read again because somebody else popped it meanwhile.
const TRIES: usize = 8;
/// A wait whose end is this near is not begun, in milliseconds.
const TOO_SHORT_MS: i64 = 50;

/// Offsets of the messages in an answer.
type Offsets = SmallVec<[i64; LEASE_MAX]>;

/// A pop that was let in, owned, so that it can be repeated after a wait.
pub struct Asked {
    of: Arc<PopTopic>,
    topic: Arc<Topic>,
    queue_id: i32,
    max_count: u32,
    invisible: i64,
    init_mode: i32,
    ordered: bool,
    attempt: Option<Box<str>>,
    filter: Filter,
    /// When a wait ends.
    until: i64,
    may_wait: bool,
}

/// What a pop found.
#[derive(Debug, Default)]
pub struct Popped {
    /// When it was popped, in milliseconds.
    pub pop_time: i64,
    /// How long it stays invisible, in milliseconds.
    pub invisible: i64,
    /// Revive queue id of the handles.
    pub revive_queue: i32,
    /// Messages left behind.
    pub rest: i64,
    /// Of what clients make handles.
    pub info: Info,
    /// Whether `orderCountInfo` is told.
    pub ordered: bool,
    /// Stored records, by reference to the log as far as they are shown as they are.
    pub records: SmallVec<[Bytes; 4]>,
    /// Messages in `records`.
    pub count: u32,
}

/// Checks a pop.
///
/// # Errors
/// With the code that Apache answers; 209 when a table is full.
pub fn admit(core: &Core, asked: &PopMessage<'_>, peer: SocketAddr) -> Result<Asked, Refusal> {
    let config = core.config.load();
    let topic = admit::pop(core, &config, asked, peer)?;
    if core.pops.open_leases() >= config.pop.max_leases {
        return Err(Refusal::new(ResponseCode::POLLING_FULL, "too many leases are open: popLeasesMax is reached"));
    }
    let filter = match asked.expression.filter(|text| !text.is_empty()) {
        Some(expression) => filter::carried(core, asked.expression_type, Some(expression))?,
        None => Filter::ALL,
    };
    let of = core.pops.table.topic(asked.consumer_group, asked.topic).ok_or_else(too_many_topics)?;
    let born = if asked.born_time == 0 { core.clock.now_ms() } else { asked.born_time };
    Ok(Asked {
        of,
        topic,
        queue_id: asked.queue_id,
        max_count: u32::try_from(asked.max_count).unwrap_or(0),
        invisible: asked.invisible_millis,
        init_mode: asked.init_mode,
        ordered: asked.order,
        attempt: asked.attempt_id.filter(|_| asked.order).map(Into::into),
        filter,
        until: born.saturating_add(asked.poll_millis),
        may_wait: asked.poll_millis > 0,
    })
}

pub(super) fn too_many_topics() -> Refusal {
    Refusal::new(ResponseCode::POLLING_FULL, "too many topics are popped: popPollingMapSize is reached")
}

/// Pops now.
pub fn pop(core: &Core, asked: &Asked) -> Popped {
    let config = core.config.load();
    let turn = core.pops.pops.fetch_add(1, Ordering::Relaxed);
    let spread = i32::try_from(turn % config.pop.revive_queues.max(1)).unwrap_or(0);
    let mut popped = Popped {
        pop_time: core.clock.now_ms(),
        invisible: asked.invisible,
        revive_queue: if asked.ordered { ORDERED_REVIVE_QUEUE } else { spread },
        ordered: asked.ordered,
        ..Popped::default()
    };
    if core.store.permit().role == Role::Slave {
        return popped; // leases are the master's
    }
    let random = rand::rng().random_range(0..100_u32);
    let retry_first = random < config.pop.retry_probability;
    if retry_first && !asked.ordered {
        pop_retried(core, asked, random, &mut popped);
    }
    if asked.queue_id < 0 {
        all_queues(&asked.topic, random, |queue_id| {
            pop_queue(core, asked, &asked.of, &asked.topic, queue_id, Kind::Normal, &mut popped);
        });
    } else {
        pop_queue(core, asked, &asked.of, &asked.topic, asked.queue_id, Kind::Normal, &mut popped);
    }
    if !retry_first && !asked.ordered && popped.count < asked.max_count {
        pop_retried(core, asked, random, &mut popped);
    }
    if popped.rest > 0 && popped.count > 0 {
        asked.of.waiting.left_over(asked.queue_id);
    }
    if popped.count > 0 {
        let bytes = popped.records.iter().map(Bytes::len).sum();
        core.stats.given(&asked.of.topic, &asked.of.group, popped.count, bytes);
    }
    popped
}

/// Readable queues, each once, from a random one on.
pub(super) fn all_queues(topic: &Topic, random: u32, mut each: impl FnMut(i32)) {
    let queues = topic.config.read_queue_nums;
    for at in 0..queues {
        each(i32::try_from((i64::from(random) + i64::from(at)) % i64::from(queues)).unwrap_or(0));
    }
}

/// Retry topics that a group's pops of a topic read, with their kind: one of them in each pop.
pub(super) fn retry_kind(core: &Core, random: u32) -> Kind {
    let config = core.config.load();
    let first_version = config.pop.read_retry_topic_v1 && random.is_multiple_of(2);
    if config.pop.retry_topic_v2 && !first_version { Kind::RetryV2 } else { Kind::RetryV1 }
}

fn pop_retried(core: &Core, asked: &Asked, random: u32, popped: &mut Popped) {
    let kind = retry_kind(core, random);
    let name = &asked.of.retry[usize::from(kind == Kind::RetryV2)];
    let Some(topic) = core.topics.get(name) else { return };
    let Some(of) = core.pops.table.topic(&asked.of.group, name) else { return };
    all_queues(&topic, random, |queue_id| pop_queue(core, asked, &of, &topic, queue_id, kind, popped));
}

fn pop_queue(
    core: &Core,
    asked: &Asked,
    of: &Arc<PopTopic>,
    topic: &Topic,
    queue_id: i32,
    kind: Kind,
    popped: &mut Popped,
) {
    let Some(stored) = topic.queue(&core.store, queue_id) else { return };
    let done = match queue::open(core, of, stored, asked.init_mode) {
        Ok(Some(queue)) => Reader { core, asked, stored, queue: &queue, kind }.pop(popped),
        Ok(None) => {
            tracing::warn!(group = &*of.group, topic = &*of.topic, queue_id, "popQueuesMax is reached; not popped");
            Ok(())
        }
        Err(error) => Err(error),
    };
    if let Err(error) = done {
        tracing::error!(%error, group = &*of.group, topic = &*of.topic, queue_id, "not popped: no lease can be written");
    }
}

/// One queue that is being popped.
struct Reader<'a> {
    core: &'a Core,
    asked: &'a Asked,
    stored: &'a Arc<Queue>,
    queue: &'a Arc<PopQueue>,
    kind: Kind,
}

impl Reader<'_> {
    /// Reads without a lock, and takes what was read if nobody else has taken it meanwhile.
    fn pop(&self, popped: &mut Popped) -> Result<(), FileError> {
        for _ in 0..TRIES {
            let Some(from) = self.begin(popped)? else { return Ok(()) };
            let (from, fetched) = self.fetch(from, popped);
            if self.take(from, fetched, popped)? {
                return Ok(());
            }
        }
        popped.rest += 1; // others are faster: there is something, or was a moment ago
        Ok(())
    }

    /// Where to read. `None`: nothing is to be read here now.
    fn begin(&self, popped: &mut Popped) -> Result<Option<i64>, FileError> {
        let core = self.core;
        let mut state = self.queue.state.lock();
        if state.is_gone {
            return Ok(None);
        }
        core.pops.follow_offset(core, self.queue, &mut state)?;
        let from = state.leases.next();
        let threshold = core.config.load().pop.inflight_threshold;
        let too_many = threshold.is_some_and(|most| state.leases.pending() > most);
        if self.asked.ordered {
            let blocked = |order: &Order| order.blocks(self.asked.attempt.as_deref(), popped.pop_time);
            if state.order.as_ref().is_some_and(blocked) {
                return Ok(None); // its backlog is no reason to ask again
            }
            return Ok(self.has_room(popped, from).then_some(from)); // what was not acknowledged is popped again
        }
        if too_many {
            popped.rest += (self.stored.max_offset() - from).max(0);
            return Ok(None);
        }
        Ok(self.has_room(popped, from).then_some(from))
    }

    fn has_room(&self, popped: &mut Popped, from: i64) -> bool {
        let has_room = popped.count < self.asked.max_count;
        if !has_room {
            popped.rest += (self.stored.max_offset() - from).max(0);
        }
        has_room
    }

    /// Reads from `from`, or from where the queue says that there is something.
    fn fetch(&self, from: i64, popped: &Popped) -> (i64, Fetched) {
        let wanted = self.asked.max_count.saturating_sub(popped.count);
        let limits = pull::limits(self.core, &self.core.config.load().pull, wanted.cast_signed(), 0);
        let fetched = filter::fetch(self.core, self.stored, from, limits, &self.asked.filter);
        let is_wrong = matches!(
            fetched.status,
            FetchStatus::OffsetTooSmall | FetchStatus::OffsetOverflowBadly | FetchStatus::FoundNull
        );
        if is_wrong && fetched.next_begin != from {
            let from = fetched.next_begin;
            return (from, filter::fetch(self.core, self.stored, from, limits, &self.asked.filter));
        }
        (from, fetched)
    }

    /// Makes what was read a lease. False when somebody else has popped meanwhile.
    fn take(&self, from: i64, fetched: Fetched, popped: &mut Popped) -> Result<bool, FileError> {
        let (core, asked) = (self.core, self.asked);
        let mut state = self.queue.state.lock();
        let state = &mut *state;
        if state.is_gone {
            return Ok(true);
        }
        let expected = state.leases.next();
        if expected != from {
            // the offset was wrong, or others were here
            if !self.is_corrected(expected, from) {
                return Ok(false);
            }
            core.pops.change(self.queue, state, Change::Reset { next: from })?;
        }
        if fetched.count == 0 {
            state.leases.advance(fetched.next_begin.max(from));
            core.pops.store_floor(core, self.queue, state);
            popped.rest += (fetched.max - fetched.next_begin).max(0);
            return Ok(true);
        }
        let offsets = offsets(&fetched.records);
        if !asked.ordered {
            self.take_leased(from, &fetched, &offsets, state, popped)?;
        } else if !self.take_ordered(from, &fetched, &offsets, state, popped)? {
            return Ok(false);
        }
        popped.rest += (fetched.max - fetched.next_begin).max(0);
        core.pops.arm(self.queue, state, popped.pop_time);
        Ok(true)
    }

    /// Whether `from` is where the queue begins, or ends, and the group's offset lay outside.
    fn is_corrected(&self, expected: i64, from: i64) -> bool {
        expected < self.stored.min_offset() && from > expected || expected > self.stored.max_offset() && from < expected
    }

    fn take_leased(
        &self,
        from: i64,
        fetched: &Fetched,
        offsets: &[i64],
        state: &mut QueueState,
        popped: &mut Popped,
    ) -> Result<(), FileError> {
        let key = LeaseKey { start: from, pop_time: popped.pop_time };
        let physical = first_physical(&fetched.records);
        let lease = Lease::of(from, offsets, self.asked.invisible, popped.revive_queue, physical);
        let core = self.core;
        core.pops.change(self.queue, state, Change::Leased { key, lease, next: fetched.next_begin })?;
        core.pops.store_floor(core, self.queue, state);
        let (group, topic) = (&*self.queue.of.group, &*self.queue.of.topic);
        core.offsets.note_pull(group, topic, self.queue.queue_id, fetched.next_begin);
        core.stats.leased(topic, group);
        self.show(from, &fetched.records, offsets, popped);
        Ok(())
    }

    fn take_ordered(
        &self,
        from: i64,
        fetched: &Fetched,
        offsets: &[i64],
        state: &mut QueueState,
        popped: &mut Popped,
    ) -> Result<bool, FileError> {
        let core = self.core;
        let order = Order {
            pop_time: popped.pop_time,
            invisible: self.asked.invisible,
            offsets: offsets.to_vec(),
            last_consumed: core.clock.now_ms(),
            attempt: self.asked.attempt.clone(),
            ..Order::default()
        };
        let order = match &state.order {
            Some(before) => before.again(order, core.config.load().pop.ordered_skips_acked),
            None => order,
        };
        let open: Offsets = order.open().collect();
        let (kind, queue_id) = (self.kind, self.queue.queue_id);
        if open.is_empty() {
            state.leases.advance(order.next()); // everything that was read is done already
            core.pops.store_floor(core, self.queue, state);
            return Ok(false);
        }
        popped.info.add_counts(kind, queue_id, &order);
        core.pops.set_order(self.queue, state, Some(order))?;
        core.pops.store_floor(core, self.queue, state);
        core.offsets.note_pull(&self.queue.of.group, &self.queue.of.topic, queue_id, fetched.next_begin);
        if open.len() == offsets.len() {
            self.show(from, &fetched.records, offsets, popped);
        } else {
            let records = only(&fetched.records, &open);
            self.show(from, &records, &open, popped);
        }
        Ok(true)
    }

    /// Adds messages to the answer.
    fn show(&self, start: i64, records: &[Bytes], offsets: &[i64], popped: &mut Popped) {
        popped.info.add(self.kind, self.queue.queue_id, start, offsets);
        popped.count += u32::try_from(offsets.len()).unwrap_or(0);
        let as_they_are = self.kind == Kind::Normal || self.core.config.load().pop.tells_retry_topic;
        if as_they_are {
            popped.records.extend(records.iter().cloned());
            return;
        }
        let broker = self.core.identity.get().broker.clone();
        let mut handle = ReceiptHandle {
            start_offset: start,
            pop_time: popped.pop_time,
            invisible_millis: popped.invisible,
            revive_queue_id: popped.revive_queue,
            kind: self.kind,
            broker_name: &broker,
            queue_id: self.queue.queue_id,
            offset: None,
        };
        for record in records.iter().flat_map(|piece| RecordView::iter_all(piece)).flatten() {
            handle.offset = Some(record.queue_offset());
            popped.records.push(retried::shown_as(&record, &self.asked.of.topic, &handle));
        }
    }
}

const QUEUE_OFFSET_AT: usize = 20;
const PHYSICAL_OFFSET_AT: usize = 28;

fn number_at(record: &[u8], at: usize) -> Option<u64> {
    record.get(at..)?.first_chunk().copied().map(u64::from_be_bytes)
}

/// Records that lie one after the other.
fn each_record(piece: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let len = piece.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)? as usize;
        let end = at.checked_add(len).filter(|end| len > PHYSICAL_OFFSET_AT && *end <= piece.len())?;
        let record = piece.slice(at..end);
        at = end;
        Some(record)
    })
}

/// Queue offsets of stored records.
fn offsets(records: &[Bytes]) -> Offsets {
    let mut found = Offsets::new();
    for piece in records {
        let mut rest = &piece[..];
        while let (Some(len), Some(offset)) = (rest.first_chunk::<4>(), number_at(rest, QUEUE_OFFSET_AT)) {
            found.push(offset.cast_signed());
            let len = u32::from_be_bytes(*len) as usize;
            rest = rest.get(len.max(1)..).unwrap_or_default();
        }
    }
    found
}

fn first_physical(records: &[Bytes]) -> u64 {
    records.first().and_then(|record| number_at(record, PHYSICAL_OFFSET_AT)).unwrap_or(0)
}

/// The records at these queue offsets.
fn only(records: &[Bytes], wanted: &[i64]) -> SmallVec<[Bytes; 4]> {
    let is_wanted = |record: &Bytes| {
        let offset = number_at(record, QUEUE_OFFSET_AT).map(u64::cast_signed);
        offset.is_some_and(|offset| wanted.binary_search(&offset).is_ok())
    };
    records.iter().flat_map(each_record).filter(is_wanted).collect()
}

/// Why a pop that found nothing is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotHeld {
    /// Too many are (209).
    Full,
    /// Its time is up, or it does not want to wait (210).
    Timeout,
}

impl Asked {
    /// Holds a pop that found nothing. The caller pops once more after this call, and only then awaits.
    ///
    /// # Errors
    /// [`NotHeld`].
    pub fn hold(&self, core: &Core) -> Result<Wait, NotHeld> {
        hold(core, &self.of, &self.topic, Held::Pop, self.queue_id, &self.filter, self.may_wait.then_some(self.until))
    }

    /// When the wait ends, in milliseconds since the epoch.
    pub fn until(&self) -> i64 {
        self.until
    }
}

/// Holds a pop or a notification until something arrives.
pub(super) fn hold(
    core: &Core,
    of: &Arc<PopTopic>,
    topic: &Topic,
    kind: Held,
    queue_id: i32,
    filter: &Filter,
    until: Option<i64>,
) -> Result<Wait, NotHeld> {
    let Some(until) = until else { return Err(NotHeld::Timeout) };
    let limits = core.config.load();
    if core.pops.held.count() >= limits.polling.max_waiting as usize {
        return Err(NotHeld::Full);
    }
    if core.clock.now_ms() > until.saturating_sub(TOO_SHORT_MS) {
        return Err(NotHeld::Timeout);
    }
    if of.waiting.count(kind, queue_id) > limits.polling.max_waiting_each as usize {
        return Err(NotHeld::Full);
    }
    Waiting::watch(of, core, topic);
    Ok(Waiting::register(of, &core.pops.held, kind, queue_id, filter.clone()))
}
