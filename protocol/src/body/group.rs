//! Consumer groups as brokers keep them (200, 201, 225, 352, 353).

use std::collections::BTreeMap;

use super::topic::DataVersion;

names! {
    /// How delays between retries grow.
    GroupRetryPolicyType or Customized {
        /// By a factor.
        Exponential = "EXPONENTIAL",
        /// By a list.
        Customized = "CUSTOMIZED",
    }
}

bodies! {
    /// One consumer group. Upstream: `SubscriptionGroupConfig`.
    SubscriptionGroupConfig {
        /// Attributes by name.
        attributes: BTreeMap<String, String>,
        /// Broker that members are sent to.
        broker_id: i64,
        /// Whether it may read as a broadcast.
        consume_broadcast_enable: bool,
        /// Whether it may read at all.
        consume_enable: bool,
        /// Whether a new group may begin at the first message.
        consume_from_min_enable: bool,
        /// Whether order within queues is kept for pops.
        consume_message_orderly: bool,
        /// How long a message may take, in minutes.
        consume_timeout_minute: i32,
        /// The group.
        group_name: String,
        /// Delays between retries.
        group_retry_policy: GroupRetryPolicy,
        /// Flag of the group.
        group_sys_flag: i32,
        /// Whether members hear of members that come and go.
        notify_consumer_ids_changed_enable: bool,
        /// Retries before a message becomes a dead letter.
        retry_max_times: i32,
        /// Queues of its retry topic.
        retry_queue_nums: i32,
        /// Subscriptions fixed by an operator.
        subscription_data_set: Option<Vec<SimpleSubscription>>,
        /// Broker to read from when reading falls behind.
        which_broker_when_consume_slowly: i64,
    }

    /// A subscription fixed by an operator. Upstream: `SimpleSubscriptionData`.
    #[derive(Default, Eq)]
    SimpleSubscription {
        /// The expression.
        expression: String,
        /// `TAG` or `SQL92`.
        expression_type: String,
        /// The topic.
        topic: String,
        /// The newer one counts.
        version: i64,
    }

    /// Delays between retries.
    #[derive(Default, Eq)]
    GroupRetryPolicy {
        /// The list.
        customized_retry_policy: Option<CustomizedRetryPolicy>,
        /// The factor.
        exponential_retry_policy: Option<ExponentialRetryPolicy>,
        /// Which of both.
        r#type: GroupRetryPolicyType,
    }

    /// Delays one by one.
    #[derive(Eq)]
    CustomizedRetryPolicy {
        /// Milliseconds before each retry; the last one repeats.
        next: Vec<i64>,
    }

    /// Delays that grow by a factor.
    #[derive(Eq)]
    ExponentialRetryPolicy {
        /// The first, in milliseconds.
        initial: i64,
        /// The longest, in milliseconds.
        max: i64,
        /// The factor.
        multiplier: i64,
    }

    /// All groups of a broker, as in `subscriptionGroup.json`. Upstream: `SubscriptionGroupWrapper`.
    #[derive(Default)]
    SubscriptionGroupTable {
        /// Version of the table.
        data_version: DataVersion,
        /// Forbidden bits by topic by group.
        forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
        /// Groups by name.
        subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
    }

    /// Several groups to create (225).
    #[derive(Default)]
    SubscriptionGroupList {
        /// The groups.
        group_config_list: Vec<SubscriptionGroupConfig>,
    }

    /// Whether a group may read a topic (353).
    #[derive(Default, Eq)]
    GroupForbiddenState {
        /// The group.
        group: String,
        /// Whether it may.
        readable: bool,
        /// The topic.
        topic: String,
    }
}

impl Default for SubscriptionGroupConfig {
    /// A group without name, as brokers create it.
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl Default for CustomizedRetryPolicy {
    /// The 18 delay levels.
    fn default() -> Self {
        const SECONDS: [i64; 18] =
            [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
        Self { next: SECONDS.iter().map(|seconds| seconds * 1000).collect() }
    }
}

impl Default for ExponentialRetryPolicy {
    fn default() -> Self {
        Self { initial: 5_000, max: 7_200_000, multiplier: 2 }
    }
}
