//! Answering the broker's checks.
//!
//! Invariant: a check that fails, panics or takes too long is answered *unknown* and costs nothing but its own answer.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tenonmq_protocol::{
    Command,
    header::{CheckTransaction, EndTransaction, RequestHeader, Verdict},
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, debug_span, warn};

use super::{Check, CheckListener, LocalState, check::malformed};
use crate::{
    error::Error,
    producer::role::CheckRequest,
    transport::{Connection, Reply, expect_success},
};

/// Checks that may wait; more are dropped, and asked again by the broker.
pub(super) const CHECK_QUEUE: usize = 1024;
/// Checks that run at the same time.
const CONCURRENT_CHECKS: usize = 64;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Who answers.
pub(super) struct Desk<L> {
    pub(super) listener: Arc<L>,
    pub(super) group: String,
    /// Longest duration of one check.
    pub(super) limit: Duration,
}

/// Serves checks until the producer closes.
pub(super) async fn answer_checks<L: CheckListener>(
    mut queue: mpsc::Receiver<CheckRequest>,
    desk: Desk<L>,
    closing: CancellationToken,
) {
    let desk = Arc::new(desk);
    let permits = Arc::new(Semaphore::new(CONCURRENT_CHECKS));
    loop {
        let next = tokio::select! { next = queue.recv() => next, () = closing.cancelled() => return };
        let Some((connection, request)) = next else { return };
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (desk, closing) = (Arc::clone(&desk), closing.clone());
        let span = debug_span!("check_transaction", group = desk.group, peer = connection.address());
        let serve = async move {
            let _permit = permit;
            tokio::select! {
                result = desk.answer(&connection, &request) => {
                    if let Err(error) = result {
                        warn!(%error, "transaction check");
                    }
                }
                () = closing.cancelled() => {}
            }
        };
        tokio::spawn(serve.instrument(span));
    }
}

impl<L: CheckListener> Desk<L> {
    async fn answer(&self, connection: &Connection, request: &Command) -> Result<(), Error> {
        let asked: CheckTransaction<'_> = request.request_header().map_err(|error| malformed(error.to_string()))?;
        let check = Check::read(&request.body)?;
        let id = check.message().id().map(str::to_owned);
        let id = asked.transaction_id.or(asked.message_id).or(id.as_deref()).unwrap_or_default();
        let state = self.look_up(check, id).await;
        debug!(id, ?state, "checked");
        let header = EndTransaction {
            topic: asked.topic,
            producer_group: &self.group,
            half_queue_offset: asked.half_queue_offset,
            commit_log_offset: asked.commit_log_offset,
            verdict: match state {
                LocalState::Commit => Verdict::Commit,
                LocalState::Rollback => Verdict::Rollback,
                LocalState::Unknown => Verdict::Unknown,
            },
            from_check: true,
            message_id: Some(asked.message_id.unwrap_or(id)),
            transaction_id: Some(id),
            broker_name: asked.broker_name,
        };
        match state {
            // brokers do not answer this one
            LocalState::Unknown => connection.oneway(&header, &[]).await,
            LocalState::Commit | LocalState::Rollback => {
                let decode = |reply: Reply<'_>| expect_success(EndTransaction::CODE, &reply);
                connection.call(&header, &[], ANSWER_TIMEOUT, decode).await
            }
        }
    }

    async fn look_up(&self, check: Check, id: &str) -> LocalState {
        // the listener may panic before it returns its future: both are inside
        let asking = AssertUnwindSafe(async { self.listener.check_local_transaction(check).await });
        match timeout(self.limit, asking.catch_unwind()).await {
            Ok(Ok(Ok(state))) => return state,
            Ok(Ok(Err(error))) => warn!(id, error, "the check failed: unknown is answered"),
            Ok(Err(panic)) => warn!(id, panic = text_of(&*panic), "the check panicked: unknown is answered"),
            Err(_) => warn!(id, limit = ?self.limit, "the check took too long: unknown is answered"),
        }
        LocalState::Unknown
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)")
}
