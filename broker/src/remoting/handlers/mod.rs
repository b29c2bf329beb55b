//! One file a capability: decode the header, call the service, encode its answer. No rule lives here.

pub(crate) mod assignment;
pub(crate) mod broker;
pub(crate) mod client;
pub(crate) mod dead_letter;
pub(crate) mod desk;
pub(crate) mod group;
pub(crate) mod lock;
pub(crate) mod offset;
pub(crate) mod pop;
pub(crate) mod progress;
pub(crate) mod pull;
pub(crate) mod query;
pub(crate) mod relay;
pub(crate) mod reply;
pub(crate) mod retry;
pub(crate) mod send;
pub(crate) mod timer;
pub(crate) mod topic;
pub(crate) mod transaction;

use serde::de::DeserializeOwned;
use tenonmq_protocol::{body::json, code::ResponseCode, header::RequestHeader};

use super::{Handled, Outbox, Request, Response};
use crate::error::Refusal;

/// The typed header of a request.
pub(crate) fn header<'a, H: RequestHeader<'a>>(request: &Request<'a>) -> Result<H, Refusal> {
    Ok(H::decode(&request.command.fields)?)
}

/// The JSON body of a request. Apache runs into an exception at one that it cannot read, and answers 1.
pub(crate) fn body<T: DeserializeOwned>(request: &Request<'_>) -> Result<T, Refusal> {
    json::from_slice(request.body).map_err(|error| Refusal::new(ResponseCode::SYSTEM_ERROR, error.to_string()))
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
