//! Who reads each queue of a topic for a group, and why some lie idle (540,014).

use std::sync::Arc;

use tenonmq_protocol::{
    body::offset_desk::{ListOwners, OwnerList, OwnerMember, QueueOwner},
    code::ResponseCode,
    message::MessageQueue,
};

use super::preview::queues;
use crate::{
    core::{Core, clients::Member},
    error::Refusal,
    offset::Puller,
};

/// A queue is idle when nobody pulled it for so long: clients are held for 15 to 30 seconds and then come again.
const IDLE_MS: i64 = 60_000;

/// What is known of a group in a topic before any queue is looked at.
struct Group<'a> {
    name: &'a str,
    topic: &'a str,
    members: Vec<Arc<Member>>,
    broker: String,
    now_ms: i64,
    /// Why no queue of the topic can be read at all.
    stopped: Option<String>,
    readable: i32,
}

/// Owner, progress and, where there is one, the cause of idleness of every queue.
///
/// # Errors
/// 17: there is no such topic. 26: there is no such group.
pub fn owners(core: &Core, asked: &ListOwners) -> Result<OwnerList, Refusal> {
    let (group, topic) = (&*asked.group, &*asked.topic);
    let ids = queues(core, topic, None)?;
    if !core.groups.contains(group) {
        let remark = format!("group: {group:?} does not exist");
        return Err(Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let members = core.clients.consumer_group(group).map(|group| group.members()).unwrap_or_default();
    let group = Group {
        name: group,
        topic,
        stopped: stopped(core, group, topic, members.is_empty()),
        members,
        broker: core.identity.get().broker.clone(),
        now_ms: core.clock.now_ms(),
        readable: core.topics.get(topic).map_or(0, |topic| topic.config.read_queue_nums),
    };
    Ok(OwnerList {
        members: group.members.iter().map(member).collect(),
        queues: ids.into_iter().map(|queue_id| group.queue(core, queue_id)).collect(),
    })
}

fn member(member: &Arc<Member>) -> OwnerMember {
    OwnerMember { address: member.connection().peer().to_string(), client_id: member.client_id().to_string() }
}

/// Why a group reads nothing of a topic.
fn stopped(core: &Core, group: &str, topic: &str, nobody: bool) -> Option<String> {
    let cause = if core.groups.get(group).is_some_and(|group| !group.consume_enable) {
        "the group may not consume: consumeEnable is false"
    } else if core.topics.get(topic).is_some_and(|topic| !topic.is_readable()) {
        "the topic may not be read: its permissions say so"
    } else if core.groups.is_forbidden(group, topic) {
        "the group is forbidden for this topic"
    } else if nobody {
        "no member of the group is connected"
    } else if core.clients.subscription(group, topic).is_none() {
        "no member subscribes to the topic"
    } else {
        return None;
    };
    Some(cause.to_owned())
}

impl Group<'_> {
    fn queue(&self, core: &Core, queue_id: i32) -> QueueOwner {
        let puller = core.offsets.puller(self.name, self.topic, queue_id);
        let queue = MessageQueue::new(self.topic, &*self.broker, queue_id);
        let locker = core.locks.holder(self.name, &queue, self.now_ms);
        let is_recent = |puller: &Puller| self.now_ms - puller.at_ms <= IDLE_MS;
        let idle = self.idle(core, queue_id, puller, locker.as_deref());
        let pulling = puller.filter(is_recent).and_then(|puller| self.client(puller.connection));
        let (owner, owner_by) = match (locker, pulling) {
            (Some(locker), _) => (Some(locker), "lock"),
            (None, Some(client)) => (Some(client), "pull"),
            (None, None) => (None, ""),
        };
        let stored = core.store.find_queue(self.topic, queue_id);
        let (min, max) = stored.map_or((0, 0), |queue| (queue.min_offset(), queue.max_offset()));
        let committed = core.offsets.get(self.name, self.topic, queue_id);
        QueueOwner {
            committed,
            idle,
            lag: (max - committed.unwrap_or(min).max(min)).max(0),
            last_pull: puller.map(|puller| puller.at_ms),
            max,
            owner,
            owner_by: owner_by.to_owned(),
            queue_id,
        }
    }

    /// Client id of a connection in this group.
    fn client(&self, connection: u64) -> Option<String> {
        let found = self.members.iter().find(|member| member.connection().id() == connection);
        found.map(|member| member.client_id().to_string())
    }

    fn idle(&self, core: &Core, queue_id: i32, puller: Option<Puller>, locker: Option<&str>) -> Option<String> {
        if let Some(stopped) = &self.stopped {
            return Some(stopped.clone());
        }
        if queue_id >= self.readable {
            return Some(format!("the queue is not read: readQueueNums is {}", self.readable));
        }
        let seconds = |ms: i64| ms.max(0) / 1000;
        let reset = match core.offsets.has_reset(self.name, self.topic, queue_id) {
            true => "; a reset waits for the next pull",
            false => "",
        };
        let locked = locker.map(|locker| format!("; locked by {locker}")).unwrap_or_default();
        match puller {
            Some(puller) if self.now_ms - puller.at_ms <= IDLE_MS => {
                let left = self.client(puller.connection).is_none();
                left.then(|| format!("its last reader has left{locked}{reset}"))
            }
            Some(puller) => {
                let ago = seconds(self.now_ms - puller.at_ms);
                Some(format!("last pull {ago} s ago{locked}{reset}"))
            }
            None => {
                let since = seconds(self.now_ms - core.started_ms);
                Some(format!("not pulled since the broker started {since} s ago{locked}{reset}"))
            }
        }
    }
}

#[cfg(test)]
#[path = "owners_tests.rs"]
mod tests;
