//! GET_TIMER_CHECK_POINT (60), GET_TIMER_METRICS (61), RECALL_MESSAGE (370).

use std::sync::Arc;

use tenonmq_protocol::{
    body::json,
    code::ResponseCode,
    header::{RecallMessage, RecallResult},
};
use tenonmq_storage::{Durability, FlushPolicy};

use super::{Handled, Outbox, Request, answer, desk::serve_blocking, header};
use crate::{
    core::Core,
    error::Refusal,
    remoting::{Response, durable},
    timer::{list, recall},
};

/// How far a broker that took this data over would be.
pub(crate) fn check_point(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let found = enabled(core, "The checkpoint is null").map(|()| core.timers.check_point());
    answer(request, out, found.map(|bytes| Response::ok().body(bytes.to_vec())))
}

/// How many timers wait, by topic.
pub(crate) fn metrics(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let found = enabled(core, "The timer message store is null").map(|()| core.timers.counts());
    answer(request, out, found.map(|counts| Response::ok().body(json::to_vec(&counts))))
}

fn enabled(core: &Core, why_not: &'static str) -> Result<(), Refusal> {
    if core.config.load().messages.timers { Ok(()) } else { Err(Refusal::new(ResponseCode::SYSTEM_ERROR, why_not)) }
}

/// Takes a message back. Every answer carries the region, a refusal too.
pub(crate) fn recall(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let region = core.config.load().identity.region.clone();
    let asked = header::<RecallMessage<'_>>(request);
    let (message_id, appended) =
        match asked.and_then(|asked| recall::by_handle(core, &asked, request.connection.peer())) {
            Ok(recalled) => recalled,
            Err(refusal) => {
                out.respond(request, Response::from(refusal).field("MSG_REGION", region));
                return Handled::Done;
            }
        };
    let response = Response::ok().header(&RecallResult { message_id: &message_id, region: Some(&region) });
    if core.store.config().flush != FlushPolicy::Sync {
        out.respond(request, response);
        return Handled::Done;
    }
    let (core, timeout) = (Arc::clone(core), core.config.load().messages.flush_timeout);
    Handled::later(async move {
        match core.store.durable(appended.ticket, timeout).await {
            failed @ Durability::Poisoned => durable::answer(failed, response),
            _ => response, // a time-out is told as success by Apache too: the recall is in the log
        }
    })
}

/// Takes messages back for an operator (540,060).
pub(crate) fn recall_at_desk(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let from = request.connection.peer();
    serve_blocking(core, request, out, move |core, asked| list::recall(core, asked, from))
}

/// The timers that are due first (540,061).
pub(crate) fn list(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked| list::list(core, asked))
}

/// One timer (540,062).
pub(crate) fn show(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked| list::show(core, asked))
}
