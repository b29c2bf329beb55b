//! From fetched messages to the listener, and from its outcome to the group's progress.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::{Instrument, debug_span, warn};

use super::{ConsumeOutcome, MessageListener, process_queue::ProcessQueue, push::Member, send_back::send_back};
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

/// Handles one message until it is done or given back.
async fn handle<L: MessageListener>(member: &Member, listener: &L, delivery: &Delivery) {
    let Delivery { held, message } = delivery;
    while !held.dropped.is_cancelled() {
        let outcome = outcome_of(member, listener, message).await;
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

async fn outcome_of<L: MessageListener>(member: &Member, listener: &L, message: &ReceivedMessage) -> ConsumeOutcome {
    match run_listener(member, listener, message).await {
        Ended::With(outcome) => outcome,
        Ended::Panicked => {
            warn!(id = message.id(), "the handler panicked; the message is delivered again later");
            ConsumeOutcome::Retry
        }
        Ended::TimedOut => {
            warn!(id = message.id(), "the handler took too long; the message is delivered again later");
            ConsumeOutcome::Retry
        }
    }
}

/// How one call of the listener ended.
pub(super) enum Ended {
    With(ConsumeOutcome),
    Panicked,
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
        Ok(Err(_panic)) => Ended::Panicked,
        Err(_) => Ended::TimedOut,
    }
}

/// `true` once this member need not care for the message any more.
async fn settle(member: &Member, message: &ReceivedMessage, outcome: ConsumeOutcome) -> bool {
    let delay_level = match outcome {
        ConsumeOutcome::Done => return true,
        ConsumeOutcome::Retry => 0,
        ConsumeOutcome::RetryAtLevel(level) => i32::from(level),
        ConsumeOutcome::DeadLetter => -1,
    };
    if member.is_broadcast() {
        warn!(id = message.id(), "a broadcast message was not handled and is passed over");
        return true;
    }
    match send_back(member, message, delay_level).await {
        Ok(()) => true,
        Err(error) => {
            warn!(id = message.id(), %error, "the message cannot be given back; it is handled again here");
            false
        }
    }
}
