//! LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42).

use std::sync::Arc;

use tenonmq_protocol::body::{LockRequest, LockResponse, json};

use super::{Handled, Outbox, Request, answer, body};
use crate::{core::Core, remoting::Response};

/// Locks queues for a member; answers those that it holds now, perhaps none.
pub(crate) fn lock(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let outcome = body::<LockRequest>(request).map(|asked| {
        let now_ms = core.clock.now_ms();
        let locked = core.locks.lock(&asked.consumer_group, &asked.client_id, asked.mq_set, now_ms);
        Response::ok().body(json::to_vec(&LockResponse { locked }))
    });
    answer(request, out, outcome)
}

/// Gives up a member's locks.
pub(crate) fn unlock(core: &Arc<Core>, request: &Request<'_>, out: &mut Outbox) -> Handled {
    let outcome = body::<LockRequest>(request).map(|asked| {
        core.locks.unlock(&asked.consumer_group, &asked.client_id, &asked.mq_set);
        Response::ok()
    });
    answer(request, out, outcome)
}
