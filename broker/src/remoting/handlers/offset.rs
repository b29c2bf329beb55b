//! QUERY_CONSUMER_OFFSET (14), UPDATE_CONSUMER_OFFSET (15), SEARCH_OFFSET_BY_TIMESTAMP (29), GET_MAX_OFFSET (30),
//! GET_MIN_OFFSET (31), GET_EARLIEST_MSG_STORETIME (32).

use std::sync::Arc;

use tenonmq_protocol::{
    HeaderError,
    code::ResponseCode,
    header::{
        RequestHeader, ResponseHeader,
        offset::{
            GetEarliestStoreTime, GetMaxOffset, GetMinOffset, OffsetAnswer, QueryOffset, SearchOffset, StoreTimeAnswer,
            UpdateOffset,
        },
    },
};

use super::{Handled, Outbox, Request, header, refuse};
use crate::{
    core::Core,
    error::Refusal,
    offset::{Commit, query},
};

/// The offset from which a group goes on.
pub(crate) fn query(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let found = header::<QueryOffset<'_>>(request).and_then(|asked| query::next_to_consume(core, &asked));
    offset(request, out, found)
}

/// A consumer's commit.
pub(crate) fn update(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let committed = match UpdateOffset::decode(&request.command.fields) {
        Ok(asked) => query::commit(core, &asked, request.connection),
        Err(error) => Err(incomplete(request, error)),
    };
    let remark = match committed {
        Ok(Commit::ResetPending) => Some("Offset has been previously reset"),
        Ok(_) => None,
        Err(refusal) => return refuse(request, out, refusal),
    };
    out.reply(request, ResponseCode::SUCCESS, remark, |_| {}, &[]);
    Handled::Done
}

/// A commit without queue or offset has a code of its own.
fn incomplete(request: &Request<'_>, error: HeaderError) -> Refusal {
    let fields = &request.command.fields;
    let topic = fields.get("topic").unwrap_or_default();
    if fields.get("queueId").is_none() {
        Refusal::invalid(format!("QueueId is null, topic is {topic}"))
    } else if fields.get("commitOffset").is_none() {
        Refusal::invalid(format!("Offset is null, topic is {topic}"))
    } else {
        error.into()
    }
}

/// The offset that belongs to a time.
pub(crate) fn search(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let found = header::<SearchOffset<'_>>(request).map(|asked| query::by_time(core, &asked));
    offset(request, out, found)
}

/// Where the next message goes.
pub(crate) fn max(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let found = header::<GetMaxOffset<'_>>(request).map(|asked| query::max(core, asked.topic, asked.queue_id));
    offset(request, out, found)
}

/// Where the first message is.
pub(crate) fn min(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let found = header::<GetMinOffset<'_>>(request).map(|asked| query::min(core, asked.topic, asked.queue_id));
    offset(request, out, found)
}

/// When the first message was stored.
pub(crate) fn earliest(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    match header::<GetEarliestStoreTime<'_>>(request) {
        Ok(asked) => {
            let timestamp = query::earliest_store_time(core, asked.topic, asked.queue_id);
            let answer = StoreTimeAnswer { timestamp };
            out.reply(request, ResponseCode::SUCCESS, None, |writer| answer.encode(writer), &[]);
            Handled::Done
        }
        Err(refusal) => refuse(request, out, refusal),
    }
}

fn offset(request: &Request<'_>, out: &mut Outbox, found: Result<i64, Refusal>) -> Handled {
    match found {
        Ok(offset) => {
            out.reply(request, ResponseCode::SUCCESS, None, |writer| OffsetAnswer { offset }.encode(writer), &[]);
            Handled::Done
        }
        Err(refusal) => refuse(request, out, refusal),
    }
}
