//! Who serves what: the state of the name-server role, and every rule that changes it.
//!
//! Pure: no I/O, no clock, no lock. Time comes in with each call, so a test moves it.
//!
//! ```text
//! register ──► brokers (name → ids → address) ──► clusters (name → broker names)
//!     │               └── live (cluster, address → last seen, version, origin)
//!     └── master or prime slave only ──► topics (name → broker name → queues)
//! ```
//!
//! Invariant: a broker name is in `brokers` exactly as long as one of its ids has an address, and no topic
//! lists a name that is not in `brokers`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tenonmq_protocol::body::{
    BrokerData, ClusterInfo, DataVersion, PERM_READ, PERM_WRITE, QueueData, RegisterBrokerBody, TopicConfig,
    TopicConfigAndMappingTable, TopicQueueMappingInfo, TopicRoute,
};

use super::model::{MASTER, Origin, Refused, Registered, Registrant};

/// How long a broker counts as alive after it was last seen, unless it asks for another time.
pub const DEFAULT_TIMEOUT_MS: i64 = 120_000;

/// Topics whose routes show members and are never given an acting master.
const MEMBER_TOPIC_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// `topicSysFlag`: the topic belongs to a unit.
const UNIT: i32 = 1;
/// `topicSysFlag`: a unit subscribes to the topic.
const UNIT_SUBSCRIPTION: i32 = 2;

/// What operators can choose about the table.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// `supportActingMaster`: routes show the lowest slave as master while there is none.
    pub acting_master: bool,
    /// `deleteTopicWithBrokerRegistration`: a registration removes the topics that it lacks.
    pub delete_missing_topics: bool,
    /// `namesrvMaxBrokers`: broker processes that may be registered.
    pub max_brokers: usize,
    /// `namesrvMaxTopics`: topics that may be known.
    pub max_topics: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self { acting_master: false, delete_missing_topics: false, max_brokers: 10_000, max_topics: 1_000_000 }
    }
}

/// Which of the unit topics to list; see [`RouteTable::unit_topics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitTopics {
    /// Topics of a unit (code 311).
    Own,
    /// Topics that a unit subscribes to (312).
    Subscribed,
    /// Those of them that are not of a unit (313).
    SubscribedOnly,
}

/// The whole state.
#[derive(Debug, Default)]
pub struct RouteTable {
    topics: HashMap<String, BTreeMap<String, QueueData>>,
    mappings: HashMap<String, BTreeMap<String, TopicQueueMappingInfo>>,
    brokers: BTreeMap<String, BrokerData>,
    clusters: BTreeMap<String, BTreeSet<String>>,
    live: HashMap<Instance, Live>,
}

/// One broker process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Instance {
    cluster: String,
    address: String,
}

#[derive(Debug)]
struct Live {
    seen_ms: i64,
    timeout_ms: i64,
    version: DataVersion,
    origin: Origin,
    ha_address: String,
    filter_servers: Vec<String>,
}

impl Instance {
    fn new(cluster: &str, address: &str) -> Self {
        Self { cluster: cluster.to_owned(), address: address.to_owned() }
    }
}

impl Live {
    fn is_expired(&self, now_ms: i64) -> bool {
        self.origin != Origin::InProcess && self.seen_ms.saturating_add(self.timeout_ms) < now_ms
    }
}

impl RouteTable {
    /// Takes a registration (code 103), full or of one changed topic.
    ///
    /// # Errors
    /// [`Refused::Incomplete`] when a broker that is not known tells exactly one topic, and the others when the table
    /// is full. Nothing has changed then.
    pub fn register(
        &mut self,
        who: &Registrant,
        what: RegisterBrokerBody,
        rules: Rules,
        now_ms: i64,
    ) -> Result<Registered, Refused> {
        let instance = Instance::new(&who.cluster, &who.address);
        if !self.live.contains_key(&instance) && self.live.len() >= rules.max_brokers {
            return Err(Refused::TooManyBrokers(rules.max_brokers));
        }
        let told = what.topic_config_serialize_wrapper.topic_config_table.keys();
        if !self.has_room_for(told, rules) {
            return Err(Refused::TooManyTopics(rules.max_topics));
        }
        self.clusters.entry(who.cluster.clone()).or_default().insert(who.name.clone());
        let is_new_name = !self.brokers.contains_key(&who.name);
        let broker = self.brokers.entry(who.name.clone()).or_default();
        if is_new_name {
            broker.cluster.clone_from(&who.cluster);
            broker.broker_name.clone_from(&who.name);
        }
        broker.enable_acting_master = who.acting_master.unwrap_or(false);
        broker.zone_name.clone_from(&who.zone);
        // A slave that became master registers its old address under a new id.
        broker.broker_addrs.retain(|id, address| *address != who.address || *id == who.id);

        let RegisterBrokerBody { filter_server_list, topic_config_serialize_wrapper: what } = what;
        if self.is_outdated(who, what.data_version) {
            self.live.remove(&instance);
            return Ok(Registered::default());
        }
        let broker = self.brokers.entry(who.name.clone()).or_default();
        if !broker.broker_addrs.contains_key(&who.id) && what.topic_config_table.len() == 1 {
            self.forget_name_if_empty(&who.cluster, &who.name);
            return Err(Refused::Incomplete);
        }
        let is_new = broker.broker_addrs.insert(who.id, who.address.clone()).is_none() || is_new_name;
        self.take_topics(who, &what, &instance, is_new, rules);
        let live = Live {
            seen_ms: now_ms,
            timeout_ms: who.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS),
            version: what.data_version,
            origin: who.origin,
            ha_address: who.ha_address.clone(),
            filter_servers: filter_server_list,
        };
        self.live.insert(instance, live);
        Ok(self.master_for(who))
    }

    fn has_room_for<'a>(&self, topics: impl Iterator<Item = &'a String>, rules: Rules) -> bool {
        self.topics.len() + topics.filter(|topic| !self.topics.contains_key(*topic)).count() <= rules.max_topics
    }

    /// Another process holds this id with a later master epoch: the caller was replaced and does not know yet.
    fn is_outdated(&self, who: &Registrant, version: DataVersion) -> bool {
        let holder = self.brokers.get(&who.name).and_then(|broker| broker.broker_addrs.get(&who.id));
        let Some(holder) = holder.filter(|address| **address != who.address) else {
            return false;
        };
        self.live
            .get(&Instance::new(&who.cluster, holder))
            .is_some_and(|live| live.version.state_version > version.state_version)
    }

    fn take_topics(
        &mut self,
        who: &Registrant,
        what: &TopicConfigAndMappingTable,
        instance: &Instance,
        is_new: bool,
        rules: Rules,
    ) {
        let Some(broker) = self.brokers.get(&who.name) else {
            return;
        };
        let lowest = broker.broker_addrs.keys().next().copied();
        let is_prime_slave = who.id != MASTER && who.acting_master.is_some() && lowest == Some(who.id);
        if who.id != MASTER && !is_prime_slave {
            return;
        }
        let read_only = is_prime_slave && broker.enable_acting_master;
        let is_changed = is_new || self.live.get(instance).is_none_or(|live| live.version != what.data_version);
        if rules.delete_missing_topics && what.topic_queue_mapping_info_map.is_empty() {
            self.delete_topics_missing_in(&who.name, &what.topic_config_table);
        }
        for (topic, config) in &what.topic_config_table {
            let is_known = self.topics.get(topic).is_some_and(|by_broker| by_broker.contains_key(&who.name));
            if is_changed || !is_known {
                let mut queues = queues_of(&who.name, config);
                if read_only {
                    queues.perm &= !PERM_WRITE;
                }
                self.topics.entry(topic.clone()).or_default().insert(who.name.clone(), queues);
            }
        }
        if is_changed {
            for (topic, mapping) in &what.topic_queue_mapping_info_map {
                self.mappings.entry(topic.clone()).or_default().insert(mapping.bname.clone(), mapping.clone());
            }
        }
    }

    fn delete_topics_missing_in(&mut self, name: &str, told: &BTreeMap<String, TopicConfig>) {
        self.topics.retain(|topic, by_broker| {
            if !told.contains_key(topic) {
                by_broker.remove(name);
            }
            !by_broker.is_empty()
        });
    }

    fn master_for(&self, who: &Registrant) -> Registered {
        if who.id == MASTER {
            return Registered::default();
        }
        let master = self.brokers.get(&who.name).and_then(|broker| broker.broker_addrs.get(&MASTER));
        let live = master.and_then(|address| self.live.get(&Instance::new(&who.cluster, address)));
        match (master, live) {
            (Some(address), Some(live)) => {
                Registered { master_address: Some(address.clone()), ha_address: Some(live.ha_address.clone()) }
            }
            _ => Registered::default(),
        }
    }

    /// Ends a registration (code 104).
    pub fn unregister(&mut self, cluster: &str, name: &str, address: &str) {
        self.live.remove(&Instance::new(cluster, address));
        let Some(broker) = self.brokers.get_mut(name) else {
            return;
        };
        broker.broker_addrs.retain(|_, own| own != address);
        let has_master = broker.broker_addrs.contains_key(&MASTER);
        let wipe = broker.enable_acting_master && !has_master && !broker.broker_addrs.is_empty();
        if self.forget_name_if_empty(cluster, name) {
            self.topics.retain(|_, by_broker| {
                by_broker.remove(name);
                !by_broker.is_empty()
            });
        } else if wipe {
            self.for_each_topic_of(name, |queues| queues.perm &= !PERM_WRITE);
        }
    }

    fn forget_name_if_empty(&mut self, cluster: &str, name: &str) -> bool {
        if self.brokers.get(name).is_some_and(|broker| !broker.broker_addrs.is_empty()) {
            return false;
        }
        self.brokers.remove(name);
        if let Some(names) = self.clusters.get_mut(cluster) {
            names.remove(name);
            if names.is_empty() {
                self.clusters.remove(cluster);
            }
        }
        true
    }

    /// Ends every registration that came over a connection, because it closed.
    pub fn connection_closed(&mut self, id: u64) {
        let gone = |live: &Live| live.origin == Origin::Connection(id);
        self.unregister_where(gone);
    }

    /// Ends the registrations of brokers that were not seen for too long; returns their connections.
    pub fn expire(&mut self, now_ms: i64) -> Vec<u64> {
        self.unregister_where(|live| live.is_expired(now_ms))
    }

    fn unregister_where(&mut self, gone: impl Fn(&Live) -> bool) -> Vec<u64> {
        let gone: Vec<(Instance, Origin)> = self
            .live
            .iter()
            .filter(|(_, live)| gone(live))
            .map(|(instance, live)| (instance.clone(), live.origin))
            .collect();
        for (instance, _) in &gone {
            match self.name_of(instance) {
                Some(name) => self.unregister(&instance.cluster, &name, &instance.address),
                None => drop(self.live.remove(instance)),
            }
        }
        let connection = |origin| match origin {
            Origin::Connection(id) => Some(id),
            Origin::InProcess => None,
        };
        gone.into_iter().filter_map(|(_, origin)| connection(origin)).collect()
    }

    fn name_of(&self, instance: &Instance) -> Option<String> {
        let is_it = |broker: &BrokerData| broker.broker_addrs.values().any(|address| *address == instance.address);
        self.brokers.iter().find(|(_, broker)| is_it(broker)).map(|(name, _)| name.clone())
    }

    /// Notes that a broker is alive (code 904).
    pub fn seen(&mut self, cluster: &str, address: &str, now_ms: i64) {
        if let Some(live) = self.live.get_mut(&Instance::new(cluster, address)) {
            live.seen_ms = now_ms;
        }
    }

    /// Whether a broker would still be here if nothing more were heard of it until `at_ms`.
    #[must_use]
    pub fn is_alive(&self, cluster: &str, address: &str, at_ms: i64) -> bool {
        self.live.get(&Instance::new(cluster, address)).is_some_and(|live| !live.is_expired(at_ms))
    }

    /// The version that a broker registered with.
    #[must_use]
    pub fn version(&self, cluster: &str, address: &str) -> Option<DataVersion> {
        self.live.get(&Instance::new(cluster, address)).map(|live| live.version)
    }

    /// Takes one topic without a registration (code 217). Nothing happens when a broker in it is unknown.
    pub fn register_topic(&mut self, topic: &str, queues: &[QueueData], rules: Rules) {
        if !self.has_room_for(std::iter::once(&topic.to_owned()), rules) {
            return;
        }
        if queues.is_empty() || queues.iter().any(|queues| !self.brokers.contains_key(&queues.broker_name)) {
            return;
        }
        let by_name = queues.iter().map(|queues| (queues.broker_name.clone(), queues.clone()));
        self.topics.entry(topic.to_owned()).or_default().extend(by_name);
    }

    /// Forgets a topic (code 216), in one cluster or everywhere.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(cluster) = cluster else {
            self.topics.remove(topic);
            self.mappings.remove(topic);
            return;
        };
        let (Some(names), Some(by_broker)) = (self.clusters.get(cluster), self.topics.get_mut(topic)) else {
            return;
        };
        by_broker.retain(|name, _| !names.contains(name));
        if by_broker.is_empty() {
            self.topics.remove(topic);
            self.mappings.remove(topic);
        }
    }

    /// Takes writing from all topics of a broker (code 205); returns how many topics it has.
    pub fn wipe_write(&mut self, name: &str) -> usize {
        self.for_each_topic_of(name, |queues| queues.perm &= !PERM_WRITE)
    }

    /// Allows reading and writing for all topics of a broker (code 327); returns how many topics it has.
    pub fn add_write(&mut self, name: &str) -> usize {
        self.for_each_topic_of(name, |queues| queues.perm = PERM_READ | PERM_WRITE)
    }

    fn for_each_topic_of(&mut self, name: &str, change: impl Fn(&mut QueueData)) -> usize {
        let of_name = self.topics.values_mut().filter_map(|by_broker| by_broker.get_mut(name));
        of_name.map(change).count()
    }

    /// Where a topic is (code 105); `None` when no known broker has it.
    #[must_use]
    pub fn route(&self, topic: &str, rules: Rules) -> Option<TopicRoute> {
        let by_broker = self.topics.get(topic)?;
        let mut route = TopicRoute {
            queues: by_broker.values().cloned().collect(),
            brokers: by_broker.keys().filter_map(|name| self.brokers.get(name)).cloned().collect(),
            topic_queue_mapping_by_broker: self.mappings.get(topic).cloned(),
            ..TopicRoute::default()
        };
        if route.brokers.is_empty() {
            return None;
        }
        for broker in &route.brokers {
            for address in broker.broker_addrs.values() {
                let live = self.live.get(&Instance::new(&broker.cluster, address));
                if let Some(live) = live.filter(|live| !live.filter_servers.is_empty()) {
                    route.filter_server_table.insert(address.clone(), live.filter_servers.clone());
                }
            }
        }
        if rules.acting_master && !topic.starts_with(MEMBER_TOPIC_PREFIX) {
            for broker in &mut route.brokers {
                let queues = by_broker.get(&broker.broker_name);
                let is_writable = queues.is_some_and(|queues| queues.perm & PERM_WRITE != 0);
                if broker.enable_acting_master && !is_writable {
                    present_lowest_as_master(broker);
                }
            }
        }
        Some(route)
    }

    /// All brokers and clusters (code 106).
    #[must_use]
    pub fn cluster_info(&self) -> ClusterInfo {
        let clusters = self.clusters.iter();
        ClusterInfo {
            broker_addr_table: self.brokers.clone(),
            cluster_addr_table: clusters.map(|(name, of_it)| (name.clone(), of_it.iter().cloned().collect())).collect(),
        }
    }

    /// The brokers of one name.
    #[must_use]
    pub fn broker(&self, name: &str) -> Option<&BrokerData> {
        self.brokers.get(name)
    }

    /// All topics (code 206), in alphabetical order.
    #[must_use]
    pub fn topics(&self) -> Vec<&str> {
        self.topics_where(|_| true)
    }

    /// Topics with queues on a broker of this cluster (code 224).
    #[must_use]
    pub fn topics_of_cluster(&self, cluster: &str) -> Vec<&str> {
        let Some(names) = self.clusters.get(cluster) else {
            return Vec::new();
        };
        self.topics_where(|by_broker| by_broker.keys().any(|name| names.contains(name)))
    }

    /// Topics by their unit flags, as those are on the first broker.
    #[must_use]
    pub fn unit_topics(&self, which: UnitTopics) -> Vec<&str> {
        self.topics_where(|by_broker| {
            let flag = by_broker.values().next().map_or(0, |queues| queues.topic_sys_flag);
            let (own, subscribed) = (flag & UNIT != 0, flag & UNIT_SUBSCRIPTION != 0);
            match which {
                UnitTopics::Own => own,
                UnitTopics::Subscribed => subscribed,
                UnitTopics::SubscribedOnly => subscribed && !own,
            }
        })
    }

    fn topics_where(&self, keep: impl Fn(&BTreeMap<String, QueueData>) -> bool) -> Vec<&str> {
        let kept = self.topics.iter().filter(|(_, by_broker)| keep(by_broker));
        let mut names: Vec<&str> = kept.map(|(topic, _)| topic.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// The topics that every cluster has by itself (code 304): names of clusters and brokers.
    #[must_use]
    pub fn system_topics(&self) -> Vec<&str> {
        let of_cluster = |(cluster, names)| {
            let names: &BTreeSet<String> = names;
            std::iter::once::<&String>(cluster).chain(names)
        };
        self.clusters.iter().flat_map(of_cluster).map(String::as_str).collect()
    }

    /// The address of some broker.
    #[must_use]
    pub fn any_address(&self) -> Option<&str> {
        self.brokers.values().find_map(|broker| broker.broker_addrs.values().next()).map(String::as_str)
    }
}

fn queues_of(broker: &str, config: &TopicConfig) -> QueueData {
    QueueData {
        broker_name: broker.to_owned(),
        perm: config.perm,
        read_queue_nums: config.read_queue_nums,
        topic_sys_flag: config.topic_sys_flag,
        write_queue_nums: config.write_queue_nums,
    }
}

fn present_lowest_as_master(broker: &mut BrokerData) {
    if !broker.broker_addrs.contains_key(&MASTER)
        && let Some((_, address)) = broker.broker_addrs.pop_first()
    {
        broker.broker_addrs.insert(MASTER, address);
    }
}

#[cfg(test)]
mod tests;
