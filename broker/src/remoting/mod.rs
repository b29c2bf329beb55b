//! The remoting front end: sockets to typed requests and back.
//!
//! A connection is one task ([`connection`]). It serves every complete frame in its buffer in place through
//! [`Dispatch`], and writes all replies with one vectored write ([`outbox`]). Only what must wait becomes a future that
//! the connection polls beside its socket; `opaque` pairs its reply with the request, so order does not matter.
//!
//! The same server carries the broker and the name-server role; they differ in their [`Dispatch`].

mod backlog;
#[cfg(test)]
mod backlog_tests;
mod buffer;
mod connection;
mod dispatch;
pub(crate) mod durable;
#[cfg(test)]
mod durable_tests;
#[cfg(test)]
mod gather_tests;
pub(crate) mod handlers;
mod held;
mod outbox;
#[cfg(test)]
mod outbox_tests;
mod peer;
mod server;
mod shared;
#[cfg(test)]
pub(crate) mod testing;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tenonmq_protocol::{command::CommandView, frame::Serialization};
use tenonmq_storage::{Store, Ticket};

pub use dispatch::BrokerDispatch;
pub use outbox::{Outbox, Response};
pub use peer::{Connection, ConnectionGone, RequestError};
pub use server::{Limits, Load, Server};

/// One request as it lies in the read buffer.
pub struct Request<'a> {
    /// The envelope and its fields.
    pub command: &'a CommandView<'a>,
    /// Body bytes; empty when there is none.
    pub body: &'a [u8],
    /// How the peer encoded its header; the reply is encoded the same way.
    pub serialization: Serialization,
    /// Where it came from.
    pub connection: &'a Arc<Connection>,
}

impl Request<'_> {
    fn reply_to(&self) -> outbox::ReplyTo {
        outbox::ReplyTo {
            opaque: self.command.opaque,
            serialization: self.serialization,
            oneway: self.command.is_oneway(),
        }
    }
}

/// A reply that is not there yet.
pub type LaterReply = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What became of a request.
pub enum Handled {
    /// The reply is in the outbox, or none is due.
    Done,
    /// The reply is the last frame in the outbox, if one is due. It leaves when the record of the ticket is as durable as the
    /// flush policy asks, and after this time says that it is not.
    WhenDurable(Ticket, Duration),
    /// The reply comes from this future. Dropped when the connection ends.
    Later(LaterReply),
}

impl Handled {
    /// A reply that comes from `future`.
    pub fn later(future: impl Future<Output = Response> + Send + 'static) -> Self {
        Self::Later(Box::pin(future))
    }
}

/// Decides about requests; one implementation for each role.
pub trait Dispatch: Send + Sync + 'static {
    /// Serves one request. Runs on the connection's task: must not block.
    fn handle(&self, request: &Request<'_>, out: &mut Outbox) -> Handled;

    /// Whose records replies wait for ([`Handled::WhenDurable`]), if this role stores any.
    fn store(&self) -> Option<&Store> {
        None
    }

    /// Called once after the connection ended.
    fn closed(&self, connection: &Arc<Connection>);
}
