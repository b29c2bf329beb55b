//! Who serves what (105, 106, 217, 901), and static topics.

use std::collections::BTreeMap;

use super::json;

/// Permission to read a topic.
pub const PERM_READ: i32 = 4;
/// Permission to write to a topic.
pub const PERM_WRITE: i32 = 2;
/// A topic that passes its settings on to topics created from it.
pub const PERM_INHERIT: i32 = 1;

bodies! {
    /// Who serves a topic (105, 217). Upstream: `TopicRouteData`.
    #[derive(Default)]
    TopicRoute {
        /// The broker groups.
        #[serde(rename = "brokerDatas")]
        brokers: Vec<BrokerData>,
        /// Legacy filter servers by broker address.
        filter_server_table: BTreeMap<String, Vec<String>>,
        /// Order of an ordered topic: `broker:queues;…`.
        order_topic_conf: Option<String>,
        /// Its queues, by broker group.
        #[serde(rename = "queueDatas")]
        queues: Vec<QueueData>,
        /// Mappings of a static topic by broker; only for static topics.
        topic_queue_mapping_by_broker: Option<BTreeMap<String, TopicQueueMappingInfo>>,
    }

    /// One broker group.
    #[derive(Default)]
    BrokerData {
        /// `ip:port` by broker id; 0 is the master.
        broker_addrs: BTreeMap<i64, String>,
        /// Name of the group.
        broker_name: String,
        /// Its cluster.
        cluster: String,
        /// Whether a slave may stand in for a lost master.
        enable_acting_master: bool,
        /// Its zone.
        zone_name: Option<String>,
    }

    /// A topic's queues on one broker group.
    #[derive(Default, Eq, PartialOrd, Ord)]
    QueueData {
        /// Name of the group.
        broker_name: String,
        /// See [`PERM_READ`] and [`PERM_WRITE`].
        perm: i32,
        /// Queues to read from.
        read_queue_nums: i32,
        /// Flag of the topic.
        topic_sys_flag: i32,
        /// Queues to write to.
        write_queue_nums: i32,
    }

    /// All brokers (106).
    #[derive(Default)]
    ClusterInfo {
        /// Broker groups by name.
        broker_addr_table: BTreeMap<String, BrokerData>,
        /// Names of the groups by cluster.
        cluster_addr_table: BTreeMap<String, Vec<String>>,
    }

    /// The brokers of one group.
    #[derive(Default)]
    BrokerMemberGroup {
        /// `ip:port` by broker id.
        broker_addrs: BTreeMap<i64, String>,
        /// Name of the group.
        broker_name: String,
        /// Its cluster.
        cluster: String,
    }

    /// The answer to 901.
    #[derive(Default)]
    BrokerMemberGroupBody {
        /// The group.
        broker_member_group: BrokerMemberGroup,
    }

    /// Where the queues of a static topic are.
    #[derive(Default)]
    TopicQueueMappingInfo {
        /// The broker that says so.
        bname: String,
        /// Physical queue by logical queue, as of now.
        curr_id_map: Option<BTreeMap<i32, i32>>,
        /// Whether it is being changed.
        dirty: bool,
        /// Version.
        epoch: i64,
        /// Scope of the logical queues, normally `__global__`.
        scope: Option<String>,
        /// The topic.
        topic: String,
        /// Number of logical queues.
        total_queues: i32,
    }

    /// The same with its history.
    #[derive(Default)]
    TopicQueueMappingDetail {
        /// The broker that says so.
        bname: String,
        /// Physical queue by logical queue, as of now.
        curr_id_map: Option<BTreeMap<i32, i32>>,
        /// Whether it is being changed.
        dirty: bool,
        /// Version.
        epoch: i64,
        /// Places of each logical queue over time.
        hosted_queues: Option<BTreeMap<i32, Vec<LogicQueueMappingItem>>>,
        /// Scope of the logical queues.
        scope: Option<String>,
        /// The topic.
        topic: String,
        /// Number of logical queues.
        total_queues: i32,
    }

    /// One place that a logical queue had for a while.
    LogicQueueMappingItem {
        /// The broker.
        bname: String,
        /// First physical offset that does not belong to it; −1: open.
        end_offset: i64,
        /// Generation.
        r#gen: i32,
        /// Logical offset of its first message; −1: not yet known.
        logic_offset: i64,
        /// Physical queue.
        queue_id: i32,
        /// First physical offset that belongs to it.
        start_offset: i64,
        /// Store time of the last message; −1: open.
        time_of_end: i64,
        /// Store time of the first message; −1: unknown.
        time_of_start: i64,
    }
}

impl TopicRoute {
    /// The body for a client that reads standard JSON (version 401 and later, or those who ask), or for an older one.
    pub fn to_json(&self, standard: bool) -> Vec<u8> {
        if standard { json::to_vec_standard(self) } else { json::to_vec(self) }
    }
}

impl BrokerData {
    /// Address of the master.
    pub fn master(&self) -> Option<&str> {
        self.broker_addrs.get(&0).map(String::as_str)
    }
}

impl Default for LogicQueueMappingItem {
    fn default() -> Self {
        Self {
            bname: String::new(),
            end_offset: -1,
            r#gen: 0,
            logic_offset: 0,
            queue_id: 0,
            start_offset: 0,
            time_of_end: -1,
            time_of_start: -1,
        }
    }
}
