//! The values that the route table holds and takes.

use std::collections::BTreeMap;

/// May be read: a bit of a topic's permission.
pub const READ: u32 = 4;
/// May be written: a bit of a topic's permission.
pub const WRITE: u32 = 2;
/// The broker id of a master.
pub const MASTER: i64 = 0;

/// Version of a broker's topic table. Two tables with equal versions are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Version {
    /// Epoch of the master that wrote the table; 0 without a controller.
    pub state: i64,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// Changes since the broker started.
    pub counter: i64,
}

/// How many queues a topic has on one broker, and what may be done with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Queues that are read.
    pub read: i32,
    /// Queues that are written.
    pub write: i32,
    /// [`READ`] and [`WRITE`].
    pub permission: u32,
    /// Upstream `topicSysFlag`: 1 unit, 2 unit subscription.
    pub system_flag: i32,
}

impl Queues {
    /// Whether a message may be sent to them.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.permission & WRITE != 0
    }
}

/// All brokers of one name: a master and its slaves, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Broker {
    /// The cluster that the name belongs to.
    pub cluster: String,
    /// `host:port` by broker id.
    pub addresses: BTreeMap<i64, String>,
    /// Where it stands, for clients that prefer what is near.
    pub zone: Option<String>,
    /// Whether a slave may stand in for a lost master.
    pub acting_master: bool,
}

/// Which connection or part of this process registered a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A connection, by its id: the registration ends with it.
    Connection(u64),
    /// The broker of this process: it cannot be lost without us.
    InProcess,
}

/// Who registers, without what it serves.
#[derive(Debug, Clone)]
pub struct Registrant {
    /// `clusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub name: String,
    /// `brokerId`.
    pub id: i64,
    /// `brokerAddr`: what clients are told.
    pub address: String,
    /// `haServerAddr`: what slaves are told.
    pub ha_address: String,
    /// `__ZONE_NAME`.
    pub zone: Option<String>,
    /// `enableActingMaster`; `None` from brokers that do not know it.
    pub acting_master: Option<bool>,
    /// `heartbeatTimeoutMillis`; `None` for the default.
    pub timeout_ms: Option<i64>,
    /// Where the registration comes from.
    pub origin: Origin,
}

/// What a broker serves.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// The version of its whole table, even when only one topic is told.
    pub version: Version,
    /// Topics, all of them or the one that changed.
    pub topics: Vec<(String, Queues)>,
    /// `topicQueueMappingInfoMap` of static topics: topic, the broker named in the mapping, and the mapping as
    /// JSON text.
    pub mappings: Vec<(String, String, String)>,
    /// `filterServerList`.
    pub filter_servers: Vec<String>,
}

/// What a registration is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// The master of a slave, when it is alive.
    pub master_address: Option<String>,
    /// Where that master replicates from.
    pub ha_address: Option<String>,
}

/// Why a registration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A broker that was never seen told only one topic: that is a change to a table we do not have.
    #[error("register broker failed")]
    Incomplete,
}

/// Everything a client needs to reach one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Queues by broker name.
    pub queues: Vec<(String, Queues)>,
    /// The brokers among them that are known, by name.
    pub brokers: Vec<(String, Broker)>,
    /// Filter servers by broker address.
    pub filter_servers: BTreeMap<String, Vec<String>>,
    /// Mappings of a static topic by broker name, as JSON text.
    pub mappings: BTreeMap<String, String>,
    /// `broker:queues;…`, for topics whose order counts.
    pub order: Option<String>,
}

impl Route {
    /// Leaves only brokers of `zone`, and those without a master, which anybody may have to read from.
    ///
    /// Upstream: the hook behind `__ZONE_MODE`.
    pub fn keep_zone(&mut self, zone: &str) {
        let mut removed = Vec::new();
        self.brokers.retain(|(name, broker)| {
            let is_near = broker.zone.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(zone));
            let keep = is_near || !broker.addresses.contains_key(&MASTER);
            if !keep {
                removed.push((name.clone(), broker.addresses.clone()));
            }
            keep
        });
        self.queues.retain(|(name, _)| !removed.iter().any(|(gone, _)| gone == name));
        for address in removed.iter().flat_map(|(_, addresses)| addresses.values()) {
            self.filter_servers.remove(address);
        }
    }
}
