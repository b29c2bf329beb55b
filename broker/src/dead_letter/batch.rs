//! A few dead letters at a time: which ones, where to, sending them, and noting what became of each.

use std::{io, ops::ControlFlow, sync::Arc};

use tenonmq_protocol::{
    body::dead_letter_desk::{
        DeadLetterFilter, RedriveJob, RedriveOutcome, RedriveResult, RedriveState, RedriveTarget, StartRedrive,
    },
    message::{
        NewRecord, OffsetMessageId, Properties, RecordView, SysFlag,
        properties::{names as property, tags_code},
    },
};
use tenonmq_storage::{AppendClass, AppendError};

use super::{
    job::{Copied, Job, Recognised},
    letter::Letter,
    recognise, view,
};
use crate::core::{
    Core, deliver, names,
    topics::{MAX_QUEUES, Topic, perm, topic},
};

/// Letters of one turn that have a result.
const TURN: usize = 64;
/// Letters that one turn looks at.
const LOOKED_AT: usize = 4096;
/// Causes that are counted one by one; the rest is counted together.
const CAUSES: usize = 100;
const OTHER_CAUSES: &str = "(other causes)";

/// What the copy does not take over: where and when its letter was waiting, and what brokers note about one delivery.
const DROPPED: [&str; 17] = [
    property::DELAY,
    property::REAL_TOPIC,
    property::REAL_QID,
    property::WAIT,
    property::TIMER_DELAY_SEC,
    property::TIMER_DELAY_MS,
    property::TIMER_DELIVER_MS,
    property::TIMER_OUT_MS,
    property::TRAN_MSG,
    property::POP_CK,
    property::FIRST_POP_TIME,
    property::MIN_OFFSET,
    property::MAX_OFFSET,
    property::CONSUME_START_TIME,
    property::RECONSUME_TIME,
    property::MAX_RECONSUME_TIMES,
    property::CRC32,
];

/// One turn of a job: nothing unless it runs and is due. Topics that it created. Blocking.
pub(super) fn take(core: &Core, job: &Job) -> Vec<Arc<Topic>> {
    let mut work = job.work.lock();
    let mut shown = job.shown.lock().clone();
    if shown.state != RedriveState::Running || core.clock.now_ms() < work.due_ms {
        return Vec::new();
    }
    let log_end = work.journal.log_end;
    let recognised = work.recognised.get_or_insert_with(|| recognise::sent_before(core, shown.id, log_end));
    let wanted = shown.wanted.clone();
    let mut batch = Batch {
        core,
        wanted: &wanted,
        shown: &mut shown,
        recognised,
        results: Vec::new(),
        letters: Vec::new(),
        sent_now: 0,
        created: Vec::new(),
    };
    if let ControlFlow::Break(reason) = batch.run() {
        batch.pause(reason);
    }
    let (results, letters, created) = (batch.results, batch.letters, batch.created);
    let now_ms = core.clock.now_ms();
    shown.changed = now_ms;
    let pace = i64::from(per_second(core, &wanted));
    work.due_ms = now_ms + (i64::try_from(letters.len()).unwrap_or(0) * 1000 + pace - 1) / pace;
    if let Err(error) = settle(core, &mut work.journal, &wanted.group, &results, &letters, &shown) {
        tracing::error!(job = shown.id, error, "a redrive job cannot note what it did: paused");
        shown.state = RedriveState::Paused;
        shown.reason = Some(error);
    }
    *job.shown.lock() = shown;
    created
}

fn per_second(core: &Core, wanted: &StartRedrive) -> i32 {
    if wanted.per_second > 0 { wanted.per_second } else { core.config.load().dead_letters.per_second.max(1) }
}

/// Makes the copies safe, then the list of sent letters, then the journal: what those say is true at any time.
fn settle(
    core: &Core,
    journal: &mut super::journal::Journal,
    group: &str,
    results: &[RedriveResult],
    letters: &[u64],
    shown: &RedriveJob,
) -> Result<(), String> {
    if !letters.is_empty() {
        core.store.flush().map_err(|error| format!("the copies are not on disk: {error}"))?;
        let added: io::Result<()> = core.dead_letters.sent.lock().add(group, letters);
        added.map_err(|error| format!("the list of sent letters is not written: {error}"))?;
    }
    let log_end = core.store.watermarks().appended;
    journal.note(results, shown, log_end).map_err(|error| format!("the journal is not written: {error}"))
}

struct Batch<'a> {
    core: &'a Core,
    wanted: &'a StartRedrive,
    shown: &'a mut RedriveJob,
    recognised: &'a mut Recognised,
    results: Vec<RedriveResult>,
    /// Log offsets of letters that were sent.
    letters: Vec<u64>,
    /// Letters of this turn that were sent, or would be.
    sent_now: usize,
    created: Vec<Arc<Topic>>,
}

/// Why a letter was not sent, or what keeps the whole job from going on.
enum NotSent {
    Why(String),
    Stop(String),
}

impl Batch<'_> {
    fn run(&mut self) -> ControlFlow<String> {
        if self.wanted.ids.is_empty() { self.by_filter() } else { self.by_ids() }
    }

    fn pause(&mut self, reason: String) {
        tracing::warn!(job = self.shown.id, reason, "a redrive job pauses");
        self.shown.state = RedriveState::Paused;
        self.shown.reason = Some(reason);
    }

    fn end(&mut self) -> ControlFlow<String> {
        self.shown.state = RedriveState::Done;
        let RedriveJob { id, sent, failed, skipped, quarantined, .. } = &self.shown;
        tracing::info!(id, sent, failed, skipped, quarantined, "a redrive job is through");
        ControlFlow::Continue(())
    }

    /// Letters of this turn: a tenth of a second's, so that a slow job does not send in bursts.
    fn turn(&self) -> usize {
        let tenth = usize::try_from(per_second(self.core, self.wanted) / 10).unwrap_or(TURN).clamp(1, TURN);
        let most = if self.wanted.dry_run { LOOKED_AT } else { tenth };
        match usize::try_from(self.wanted.max_messages) {
            Ok(max @ 1..) => most.min(max.saturating_sub(usize::try_from(self.shown.sent).unwrap_or(max))),
            _ => most,
        }
    }

    fn by_filter(&mut self) -> ControlFlow<String> {
        let turn = self.turn();
        let Some(queue) = view::queue_of(self.core, &self.wanted.group) else { return self.end() };
        for (looked_at, at) in queue.entries(self.shown.next.max(queue.min_offset())).enumerate() {
            if at.queue_offset >= self.shown.end || turn == 0 {
                return self.end();
            }
            if looked_at >= LOOKED_AT || self.sent_now >= turn || self.results.len() >= TURN {
                return ControlFlow::Continue(());
            }
            if let Some(record) = self.core.store.read_entry(&at.entry)
                && let Ok(record) = RecordView::parse(&record)
            {
                self.deal(&Letter::of(record), &self.wanted.filter)?;
            }
            self.shown.next = at.queue_offset + 1;
        }
        self.shown.next = self.shown.next.max(self.shown.end);
        self.end()
    }

    fn by_ids(&mut self) -> ControlFlow<String> {
        let turn = self.turn();
        let every = DeadLetterFilter::default();
        let begin = usize::try_from(self.shown.next).unwrap_or(0);
        for id in self.wanted.ids.iter().skip(begin) {
            if turn == 0 {
                return self.end();
            }
            if self.sent_now >= turn || self.results.len() >= TURN {
                return ControlFlow::Continue(());
            }
            let parsed = id.parse::<OffsetMessageId>().ok().and_then(|id| u64::try_from(id.offset).ok());
            let record = parsed.and_then(|at| self.core.store.read(at));
            let letter = record.as_deref().and_then(|bytes| RecordView::parse(bytes).ok());
            match letter.filter(|record| record.topic().strip_prefix(names::DLQ_PREFIX) == Some(&self.wanted.group)) {
                Some(record) => self.deal(&Letter::of(record), &every)?,
                None => self.no_letter(id),
            }
            self.shown.next += 1;
        }
        self.end()
    }

    /// An id that names none of the group's letters is a failure, and not left out.
    fn no_letter(&mut self, id: &str) {
        self.shown.scanned += 1;
        self.shown.failed += 1;
        let why = format!("no dead letter of group {} has this id (any more)", self.wanted.group);
        let outcome = RedriveOutcome::Failed;
        self.results.push(RedriveResult {
            id: id.to_owned(),
            offset: -1,
            outcome,
            why: Some(why),
            ..RedriveResult::default()
        });
    }

    /// Sends one letter if it is to be sent, and notes what became of it.
    fn deal(&mut self, letter: &Letter<'_>, filter: &DeadLetterFilter) -> ControlFlow<String> {
        let shown = &mut *self.shown;
        let count = |shown: &mut RedriveJob| shown.scanned += 1;
        if !letter.matches(filter) {
            count(shown);
            return ControlFlow::Continue(());
        }
        let (outcome, copied, why) = match self.outcome(letter) {
            Ok(found) => found,
            Err(NotSent::Why(why)) => (RedriveOutcome::Failed, None, Some(why)),
            Err(NotSent::Stop(reason)) => return ControlFlow::Break(reason),
        };
        let shown = &mut *self.shown;
        count(shown);
        shown.matched += 1;
        count_cause(shown, letter.cause());
        *match outcome {
            RedriveOutcome::Sent => &mut shown.sent,
            RedriveOutcome::Failed => &mut shown.failed,
            RedriveOutcome::Skipped => &mut shown.skipped,
            RedriveOutcome::Quarantined => &mut shown.quarantined,
        } += 1;
        self.sent_now += usize::from(outcome == RedriveOutcome::Sent);
        if self.wanted.dry_run {
            return ControlFlow::Continue(());
        }
        if outcome == RedriveOutcome::Sent {
            self.letters.push(letter.log_offset());
        }
        let (topic, queue_id, sent_id) =
            copied.map_or((None, None, None), |to| (Some(to.topic), Some(to.queue_id), Some(to.id)));
        let (id, offset) = (letter.record.message_id().to_string(), letter.record.queue_offset());
        self.results.push(RedriveResult { id, offset, outcome, queue_id, sent_id, topic, why });
        ControlFlow::Continue(())
    }

    fn outcome(&mut self, letter: &Letter<'_>) -> Result<(RedriveOutcome, Option<Copied>, Option<String>), NotSent> {
        if let Some(copied) = self.recognised.remove(&letter.log_offset()) {
            return Ok((RedriveOutcome::Sent, Some(copied), None)); // before a crash
        }
        if !self.wanted.again && self.core.dead_letters.is_sent(&self.wanted.group, letter.log_offset()) {
            return Ok((RedriveOutcome::Skipped, None, Some("it was sent again before".into())));
        }
        let max = self.core.config.load().dead_letters.max_redrives;
        if !self.wanted.force && letter.redriven >= max {
            let why = format!("it was sent again {} times and came back", letter.redriven);
            return Ok((RedriveOutcome::Quarantined, None, Some(why)));
        }
        if self.wanted.dry_run && self.wanted.target == RedriveTarget::Retry {
            return Ok((RedriveOutcome::Sent, None, None)); // the topic need not be there yet
        }
        let to = self.target(letter)?;
        if self.wanted.dry_run {
            return Ok((RedriveOutcome::Sent, None, None));
        }
        Ok((RedriveOutcome::Sent, Some(self.send(letter, &to)?), None))
    }

    fn target(&mut self, letter: &Letter<'_>) -> Result<Arc<Topic>, NotSent> {
        let name = match self.wanted.target {
            RedriveTarget::Retry => return Ok(self.retry_topic()),
            RedriveTarget::Origin => letter
                .origin_topic
                .ok_or_else(|| NotSent::Why("it does not say which topic it came from (RETRY_TOPIC)".into()))?,
            RedriveTarget::Topic => self.wanted.topic.as_deref().unwrap_or_default(),
        };
        let found = self.core.topics.get(name);
        let found = found.ok_or_else(|| NotSent::Why(format!("topic {name} does not exist")))?;
        if names::is_closed_to_producers(name) || !found.is_writable() || found.config.write_queue_nums <= 0 {
            return Err(NotSent::Why(format!("topic {name} takes no messages")));
        }
        Ok(found)
    }

    fn retry_topic(&mut self) -> Arc<Topic> {
        let (core, group) = (self.core, &self.wanted.group);
        let name = names::retry_topic(group);
        let queues = core.groups.get(group).map_or(1, |config| config.retry_queue_nums.clamp(1, MAX_QUEUES));
        let new = || topic(name.as_str(), queues, perm::READ_WRITE);
        let (found, is_new) = core.topics.get_or_create(&name, core.clock.now_ms(), new);
        self.created.extend(is_new.then(|| Arc::clone(&found)));
        found
    }

    fn send(&self, letter: &Letter<'_>, to: &Topic) -> Result<Copied, NotSent> {
        let core = self.core;
        let record = &letter.record;
        let queues = to.config.write_queue_nums.max(1);
        let queue_id = i32::try_from(record.queue_offset() % i64::from(queues)).unwrap_or(0);
        let queue = to.queue(&core.store, queue_id).cloned();
        let queue = queue.unwrap_or_else(|| core.store.queue(&to.config.topic_name, queue_id));
        let properties = self.properties(letter);
        let copy = NewRecord {
            topic: &to.config.topic_name,
            queue_id,
            sys_flag: record.sys_flag().0 & !SysFlag::TRANSACTION_MASK,
            store_host: core.identity.get().address,
            reconsume_times: 0,
            ..NewRecord::copy_of(record, &properties)
        };
        let tags_code = tags_code(letter.tags);
        let appended = deliver::append(&core.store, &core.waiters, &queue, &copy, tags_code, AppendClass::Send);
        let appended = appended.map_err(|error| match error {
            AppendError::Unwritable(reason) => NotSent::Stop(format!("the store takes no messages: {reason}")),
            other => NotSent::Why(other.to_string()),
        })?;
        let id = OffsetMessageId { host: copy.store_host, offset: appended.physical_offset.cast_signed() };
        Ok(Copied { topic: to.config.topic_name.clone(), queue_id, id: id.to_string() })
    }

    /// The copy's properties: those of the letter, but for what belongs to its waiting; how often it was sent again, and by
    /// which job from which letter.
    fn properties(&self, letter: &Letter<'_>) -> Vec<u8> {
        let mut properties = Properties::parse(letter.text);
        for name in DROPPED {
            properties.remove(name);
        }
        if self.wanted.target != RedriveTarget::Retry {
            properties.remove(property::RETRY_TOPIC); // it is a message of its topic again
        }
        properties.set(property::REDRIVEN, letter.redriven.saturating_add(1).to_string());
        properties.set(property::REDRIVE_OF, format!("{}:{}", self.shown.id, letter.log_offset()));
        let mut text = Vec::with_capacity(letter.text.len() + 64);
        properties.encode_into(&mut text);
        text
    }
}

fn count_cause(shown: &mut RedriveJob, cause: String) {
    let is_known = shown.causes.contains_key(&cause) || shown.causes.len() < CAUSES;
    let cause = if is_known { cause } else { OTHER_CAUSES.to_owned() };
    *shown.causes.entry(cause).or_default() += 1;
}
