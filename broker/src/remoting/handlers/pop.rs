//! POP_MESSAGE (200050), ACK_MESSAGE (200051), PEEK_MESSAGE (200052), CHANGE_MESSAGE_INVISIBLETIME (200053), NOTIFICATION
//! (200054), POLLING_INFO (200055), POP_ROLLBACK (200056), BATCH_ACK_MESSAGE (200151), and what operators see of leases
//! (540050, 540051).

use std::sync::Arc;

use tenonmq_protocol::{
    FieldSink,
    body::{BatchAckRequest, ListLeaseQueues, ListLeases},
    code::ResponseCode,
    header::{
        AckMessage, ChangeInvisibleTime, Notification, NotificationResult, PeekMessage, PollingInfo, PollingInfoResult,
        PopMessage, PopResult, ResponseHeader,
    },
};

use super::{Handled, Outbox, Request, body, desk, header, refuse};
use crate::{
    core::Core,
    pop::{
        Asked, Popped, ack as acks, invisible, notify, operator, peek as peeks,
        read::{self, NotHeld},
    },
    remoting::Response,
};

/// What Apache's answers say when nobody has set a remark.
const NO_REMARK: &str = "not set any response code";
const FOUND: &str = "FOUND";
const NOTHING: &str = "NO_MESSAGE_IN_QUEUE";

/// Answers at once, or holds the pop until there is something for it.
pub(crate) fn pop(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let admitted =
        header::<PopMessage<'_>>(request).and_then(|asked| read::admit(core, &asked, request.connection.peer()));
    let asked = match admitted {
        Ok(asked) => asked,
        Err(refusal) => return refuse(request, out, refusal),
    };
    let popped = read::pop(core, &asked);
    if popped.count > 0 {
        out.reply(request, ResponseCode::SUCCESS, Some(FOUND), |writer| write(&popped, writer), &popped.records);
        return Handled::Done;
    }
    match asked.hold(core) {
        Ok(wait) => {
            let core = Arc::clone(core);
            Handled::later(async move { hold(&core, &asked, wait).await })
        }
        Err(reason) => {
            let code = code_of(reason);
            out.reply(request, code, Some(NOTHING), |writer| write(&popped, writer), &[]);
            Handled::Done
        }
    }
}

async fn hold(core: &Core, asked: &Asked, first: crate::pop::wait::Wait) -> Response {
    let mut time_is_up = std::pin::pin!(core.clock.sleep_until(asked.until()));
    let mut wait = Some(first);
    while let Some(woken) = wait.take() {
        let popped = read::pop(core, asked); // what came before the wait was registered is seen here
        if popped.count > 0 {
            return found(popped);
        }
        tokio::select! {
            () = woken => {}
            () = &mut time_is_up => return nothing(core, asked, NotHeld::Timeout),
        }
        let popped = read::pop(core, asked);
        if popped.count > 0 {
            return found(popped);
        }
        match asked.hold(core) {
            Ok(again) => wait = Some(again),
            Err(reason) => return nothing(core, asked, reason),
        }
    }
    nothing(core, asked, NotHeld::Timeout)
}

fn code_of(reason: NotHeld) -> ResponseCode {
    match reason {
        NotHeld::Full => ResponseCode::POLLING_FULL,
        NotHeld::Timeout => ResponseCode::POLLING_TIMEOUT,
    }
}

fn found(popped: Popped) -> Response {
    let mut response = Response::ok().remark(FOUND);
    write(&popped, &mut response);
    response.body = popped.records;
    response
}

/// The last look, when the time is up.
fn nothing(core: &Core, asked: &Asked, reason: NotHeld) -> Response {
    let popped = read::pop(core, asked);
    if popped.count > 0 {
        return found(popped);
    }
    let mut response = Response::error(code_of(reason), NOTHING);
    write(&popped, &mut response);
    response
}

fn write(popped: &Popped, out: &mut impl FieldSink) {
    let header = PopResult {
        pop_time: popped.pop_time,
        invisible_millis: popped.invisible,
        revive_queue_id: popped.revive_queue,
        rest_count: popped.rest,
        start_offsets: Some(&popped.info.starts),
        message_offsets: Some(&popped.info.offsets),
        order_counts: popped.ordered.then_some(&popped.info.counts),
    };
    header.encode(out);
}

pub(crate) fn ack(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let acked = header::<AckMessage<'_>>(request).and_then(|asked| acks::ack(core, &asked, request.connection.peer()));
    match acked {
        Ok(odd) => {
            out.reply(request, ResponseCode::SUCCESS, odd.as_deref(), |_| {}, &[]);
            Handled::Done
        }
        Err(refusal) => refuse(request, out, refusal),
    }
}

pub(crate) fn batch_ack(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let asked = if request.body.is_empty() { Ok(BatchAckRequest::default()) } else { body(request) };
    match asked.and_then(|asked| acks::batch_ack(core, &asked, request.connection.peer())) {
        Ok(()) => {
            out.reply(request, ResponseCode::SUCCESS, None, |_| {}, &[]);
            Handled::Done
        }
        Err(refusal) => refuse(request, out, refusal),
    }
}

pub(crate) fn change_invisible(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let changed = header::<ChangeInvisibleTime<'_>>(request)
        .and_then(|asked| invisible::change(core, &asked, request.connection.peer()));
    match changed {
        Ok((changed, odd)) => {
            let fields = |writer: &mut tenonmq_protocol::FrameWriter<'_>| {
                if let Some(changed) = &changed {
                    changed.encode(writer);
                }
            };
            let remark = odd.as_deref().unwrap_or(NO_REMARK);
            out.reply(request, ResponseCode::SUCCESS, Some(remark), fields, &[]);
            Handled::Done
        }
        Err(refusal) => refuse(request, out, refusal),
    }
}

pub(crate) fn peek(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let peeked =
        header::<PeekMessage<'_>>(request).and_then(|asked| peeks::peek(core, &asked, request.connection.peer()));
    let peeked = match peeked {
        Ok(peeked) => peeked,
        Err(refusal) => return refuse(request, out, refusal),
    };
    let (code, remark) = match peeked.count {
        0 => (ResponseCode::PULL_NOT_FOUND, NOTHING),
        _ => (ResponseCode::SUCCESS, FOUND),
    };
    let told = PopResult {
        pop_time: 0,
        invisible_millis: 0,
        revive_queue_id: 0,
        rest_count: peeked.rest,
        start_offsets: None,
        message_offsets: None,
        order_counts: None,
    };
    out.reply(request, code, Some(remark), |writer| told.encode(writer), &peeked.records);
    Handled::Done
}

/// Answers at once when there is something, or when it cannot be held.
pub(crate) fn notification(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let admitted =
        header::<Notification<'_>>(request).and_then(|asked| notify::admit(core, &asked, request.connection.peer()));
    let asked = match admitted {
        Ok(asked) => asked,
        Err(refusal) => return refuse(request, out, refusal),
    };
    let reply = |has_message, polling_full| {
        Response::ok().remark(NO_REMARK).header(&NotificationResult { has_message, polling_full })
    };
    if asked.has_message(core) {
        out.respond(request, reply(true, false));
        return Handled::Done;
    }
    match asked.hold(core) {
        Ok(first) => {
            let core = Arc::clone(core);
            Handled::later(async move {
                let has_message = wait_for_message(&core, &asked, first).await;
                reply(has_message, false)
            })
        }
        Err(reason) => {
            out.respond(request, reply(false, reason == NotHeld::Full));
            Handled::Done
        }
    }
}

async fn wait_for_message(core: &Core, asked: &notify::Asked, first: crate::pop::wait::Wait) -> bool {
    let mut time_is_up = std::pin::pin!(core.clock.sleep_until(asked.until()));
    let mut wait = Some(first);
    while let Some(woken) = wait.take() {
        if asked.has_message(core) {
            return true;
        }
        tokio::select! {
            () = woken => {}
            () = &mut time_is_up => break,
        }
        if asked.has_message(core) {
            return true;
        }
        wait = asked.hold(core).ok();
    }
    asked.has_message(core)
}

pub(crate) fn polling_info(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let waiting =
        header::<PollingInfo<'_>>(request).and_then(|asked| notify::waiting(core, &asked, request.connection.peer()));
    match waiting {
        Ok(count) => {
            let told = PollingInfoResult { polling_count: i32::try_from(count).unwrap_or(i32::MAX) };
            out.respond(request, Response::ok().remark(NO_REMARK).header(&told));
            Handled::Done
        }
        Err(refusal) => refuse(request, out, refusal),
    }
}

pub(crate) fn leases(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    desk::serve(request, out, |asked: &ListLeases| operator::list(core, asked))
}

pub(crate) fn lease_queues(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    desk::serve(request, out, |asked: &ListLeaseQueues| Ok(operator::queues(core, asked)))
}

/// Apache moves leases from a database of its own back into revive topics. Here there are neither: nothing is to be done.
pub(crate) fn rollback(request: &Request<'_>, out: &mut Outbox) -> Handled {
    out.reply(request, ResponseCode::SUCCESS, None, |_| {}, &[]);
    Handled::Done
}
