//! From fetched messages to the listener, and from its outcome to the group's progress.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::{Instrument, debug_span, warn};

use super::{
    ConsumeOutcome, Failure, MessageListener, process_queue::ProcessQueue, push::Member, send_back::send_back,
};
use crate::received::ReceivedMessage;

/// Pause before a message that could not be given back is handled again here.
const RETRY_HERE: Duration = Duration::from_secs(5);

/// A fetched message and the queue that waits for it.
pub(crate) struct Delivery {
    pub(crate) held: Arc<ProcessQueue>,
    pub(crate) message: ReceivedMessage,
}

/// Runs handlers, as many at a time as there are permits, until the consumer stops.
pub(super) async fn dispatch<L: MessageListener>(
    member: Arc<Member>,
    listener: Arc<L>,
    mut fetched: mpsc::UnboundedReceiver<Delivery>,
) {
    loop {
        let next = tokio::select! {
            biased;
            () = member.stopping.cancelled() => return,
            next = fetched.recv() => next,
        };
        let Some(delivery) = next else { return };
        if member.pauses.holds(&delivery.held.queue) {
            tokio::spawn(park(Arc::clone(&member), delivery));
            continue;
        }
        let permit = tokio::select! {
            biased;
            () = member.stopping.cancelled() => return,
            permit = Arc::clone(&member.permits).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let (member, listener) = (Arc::clone(&member), Arc::clone(&listener));
        let span = debug_span!(
            "consume",
            group = member.settings.group,
            topic = delivery.message.topic(),
            queue = delivery.message.queue().queue_id,
            offset = delivery.message.queue_offset()
        );
        let run = async move {
            handle(&member, &*listener, &delivery).await;
            drop(permit);
        };
        tokio::spawn(run.instrument(span));
    }
}

/// Keeps a message of a paused queue out of the others' way. The queue's flow limits bound how many there are.
async fn park(member: Arc<Member>, delivery: Delivery) {
    tokio::select! {
        () = member.stopping.cancelled() => return,
        () = delivery.held.dropped.cancelled() => return,
        () = member.pauses.lifted(&delivery.held.queue) => {}
    }
    drop(member.deliveries.send(delivery)); // the receiver lives until the consumer stops
}

/// Handles one message until it is done or given back.
async fn handle<L: MessageListener>(member: &Member, listener: &L, delivery: &Delivery) {
    let Delivery { held, message } = delivery;
    while !held.dropped.is_cancelled() {
        let outcome = outcome_of(member, listener, message).await;
        held.vitals.handled();
        if settle(member, message, outcome).await {
            let safe = held.finish(message.queue_offset());
            if !held.dropped.is_cancelled() {
                member.offsets.advance(&held.queue, safe);
            }
            return;
        }
        tokio::select! {
            () = sleep(RETRY_HERE) => {}
            // not done: its offset is not committed, so it comes again after the restart
            () = member.stopping.cancelled() => return,
        }
    }
}

/// What the handler says; a panic and a handler that takes too long are failures.
pub(super) async fn outcome_of<L: MessageListener>(
    member: &Member,
    listener: &L,
    message: &ReceivedMessage,
) -> ConsumeOutcome {
    match run_listener(member, listener, message).await {
        Ended::With(outcome) => outcome,
        Ended::Panicked(text) => {
            warn!(id = message.id(), text, "the handler panicked; the message is delivered again later");
            ConsumeOutcome::Failed(Failure::new("panic", text))
        }
        Ended::TimedOut => {
            warn!(id = message.id(), "the handler took too long; the message is delivered again later");
            let limit = member.settings.consume_timeout;
            ConsumeOutcome::Failed(Failure::new("timeout", format!("longer than {limit:?}")))
        }
    }
}

/// How one call of the listener ended.
pub(super) enum Ended {
    With(ConsumeOutcome),
    /// The first line of what the panic said.
    Panicked(String),
    TimedOut,
}

/// Calls the listener once. The call itself may panic too, before it returns its future.
pub(super) async fn run_listener<L: MessageListener>(
    member: &Member,
    listener: &L,
    message: &ReceivedMessage,
) -> Ended {
    let call = AssertUnwindSafe(async { listener.consume(message.clone()).await });
    match timeout(member.settings.consume_timeout, call.catch_unwind()).await {
        Ok(Ok(outcome)) => Ended::With(outcome),
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            Ended::Panicked(text.and_then(|text| text.lines().next()).unwrap_or_default().to_owned())
        }
        Err(_) => Ended::TimedOut,
    }
}

/// `true` once this member need not care for the message any more.
async fn settle(member: &Member, message: &ReceivedMessage, outcome: ConsumeOutcome) -> bool {
    let Some(failure) = outcome.into_failure() else { return true };
    if member.is_broadcast() {
        warn!(id = message.id(), "a broadcast message was not handled and is passed over");
        return true;
    }
    match send_back(member, message, &failure).await {
        Ok(()) => true,
        Err(error) => {
            warn!(id = message.id(), %error, "the message cannot be given back; it is handled again here");
            false
        }
    }
}
