//! Answering the broker's checks.

use std::{sync::Arc, time::Duration};

use tenonmq_protocol::{
    Command,
    header::{CheckTransaction, EndTransaction, RequestHeader, Verdict},
    message::record::RecordView,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, debug_span, warn};

use super::{LocalState, TransactionListener};
use crate::{
    error::Error,
    message::Message,
    producer::role::CheckRequest,
    received::plain_body,
    transport::{Connection, Reply, expect_success},
};

/// Checks that may wait; more are dropped, and asked again by the broker.
pub(super) const CHECK_QUEUE: usize = 1024;
/// Checks that run at the same time.
const CONCURRENT_CHECKS: usize = 64;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves checks until the producer closes.
pub(super) async fn answer_checks<L: TransactionListener>(
    mut queue: mpsc::Receiver<CheckRequest>,
    listener: Arc<L>,
    group: String,
    closing: CancellationToken,
) {
    let group: Arc<str> = group.into();
    let permits = Arc::new(Semaphore::new(CONCURRENT_CHECKS));
    loop {
        let next = tokio::select! { next = queue.recv() => next, () = closing.cancelled() => return };
        let Some((connection, request)) = next else { return };
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (listener, group, closing) = (Arc::clone(&listener), Arc::clone(&group), closing.clone());
        let span = debug_span!("check_transaction", %group, peer = connection.address());
        let serve = async move {
            let _permit = permit;
            tokio::select! {
                result = answer(&connection, &request, &*listener, &group) => {
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

async fn answer<L: TransactionListener>(
    connection: &Connection,
    request: &Command,
    listener: &L,
    group: &str,
) -> Result<(), Error> {
    let check: CheckTransaction<'_> = request.request_header().map_err(|error| malformed(error.to_string()))?;
    let message = message_of(&request.body)?;
    let id = check.transaction_id.or(check.message_id).or(message.id()).unwrap_or_default();
    let state = listener.check_local_transaction(&message).await;
    debug!(id, ?state, "checked");
    let header = EndTransaction {
        topic: check.topic,
        producer_group: group,
        half_queue_offset: check.half_queue_offset,
        commit_log_offset: check.commit_log_offset,
        verdict: match state {
            LocalState::Commit => Verdict::Commit,
            LocalState::Rollback => Verdict::Rollback,
            LocalState::Unknown => Verdict::Unknown,
        },
        from_check: true,
        message_id: Some(check.message_id.unwrap_or(id)),
        transaction_id: Some(id),
        broker_name: check.broker_name,
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

/// The half message as the application knows it: its own topic, its body decompressed.
fn message_of(record: &bytes::Bytes) -> Result<Message, Error> {
    let view = RecordView::parse(record).map_err(|error| malformed(error.to_string()))?;
    Ok(Message::from_half(view.topic(), plain_body(&view, record)?, view.flag(), view.properties_text()))
}

fn malformed(reason: String) -> Error {
    Error::Protocol { operation: "CHECK_TRANSACTION_STATE", reason }
}
