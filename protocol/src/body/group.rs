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

impl GroupRetryPolicy {
    /// How long a message that failed `retries` times before waits for its next try, in milliseconds; `None` when the
    /// group has no policy of its own, so that the broker's delay levels hold.
    ///
    /// As Apache's `RetryPolicy.nextDelayDuration`: the first two pauses of a list are passed over, because the first
    /// retry has delay level 3, and its last one repeats; a growing pause has at most 32 steps.
    pub fn pause_ms(&self, retries: i32) -> Option<i64> {
        let retries = retries.max(0);
        match self.r#type {
            GroupRetryPolicyType::Customized => {
                let next = &self.customized_retry_policy.as_ref()?.next;
                let at = usize::try_from(retries).unwrap_or(0).saturating_add(2);
                next.get(at).or(next.last()).copied()
            }
            GroupRetryPolicyType::Exponential => {
                let policy = self.exponential_retry_policy.as_ref()?;
                let factor = policy.multiplier.saturating_pow(retries.min(32).unsigned_abs());
                Some(policy.initial.saturating_mul(factor).min(policy.max))
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(next: &[i64]) -> GroupRetryPolicy {
        let customized_retry_policy = Some(CustomizedRetryPolicy { next: next.to_vec() });
        GroupRetryPolicy { customized_retry_policy, ..GroupRetryPolicy::default() }
    }

    fn growing(initial: i64, max: i64, multiplier: i64) -> GroupRetryPolicy {
        GroupRetryPolicy {
            exponential_retry_policy: Some(ExponentialRetryPolicy { initial, max, multiplier }),
            r#type: GroupRetryPolicyType::Exponential,
            ..GroupRetryPolicy::default()
        }
    }

    #[test]
    fn a_list_of_pauses_begins_at_the_third_and_ends_with_its_last() {
        let policy = listed(&[1000, 5000, 10_000, 30_000]);
        assert_eq!(
            [-1, 0, 1, 2, i32::MAX].map(|n| policy.pause_ms(n).unwrap()),
            [10_000, 10_000, 30_000, 30_000, 30_000]
        );
        assert_eq!(listed(&[700]).pause_ms(0), Some(700));
        assert_eq!(listed(&[]).pause_ms(0), None);
    }

    #[test]
    fn a_growing_pause_is_multiplied_up_to_its_longest_and_never_overflows() {
        let policy = growing(5000, 7_200_000, 2);
        assert_eq!(
            [0, 1, 2, 10, 11, 100].map(|n| policy.pause_ms(n).unwrap()),
            [5000, 10_000, 20_000, 5_120_000, 7_200_000, 7_200_000]
        );
        assert_eq!(growing(i64::MAX, i64::MAX, i64::MAX).pause_ms(32), Some(i64::MAX));
    }

    #[test]
    fn a_group_without_numbers_of_its_own_has_no_policy() {
        assert_eq!(GroupRetryPolicy::default().pause_ms(3), None);
        let no_factor = GroupRetryPolicy { r#type: GroupRetryPolicyType::Exponential, ..listed(&[1, 2, 3]) };
        assert_eq!(no_factor.pause_ms(3), None);
    }

    #[test]
    fn policies_are_read_and_written_as_apache_does() {
        use super::super::json;
        let text = br#"{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":5000,"max":7200000,"multiplier":2}}"#;
        let read: GroupRetryPolicy = json::from_slice(text).unwrap();
        assert_eq!(read, growing(5000, 7_200_000, 2));
        let text = br#"{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[1000,5000,10000]}}"#;
        assert_eq!(json::from_slice::<GroupRetryPolicy>(text).unwrap(), listed(&[1000, 5000, 10_000]));
        let written = String::from_utf8(json::to_vec(&read)).unwrap();
        let expected =
            r#"{"exponentialRetryPolicy":{"initial":5000,"max":7200000,"multiplier":2},"type":"EXPONENTIAL"}"#;
        assert_eq!(written, expected);
        let config: SubscriptionGroupConfig =
            json::from_slice(br#"{"groupName":"g","groupRetryPolicy":null}"#).unwrap();
        assert_eq!(config.group_retry_policy, GroupRetryPolicy::default());
    }
}
