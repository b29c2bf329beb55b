//! What operators and their tools ask brokers.

requests! {
    /// Creates or changes a topic. Upstream: `CreateTopicRequestHeader`.
    CreateTopic<'a> = UPDATE_AND_CREATE_TOPIC {
        /// The topic.
        topic: &'a str = "topic",
        /// Not used.
        default_topic: Option<&'a str> = "defaultTopic",
        /// Queues to read from.
        read_queue_nums: i32 = "readQueueNums",
        /// Queues to write to.
        write_queue_nums: i32 = "writeQueueNums",
        /// 4: read, 2: write.
        perm: i32 = "perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        filter_type: Option<&'a str> = "topicFilterType",
        /// Flag of the topic.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Whether the topic is ordered.
        order: bool = "order",
        /// Attribute changes: `+key=value,-key`.
        attributes: Option<&'a str> = "attributes",
        /// Whether to skip checks.
        force: bool = "force",
    }

    /// Deletes a topic. Upstream: `DeleteTopicRequestHeader`.
    DeleteTopic<'a> = DELETE_TOPIC_IN_BROKER {
        /// The topic.
        topic: &'a str = "topic",
    }

    /// Offsets of a topic's queues. Upstream: `GetTopicStatsInfoRequestHeader`.
    GetTopicStats<'a> = GET_TOPIC_STATS_INFO {
        /// The topic.
        topic: &'a str = "topic",
    }

    /// One topic's configuration. Upstream: `GetTopicConfigRequestHeader`.
    GetTopicConfig<'a> = GET_TOPIC_CONFIG {
        /// The topic.
        topic: &'a str = "topic",
        /// Whether to add a static topic's mapping.
        logical: Option<bool> = "lo",
    }

    /// Connections of a consumer group. Upstream: `GetConsumerConnectionListRequestHeader`.
    GetConsumerConnections<'a> = GET_CONSUMER_CONNECTION_LIST {
        /// The group.
        consumer_group: &'a str = "consumerGroup",
    }

    /// Connections of a producer group. Upstream: `GetProducerConnectionListRequestHeader`.
    GetProducerConnections<'a> = GET_PRODUCER_CONNECTION_LIST {
        /// The group.
        producer_group: &'a str = "producerGroup",
    }

    /// Deletes a group. Upstream: `DeleteSubscriptionGroupRequestHeader`.
    DeleteGroup<'a> = DELETE_SUBSCRIPTIONGROUP {
        /// The group.
        group: &'a str = "groupName",
        /// Whether its offsets go too.
        clean_offset: bool = "cleanOffset",
    }

    /// One group's configuration. Upstream: `GetSubscriptionGroupConfigRequestHeader`.
    GetGroupConfig<'a> = GET_SUBSCRIPTIONGROUP_CONFIG {
        /// The group.
        group: &'a str = "group",
    }

    /// Whether a group may read a topic, and says so from now on. Upstream: `UpdateGroupForbiddenRequestHeader`.
    GroupForbidden<'a> = UPDATE_AND_GET_GROUP_FORBIDDEN {
        /// The group.
        group: &'a str = "group",
        /// The topic.
        topic: &'a str = "topic",
        /// The new state; absent: only tell.
        readable: Option<bool> = "readable",
    }

    /// How far a group has read. Upstream: `GetConsumeStatsRequestHeader`.
    GetConsumeStats<'a> = GET_CONSUME_STATS {
        /// The group.
        consumer_group: &'a str = "consumerGroup",
        /// Only this topic.
        topic: Option<&'a str> = "topic",
        /// Only these topics, joined by `;`.
        topics: Option<&'a str> = "topicList",
    }

    /// Moves a group to other offsets. Upstream: `ResetOffsetRequestHeader`.
    ResetOffset<'a> = INVOKE_BROKER_TO_RESET_OFFSET {
        /// The topic.
        topic: &'a str = "topic",
        /// The group.
        group: &'a str = "group",
        /// Only this queue; −1: all.
        queue_id: i32 = "queueId" or -1,
        /// To this offset; absent or −1: by the time.
        offset: Option<i64> = "offset",
        /// To the offset of this time in milliseconds; −1: to the end.
        timestamp: i64 = "timestamp" or -1,
        /// Whether to go ahead as well as back.
        force: bool = "isForce",
    }

    /// Offsets as a group's members know them. Upstream: `GetConsumerStatusRequestHeader`.
    GetConsumerStatus<'a> = INVOKE_BROKER_TO_GET_CONSUMER_STATUS {
        /// The topic.
        topic: &'a str = "topic",
        /// The group.
        group: &'a str = "group",
        /// Only this member; absent or empty: all.
        client_address: Option<&'a str> = "clientAddr",
    }

    /// Groups that read a topic. Upstream: `QueryTopicConsumeByWhoRequestHeader`.
    WhoConsumes<'a> = QUERY_TOPIC_CONSUME_BY_WHO {
        /// The topic.
        topic: &'a str = "topic",
    }

    /// Topics that a group reads. Upstream: `QueryTopicsByConsumerRequestHeader`.
    TopicsOfConsumer<'a> = QUERY_TOPICS_BY_CONSUMER {
        /// The group.
        group: &'a str = "group",
    }

    /// A group's subscription to a topic. Upstream: `QuerySubscriptionByConsumerRequestHeader`.
    SubscriptionOfConsumer<'a> = QUERY_SUBSCRIPTION_BY_CONSUMER {
        /// The group.
        group: &'a str = "group",
        /// The topic.
        topic: Option<&'a str> = "topic",
    }

    /// Times of what a group has yet to read. Upstream: `QueryConsumeTimeSpanRequestHeader`.
    ConsumeTimeSpan<'a> = QUERY_CONSUME_TIME_SPAN {
        /// The topic.
        topic: &'a str = "topic",
        /// The group.
        group: &'a str = "group",
    }

    /// Smallest offsets of several groups. Upstream: `QueryCorrectionOffsetHeader`.
    CorrectionOffset<'a> = QUERY_CORRECTION_OFFSET {
        /// Groups left out, joined by commas.
        filter_groups: Option<&'a str> = "filterGroups",
        /// Group compared with.
        compare_group: &'a str = "compareGroup",
        /// The topic.
        topic: &'a str = "topic",
    }

    /// Gives one group the offsets of another. Upstream: `CloneGroupOffsetRequestHeader`.
    CloneGroupOffset<'a> = CLONE_GROUP_OFFSET {
        /// From this group.
        source_group: &'a str = "srcGroup",
        /// To this group.
        target_group: &'a str = "destGroup",
        /// Only for this topic.
        topic: Option<&'a str> = "topic",
        /// Whether the target must be offline.
        offline: bool = "offline",
    }

    /// One counter. Upstream: `ViewBrokerStatsDataRequestHeader`.
    ViewBrokerStats<'a> = VIEW_BROKER_STATS_DATA {
        /// Name of the statistic, such as `TOPIC_PUT_NUMS`.
        name: &'a str = "statsName",
        /// Topic, `topic@group`, or cluster.
        key: &'a str = "statsKey",
    }

    /// How far all groups have read. Upstream: `GetConsumeStatsInBrokerHeader`.
    GetBrokerConsumeStats = GET_BROKER_CONSUME_STATS {
        /// Ordered topics or the others.
        order: bool = "isOrder",
    }

    /// Entries of a consume queue. Upstream: `QueryConsumeQueueRequestHeader`.
    QueryConsumeQueue<'a> = QUERY_CONSUME_QUEUE {
        /// The topic.
        topic: &'a str = "topic",
        /// Queue of the topic.
        queue_id: i32 = "queueId" or 0,
        /// First entry.
        index: i64 = "index" or 0,
        /// Number of entries.
        count: i32 = "count" or 0,
        /// Group whose filter is tried on them.
        consumer_group: Option<&'a str> = "consumerGroup",
    }

    /// Has a given-up half message checked again. Upstream: `ResumeCheckHalfMessageRequestHeader`.
    ResumeCheckHalfMessage<'a> = RESUME_CHECK_HALF_MESSAGE {
        /// Topic of the message.
        topic: Option<&'a str> = "topic",
        /// Offset message id in `TRANS_CHECK_MAX_TIME_TOPIC`.
        message_id: Option<&'a str> = "msgId",
    }

    /// Slave and master tell each other how far they are. Upstream: `ExchangeHAInfoRequestHeader`.
    ExchangeHaInfo<'a> = EXCHANGE_BROKER_HA_INFO {
        /// `ip:port` that slaves connect to.
        master_ha_address: Option<&'a str> = "masterHaAddress",
        /// Flushed end of the master's log.
        master_flush_offset: Option<i64> = "masterFlushOffset",
        /// `ip:port` of the master.
        master_address: Option<&'a str> = "masterAddress",
    }

    /// Sets what a slave believes about its master. Upstream: `ResetMasterFlushOffsetHeader`.
    ResetMasterFlushOffset = RESET_MASTER_FLUSH_OFFSET {
        /// Flushed end of the master's log.
        master_flush_offset: i64 = "masterFlushOffset",
    }

    /// How far a second consume queue format is. Upstream: `CheckRocksdbCqWriteProgressRequestHeader`.
    CheckRocksdbProgress<'a> = CHECK_ROCKSDB_CQ_WRITE_PROGRESS {
        /// The topic.
        topic: &'a str = "topic",
        /// Only what was stored since, in milliseconds.
        check_store_time: i64 = "checkStoreTime" or 0,
    }

    /// Writes metadata as JSON files. Upstream: `ExportRocksDBConfigToJsonRequestHeader`.
    ExportRocksdbConfig<'a> = EXPORT_ROCKSDB_CONFIG_TO_JSON {
        /// `topics`, `subscriptionGroups`, `consumerOffsets`, joined by `;`.
        config_types: &'a str = "configType",
    }

    /// How the log is read from disk. The field is an extension field.
    SetCommitLogReadMode<'a> = SET_COMMITLOG_READ_MODE {
        /// 0: normal, 1: random.
        mode: Option<&'a str> = "READ_AHEAD_MODE",
    }

    /// Creates a user; the body is a [`UserInfo`](crate::body::UserInfo). Upstream: `CreateUserRequestHeader`.
    CreateUser<'a> = AUTH_CREATE_USER {
        /// The user.
        username: Option<&'a str> = "username",
    }

    /// Changes a user. Upstream: `UpdateUserRequestHeader`.
    UpdateUser<'a> = AUTH_UPDATE_USER {
        /// The user.
        username: Option<&'a str> = "username",
    }

    /// Deletes a user. Upstream: `DeleteUserRequestHeader`.
    DeleteUser<'a> = AUTH_DELETE_USER {
        /// The user.
        username: Option<&'a str> = "username",
    }

    /// One user. Upstream: `GetUserRequestHeader`.
    GetUser<'a> = AUTH_GET_USER {
        /// The user.
        username: Option<&'a str> = "username",
    }

    /// All users. Upstream: `ListUsersRequestHeader`.
    ListUsers<'a> = AUTH_LIST_USER {
        /// Part of the name.
        filter: Option<&'a str> = "filter",
    }

    /// Creates access rules; the body is an [`AclInfo`](crate::body::AclInfo). Upstream: `CreateAclRequestHeader`.
    CreateAcl<'a> = AUTH_CREATE_ACL {
        /// `User:name`.
        subject: Option<&'a str> = "subject",
    }

    /// Changes access rules. Upstream: `UpdateAclRequestHeader`.
    UpdateAcl<'a> = AUTH_UPDATE_ACL {
        /// `User:name`.
        subject: Option<&'a str> = "subject",
    }

    /// Deletes access rules. Upstream: `DeleteAclRequestHeader`.
    DeleteAcl<'a> = AUTH_DELETE_ACL {
        /// `User:name`.
        subject: Option<&'a str> = "subject",
        /// Only of this type.
        policy_type: Option<&'a str> = "policyType",
        /// Only for this resource.
        resource: Option<&'a str> = "resource",
    }

    /// Access rules of one subject. Upstream: `GetAclRequestHeader`.
    GetAcl<'a> = AUTH_GET_ACL {
        /// `User:name`.
        subject: Option<&'a str> = "subject",
    }

    /// All access rules. Upstream: `ListAclsRequestHeader`.
    ListAcls<'a> = AUTH_LIST_ACL {
        /// Part of the subject.
        subject_filter: Option<&'a str> = "subjectFilter",
        /// Part of the resource.
        resource_filter: Option<&'a str> = "resourceFilter",
    }
}

responses! {
    /// Version of the configuration that the body holds. Upstream: `GetBrokerConfigResponseHeader`.
    BrokerConfigVersion<'a> {
        /// A [`DataVersion`](crate::body::DataVersion) as JSON.
        version: &'a str = "version",
    }

    /// Answers [`ExchangeHaInfo`]. Upstream: `ExchangeHAInfoResponseHeader`.
    ExchangeHaInfoResult<'a> {
        /// `ip:port` that slaves connect to.
        master_ha_address: Option<&'a str> = "masterHaAddress",
        /// Flushed end of the master's log.
        master_flush_offset: Option<i64> = "masterFlushOffset",
        /// `ip:port` of the master.
        master_address: Option<&'a str> = "masterAddress",
    }
}
