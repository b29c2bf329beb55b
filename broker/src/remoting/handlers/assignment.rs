//! Dividing queues on the broker: QUERY_ASSIGNMENT (400), SET_MESSAGE_REQUEST_MODE (401), GET_ALL_MESSAGE_REQUEST_MODE (402).

use std::sync::Arc;

use tenonmq_protocol::{
    body::{QueryAssignment, SetMessageRequestMode},
    code::ResponseCode,
};

use super::{Handled, Outbox, Request, answer, body, refuse, topic::with_json};
use crate::{
    core::Core,
    group::{assignment, request_mode},
    remoting::Response,
};

pub(crate) fn query(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let asked = match body::<QueryAssignment>(request) {
        Ok(asked) => asked,
        Err(refusal) => return refuse(request, out, refusal),
    };
    let core = Arc::clone(core);
    Handled::later(async move {
        let queues = assignment::queues(&core, &asked.topic).await;
        with_json(&assignment::assign(&core, &asked, queues))
    })
}

/// Answers once the table is in its file.
pub(crate) fn set_mode(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let set = body::<SetMessageRequestMode>(request).and_then(|asked| request_mode::set(core, asked));
    if let Err(refusal) = set {
        return refuse(request, out, refusal);
    }
    let core = Arc::clone(core);
    Handled::later(async move {
        let failure = match tokio::task::spawn_blocking(move || core.request_modes.save()).await {
            Ok(Ok(())) => return Response::ok(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(failure, "request modes not saved");
        Response::error(ResponseCode::SYSTEM_ERROR, format!("the change is in force but not saved: {failure}"))
    })
}

pub(crate) fn all_modes(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    answer(request, out, Ok(with_json(&core.request_modes.snapshot())))
}
