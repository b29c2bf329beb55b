//! Queues that the broker divides, and has this member pop instead of pull.
//!
//! Each such queue (or all of a topic at a broker, queue −1) has a lane that keeps a pop open. A message is acknowledged
//! once it is done; one that failed is made visible again after its pause; one that is given up goes to the dead letters
//! and is acknowledged then. Nothing is committed here: the broker keeps the group's progress by the acknowledgements.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tenonmq_protocol::message::queue::MessageQueue;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    Failure, MessageListener,
    dispatch::outcome_of,
    failure::{Wish, pause_of_level},
    push::Member,
    send_back::send_back,
};
use crate::{
    pop::{PoppedMessage, Target},
    session::now_ms,
};

/// Most messages of one pop.
const BATCH: u16 = 32;
/// Popped messages of one lane that are not settled, beyond which it does not pop. Upstream's number.
const UNSETTLED: usize = 96;
/// Pause after a pop that a broker refused, or could not be asked.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// Delay level of the first retry (10 s); each further try is one level later.
const FIRST_RETRY_LEVEL: i32 = 3;

/// A queue that is popped.
pub(crate) struct PopQueue {
    pub(crate) queue: MessageQueue,
    pub(crate) dropped: CancellationToken,
    /// Messages that are popped and not settled.
    pub(crate) unsettled: AtomicUsize,
    /// When a pop was answered last, ms since the Unix epoch.
    pub(crate) last_pop_ms: AtomicI64,
    room: Arc<Semaphore>,
}

impl PopQueue {
    pub(crate) fn new(queue: MessageQueue) -> Arc<Self> {
        Arc::new(Self {
            queue,
            dropped: CancellationToken::new(),
            unsettled: AtomicUsize::new(0),
            last_pop_ms: AtomicI64::new(0),
            room: Arc::new(Semaphore::new(UNSETTLED)),
        })
    }
}

/// Starts a task for every popped queue until the consumer stops.
pub(super) async fn open_pops<L: MessageListener>(
    member: Arc<Member>,
    listener: Arc<L>,
    mut pops: mpsc::UnboundedReceiver<Arc<PopQueue>>,
) {
    loop {
        let next = tokio::select! { next = pops.recv() => next, () = member.stopping.cancelled() => return };
        let Some(popped) = next else { return };
        let (member, listener) = (Arc::clone(&member), Arc::clone(&listener));
        tokio::spawn(async move {
            tokio::select! {
                () = popped.dropped.cancelled() => {}
                () = member.stopping.cancelled() => {}
                () = pop_for_ever(&member, &listener, &popped) => {}
            }
        });
    }
}

async fn pop_for_ever<L: MessageListener>(member: &Arc<Member>, listener: &Arc<L>, popped: &Arc<PopQueue>) {
    let queue = &popped.queue;
    let target = Target { topic: queue.topic.clone(), broker: queue.broker_name.clone(), queue_id: queue.queue_id };
    let settings = &member.settings;
    loop {
        member.pauses.lifted(queue).await;
        // closed never: the lane owns it
        let Ok(room) = Arc::clone(&popped.room).acquire_many_owned(u32::from(BATCH)).await else { return };
        let asked = Instant::now();
        match member.leases.pop(&target, BATCH, settings.lease, settings.long_poll).await {
            Ok(messages) => {
                popped.last_pop_ms.store(now_ms(), Ordering::Relaxed);
                hand_over(member, listener, popped, messages, room, asked + settings.lease);
            }
            Err(error) => {
                debug!(topic = queue.topic, %error, "pop");
                drop(room);
                sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// Gives each message a task; the room that is not needed is given back.
fn hand_over<L: MessageListener>(
    member: &Arc<Member>,
    listener: &Arc<L>,
    popped: &Arc<PopQueue>,
    messages: Vec<PoppedMessage>,
    mut room: OwnedSemaphorePermit,
    lease_ends: Instant,
) {
    popped.unsettled.fetch_add(messages.len(), Ordering::Relaxed);
    for message in messages {
        let place = room.split(1);
        let (member, listener, popped) = (Arc::clone(member), Arc::clone(listener), Arc::clone(popped));
        tokio::spawn(async move {
            handle(&member, &*listener, &popped, message, lease_ends).await;
            popped.unsettled.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
}

async fn handle<L: MessageListener>(
    member: &Member,
    listener: &L,
    popped: &PopQueue,
    mut message: PoppedMessage,
    lease_ends: Instant,
) {
    let allowed = async {
        member.pauses.lifted(&popped.queue).await;
        member.permits.acquire().await
    };
    let permit = tokio::select! {
        biased;
        () = member.stopping.cancelled() => return,
        permit = allowed => permit,
    };
    if permit.is_err() || Instant::now() >= lease_ends {
        return; // it comes again, here or elsewhere
    }
    let settled = match outcome_of(member, listener, &message).await.into_failure() {
        None => member.leases.ack(&message).await,
        Some(failure) => match pause_before_next(member, &message, &failure) {
            Some(pause) => member.leases.change_invisible(&mut message, pause).await,
            None => match send_back(member, &message, &failure.dead_letter()).await {
                Ok(()) => member.leases.ack(&message).await,
                Err(error) => Err(error),
            },
        },
    };
    if let Err(error) = settled {
        warn!(id = message.id(), %error, "the lease is not settled; the message may come again");
    }
}

/// `None` when there is no next try.
fn pause_before_next(member: &Member, message: &PoppedMessage, failure: &Failure) -> Option<Duration> {
    let times = message.reconsume_times();
    match failure.wish {
        Wish::DeadLetter => None,
        _ if times >= member.max_reconsume_times() => None,
        Wish::Level(level) => Some(pause_of_level(level)),
        Wish::Retry => Some(pause_of_level(u8::try_from(times.saturating_add(FIRST_RETRY_LEVEL)).unwrap_or(u8::MAX))),
    }
}
