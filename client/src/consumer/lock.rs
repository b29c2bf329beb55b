//! Queue locks of an ordered consumer: one member of the group at a time handles a queue.
//!
//! The broker grants a lock for a minute and forgets it when it restarts; this member renews all of its locks every 20
//! seconds, and trusts one for half a minute after it was last granted. A lock that was granted to somebody else is lost:
//! the queue is dropped with all that was fetched of it, and nothing of it is committed any more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tenonmq_protocol::{
    RequestCode,
    body::{
        json,
        queue::{LockRequest, LockResponse},
    },
    message::queue::MessageQueue,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tracing::{debug, warn};

use super::push::Member;
use crate::{
    error::Error,
    session::from_json,
    transport::{Reply, expect_success},
    wire::{LockQueues, UnlockQueues},
};

/// How long a granted lock is trusted.
const TRUSTED_FOR: Duration = Duration::from_secs(30);
/// How often locks are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// How soon a renewal that a broker did not answer is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(1);

/// Why a lock was not granted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denied {
    #[error("another member of the group has its lock")]
    ToAnother,
    #[error("its lock cannot be asked for: {0}")]
    Unasked(String),
}

/// What this member knows of its lock on one queue.
#[derive(Default)]
pub(crate) struct QueueLock {
    granted: Mutex<Option<Instant>>,
    renewed: Notify,
}

impl QueueLock {
    /// The broker said at `asked` or later that the lock is this member's.
    pub(crate) fn grant(&self, asked: Instant) {
        *self.granted.lock() = Some(asked);
        self.renewed.notify_waiters();
    }

    pub(crate) fn is_held(&self) -> bool {
        self.granted.lock().is_some_and(|granted| granted.elapsed() < TRUSTED_FOR)
    }

    /// Waits until the lock is certain.
    pub(crate) async fn held(&self) {
        loop {
            let renewed = self.renewed.notified();
            tokio::pin!(renewed);
            renewed.as_mut().enable();
            if self.is_held() {
                return;
            }
            renewed.await;
        }
    }
}

/// Asks for locks. Each queue with when it was asked for, or why it was not granted.
pub(super) async fn lock(member: &Member, queues: Vec<MessageQueue>) -> Vec<(MessageQueue, Result<Instant, Denied>)> {
    let mut by_broker: BTreeMap<String, Vec<MessageQueue>> = BTreeMap::new();
    for queue in queues {
        by_broker.entry(queue.broker_name.clone()).or_default().push(queue);
    }
    let asked = by_broker.into_iter().map(|(broker, queues)| async move {
        let at = Instant::now();
        let answer = lock_at(member, &broker, &queues).await;
        let result = |queue: &MessageQueue| match &answer {
            Ok(granted) if granted.contains(queue) => Ok(at),
            Ok(_) => Err(Denied::ToAnother),
            Err(error) => Err(Denied::Unasked(error.to_string())),
        };
        queues.into_iter().map(|queue| (queue.clone(), result(&queue))).collect::<Vec<_>>()
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn lock_at(member: &Member, broker: &str, queues: &[MessageQueue]) -> Result<Vec<MessageQueue>, Error> {
    let address = member.session.master(broker)?;
    let decode = |reply: Reply<'_>| {
        expect_success(RequestCode::LOCK_BATCH_MQ, &reply)?;
        Ok(reply.body)
    };
    let limit = member.session.config.request_timeout;
    let body = member.session.call(&address, &LockQueues, &request_of(member, queues), limit, decode).await?;
    let granted: LockResponse = from_json("LOCK_BATCH_MQ", &body)?;
    Ok(granted.locked)
}

/// Gives locks back, so that others need not wait until they end.
pub(super) async fn unlock(member: &Member, queues: &[MessageQueue]) {
    let mut by_broker: BTreeMap<&str, Vec<MessageQueue>> = BTreeMap::new();
    for queue in queues {
        by_broker.entry(&queue.broker_name).or_default().push(queue.clone());
    }
    let unlocks = by_broker.into_iter().map(|(broker, queues)| async move {
        let address = member.session.master(broker)?;
        member.session.order(&address, &UnlockQueues, &request_of(member, &queues)).await
    });
    for error in join_all(unlocks).await.into_iter().filter_map(Result::err) {
        debug!(group = member.settings.group, %error, "locks are not given back and run out");
    }
}

fn request_of(member: &Member, queues: &[MessageQueue]) -> Vec<u8> {
    json::to_vec(&LockRequest {
        client_id: member.session.client_id.clone(),
        consumer_group: member.settings.group.clone(),
        mq_set: queues.to_vec(),
        only_this_broker: false,
    })
}

/// Renews the locks of all queues until the consumer stops.
pub(super) async fn keep_locked(member: Arc<Member>) {
    let mut pause = RENEW_EVERY;
    loop {
        tokio::select! { () = sleep(pause) => {} () = member.stopping.cancelled() => return }
        pause = if renew(&member).await { RENEW_EVERY } else { RENEW_AGAIN };
    }
}

/// One round; `false` when a broker did not answer.
pub(super) async fn renew(member: &Member) -> bool {
    let mut complete = true;
    let queues = member.queues.lock().keys().cloned().collect();
    for (queue, result) in lock(member, queues).await {
        let Some(held) = member.queues.lock().get(&queue).cloned() else { continue };
        match result {
            Ok(at) => held.lock.grant(at),
            Err(Denied::ToAnother) => lose(member, &queue),
            Err(reason) => {
                warn!(group = member.settings.group, topic = queue.topic, queue = queue.queue_id, %reason, "lock");
                complete = false;
            }
        }
    }
    complete
}

/// The queue is somebody else's. What was done since the last commit is not saved: the new owner has begun already.
fn lose(member: &Member, queue: &MessageQueue) {
    warn!(group = member.settings.group, topic = queue.topic, queue = queue.queue_id, "lock lost");
    if let Some(held) = member.queues.lock().remove(queue) {
        held.dropped.cancel();
    }
    member.offsets.forget(queue);
    member.rebalance.notify_one();
}
