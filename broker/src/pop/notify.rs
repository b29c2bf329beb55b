//! NOTIFICATION: waits until there is something to pop, without taking it. POLLING_INFO: who waits.

use std::{net::SocketAddr, sync::Arc};

use rand::Rng;
use tenonmq_protocol::header::{Notification, PollingInfo, PopTopic as Kind};

use super::{
    admit,
    read::{NotHeld, all_queues, hold, retry_kind},
    table::PopTopic,
    wait::{Kind as Held, Wait},
};
use crate::{
    core::{Core, topics::Topic},
    error::Refusal,
    filter::Filter,
};

/// A notification that was let in, owned, so that it can be repeated after a wait.
pub struct Asked {
    of: Arc<PopTopic>,
    topic: Arc<Topic>,
    queue_id: i32,
    ordered: bool,
    attempt: Option<Box<str>>,
    until: i64,
    may_wait: bool,
}

/// Checks a notification.
///
/// # Errors
/// 16, 17, 26, 29; 209 when a table is full.
pub fn admit(core: &Core, asked: &Notification<'_>, peer: SocketAddr) -> Result<Asked, Refusal> {
    let config = core.config.load();
    let topic = admit::look(core, &config, &asked.into(), peer)?;
    let of = core.pops.table.topic(asked.consumer_group, asked.topic).ok_or_else(super::read::too_many_topics)?;
    let born = if asked.born_time == 0 { core.clock.now_ms() } else { asked.born_time };
    Ok(Asked {
        of,
        topic,
        queue_id: asked.queue_id,
        ordered: asked.order,
        attempt: asked.attempt_id.filter(|_| asked.order).map(Into::into),
        until: born.saturating_add(asked.poll_millis),
        may_wait: asked.poll_millis > 0,
    })
}

impl Asked {
    /// Whether there is something now.
    pub fn has_message(&self, core: &Core) -> bool {
        let random = rand::rng().random_range(0..100_u32);
        let mut found = false;
        let mut look = |queue_id| found = found || self.has_in_queue(core, &self.of.topic, &self.topic, queue_id);
        if self.queue_id < 0 {
            all_queues(&self.topic, random, &mut look);
        } else {
            look(self.queue_id);
        }
        found || self.has_retried(core, random)
    }

    fn has_retried(&self, core: &Core, random: u32) -> bool {
        let first = retry_kind(core, random);
        let both = core.config.load().pop.retry_topic_v2;
        let kinds = if both { &[Kind::RetryV2, Kind::RetryV1][..] } else { &[Kind::RetryV1][..] };
        kinds.iter().any(|kind| {
            let is_read = *kind == first || core.config.load().pop.read_retry_topic_v1;
            let name = &self.of.retry[usize::from(*kind == Kind::RetryV2)];
            let Some(topic) = core.topics.get(name).filter(|_| is_read) else { return false };
            (0..topic.config.read_queue_nums).any(|queue_id| self.has_in_queue(core, name, &topic, queue_id))
        })
    }

    fn has_in_queue(&self, core: &Core, name: &str, topic: &Topic, queue_id: i32) -> bool {
        let Some(stored) = topic.queue(&core.store, queue_id) else { return false };
        if self.ordered && self.is_blocked(core, queue_id) {
            return false;
        }
        stored.max_offset() > next(core, &self.of.group, name, stored)
    }

    fn is_blocked(&self, core: &Core, queue_id: i32) -> bool {
        let Some(queue) = self.of.queue(queue_id) else { return false };
        let state = queue.state.lock();
        state.order.as_ref().is_some_and(|order| order.blocks(self.attempt.as_deref(), core.clock.now_ms()))
    }

    /// Holds it. The caller looks once more after this call, and only then awaits.
    ///
    /// # Errors
    /// [`NotHeld`].
    pub fn hold(&self, core: &Core) -> Result<Wait, NotHeld> {
        let until = self.may_wait.then_some(self.until);
        hold(core, &self.of, &self.topic, Held::Notification, self.queue_id, &Filter::ALL, until)
    }

    /// When the wait ends, in milliseconds since the epoch.
    pub fn until(&self) -> i64 {
        self.until
    }
}

/// Where a group pops next in a queue.
pub(super) fn next(core: &Core, group: &str, topic: &str, queue: &tenonmq_storage::Queue) -> i64 {
    let stored = core.offsets.get(group, topic, queue.queue_id());
    let popped = super::ack::find(core, group, topic, queue.queue_id());
    let next = popped.map(|popped| popped.state.lock().leases.next());
    match (stored, next) {
        (_, _) if core.offsets.has_reset(group, topic, queue.queue_id()) => stored.unwrap_or(0),
        (Some(stored), Some(next)) => stored.max(next),
        (one, other) => one.or(other).unwrap_or_else(|| queue.min_offset().max(0)),
    }
}

/// Pops that wait for a queue, or for any queue.
///
/// # Errors
/// 16, 17, 26 or 29.
pub fn waiting(core: &Core, asked: &PollingInfo<'_>, peer: SocketAddr) -> Result<usize, Refusal> {
    admit::look(core, &core.config.load(), &asked.into(), peer)?;
    let found = core.pops.table.find(asked.consumer_group, asked.topic);
    Ok(found.map_or(0, |of| of.waiting.count(Held::Pop, asked.queue_id)))
}
