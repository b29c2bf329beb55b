//! Handling messages in the order of their queue.
//!
//! Each queue has a lane: one task that handles its messages one by one. A message that failed stays at the head and is
//! tried again after a pause; the lane stands still meanwhile, other queues do not. After the last try it is given up to
//! the dead letters, and the lane moves on.
//!
//! Invariant: a handler runs only while the queue is held and its lock is certain, and progress is noted only while the
//! queue is held.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::sleep};
use tracing::{Instrument, debug_span, warn};

use super::{
    Failure, MessageListener,
    dispatch::outcome_of,
    failure::{Wish, pause_of_level},
    process_queue::ProcessQueue,
    push::Member,
    send_back::send_back,
};
use crate::received::ReceivedMessage;

/// A queue and what comes of it.
pub(crate) struct Lane {
    pub(crate) held: Arc<ProcessQueue>,
    pub(crate) messages: mpsc::UnboundedReceiver<ReceivedMessage>,
}

/// Starts a task for every lane until the consumer stops.
pub(super) async fn open_lanes<L: MessageListener>(
    member: Arc<Member>,
    listener: Arc<L>,
    mut lanes: mpsc::UnboundedReceiver<Lane>,
) {
    loop {
        let lane = tokio::select! { lane = lanes.recv() => lane, () = member.stopping.cancelled() => return };
        let Some(lane) = lane else { return };
        let span = debug_span!(
            "lane",
            group = member.settings.group,
            topic = lane.held.queue.topic,
            queue = lane.held.queue.queue_id
        );
        tokio::spawn(run(Arc::clone(&member), Arc::clone(&listener), lane).instrument(span));
    }
}

async fn run<L: MessageListener>(member: Arc<Member>, listener: Arc<L>, lane: Lane) {
    let Lane { held, mut messages } = lane;
    loop {
        let next = tokio::select! {
            biased;
            () = held.leaving.cancelled() => return,
            () = member.stopping.cancelled() => return,
            next = messages.recv() => next,
        };
        let Some(message) = next else { return };
        in_place(&member, &*listener, &held, message).await;
    }
}

/// Handles one message, as often as needed. Returns early when the queue is given up or the consumer stops.
async fn in_place<L: MessageListener>(
    member: &Member,
    listener: &L,
    held: &ProcessQueue,
    mut message: ReceivedMessage,
) {
    loop {
        let may_run = tokio::select! {
            biased;
            () = held.leaving.cancelled() => false,
            () = member.stopping.cancelled() => false,
            () = allowed(member, held) => true,
        };
        if !may_run {
            return;
        }
        let Some(pause) = one_try(member, listener, held, &message).await else { return };
        message.tries_here = message.tries_here.saturating_add(1);
        held.vitals.suspend(true);
        tokio::select! {
            () = sleep(pause) => {}
            () = held.leaving.cancelled() => {}
            () = member.stopping.cancelled() => {}
        }
        held.vitals.suspend(false);
    }
}

/// Waits until nothing speaks against running a handler.
async fn allowed(member: &Member, held: &ProcessQueue) {
    loop {
        member.pauses.lifted(&held.queue).await;
        if !member.needs_locks() || held.lock.is_held() {
            return;
        }
        held.lock.held().await;
    }
}

/// Runs the handler once and settles the outcome. `None`: the message is settled, or is not this member's any more;
/// otherwise the pause before the next try.
async fn one_try<L: MessageListener>(
    member: &Member,
    listener: &L,
    held: &ProcessQueue,
    message: &ReceivedMessage,
) -> Option<Duration> {
    let _permit = tokio::select! {
        biased;
        () = member.stopping.cancelled() => return None,
        permit = member.permits.acquire() => permit.ok()?,
    };
    let _handling = held.handling.lock().await;
    if held.leaving.is_cancelled() {
        return None;
    }
    let failure = outcome_of(member, listener, message).await.into_failure();
    held.vitals.handled();
    if held.dropped.is_cancelled() {
        return None; // somebody else's now: neither noted nor sent on
    }
    if let Some(failure) = failure {
        let again = pause_before_next(member, message, &failure);
        if again.is_some() {
            return again;
        }
        if let Err(error) = send_back(member, message, &failure.dead_letter()).await {
            warn!(id = message.id(), %error, "the message cannot be given up; it is tried again");
            return Some(member.settings.suspend);
        }
    }
    let safe = held.finish(message.queue_offset());
    member.offsets.advance(&held.queue, safe);
    None
}

/// `None` when there is no next try.
fn pause_before_next(member: &Member, message: &ReceivedMessage, failure: &Failure) -> Option<Duration> {
    let has_tries = message.reconsume_times() < member.max_reconsume_times();
    match failure.wish {
        _ if member.is_broadcast() => None,
        Wish::DeadLetter => None,
        _ if !has_tries => None,
        Wish::Retry => Some(member.settings.suspend),
        Wish::Level(level) => Some(pause_of_level(level)),
    }
}
