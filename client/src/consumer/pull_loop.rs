//! Keeping one long poll open for one queue.

use std::{sync::Arc, time::Duration};

use tenonmq_protocol::ResponseCode;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::{
    Filter,
    dispatch::Delivery,
    fetch::{Fetch, Fetched, PullStatus, fetch},
    members::{let_go, move_offset},
    process_queue::ProcessQueue,
    push::Member,
};
use crate::{error::Error, received::ReceivedMessage, received::decode_records, transport::MASTER_ID};

/// Pause after a pull that a broker refused, or could not be asked.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// Pause after a refusal that the heartbeat on its way will cure.
const AFTER_UNKNOWN_SUBSCRIPTION: Duration = Duration::from_millis(200);

/// Pulls until the queue belongs to somebody else or the consumer stops.
pub(super) async fn pull_until_dropped(member: Arc<Member>, held: Arc<ProcessQueue>) {
    tokio::select! {
        () = held.dropped.cancelled() => {}
        () = member.stopping.cancelled() => {}
        () = pull_for_ever(&member, &held) => {}
    }
}

/// Ends only when the broker says that the offset is out of range.
async fn pull_for_ever(member: &Arc<Member>, held: &Arc<ProcessQueue>) {
    let mut broker_id = MASTER_ID;
    loop {
        member.pauses.lifted(&held.queue).await;
        held.room(member.settings.limits).await;
        let fetched = match pull_once(member, held, broker_id).await {
            Ok(fetched) => fetched,
            Err(error) => {
                broker_id = MASTER_ID;
                held.vitals.failed(error.to_string());
                pause_after(&error, held).await;
                continue;
            }
        };
        broker_id = fetched.suggested;
        held.vitals.pulled(fetched.max);
        match fetched.status {
            PullStatus::Found => take_in(member, held, &fetched),
            PullStatus::Empty | PullStatus::NoneMatched => pass(member, held, &[], fetched.next),
            PullStatus::OffsetMoved => return start_over(member, held, fetched.next).await,
        }
    }
}

async fn pull_once(member: &Member, held: &ProcessQueue, broker_id: i64) -> Result<Fetched, Error> {
    let queue = &*held.queue;
    let route = member.session.route(&queue.topic).await?;
    let subscription = member.subscriptions.get(queue.topic.as_str());
    let what = Fetch {
        group: &member.settings.group,
        queue,
        offset: held.next(),
        max_messages: member.settings.batch,
        hold: member.settings.long_poll,
        version: subscription.map_or(0, |s| s.version()),
        filter: subscription.map_or(&Filter::All, |s| &s.filter),
        own_filter: false,
    };
    fetch(&member.session, &route, broker_id, &what).await
}

/// Hands the messages that pass the filter to the listener.
fn take_in(member: &Arc<Member>, held: &Arc<ProcessQueue>, fetched: &Fetched) {
    let topic = held.queue.topic.as_str();
    let filter = member.subscriptions.get(topic).map(|subscription| &subscription.filter);
    let mut messages = Vec::new();
    for decoded in decode_records(Some(&held.queue), &fetched.records) {
        match decoded {
            Ok(message) if filter.is_none_or(|f| f.accepts(&message.inner.properties)) => messages.push(message),
            Ok(_) => {}
            Err(error) => {
                warn!(topic, queue = held.queue.queue_id, %error, "a message cannot be read and is passed over");
            }
        }
    }
    pass(member, held, &messages, fetched.next);
    for message in messages {
        // whoever receives lives until the consumer stops, or until the queue is dropped
        match &held.lane {
            Some(lane) => drop(lane.send(message)),
            None => drop(member.deliveries.send(Delivery { held: Arc::clone(held), message })),
        }
    }
}

/// Notes what was fetched; when nothing is in flight, all before `next` is done.
fn pass(member: &Member, held: &ProcessQueue, messages: &[ReceivedMessage], next: i64) {
    held.add(messages, next);
    if messages.is_empty() && !held.dropped.is_cancelled() {
        member.offsets.advance(&held.queue, held.safe_offset());
    }
}

/// The queue is given up and taken again at the offset that the broker named.
async fn start_over(member: &Member, held: &ProcessQueue, next: i64) {
    info!(topic = held.queue.topic, queue = held.queue.queue_id, from = held.next(), to = next, "offset moved");
    let_go(member, held).await;
    move_offset(member, &held.queue, next).await;
    member.queues.lock().remove(&*held.queue);
    member.rebalance.notify_one();
}

async fn pause_after(error: &Error, held: &ProcessQueue) {
    let heartbeat_cures = [
        ResponseCode::SUBSCRIPTION_NOT_EXIST,
        ResponseCode::SUBSCRIPTION_NOT_LATEST,
        ResponseCode::FILTER_DATA_NOT_LATEST,
    ];
    let pause = match error.code() {
        Some(code) if heartbeat_cures.contains(&code) => AFTER_UNKNOWN_SUBSCRIPTION,
        _ => AFTER_ERROR,
    };
    debug!(topic = held.queue.topic, queue = held.queue.queue_id, %error, ?pause, "pull");
    sleep(pause).await;
}
