//! Topic configuration and lists (17, 18, 21, 103, 206, 351).

use std::collections::BTreeMap;

use super::route::{TopicQueueMappingDetail, TopicQueueMappingInfo};

names! {
    /// How many tags a message of a topic has.
    TopicFilterType or SingleTag {
        /// One.
        SingleTag = "SINGLE_TAG",
        /// Several.
        MultiTag = "MULTI_TAG",
    }
}

bodies! {
    /// Version of a table; the newer one counts. Upstream: `DataVersion`.
    #[derive(Default, Copy, Eq, Hash)]
    DataVersion {
        /// Changes so far.
        counter: i64,
        /// Version of the store's state.
        state_version: i64,
        /// When it changed last, in milliseconds.
        timestamp: i64,
    }

    /// One topic. Upstream: `TopicConfig`.
    TopicConfig {
        /// `message.type`, `queue.type`, `cleanup.policy`, …
        attributes: BTreeMap<String, String>,
        /// Whether it is ordered.
        order: bool,
        /// 4: read, 2: write, 1: inherit.
        perm: i32,
        /// Queues to read from.
        read_queue_nums: i32,
        /// Tags of a message.
        topic_filter_type: TopicFilterType,
        /// The topic.
        topic_name: String,
        /// Flag of the topic.
        topic_sys_flag: i32,
        /// Queues to write to.
        write_queue_nums: i32,
    }

    /// A topic and, if it is static, its mapping (351).
    #[derive(Default)]
    TopicConfigAndMapping {
        /// As in [`TopicConfig`].
        attributes: BTreeMap<String, String>,
        /// Only for static topics.
        mapping_detail: Option<TopicQueueMappingDetail>,
        /// As in [`TopicConfig`].
        order: bool,
        /// As in [`TopicConfig`].
        perm: i32,
        /// As in [`TopicConfig`].
        read_queue_nums: i32,
        /// As in [`TopicConfig`].
        topic_filter_type: TopicFilterType,
        /// As in [`TopicConfig`].
        topic_name: String,
        /// As in [`TopicConfig`].
        topic_sys_flag: i32,
        /// As in [`TopicConfig`].
        write_queue_nums: i32,
    }

    /// Several topics to create (18).
    #[derive(Default)]
    TopicConfigList {
        /// The topics.
        topic_config_list: Vec<TopicConfig>,
    }

    /// All topics of a broker, as in `topics.json`. Upstream: `TopicConfigSerializeWrapper`.
    #[derive(Default)]
    TopicConfigTable {
        /// Version of the table.
        data_version: DataVersion,
        /// Topics by name.
        topic_config_table: BTreeMap<String, TopicConfig>,
    }

    /// The same with static topics (21, 103). Upstream: `TopicConfigAndMappingSerializeWrapper`.
    #[derive(Default)]
    TopicConfigAndMappingTable {
        /// Version of the table.
        data_version: DataVersion,
        /// Version of the mappings.
        mapping_data_version: DataVersion,
        /// Topics by name.
        topic_config_table: BTreeMap<String, TopicConfig>,
        /// Mappings with history by topic.
        topic_queue_mapping_detail_map: BTreeMap<String, TopicQueueMappingDetail>,
        /// Mappings by topic.
        topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingInfo>,
    }

    /// What a broker registers (103).
    #[derive(Default)]
    RegisterBrokerBody {
        /// Legacy filter servers.
        filter_server_list: Vec<String>,
        /// Its topics.
        topic_config_serialize_wrapper: TopicConfigAndMappingTable,
    }

    /// Names of topics (206, 224, 304, 305, 343).
    #[derive(Default)]
    TopicList {
        /// A broker that serves them.
        broker_addr: Option<String>,
        /// The topics.
        topic_list: Vec<String>,
    }

    /// Names of groups (300).
    #[derive(Default)]
    GroupList {
        /// The groups.
        group_list: Vec<String>,
    }

    /// Any values by name (28, 103, 219).
    #[derive(Default)]
    KvTable {
        /// The values.
        table: BTreeMap<String, String>,
    }
}

impl Default for TopicConfig {
    /// A topic without name, as Java would fill one in: 16 queues, readable and writable.
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::default(),
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl TopicConfigAndMapping {
    /// The topic with its mapping.
    pub fn new(config: TopicConfig, mapping_detail: Option<TopicQueueMappingDetail>) -> Self {
        Self {
            attributes: config.attributes,
            mapping_detail,
            order: config.order,
            perm: config.perm,
            read_queue_nums: config.read_queue_nums,
            topic_filter_type: config.topic_filter_type,
            topic_name: config.topic_name,
            topic_sys_flag: config.topic_sys_flag,
            write_queue_nums: config.write_queue_nums,
        }
    }
}
