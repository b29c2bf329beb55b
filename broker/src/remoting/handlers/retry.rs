//! CONSUMER_SEND_MSG_BACK (36).

use std::sync::Arc;

use tenonmq_protocol::{code::ResponseCode, header::SendBack};
use tenonmq_storage::FlushPolicy;

use super::{Handled, Outbox, Request, header, refuse};
use crate::{
    core::Core,
    remoting::{Response, durable},
    retry::send_back::{self, SentBack},
};

/// A consumer gives a message back. It lets go of the message when it is answered, so with synchronous flush the answer
/// waits for the disk; Apache's does not, and a crash of the machine loses the message.
pub(crate) fn send_back(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let outcome =
        header::<SendBack<'_>>(request).and_then(|asked| send_back::send_back(core, &asked, request.command.version));
    match outcome {
        Ok(done) if done.created.is_empty() => {
            out.reply(request, ResponseCode::SUCCESS, None, |_| {}, &[]);
            let waits_for_disk = done.ticket.filter(|_| core.store.config().flush == FlushPolicy::Sync);
            let timeout = core.config.load().messages.flush_timeout;
            waits_for_disk.map_or(Handled::Done, |ticket| Handled::WhenDurable(ticket, timeout))
        }
        Ok(done) => later(Arc::clone(core), done),
        Err(refusal) => refuse(request, out, refusal),
    }
}

fn later(core: Arc<Core>, done: SentBack) -> Handled {
    let timeout = core.config.load().messages.flush_timeout;
    Handled::later(async move {
        for topic in done.created {
            core.topic_changed(&topic.config).await;
        }
        match done.ticket {
            Some(ticket) => durable::answer(core.store.durable(ticket, timeout).await, Response::ok()),
            None => Response::ok(),
        }
    })
}
