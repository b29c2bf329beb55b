//! Being one of several: joining the group, and taking and giving up queues as it changes.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tenonmq_protocol::message::queue::MessageQueue;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    ConsumeFrom, assignment::my_share, lock, ordered::Lane, pop_lane::PopQueue, process_queue::ProcessQueue,
    pull_loop::pull_until_dropped, push::Member, push::unix_ms, queries,
};
use crate::error::Error;

/// Pause before a division that could not be completed is tried again; doubled up to the rebalance interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Makes this member known to the brokers and takes its first queues.
pub(super) async fn join(member: &Arc<Member>) {
    member.session.heartbeat().await;
    balance(member).await;
}

/// Divides anew on every change, on the interval, and soon after a division that was not complete.
pub(super) async fn keep_balanced(member: Arc<Member>) {
    let interval = member.settings.rebalance_interval;
    let mut pause = FIRST_RETRY.min(interval);
    loop {
        tokio::select! {
            () = member.stopping.cancelled() => return,
            () = member.rebalance.notified() => {}
            () = sleep(pause) => {}
        }
        let complete = tokio::select! {
            () = member.stopping.cancelled() => return,
            complete = balance(&member) => complete,
        };
        pause = if complete { interval } else { (pause * 2).clamp(FIRST_RETRY.min(interval), interval) };
    }
}

/// One division of all topics; `false` when something could not be learned or taken.
async fn balance(member: &Arc<Member>) -> bool {
    let mut complete = true;
    let mut taken = Vec::new();
    let mut changed = false;
    for topic in member.subscriptions.keys() {
        let mine = match my_share(member, topic).await {
            Ok(mine) => mine,
            Err(error) => {
                debug!(%topic, %error, "the queues cannot be divided yet");
                complete = false;
                continue;
            }
        };
        let before = taken.len();
        let repopped = pop_these(member, topic, mine.pop);
        let gave_up = give_up_others(member, topic, &mine.pull).await;
        complete &= take_new(member, mine.pull, &mut taken).await;
        if gave_up || repopped || taken.len() > before {
            changed = true;
            if let Some(subscription) = member.subscriptions.get(topic) {
                subscription.renew();
            }
        }
    }
    if changed {
        // brokers must know the new version before a pull carries it
        member.session.heartbeat().await;
    }
    for queue in taken {
        tokio::spawn(pull_until_dropped(Arc::clone(member), queue));
    }
    complete
}

/// Pops these queues of the topic and no others. What is popped already is settled whoever pops the queue next.
fn pop_these(member: &Member, topic: &str, wanted: Vec<MessageQueue>) -> bool {
    let mut popped = member.popped.lock();
    let before = popped.len();
    popped.retain(|queue, lane| {
        let keep = queue.topic != topic || wanted.contains(queue);
        if !keep {
            lane.dropped.cancel();
        }
        keep
    });
    let mut changed = popped.len() < before;
    for queue in wanted {
        popped.entry(queue).or_insert_with_key(|queue| {
            changed = true;
            let lane = PopQueue::new(queue.clone());
            drop(member.pops.send(Arc::clone(&lane))); // stopping: nothing is handled any more
            lane
        });
    }
    changed
}

/// Stops the queues of the topic that belong to others now; their progress is saved first.
async fn give_up_others(member: &Member, topic: &str, mine: &[MessageQueue]) -> bool {
    member.not_taken.lock().retain(|queue, _| queue.topic != topic || mine.contains(queue));
    let lost: Vec<Arc<ProcessQueue>> = {
        let mut queues = member.queues.lock();
        let gone: Vec<MessageQueue> =
            queues.keys().filter(|queue| queue.topic == topic && !mine.contains(queue)).cloned().collect();
        gone.iter().filter_map(|queue| queues.remove(queue)).collect()
    };
    join_all(lost.iter().map(|held| give_up(member, held))).await;
    !lost.is_empty()
}

async fn give_up(member: &Member, held: &ProcessQueue) {
    let (topic, queue) = (held.queue.topic.as_str(), held.queue.queue_id);
    let ended = let_go(member, held).await;
    info!(group = member.settings.group, topic, queue, "queue given up");
    if let Err(error) = member.offsets.save_one(&held.queue).await {
        warn!(topic, queue, %error, "offset is not saved");
    }
    member.offsets.forget(&held.queue);
    if member.needs_locks() {
        if ended {
            lock::unlock(member, std::slice::from_ref(&held.queue)).await;
        } else {
            warn!(topic, queue, "a handler still runs; the lock is left to run out");
        }
    }
}

/// Stops a queue's tasks. An ordered consumer waits until its handler has ended, at most as long as a shutdown does;
/// `false` when it has not.
pub(super) async fn let_go(member: &Member, held: &ProcessQueue) -> bool {
    held.leaving.cancel();
    let ended = !member.settings.ordered || timeout(member.settings.drain_timeout, held.handling.lock()).await.is_ok();
    held.dropped.cancel();
    ended
}

/// Takes queues that are new to this member; `false` when one could not be taken yet.
async fn take_new(member: &Member, mine: Vec<MessageQueue>, taken: &mut Vec<Arc<ProcessQueue>>) -> bool {
    let new: Vec<MessageQueue> = {
        let held = member.queues.lock();
        mine.into_iter().filter(|queue| !held.contains_key(queue)).collect()
    };
    let granted = locked(member, new).await;
    let starts = granted.into_iter().map(|(queue, granted)| async move {
        let start = match &granted {
            Err(reason) => Err(reason.clone()),
            Ok(_) => first_offset(member, &queue).await.map_err(|e| format!("where to begin is not known: {e}")),
        };
        (queue, granted.ok().flatten(), start)
    });
    let mut complete = true;
    for (queue, granted, start) in join_all(starts).await {
        let (topic, id) = (queue.topic.as_str(), queue.queue_id);
        match start {
            Ok(offset) => {
                info!(group = member.settings.group, topic, queue = id, offset, "queue taken");
                member.not_taken.lock().remove(&queue);
                let held = hold(member, &queue, offset);
                if let Some(at) = granted {
                    held.lock.grant(at);
                }
                member.queues.lock().insert(queue, Arc::clone(&held));
                taken.push(held);
            }
            Err(reason) => {
                warn!(topic, queue = id, reason, "the queue cannot be taken yet");
                member.not_taken.lock().insert(queue, reason);
                complete = false;
            }
        }
    }
    complete
}

/// The queues with when their lock was asked for, if they need one, or why it was not granted.
async fn locked(member: &Member, queues: Vec<MessageQueue>) -> Vec<(MessageQueue, Result<Option<Instant>, String>)> {
    if !member.needs_locks() {
        return queues.into_iter().map(|queue| (queue, Ok(None))).collect();
    }
    let answers = lock::lock(member, queues).await.into_iter();
    answers.map(|(queue, answer)| (queue, answer.map(Some).map_err(|denied| denied.to_string()))).collect()
}

/// A queue with what its messages need.
fn hold(member: &Member, queue: &MessageQueue, offset: i64) -> Arc<ProcessQueue> {
    let (lane, messages) = match member.settings.ordered {
        true => {
            let (lane, messages) = mpsc::unbounded_channel();
            (Some(lane), Some(messages))
        }
        false => (None, None),
    };
    let held = Arc::new(ProcessQueue::new(queue.clone(), offset, Arc::clone(&member.budget), lane));
    if let Some(messages) = messages {
        drop(member.lanes.send(Lane { held: Arc::clone(&held), messages })); // stopping: nothing is handled any more
    }
    held
}

/// The group's offset, or, in a queue that it never consumed, the one that its setting asks for.
async fn first_offset(member: &Member, queue: &MessageQueue) -> Result<i64, Error> {
    if let Some(offset) = member.offsets.load(queue).await? {
        return Ok(offset);
    }
    let session = &member.session;
    let is_retry = queue.topic == member.retry_topic();
    match member.settings.from {
        // what came back before this group's first start was meant for it
        ConsumeFrom::Latest if is_retry => Ok(0),
        ConsumeFrom::Timestamp(_) if is_retry => queries::max_offset(session, queue).await,
        ConsumeFrom::Latest => queries::max_offset(session, queue).await,
        ConsumeFrom::Earliest => Ok(queries::min_offset(session, queue).await?.max(0)),
        ConsumeFrom::Timestamp(time) => queries::offset_by_time(session, queue, unix_ms(time)).await,
    }
}

/// Sets the group's offset, backwards too, so that whoever takes the queue next begins there.
pub(super) async fn move_offset(member: &Member, queue: &MessageQueue, offset: i64) {
    member.offsets.set(queue, offset);
    if let Err(error) = member.offsets.save_one(queue).await {
        warn!(topic = queue.topic, queue = queue.queue_id, %error, "offset is not saved");
    }
    member.offsets.forget(queue);
}
