//! Who registers, and what that is answered. What is registered and what is routed are bodies of the protocol.

use tenonmq_protocol::body::TopicRoute;

/// The broker id of a master.
pub const MASTER: i64 = 0;

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
    /// The table has as many brokers as `namesrvMaxBrokers` allows.
    #[error("register broker failed: {0} brokers are registered already (namesrvMaxBrokers)")]
    TooManyBrokers(usize),
    /// The table would have more topics than `namesrvMaxTopics` allows.
    #[error("register broker failed: more than {0} topics (namesrvMaxTopics)")]
    TooManyTopics(usize),
}

/// Leaves only brokers of `zone`, and those without a master, which anybody may have to read from.
///
/// Upstream: the hook behind `__ZONE_MODE`.
pub fn keep_zone(route: &mut TopicRoute, zone: &str) {
    let mut removed = Vec::new();
    route.brokers.retain(|broker| {
        let is_near = broker.zone_name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(zone));
        let keep = is_near || broker.master().is_none();
        if !keep {
            removed.push(broker.clone());
        }
        keep
    });
    route.queues.retain(|queues| !removed.iter().any(|gone| gone.broker_name == queues.broker_name));
    for address in removed.iter().flat_map(|gone| gone.broker_addrs.values()) {
        route.filter_server_table.remove(address);
    }
}
