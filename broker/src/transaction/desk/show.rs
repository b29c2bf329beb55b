//! One transaction with everything that is known of it.

use tenonmq_protocol::{
    body::transaction_desk::{CheckMade, OnlineProducer, RefusedVerdict, ShowTransaction, ShownTransaction},
    code::ResponseCode,
    message::properties::pairs,
};

use super::{
    super::{
        Verdict,
        find::Found,
        records::HalfRecord,
        trail::{CheckSent, Contradiction},
    },
    at_master, is_about,
    list::{Producers, shown, state_name},
    unreadable,
};
use crate::{core::Core, error::Refusal};

/// Producers that one answer names.
const PRODUCERS: usize = 100;

/// The transaction that an id stands for. Blocking.
///
/// # Errors
/// 22 when the log has none, 604 when the id stands for several, 11 when this broker is not the master, 1 when the audit
/// cannot be read.
pub fn show(core: &Core, asked: &ShowTransaction) -> Result<ShownTransaction, Refusal> {
    let transactions = &core.transactions;
    at_master(transactions)?;
    let (bytes, is_half) = match transactions.locate(asked.id.trim())? {
        Found::Half(bytes) => (bytes, true),
        Found::Parked(bytes) => (bytes, false),
    };
    let half = HalfRecord::parse(&bytes)
        .ok_or_else(|| Refusal::new(ResponseCode::QUERY_NOT_FOUND, "the record is gone from the log"))?;
    let fate = if is_half { transactions.fate(&half) } else { Err(Verdict::Parked) };
    let named = half.record.queue_offset();
    let offset = fate.unwrap_or(named);
    let pending = fate.ok().and_then(|offset| transactions.find(offset));
    let steps = if is_half { transactions.trail.of(offset) } else { Default::default() };
    let key = half.unique_key.unwrap_or_default();
    let is_this = |entry: &_| if key.is_empty() { is_about(entry, &named.to_string()) } else { is_about(entry, key) };
    let audit = transactions.audit.newest(is_this).map_err(unreadable)?;
    Ok(ShownTransaction {
        audit,
        body_length: half.record.body().len() as u64,
        born: half.record.born_timestamp(),
        born_host: half.record.born_host().to_string(),
        checks: steps.checks.into_iter().map(check).collect(),
        contradictions: steps.contradictions.iter().map(contradiction).collect(),
        group: half.group.to_owned(),
        half_offset: if is_half { offset } else { -1 },
        keys: half.keys.map(str::to_owned),
        log_offset: half.record.physical_offset(),
        pending: pending.map(|hanging| shown(core, hanging, &mut Producers::default())),
        producers: producers(core, half.group),
        properties: pairs(half.text).map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        queue_id: half.real_queue_id,
        state: state_name(fate).into(),
        stored: half.first_stored(),
        topic: half.real_topic.to_owned(),
        unique_key: half.unique_key.map(str::to_owned),
    })
}

fn producers(core: &Core, group: &str) -> Vec<OnlineProducer> {
    let members = core.clients.producers(group);
    let online = members.iter().take(PRODUCERS).map(|member| OnlineProducer {
        address: member.connection().peer().to_string(),
        client_id: member.client_id().to_string(),
        language: member.language().to_string(),
    });
    online.collect()
}

fn check(check: CheckSent) -> CheckMade {
    CheckMade {
        answer: check.answer.map(|(said, _)| said.name().to_owned()),
        answered: check.answer.map(|(_, at)| at),
        asked: check.asked_at,
        number: check.number,
        whom: check.whom.to_string(),
    }
}

fn contradiction(refused: &Contradiction) -> RefusedVerdict {
    RefusedVerdict { decided: refused.decided.name().into(), time: refused.at, wanted: refused.wanted.action().into() }
}
