//! END_TRANSACTION (37) and RESUME_CHECK_HALF_MESSAGE (323).

use std::sync::Arc;

use tenonmq_protocol::{
    code::ResponseCode,
    header::{EndTransaction, ResumeCheckHalfMessage, transaction::Verdict as Said},
};

use super::{Handled, Outbox, Request, answer, header, refuse};
use crate::{
    core::Core,
    error::Refusal,
    remoting::Response,
    transaction::{End, EndRefused, Verdict},
};

/// A producer's verdict. One that is neither commit nor rollback is never answered, as Apache does.
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
            core.transactions.unknown(asked.half_queue_offset, asked.commit_log_offset);
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
            Handled::Done
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
        core.transactions.resume(asked.message_id.unwrap_or_default(), &by).map_err(|error| {
            let remark = format!("Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed: {error}");
            Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
        })?;
        Ok(Response::ok())
    });
    answer(request, out, outcome)
}

impl From<EndRefused> for Refusal {
    fn from(refused: EndRefused) -> Self {
        Self::new(refused.code(), refused.to_string())
    }
}
