//! Which handler serves which request code of the broker.

use std::sync::Arc;

use tenonmq_protocol::code::RequestCode;

use super::{Connection, Dispatch, Handled, Outbox, Request, handlers};
use crate::{core::Core, group::heartbeat};

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
            Code::END_TRANSACTION => handlers::transaction::end(core, request, out),
            Code::RESUME_CHECK_HALF_MESSAGE => handlers::transaction::resume(core, request, out),
            Code::QUERY_CONSUMER_OFFSET => handlers::offset::query(core, request, out),
            Code::UPDATE_CONSUMER_OFFSET => handlers::offset::update(core, request, out),
            Code::SEARCH_OFFSET_BY_TIMESTAMP => handlers::offset::search(core, request, out),
            Code::GET_MAX_OFFSET => handlers::offset::max(core, request, out),
            Code::GET_MIN_OFFSET => handlers::offset::min(core, request, out),
            Code::GET_EARLIEST_MSG_STORETIME => handlers::offset::earliest(core, request, out),
            Code::HEART_BEAT => handlers::client::heartbeat(core, request, out),
            Code::UNREGISTER_CLIENT => handlers::client::unregister(core, request, out),
            Code::GET_CONSUMER_LIST_BY_GROUP => handlers::client::consumer_list(core, request, out),
            Code::CHECK_CLIENT_CONFIG => handlers::client::check_config(request, out),
            Code::LOCK_BATCH_MQ => handlers::lock::lock(core, request, out),
            Code::UNLOCK_BATCH_MQ => handlers::lock::unlock(core, request, out),
            _ => handlers::unsupported(request, out),
        }
    }

    fn closed(&self, connection: &Arc<Connection>) {
        heartbeat::closed(&self.core, connection);
    }
}
