//! CONSUMER_SEND_MSG_BACK (36).

use std::sync::Arc;

use tenonmq_protocol::{code::ResponseCode, header::SendBack};

use super::{Handled, Outbox, Request, header, refuse};
use crate::{core::Core, remoting::Response, retry::send_back};

/// A consumer gives a message back.
pub(crate) fn send_back(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let outcome =
        header::<SendBack<'_>>(request).and_then(|asked| send_back::send_back(core, &asked, request.command.version));
    match outcome {
        Ok(created) if created.is_empty() => {
            out.reply(request, ResponseCode::SUCCESS, None, |_| {}, &[]);
            Handled::Done
        }
        Ok(created) => {
            let core = Arc::clone(core);
            Handled::later(async move {
                for topic in created {
                    core.announcer.topic_changed(&topic.config).await;
                }
                Response::ok()
            })
        }
        Err(refusal) => refuse(request, out, refusal),
    }
}
