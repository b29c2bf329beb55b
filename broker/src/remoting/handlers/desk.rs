//! TenonMQ's own requests (codes from 540,000): JSON in, JSON out.

use std::sync::Arc;

use tenonmq_protocol::{
    body::{
        ListConflicts, ListSubscriptions,
        desk::DeskRequest,
        json,
        offset_desk::{ListMoves, ListOwners, PreviewReset, ResetGroup, UndoMove},
    },
    code::ResponseCode,
};

use super::{Handled, Outbox, Request, answer};
use crate::{
    admin::{owners, preview, reset},
    core::Core,
    error::Refusal,
    group::conflicts,
    offset::history::undo,
    remoting::Response,
};

/// Reads the body, asks the service, and answers with JSON. A body that cannot be read is refused with 29, and the
/// remark names the field.
pub(crate) fn serve<R: DeskRequest>(
    request: &Request<'_>,
    out: &mut Outbox,
    ask: impl FnOnce(&R) -> Result<R::Answer, Refusal>,
) -> Handled {
    let outcome = asked::<R>(request).and_then(|asked| ask(&asked));
    answer(request, out, outcome.map(|found| Response::ok().body(json::to_vec_standard(&found))))
}

/// As [`serve`], for what reads or writes files: the work is done off the connection's task.
pub(crate) fn serve_blocking<R: DeskRequest + Send + 'static>(
    core: &Arc<Core>,
    request: &Request<'_>,
    out: &mut Outbox,
    ask: impl FnOnce(&Arc<Core>, &R) -> Result<R::Answer, Refusal> + Send + 'static,
) -> Handled {
    match asked::<R>(request) {
        Ok(asked) => {
            let core = Arc::clone(core);
            let work = move || ask(&core, &asked).map(|found| Response::ok().body(json::to_vec_standard(&found)));
            Handled::later(async move {
                let done = tokio::task::spawn_blocking(work).await;
                let ended = |error| Err(Refusal::new(ResponseCode::SYSTEM_ERROR, format!("{error}")));
                done.unwrap_or_else(ended).unwrap_or_else(Response::from)
            })
        }
        Err(refusal) => answer(request, out, Err(refusal)),
    }
}

fn asked<R: DeskRequest>(request: &Request<'_>) -> Result<R, Refusal> {
    json::from_slice(request.body).map_err(|error| Refusal::invalid(error.to_string()))
}

pub(crate) fn preview_reset(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve(request, out, |asked: &PreviewReset| preview::preview(core, asked))
}

pub(crate) fn offset_history(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve_blocking(core, request, out, |core, asked: &ListMoves| Ok(core.offset_history.list(asked)))
}

pub(crate) fn offset_undo(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let by = request.connection.peer().to_string();
    serve_blocking(core, request, out, move |core, asked: &UndoMove| undo::undo(core, asked, &by))
}

pub(crate) fn offset_reset(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let by = request.connection.peer().to_string();
    serve_blocking(core, request, out, move |core, asked: &ResetGroup| reset::with_reason(core, asked, &by))
}

pub(crate) fn queue_owners(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve(request, out, |asked: &ListOwners| owners::owners(core, asked))
}

pub(crate) fn subscriptions(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve(request, out, |asked: &ListSubscriptions| conflicts::subscriptions(core, asked))
}

pub(crate) fn subscription_conflicts(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    serve(request, out, |asked: &ListConflicts| conflicts::list(core, asked))
}
