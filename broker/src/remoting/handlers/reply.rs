//! SEND_REPLY_MESSAGE (324), SEND_REPLY_MESSAGE_V2 (325).

use std::sync::Arc;

use tenonmq_protocol::header::{SendMessage, SendReceipt};

use super::{Handled, Outbox, Request, header, refuse};
use crate::{
    core::Core,
    remoting::Response,
    reply::{Delivered, Reply},
    send::Incoming,
};

pub(crate) fn push(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let reply = header::<SendMessage<'_>>(request).and_then(|header| {
        let message = Incoming {
            header: &header,
            body: request.body,
            born_host: request.connection.peer(),
            version: request.command.version,
        };
        Reply::take(core, message)
    });
    match reply {
        Ok(reply) => {
            let core = Arc::clone(core);
            Handled::later(async move { receipt(&core, reply.deliver(&core).await) })
        }
        Err(refusal) => refuse(request, out, refusal),
    }
}

/// The receipt of a send without a transaction id. An id of "0" says that the reply is not stored.
fn receipt(core: &Core, delivered: Delivered) -> Response {
    let id = delivered.stored.map_or_else(|| "0".to_owned(), |id| id.to_string());
    let config = core.config.load();
    let receipt = SendReceipt {
        message_id: &id,
        queue_id: delivered.queue_id,
        queue_offset: delivered.queue_offset,
        region: Some(&config.identity.region),
        trace_on: Some(if config.messages.trace_on { "true" } else { "false" }),
        ..SendReceipt::default()
    };
    let response = Response::ok().header(&receipt);
    match delivered.refusal {
        Some(refusal) => Response { code: refusal.code, ..response }.remark(refusal.remark),
        None => response,
    }
}
