//! Settling by hand: check, commit, roll back, resume. Each attempt that names a transaction is a line in the audit, the
//! refused ones too.

use std::net::SocketAddr;

use tenonmq_protocol::{
    body::transaction_desk::{ActOnTransaction, ActedOnTransaction},
    code::ResponseCode,
};

use super::{
    super::{
        Ended, Transactions, Verdict,
        check::offset_message_id,
        find::Found,
        operator::{By, ByHandError, ResumeError, Resumed},
        records::HalfRecord,
    },
    at_master,
};
use crate::{core::Core, error::Refusal};

/// Bytes of a reason.
const REASON: usize = 2000;
/// Bytes of a name.
const NAME: usize = 200;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Check,
    End(Verdict),
    Resume,
}

impl Action {
    fn of(name: &str) -> Result<Self, Refusal> {
        match name {
            "check" => Ok(Self::Check),
            "commit" => Ok(Self::End(Verdict::Committed)),
            "rollback" => Ok(Self::End(Verdict::RolledBack)),
            "resume" => Ok(Self::Resume),
            _ => Err(Refusal::invalid(format!("the field action is [{name}], not check, commit, rollback or resume"))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::End(verdict) => verdict.action(),
            Self::Resume => "resume",
        }
    }
}

/// Does what is asked. Blocking.
///
/// # Errors
/// 29 without a reason or with an action that does not exist, 22 when the log has no such transaction, 604 when it was
/// decided otherwise or the id stands for several, 11 when this broker is not the master, 1 when the audit cannot be
/// written, and what the log says.
pub fn act(core: &Core, asked: &ActOnTransaction, from: SocketAddr) -> Result<ActedOnTransaction, Refusal> {
    let transactions = &core.transactions;
    at_master(transactions)?;
    let action = Action::of(&asked.action)?;
    let reason = asked.reason.trim();
    if reason.is_empty() {
        return Err(Refusal::invalid("the field reason is empty: say why, it is kept in the audit"));
    }
    let name = asked.by.as_deref().unwrap_or_default().trim();
    for (field, value, most) in [("reason", reason, REASON), ("by", name, NAME)] {
        if value.len() > most {
            return Err(Refusal::invalid(format!("the field {field} is longer than {most} bytes")));
        }
    }
    transactions.audit.writable().map_err(|error| {
        let remark = format!("nothing was done, because the audit cannot be written: {error}");
        Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
    })?;
    let who = if name.is_empty() { from.to_string() } else { format!("{name} ({from})") };
    let by = By { who: &who, reason };
    let found = transactions.locate(asked.id.trim())?;
    let (Found::Half(bytes) | Found::Parked(bytes)) = &found;
    let half = HalfRecord::parse(bytes)
        .ok_or_else(|| Refusal::new(ResponseCode::QUERY_NOT_FOUND, "the record is gone from the log"))?;
    let fate = match &found {
        Found::Half(_) => transactions.fate(&half),
        Found::Parked(_) => Err(Verdict::Parked),
    };
    let done = match (action, fate) {
        (Action::Check, Ok(offset)) => check(core, &half, offset, by),
        (Action::End(verdict), Ok(offset)) => end(core, offset, verdict, by),
        (Action::Resume, Ok(offset)) => {
            transactions.note_at(offset, &half, 0, by, action.name(), "is undecided already");
            Ok((offset, "is undecided already".into()))
        }
        (Action::End(verdict), Err(decided)) if verdict == decided => {
            let result = format!("was {} already", decided.name());
            transactions.note(&half, 0, by, action.name(), result.clone());
            Ok((half.record.queue_offset(), result))
        }
        (Action::Resume, Err(Verdict::Parked)) => {
            let is_half = matches!(found, Found::Half(_));
            resume(transactions, &half, is_half, by)
        }
        (_, Err(decided)) => {
            let (code, remark) = (ResponseCode::ILLEGAL_OPERATION, already(action, decided));
            let offset = if matches!(found, Found::Half(_)) { half.record.queue_offset() } else { -1 };
            transactions.note_at(offset, &half, 0, by, action.name(), format!("refused: {remark}"));
            Err(Refusal::new(code, remark))
        }
    };
    let (half_offset, result) = done?;
    Ok(ActedOnTransaction { half_offset, result, unique_key: half.unique_key.map(str::to_owned) })
}

type Done = Result<(i64, String), Refusal>;

fn check(core: &Core, half: &HalfRecord<'_>, offset: i64, by: By<'_>) -> Done {
    core.transactions.check_by_hand(offset, by).map_err(refused)?;
    let result = match core.clients.producers(half.group).len() {
        0 => format!("no producer of {} is online: it is asked about when one is", half.group),
        1 => "is asked about now".to_owned(),
        producers => format!("one of {producers} producers is asked now"),
    };
    Ok((offset, result))
}

fn end(core: &Core, offset: i64, verdict: Verdict, by: By<'_>) -> Done {
    let ended = core.transactions.decide_by_hand(core, offset, verdict, by).map_err(refused)?;
    let result = match ended {
        Ended::Decided => verdict.name().to_owned(),
        Ended::Repeated => format!("was {} meanwhile", verdict.name()),
    };
    Ok((offset, result))
}

fn resume(transactions: &Transactions, half: &HalfRecord<'_>, is_half: bool, by: By<'_>) -> Done {
    let parked = if is_half { half.unique_key.and_then(|key| transactions.parked_with_key(key)) } else { None };
    let parked = parked.as_deref().and_then(HalfRecord::parse);
    if is_half && parked.is_none() {
        let remark = "its message is gone from TRANS_CHECK_MAX_TIME_TOPIC: it cannot be resumed";
        transactions.note(half, 0, by, "resume", format!("refused: {remark}"));
        return Err(Refusal::new(ResponseCode::QUERY_NOT_FOUND, remark));
    }
    let id = offset_message_id(&parked.as_ref().unwrap_or(half).record).to_string();
    let resumed = transactions.resume(&id, by).map_err(|error| match error {
        ResumeError::NotFound(_) => Refusal::new(ResponseCode::QUERY_NOT_FOUND, error.to_string()),
        ResumeError::Append(error) => error.into(),
    })?;
    Ok(match resumed {
        Resumed::Again(offset) => (offset, "is checked again from the start".into()),
        Resumed::Already(offset) => (offset, "is undecided already".into()),
    })
}

/// Why it cannot be done: it was decided, and what is asked does not fit that.
fn already(action: Action, decided: Verdict) -> String {
    let how = decided.name();
    match (action, decided) {
        (_, Verdict::Parked) => "the checks of the transaction are used up: resume it first".to_owned(),
        (Action::Check, _) => format!("the transaction is {how} already: nobody has to be asked"),
        (Action::Resume, _) => format!("the transaction is {how} already: there is nothing to resume"),
        (Action::End(wanted), _) => format!("the transaction is {how} already: it cannot be {}", wanted.name()),
    }
}

fn refused(error: ByHandError) -> Refusal {
    match error {
        ByHandError::Refused(refused) => refused.into(),
        ByHandError::NotPending(_) => {
            Refusal::new(ResponseCode::ILLEGAL_OPERATION, "the transaction was decided meanwhile")
        }
    }
}
