//! END_TRANSACTION (37), RESUME_CHECK_HALF_MESSAGE (323), and the transaction desk (540,070 to 540,074).

use std::sync::Arc;

use tenonmq_protocol::{
    code::ResponseCode,
    header::{EndTransaction, ResumeCheckHalfMessage, transaction::Verdict as Said},
};
use tenonmq_storage::FlushPolicy;

use super::{Handled, Outbox, Request, answer, desk::serve_blocking, header, refuse};
use crate::{
    core::Core,
    error::Refusal,
    remoting::Response,
    transaction::{End, EndRefused, Verdict, desk},
};

/// A producer's verdict. One that is neither commit nor rollback is never answered, as Apache does. With synchronous flush
/// the answer, a repeat's too, waits for the disk.
pub(crate) fn end(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    if !matches!(request.command.fields.number("commitOrRollback"), Ok(0 | 8 | 12)) {
        return Handled::Done;
    }
    let asked = match header::<EndTransaction<'_>>(request) {
        Ok(asked) => asked,
        Err(refusal) => return refuse(request, out, refusal),
    };
    let verdict = match asked.verdict {
        Said::Commit => Verdict::Committed,
        Said::Rollback => Verdict::RolledBack,
        Said::Unknown => {
            core.transactions.unknown(asked.half_queue_offset, asked.commit_log_offset, asked.from_check);
            return Handled::Done;
        }
    };
    let end = End {
        group: asked.producer_group,
        half_offset: asked.half_queue_offset,
        log_offset: asked.commit_log_offset,
        verdict,
        from_check: asked.from_check,
    };
    match core.transactions.end(&**core, &end) {
        Ok(_) => {
            out.reply(request, ResponseCode::SUCCESS, None, |_| {}, &[]);
            match core.store.config().flush {
                FlushPolicy::Sync => {
                    Handled::WhenDurable(core.store.ticket(), core.config.load().messages.flush_timeout)
                }
                FlushPolicy::Async { .. } => Handled::Done,
            }
        }
        Err(refused) => {
            tracing::debug!(group = end.group, half_offset = end.half_offset, %refused, "verdict refused");
            refuse(request, out, refused.into())
        }
    }
}

/// Has a parked half message checked again.
pub(crate) fn resume(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let outcome = header::<ResumeCheckHalfMessage<'_>>(request).and_then(|asked| {
        let by = request.connection.peer().to_string();
        core.transactions.resume(asked.message_id.unwrap_or_default(), by.as_str()).map_err(|error| {
            let remark = format!("Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed: {error}");
            Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
        })?;
        Ok(Response::ok())
    });
    answer(request, out, outcome)
}

/// Undecided transactions (540,070).
pub(crate) fn list(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked| desk::list(core, asked))
}

/// Messages of `TRANS_CHECK_MAX_TIME_TOPIC` (540,071).
pub(crate) fn exhausted(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked| desk::exhausted(core, asked))
}

/// One transaction (540,072).
pub(crate) fn show(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked| desk::show(core, asked))
}

/// Checks, commits, rolls back or resumes one (540,073).
pub(crate) fn act(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let from = request.connection.peer();
    serve_blocking(core, request, out, move |core, asked| desk::act(core, asked, from))
}

/// What was done by hand, and what the broker gave up (540,074).
pub(crate) fn audit(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked| desk::audit(core, asked))
}

impl From<EndRefused> for Refusal {
    fn from(refused: EndRefused) -> Self {
        Self::new(refused.code(), refused.to_string())
    }
}
