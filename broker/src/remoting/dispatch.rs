//! Which handler serves which request code of the broker.

use std::sync::Arc;

use tenonmq_protocol::code::RequestCode;

use super::{Connection, Dispatch, Handled, Outbox, Request, handlers};
use crate::core::Core;

/// The broker role.
pub struct BrokerDispatch {
    core: Arc<Core>,
    is_fast_port: bool,
}

impl BrokerDispatch {
    /// The main port (`listenPort`): every request.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core, is_fast_port: false }
    }

    /// The fast port (`listenPort` − 2): every request but those that may be held for long.
    pub fn fast_port(core: Arc<Core>) -> Self {
        Self { core, is_fast_port: true }
    }
}

impl Dispatch for BrokerDispatch {
    fn handle(&self, request: &Request<'_>, out: &mut Outbox) -> Handled {
        use RequestCode as Code;
        let core = &self.core;
        match request.command.request_code() {
            Code::SEND_MESSAGE | Code::SEND_MESSAGE_V2 | Code::SEND_BATCH_MESSAGE => {
                handlers::send::message(core, request, out)
            }
            _ => handlers::unsupported(request, out),
        }
    }

    fn closed(&self, _connection: &Arc<Connection>) {}
}
