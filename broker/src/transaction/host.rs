//! The broker around its transactions, and the task that lets time pass for them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tenonmq_protocol::message::Properties;
use tenonmq_storage::Queue;
use tokio::sync::watch;

use super::{
    Host, Question, SafeOffsets,
    records::{GROUP, HALF_TOPIC, OP_TOPIC, PARKED_TOPIC, QUEUE},
    state::Next,
};
use crate::{
    core::{
        Core,
        topics::{perm, topic},
    },
    delay,
    group::stopped,
    timer::Timer,
};

/// Time between two savings of offsets (Apache's `transactionMetricFlushInterval`).
const SAVE_INTERVAL: Duration = Duration::from_secs(3);

impl Host for Core {
    fn address(&self) -> SocketAddr {
        self.identity.get().address
    }

    fn broker_name(&self) -> String {
        self.identity.get().broker.clone()
    }

    fn real_queue(&self, topic: &str, queue_id: i32) -> Option<Arc<Queue>> {
        let topic = self.topics.get(topic)?;
        // a topic may have fewer queues now than when the half message was sent
        let queue = topic.queue(&self.store, queue_id).cloned();
        Some(queue.unwrap_or_else(|| self.store.queue(&topic.config.topic_name, queue_id)))
    }

    fn parked_queue(&self) -> Arc<Queue> {
        let create = || topic(PARKED_TOPIC, 1, perm::READ_WRITE);
        self.topics.get_or_create(PARKED_TOPIC, self.clock.now_ms(), create);
        self.store.queue(PARKED_TOPIC, QUEUE)
    }

    fn arrived(&self, queue: &Queue, queue_offset: i64, tags_code: i64) {
        self.waiters.arrived(queue, queue_offset, tags_code);
    }

    fn delayed_queue(&self, level: i32) -> Option<(Arc<Queue>, i64)> {
        self.delays.waiting(level).map(|waiting| (waiting.queue().clone(), waiting.delay_ms()))
    }

    fn delayed(&self, level: i32) {
        if let Some(waiting) = self.delays.waiting(level) {
            self.delays.appended(&waiting);
        }
    }

    fn timer_queue(&self) -> Option<Arc<Queue>> {
        Some(self.timers.queue().clone())
    }

    fn timed(&self, timer: &Timer) {
        self.timers.appended(timer);
    }

    fn time_of(&self, properties: &str) -> Option<Timer> {
        let precision_ms = self.config.load().messages.timer_precision_ms;
        delay::time_ahead(&Properties::parse(properties), self.clock.now_ms(), precision_ms)
    }

    fn is_online(&self, group: &str) -> bool {
        self.clients.producer_group(group).is_some()
    }

    fn ask(&self, group: &str, turn: usize, question: &Question) -> Option<Arc<str>> {
        let members = self.clients.producers(group);
        let (earlier, rest) = members.split_at(turn.checked_rem(members.len())?);
        let command = question.command();
        rest.iter().chain(earlier).find_map(|member| {
            let connection = member.connection();
            let taken = connection.is_open() && connection.send_oneway(command.clone()).is_ok();
            taken.then(|| format!("{} ({})", connection.peer(), member.client_id()).into())
        })
    }
}

/// Checks what falls due and saves how far everything is, until `stop`. What is saved last is for the caller:
/// [`save_finally`].
pub async fn keep_checking(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let mut save_at = core.clock.now_ms();
    let mut parked_known = core.topics.get(PARKED_TOPIC).is_some();
    while !*stop.borrow() {
        let next = core.transactions.check(&*core);
        if !parked_known && let Some(topic) = core.topics.get(PARKED_TOPIC) {
            parked_known = true;
            core.topic_changed(&topic.config).await;
        }
        let now = core.clock.now_ms();
        if now >= save_at {
            save_at = now + super::millis(SAVE_INTERVAL);
            let saving = Arc::clone(&core);
            if tokio::task::spawn_blocking(move || save(&saving)).await.unwrap_or_default() {
                save_at = now;
            }
        }
        let until = match next {
            Next::Now => {
                tokio::task::yield_now().await;
                continue;
            }
            Next::At(at) => at.min(save_at),
            Next::Idle => save_at,
        };
        tokio::select! {
            () = core.clock.sleep_until(until) => {}
            () = core.transactions.woken() => {}
            () = stopped(&mut stop) => {}
        }
    }
}

/// The saving that comes every few seconds. Whether there is more to do at once. Blocking.
pub fn save(core: &Core) -> bool {
    let more = core.transactions.carry(core);
    if let Some(offsets) = core.transactions.persist() {
        note_offsets(core, offsets);
    }
    more
}

/// The last saving, when no request is served any more: the offset table must be saved after it.
pub fn save_finally(core: &Core) {
    while core.transactions.carry(core) {}
    let offsets = core.transactions.final_offsets();
    note_offsets(core, offsets);
}

/// The saved offsets of `CID_RMQ_SYS_TRANS` on half and op queue, for [`Transactions::open`](super::Transactions::open).
pub fn saved_offsets(offsets: &crate::offset::Offsets) -> (Option<i64>, Option<i64>) {
    (offsets.get(GROUP, HALF_TOPIC, QUEUE), offsets.get(GROUP, OP_TOPIC, QUEUE))
}

fn note_offsets(core: &Core, safe: SafeOffsets) {
    for (topic, offset) in [(HALF_TOPIC, safe.half), (OP_TOPIC, safe.op)] {
        if core.offsets.get(GROUP, topic, QUEUE) != Some(offset) {
            core.offsets.set(GROUP, topic, QUEUE, offset);
        }
    }
}
