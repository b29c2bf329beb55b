//! The requests of one connection that were served and are not answered yet.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tenonmq_protocol::code::ResponseCode;
use tenonmq_storage::{Durability, Store};
use tracing::error;

use super::{
    Dispatch, Handled, LaterReply, Outbox, Request, Response, durable::DurableReplies, outbox::ReplyTo, shared::Shared,
};

/// A request together with what its reply is addressed to.
struct Later {
    reply_to: ReplyTo,
    reply: LaterReply,
}

impl Future for Later {
    type Output = (ReplyTo, Response);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply_to = self.reply_to;
        self.reply.as_mut().poll(cx).map(|response| (reply_to, response))
    }
}

/// What is known now of something that was held.
pub(super) enum Ready {
    Reply(ReplyTo, Response),
    Durable(Durability),
}

/// Requests that wait, counted for the connection and for all of them together.
pub(super) struct Held {
    later: FuturesUnordered<Later>,
    durable: DurableReplies,
    shared: Arc<Shared>,
}

impl Held {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { later: FuturesUnordered::new(), durable: DurableReplies::default(), shared }
    }

    fn len(&self) -> usize {
        self.later.len() + self.durable.len()
    }

    /// Serves one request; a handler that panics is a defect of ours, not the end of the connection.
    pub(super) fn serve<D: Dispatch + ?Sized>(&mut self, dispatch: &D, request: &Request<'_>, out: &mut Outbox) {
        let before = out.mark();
        match catch_unwind(AssertUnwindSafe(|| dispatch.handle(request, out))) {
            Ok(Handled::Done) => {}
            Ok(Handled::WhenDurable(..)) if out.mark() == before => {} // nobody waits for the reply
            Ok(Handled::WhenDurable(ticket, timeout)) if self.shared.hold(self.len()) => {
                let serialization = request.serialization;
                out.take_back(before, |frame| self.durable.push(ticket, timeout, serialization, frame));
            }
            Ok(Handled::Later(reply)) if self.shared.hold(self.len()) => {
                self.later.push(Later { reply_to: request.reply_to(), reply });
            }
            Ok(Handled::WhenDurable(..) | Handled::Later(_)) => {
                out.take_back(before, |_| ());
                let remark = format!(
                    "[OVERLOAD]system busy, start flow control for a while: {} requests of this connection wait, {} of all",
                    self.len(),
                    self.shared.held()
                );
                out.respond(request, Response::error(ResponseCode::SYSTEM_BUSY, remark));
            }
            Err(_) => {
                error!(code = request.command.code, peer = %request.connection.peer(), "a request handler panicked");
                let remark = "internal error while serving the request";
                out.respond(request, Response::error(ResponseCode::SYSTEM_ERROR, remark));
            }
        }
    }

    /// The next of which the answer is known.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, store: Option<&Store>) -> Poll<Ready> {
        if let Poll::Ready(Some((to, response))) = self.later.poll_next_unpin(cx) {
            return Poll::Ready(Ready::Reply(to, response));
        }
        store.map_or(Poll::Pending, |store| self.durable.poll_first(cx, store).map(Ready::Durable))
    }

    /// One that need not be waited for.
    pub(super) fn ready_now(&mut self) -> Option<Ready> {
        let (to, response) = self.later.next().now_or_never()??;
        Some(Ready::Reply(to, response))
    }

    /// Lets the reply leave, and all that are known with it.
    pub(super) fn settle(&mut self, ready: Ready, store: Option<&Store>, out: &mut Outbox) {
        match (ready, store) {
            (Ready::Reply(to, response), _) => {
                self.shared.release(1);
                out.respond_to(to, response);
            }
            (Ready::Durable(outcome), Some(store)) => {
                let went = self.durable.settle(outcome, store, out);
                self.shared.release(went);
            }
            (Ready::Durable(_), None) => {} // without a store none of them waits
        }
    }
}

/// However the connection ends, nothing of it stays.
impl Drop for Held {
    fn drop(&mut self) {
        self.shared.release(self.len());
    }
}
