//! Lists: what is undecided, and what was given up.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tenonmq_protocol::body::transaction_desk::{
    ExhaustedPage, ExhaustedTransaction, ListExhausted, ListTransactions, PendingTransaction, TransactionPage,
};

use super::{
    super::{
        Transactions, Verdict,
        check::offset_message_id,
        operator::Hanging,
        records::{HalfRecord, PARKED_TOPIC, QUEUE},
        state::{Answer, Stage, Unresolved},
    },
    at_master,
};
use crate::{core::Core, error::Refusal};

/// Transactions in one answer, unless fewer are asked for; and at most.
const LISTED: u32 = 100;
const LISTED_AT_MOST: u32 = 1000;
/// Transactions that one answer looks at.
const LOOKED_AT: usize = 20_000;
/// Transactions that are looked at under one hold of the lock.
const AT_A_TIME: usize = 256;

/// Producers that are connected, counted once for each group.
#[derive(Default)]
pub(super) struct Producers(FxHashMap<Arc<str>, u32>);

impl Producers {
    pub(super) fn of(&mut self, core: &Core, group: &Arc<str>) -> u32 {
        *self.0.entry(Arc::clone(group)).or_insert_with(|| core.clients.producers(group).len() as u32)
    }
}

/// Undecided transactions. Blocking.
///
/// # Errors
/// 29 for a stage that does not exist, 11 when this broker is not the master.
pub fn list(core: &Core, asked: &ListTransactions) -> Result<TransactionPage, Refusal> {
    let transactions = &core.transactions;
    at_master(transactions)?;
    let stage = asked.stage.as_deref().map(stage_of).transpose()?;
    let limit = limit(asked.limit);
    let now = core.clock.now_ms();
    let is_wanted = |one: &Unresolved| {
        asked.group.as_ref().is_none_or(|group| **group == *one.group)
            && asked.topic.as_ref().is_none_or(|topic| **topic == *one.topic)
            && asked.older_than.is_none_or(|age| now.saturating_sub(one.stored_at) >= age)
            && stage.is_none_or(|stage| stage == one.stage)
    };
    let (mut after, mut looked_at, mut producers) = (asked.after, 0, Producers::default());
    let mut page = TransactionPage { pending: transactions.pending() as u64, ..TransactionPage::default() };
    while page.transactions.len() < limit && looked_at < LOOKED_AT {
        let some: Vec<Unresolved> = transactions.state.lock().unresolved(after).take(AT_A_TIME).collect();
        if some.is_empty() {
            return Ok(page);
        }
        for one in some {
            after = Some(one.offset);
            looked_at += 1;
            if !is_wanted(&one) {
                continue;
            }
            let hanging = transactions.describe(one);
            if asked.key.as_ref().is_none_or(|key| has_key(&hanging, key)) {
                page.transactions.push(shown(core, hanging, &mut producers));
                if page.transactions.len() == limit {
                    break;
                }
            }
        }
    }
    page.next = after.filter(|after| transactions.state.lock().unresolved(Some(*after)).next().is_some());
    Ok(page)
}

/// What was given up. Blocking.
///
/// # Errors
/// 11 when this broker is not the master.
pub fn exhausted(core: &Core, asked: &ListExhausted) -> Result<ExhaustedPage, Refusal> {
    let transactions = &core.transactions;
    at_master(transactions)?;
    let mut page = ExhaustedPage::default();
    let Some(queue) = core.store.find_queue(PARKED_TOPIC, QUEUE) else { return Ok(page) };
    let (limit, now) = (limit(asked.limit), core.clock.now_ms());
    let is_wanted = |half: &HalfRecord<'_>| {
        asked.group.as_ref().is_none_or(|group| *group == half.group)
            && asked.topic.as_ref().is_none_or(|topic| *topic == half.real_topic)
            && asked.key.as_ref().is_none_or(|key| is_key(key, half.unique_key, half.keys))
            && asked.older_than.is_none_or(|age| now.saturating_sub(half.record.born_timestamp()) >= age)
    };
    let from = asked.after.map_or(0, |after| after.saturating_add(1)).max(queue.min_offset());
    let end = queue.max_offset();
    let mut at = from;
    while at < end && at - from < LOOKED_AT as i64 && page.transactions.len() < limit {
        if let Some(entry) = queue.entry(at) {
            let found = core.store.peek(&entry, |record| {
                let half = HalfRecord::of(*record);
                is_wanted(&half).then(|| given_up(&half))
            });
            page.transactions.extend(found.flatten());
        }
        at += 1;
    }
    page.next = (at < end).then_some(at - 1);
    note_states(transactions, &mut page.transactions);
    Ok(page)
}

fn given_up(half: &HalfRecord<'_>) -> ExhaustedTransaction {
    ExhaustedTransaction {
        checks: half.copies_before(),
        given_up: half.record.store_timestamp(),
        group: half.group.to_owned(),
        id: offset_message_id(&half.record).to_string(),
        keys: half.keys.map(str::to_owned),
        offset: half.record.queue_offset(),
        state: "exhausted".into(),
        topic: half.real_topic.to_owned(),
        unique_key: half.unique_key.map(str::to_owned),
    }
}

/// Those that were resumed stand otherwise now: the newest half message of the same key knows how.
fn note_states(transactions: &Transactions, page: &mut [ExhaustedTransaction]) {
    let keys = page.iter().filter_map(|one| one.unique_key.as_deref()).collect();
    let places = transactions.halves_of(keys);
    for one in page {
        let newest = one.unique_key.as_ref().and_then(|key| places.get(key)?.first());
        let Some(bytes) = newest.and_then(|(_, log_offset)| transactions.store.read(*log_offset)) else { continue };
        if let Some(half) = HalfRecord::parse(&bytes) {
            one.state = state_name(transactions.fate(&half)).into();
        }
    }
}

/// How a transaction stands, in a word.
pub(super) fn state_name(fate: Result<i64, Verdict>) -> &'static str {
    match fate {
        Ok(_) => "undecided",
        Err(Verdict::Parked) => "exhausted",
        Err(decided) => decided.name(),
    }
}

pub(super) fn shown(core: &Core, hanging: Hanging, producers: &mut Producers) -> PendingTransaction {
    let Hanging { state, age_ms, unique_key, keys, tags, queue_id, .. } = hanging;
    let is_due = matches!(state.stage, Stage::NoProducer | Stage::InLine);
    let is_last = u32::from(state.checks) >= core.transactions.rules().of(&state.group).max_checks;
    PendingTransaction {
        age: age_ms,
        asked_at: state.asked_at,
        asked_whom: state.asked_whom.as_deref().map(str::to_owned),
        carried_from: state.carried_from,
        checks: state.checks.into(),
        due_since: is_due.then_some(state.due_at),
        gives_up: (!is_due && is_last).then_some(state.due_at),
        producers: producers.of(core, &state.group),
        group: state.group.to_string(),
        half_offset: state.offset,
        keys,
        last_answer: answer_name(state.last_answer).into(),
        log_offset: state.log_offset.cast_signed(),
        next_check: (!is_due && !is_last).then_some(state.due_at),
        queue_id,
        stage: stage_name(state.stage).into(),
        stored: state.stored_at,
        tags,
        topic: state.topic.to_string(),
        unique_key,
    }
}

fn limit(asked: Option<u32>) -> usize {
    asked.unwrap_or(LISTED).clamp(1, LISTED_AT_MOST) as usize
}

fn has_key(hanging: &Hanging, key: &str) -> bool {
    is_key(key, hanging.unique_key.as_deref(), hanging.keys.as_deref())
}

fn is_key(key: &str, unique_key: Option<&str>, keys: Option<&str>) -> bool {
    unique_key == Some(key) || keys.is_some_and(|keys| keys.split(' ').any(|word| word == key))
}

fn answer_name(answer: Answer) -> &'static str {
    match answer {
        Answer::None => "none",
        Answer::Unknown => "unknown",
        Answer::Failed => "failed",
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Waiting => "waiting",
        Stage::NoProducer => "no-producer",
        Stage::InLine => "in-line",
        Stage::Asked => "asked",
    }
}

fn stage_of(name: &str) -> Result<Stage, Refusal> {
    let all = [Stage::Waiting, Stage::NoProducer, Stage::InLine, Stage::Asked];
    let found = all.into_iter().find(|stage| stage_name(*stage) == name);
    found.ok_or_else(|| {
        Refusal::invalid(format!("the field stage is [{name}], not waiting, no-producer, in-line or asked"))
    })
}
