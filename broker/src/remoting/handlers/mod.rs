//! One file a capability: decode the header, call the service, encode its answer. No rule lives here.

pub(crate) mod send;

use tenonmq_protocol::{code::ResponseCode, header::RequestHeader};

use super::{Handled, Outbox, Request, Response};
use crate::error::Refusal;

/// The typed header of a request.
pub(crate) fn header<'a, H: RequestHeader<'a>>(request: &Request<'a>) -> Result<H, Refusal> {
    Ok(H::decode(&request.command.fields)?)
}

/// Answers with a refusal.
pub(crate) fn refuse(request: &Request<'_>, out: &mut Outbox, refusal: Refusal) -> Handled {
    out.reply(request, refusal.code, Some(&refusal.remark), |_| {}, &[]);
    Handled::Done
}

/// Answers with what a cold handler returned.
pub(crate) fn answer(request: &Request<'_>, out: &mut Outbox, outcome: Result<Response, Refusal>) -> Handled {
    out.respond(request, outcome.unwrap_or_else(Response::from));
    Handled::Done
}

/// Apache's answer to a code that nobody serves.
pub(crate) fn unsupported(request: &Request<'_>, out: &mut Outbox) -> Handled {
    let remark = format!(" request type {} not supported", request.command.code);
    out.reply(request, ResponseCode::REQUEST_CODE_NOT_SUPPORTED, Some(&remark), |_| {}, &[]);
    Handled::Done
}
