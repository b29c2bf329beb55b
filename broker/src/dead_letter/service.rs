//! What operators ask of redrive jobs.

use std::sync::Arc;

use tenonmq_protocol::{
    body::dead_letter_desk::{
        DeadLetterFilter, ListRedrives, RedriveAction, RedriveJob, RedriveJobs, RedriveOutcome, RedriveResults,
        RedriveState, RedriveTarget, ShowRedriveResults, StartRedrive, SteerRedrive,
    },
    code::ResponseCode,
    message::OffsetMessageId,
};

use super::{
    DeadLetters,
    job::{Job, is_ended},
    journal::Journal,
    view::{page, queue_of, topic_of},
};
use crate::{
    core::{Core, names},
    error::Refusal,
};

/// Letters that one job can be told by their ids.
const IDS: usize = 1000;
/// Most messages a second that a job may be told.
const FASTEST: i32 = 1_000_000;

/// Begins a job; it runs behind. Blocking.
///
/// # Errors
/// 17 and 26 for a group, 17 and 16 for a topic that does not fit, 29 for a field that makes no sense, 604 when another
/// job of the group has not ended, 2 when there are too many jobs, 14 when nothing can be stored now.
pub fn start(core: &Core, asked: &StartRedrive) -> Result<RedriveJob, Refusal> {
    check(core, asked)?;
    let letters = &core.dead_letters;
    let mut jobs = letters.jobs.lock();
    let open = jobs.values().filter(|job| !job.is_ended());
    let limit = core.config.load().dead_letters.max_jobs;
    if open.clone().count() >= limit {
        let remark = format!("{limit} redrive jobs have not ended, and that is the limit (deadLetterJobsMax)");
        return Err(Refusal::new(ResponseCode::SYSTEM_BUSY, remark));
    }
    let of_group = |job: &&Arc<Job>| {
        let shown = job.shown.lock();
        !shown.wanted.dry_run && shown.wanted.group == asked.group
    };
    if let Some(other) = open.filter(|_| !asked.dry_run).find(of_group) {
        let remark = format!("group: redrive job {} of {:?} has not ended", other.shown.lock().id, asked.group);
        return Err(Refusal::new(ResponseCode::ILLEGAL_OPERATION, remark));
    }
    let now_ms = core.clock.now_ms();
    let id = now_ms.max(jobs.last_key_value().map_or(0, |(last, _)| last + 1));
    let queue = queue_of(core, &asked.group);
    let (begins, ends) = queue.map_or((0, 0), |queue| (queue.min_offset(), queue.max_offset()));
    let by_ids = i64::try_from(asked.ids.len()).unwrap_or(0);
    let (next, end) = if by_ids > 0 { (0, by_ids) } else { (begins, ends) };
    let job = RedriveJob {
        id,
        next,
        end,
        started: now_ms,
        changed: now_ms,
        state: RedriveState::Running,
        wanted: asked.clone(),
        ..RedriveJob::default()
    };
    let journal = Journal::create(core.store.fs(), &letters.folder, &job, core.store.watermarks().appended)
        .map_err(not_written)?;
    jobs.insert(id, Arc::new(Job::new(journal, job.clone(), Some(Default::default()))));
    remove_oldest(&mut jobs, core.config.load().dead_letters.max_kept);
    drop(jobs);
    tracing::info!(id, group = asked.group, target = %asked.target, dry_run = asked.dry_run, "a redrive job begins");
    letters.wake.notify_one();
    Ok(job)
}

fn not_written(error: std::io::Error) -> Refusal {
    Refusal::new(ResponseCode::SYSTEM_ERROR, format!("the journal of the job is not written: {error}"))
}

/// Removes ended jobs beyond those that are kept, the oldest first.
fn remove_oldest(jobs: &mut std::collections::BTreeMap<i64, Arc<Job>>, kept: usize) {
    let ended: Vec<i64> = jobs.iter().filter(|(_, job)| job.is_ended()).map(|(id, _)| *id).collect();
    for id in ended.iter().take(ended.len().saturating_sub(kept)) {
        if let Some(job) = jobs.remove(id)
            && let Err(error) = job.work.lock().journal.remove()
        {
            tracing::warn!(id, %error, "the journal of an old redrive job is not removed");
        }
    }
}

fn check(core: &Core, asked: &StartRedrive) -> Result<(), Refusal> {
    let invalid = |remark: String| Err(Refusal::invalid(remark));
    topic_of(core, &asked.group)?;
    if !(0..=FASTEST).contains(&asked.per_second) {
        return invalid(format!("perSecond: {} is not 0 to {FASTEST}", asked.per_second));
    }
    if asked.max_messages < 0 {
        return invalid(format!("maxMessages: {} is negative", asked.max_messages));
    }
    if asked.ids.len() > IDS {
        return invalid(format!("ids: {} are more than {IDS}", asked.ids.len()));
    }
    if !asked.ids.is_empty() && asked.filter != DeadLetterFilter::default() {
        return invalid("ids: a filter is given as well; only one of both can be".into());
    }
    if let Some(wrong) = asked.ids.iter().find(|id| id.parse::<OffsetMessageId>().is_err()) {
        return invalid(format!("ids: {wrong:?} is not the id of a message"));
    }
    if let (Some(from), Some(until)) = (asked.filter.from, asked.filter.until)
        && from >= until
    {
        return invalid(format!("filter.from: {from} is not before filter.until, {until}"));
    }
    check_target(core, asked)?;
    core.store.writable().map_err(|reason| {
        Refusal::new(ResponseCode::SERVICE_NOT_AVAILABLE, format!("the store takes no messages: {reason}"))
    })
}

fn check_target(core: &Core, asked: &StartRedrive) -> Result<(), Refusal> {
    let name = asked.topic.as_deref().unwrap_or_default();
    match asked.target {
        _ if asked.target != RedriveTarget::Topic && asked.topic.is_some() => {
            Err(Refusal::invalid(format!("topic: given, but target is {}", asked.target)))
        }
        RedriveTarget::Retry if !core.groups.contains(&asked.group) => Err(Refusal::new(
            ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("group: subscription group {:?} does not exist", asked.group),
        )),
        RedriveTarget::Retry | RedriveTarget::Origin => Ok(()),
        RedriveTarget::Topic if name.is_empty() => Err(Refusal::invalid("topic: needed with target=topic")),
        RedriveTarget::Topic if name.starts_with(names::DLQ_PREFIX) || names::is_closed_to_producers(name) => {
            Err(Refusal::invalid(format!("topic: {name:?} takes no messages of a redrive")))
        }
        RedriveTarget::Topic => match core.topics.get(name) {
            None => Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, format!("topic: {name:?} does not exist"))),
            Some(topic) if !topic.is_writable() => {
                Err(Refusal::new(ResponseCode::NO_PERMISSION, format!("topic: {name:?} may not be written")))
            }
            Some(_) => Ok(()),
        },
    }
}

/// Jobs, newest first.
///
/// # Errors
/// 22: no job has the number that is asked for.
pub fn jobs(core: &Core, asked: &ListRedrives) -> Result<RedriveJobs, Refusal> {
    let shown = |job: &Arc<Job>| job.shown.lock().clone();
    let jobs = match asked.id {
        Some(id) => vec![shown(&find(&core.dead_letters, id)?)],
        None => core.dead_letters.all().iter().rev().map(shown).collect(),
    };
    Ok(RedriveJobs { jobs })
}

fn find(letters: &DeadLetters, id: i64) -> Result<Arc<Job>, Refusal> {
    letters.job(id).ok_or_else(|| Refusal::new(ResponseCode::QUERY_NOT_FOUND, format!("id: no redrive job {id}")))
}

/// Pauses, resumes or cancels a job. When this returns, the turn that was going on is over and noted. Blocking.
///
/// # Errors
/// 22: there is no such job. 604: it has ended.
pub fn steer(core: &Core, asked: &SteerRedrive) -> Result<RedriveJob, Refusal> {
    let job = find(&core.dead_letters, asked.id)?;
    let mut work = job.work.lock();
    let mut shown = job.shown.lock().clone();
    if is_ended(shown.state) {
        let remark = format!("id: redrive job {} is {} already", asked.id, shown.state);
        return Err(Refusal::new(ResponseCode::ILLEGAL_OPERATION, remark));
    }
    (shown.state, shown.reason) = match asked.action {
        RedriveAction::Pause => (RedriveState::Paused, Some("by an operator".to_owned())),
        RedriveAction::Resume => (RedriveState::Running, None),
        RedriveAction::Cancel => (RedriveState::Cancelled, Some("by an operator".to_owned())),
    };
    shown.changed = core.clock.now_ms();
    // the place in the log stays: copies that could not be noted lie behind it
    let log_end = work.journal.log_end;
    work.journal.note(&[], &shown, log_end).map_err(not_written)?;
    *job.shown.lock() = shown.clone();
    drop(work);
    tracing::info!(id = asked.id, action = %asked.action, "a redrive job was steered");
    core.dead_letters.wake.notify_one();
    Ok(shown)
}

/// What became of each letter. Blocking.
///
/// # Errors
/// 22: there is no such job. 1: its journal cannot be read.
pub fn results(core: &Core, asked: &ShowRedriveResults) -> Result<RedriveResults, Refusal> {
    let job = find(&core.dead_letters, asked.id)?;
    let work = job.work.lock();
    let from = u64::try_from(asked.from).unwrap_or(0);
    let wanted = |result: &tenonmq_protocol::body::dead_letter_desk::RedriveResult| {
        !asked.only_not_sent || result.outcome != RedriveOutcome::Sent
    };
    let unreadable = |error| Refusal::new(ResponseCode::SYSTEM_ERROR, format!("the journal is not readable: {error}"));
    let (results, next) = work.journal.results(from, page(asked.count), wanted).map_err(unreadable)?;
    Ok(RedriveResults { results, next: next.and_then(|next| i64::try_from(next).ok()) })
}
