//! Finding messages: QUERY_MESSAGE (12), VIEW_MESSAGE_BY_ID (33).

use std::sync::Arc;

use tenonmq_protocol::header::{QueryMessage, QueryMessageResult, ViewMessage};

use super::{Handled, Outbox, Request, answer, header};
use crate::{admin::query, core::Core, remoting::Response};

pub(crate) fn by_key(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let found = header::<QueryMessage<'_>>(request).and_then(|header| query::by_key(core, &header));
    let response = found.map(|found| {
        let mut response = Response::ok().header(&QueryMessageResult {
            index_last_update_timestamp: found.index_time,
            index_last_update_offset: found.index_offset,
        });
        response.body.extend(found.records);
        response
    });
    answer(request, out, response)
}

pub(crate) fn by_offset(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let record = header::<ViewMessage<'_>>(request).and_then(|header| query::by_offset(core, header.commit_log_offset));
    answer(request, out, record.map(|record| Response::ok().body(record)))
}
