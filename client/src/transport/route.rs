//! Where a topic's queues are.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use tenonmq_protocol::{
    body::route::{PERM_READ, PERM_WRITE, TopicRoute as RouteBody},
    message::queue::MessageQueue,
};

use crate::error::Error;

/// The broker id that takes writes.
pub(crate) const MASTER_ID: i64 = 0;

/// One topic's queues and the addresses of the brokers that hold them.
#[derive(Debug, Default)]
pub(crate) struct TopicRoute {
    /// Queues that take messages, in order.
    pub(crate) publish: Vec<Arc<MessageQueue>>,
    /// Queues that can be read, in order.
    pub(crate) subscribe: Vec<MessageQueue>,
    brokers: FxHashMap<String, BTreeMap<i64, String>>,
    next: AtomicUsize,
}

impl TopicRoute {
    /// Reads a name server's answer. Queues of a broker without a master take no messages.
    pub(crate) fn from_data(topic: &str, data: RouteBody) -> Self {
        let brokers: FxHashMap<String, BTreeMap<i64, String>> =
            data.brokers.into_iter().map(|b| (b.broker_name, b.broker_addrs)).collect();
        let mut route = Self { brokers, ..Self::default() };
        for held in &data.queues {
            let Some(addresses) = route.brokers.get(&held.broker_name) else { continue };
            let queue = |id| MessageQueue::new(topic, held.broker_name.as_str(), id);
            if held.perm & PERM_WRITE != 0 && addresses.contains_key(&MASTER_ID) {
                route.publish.extend((0..held.write_queue_nums).map(|id| Arc::new(queue(id))));
            }
            if held.perm & PERM_READ != 0 {
                route.subscribe.extend((0..held.read_queue_nums).map(queue));
            }
        }
        route.publish.sort();
        route.subscribe.sort();
        route
    }

    /// The route that a topic will get when its first message creates it from a template's route.
    pub(crate) fn from_template(topic: &str, mut template: RouteBody, queue_limit: i32) -> Self {
        for held in &mut template.queues {
            held.write_queue_nums = held.write_queue_nums.min(queue_limit);
            held.read_queue_nums = held.read_queue_nums.min(queue_limit);
        }
        Self::from_data(topic, template)
    }

    /// The address of the broker that takes writes.
    pub(crate) fn master(&self, broker: &str) -> Result<&str, Error> {
        let found = self.brokers.get(broker).and_then(|ids| ids.get(&MASTER_ID));
        found.map(String::as_str).ok_or_else(|| Error::NoBroker { broker: broker.to_owned() })
    }

    /// The address to read from: the suggested broker id, or else any, the lowest first.
    pub(crate) fn reader(&self, broker: &str, suggested: i64) -> Result<&str, Error> {
        let ids = self.brokers.get(broker);
        let found = ids.and_then(|ids| ids.get(&suggested).or_else(|| ids.values().next()));
        found.map(String::as_str).ok_or_else(|| Error::NoBroker { broker: broker.to_owned() })
    }

    /// Names and addresses of all brokers, slaves included.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (i64, &str)> {
        self.brokers.values().flat_map(|ids| ids.iter().map(|(id, address)| (*id, address.as_str())))
    }

    /// Addresses of the brokers that take writes.
    pub(crate) fn masters(&self) -> impl Iterator<Item = &str> {
        self.addresses().filter(|(id, _)| *id == MASTER_ID).map(|(_, address)| address)
    }

    /// The next queue in turn that `usable` accepts; the next in turn when it accepts none.
    pub(crate) fn next_queue(&self, usable: impl Fn(&MessageQueue) -> bool) -> Option<&Arc<MessageQueue>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.publish.len();
        let in_turn = || (0..count).filter_map(|step| self.publish.get(turn.wrapping_add(step) % count));
        in_turn().find(|queue| usable(queue)).or_else(|| in_turn().next())
    }

    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.publish == other.publish && self.subscribe == other.subscribe && self.brokers == other.brokers
    }
}

/// The routes that one client knows.
#[derive(Default)]
pub(crate) struct Routes(RwLock<FxHashMap<Arc<str>, Arc<TopicRoute>>>);

impl Routes {
    pub(crate) fn get(&self, topic: &str) -> Option<Arc<TopicRoute>> {
        self.0.read().get(topic).cloned()
    }

    /// Remembers a route; `true` when it differs from what was known.
    pub(crate) fn put(&self, topic: &str, route: TopicRoute) -> (Arc<TopicRoute>, bool) {
        let mut known = self.0.write();
        if let Some(old) = known.get(topic).filter(|old| old.is_same_as(&route)) {
            return (Arc::clone(old), false);
        }
        let route = Arc::new(route);
        known.insert(topic.into(), Arc::clone(&route));
        (route, true)
    }

    pub(crate) fn topics(&self) -> Vec<Arc<str>> {
        self.0.read().keys().cloned().collect()
    }

    /// Address of a broker's master by any route that names it.
    pub(crate) fn master(&self, broker: &str) -> Option<String> {
        self.0.read().values().find_map(|route| route.master(broker).ok().map(str::to_owned))
    }

    /// Addresses of all known brokers; slaves only when asked for.
    pub(crate) fn broker_addresses(&self, with_slaves: bool) -> Vec<String> {
        let known = self.0.read();
        let all = known.values().flat_map(|route| route.addresses());
        let mut addresses: Vec<String> =
            all.filter(|(id, _)| with_slaves || *id == MASTER_ID).map(|(_, address)| address.to_owned()).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }
}
