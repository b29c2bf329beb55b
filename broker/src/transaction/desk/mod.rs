//! The transaction desk: what operators find, see and settle, as requests of our own (540,070 to 540,074).
//!
//! Everything here may read records or files for each transaction it looks at, so it runs off the network threads, and one
//! answer looks at a bounded number of them. The lock of the state is held for a few hundred entries at a time.

mod act;
mod list;
mod show;

use tenonmq_protocol::{
    body::transaction_desk::{AuditEntry, AuditPage, ReadAudit},
    code::ResponseCode,
};

pub use act::act;
pub use list::{exhausted, list};
pub use show::show;

use super::{Transactions, find::NotFound};
use crate::{core::Core, error::Refusal};

/// Lines of the audit. Blocking.
///
/// # Errors
/// 29 for a beginning that is negative, 1 when the file cannot be read.
pub fn audit(core: &Core, asked: &ReadAudit) -> Result<AuditPage, Refusal> {
    let from = u64::try_from(asked.from.unwrap_or(0)).map_err(|_| Refusal::invalid("the field from is negative"))?;
    let is_wanted = |entry: &AuditEntry| {
        asked.group.as_ref().is_none_or(|group| *group == entry.group)
            && asked.id.as_ref().is_none_or(|id| is_about(entry, id))
            && asked.since.is_none_or(|since| entry.time >= since)
            && asked.until.is_none_or(|until| entry.time < until)
    };
    core.transactions.audit.read(from, is_wanted).map_err(unreadable)
}

fn is_about(entry: &AuditEntry, id: &str) -> bool {
    entry.unique_key == id || id.parse() == Ok(entry.half_queue_offset)
}

fn unreadable(error: std::io::Error) -> Refusal {
    Refusal::new(ResponseCode::SYSTEM_ERROR, format!("the audit cannot be read: {error}"))
}

/// What is undecided is known at the master only.
fn at_master(transactions: &Transactions) -> Result<(), Refusal> {
    if transactions.is_slave() {
        let remark = "the broker is a slave: transactions are listed and settled at the master";
        return Err(Refusal::new(ResponseCode::SLAVE_NOT_AVAILABLE, remark));
    }
    Ok(())
}

impl From<NotFound> for Refusal {
    fn from(error: NotFound) -> Self {
        let code = match error {
            NotFound::Several { .. } => ResponseCode::ILLEGAL_OPERATION,
            NotFound::Offset { .. } | NotFound::Id(_) => ResponseCode::QUERY_NOT_FOUND,
        };
        Self::new(code, error.to_string())
    }
}
