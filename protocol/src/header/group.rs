//! Members of groups (34, 35, 38, 40), what brokers ask of them (220, 221, 307, 309), and sending back (36).

requests! {
    /// A client leaves its groups. Upstream: `UnregisterClientRequestHeader`.
    UnregisterClient<'a> = UNREGISTER_CLIENT {
        /// The client.
        client_id: &'a str = "clientID",
        /// Producer group that it leaves.
        producer_group: Option<&'a str> = "producerGroup",
        /// Consumer group that it leaves.
        consumer_group: Option<&'a str> = "consumerGroup",
    }

    /// Who is in a group. Upstream: `GetConsumerListByGroupRequestHeader`.
    GetConsumerList<'a> = GET_CONSUMER_LIST_BY_GROUP {
        /// The group.
        consumer_group: &'a str = "consumerGroup",
    }

    /// A group has changed: divide the queues anew. Oneway. Upstream: `NotifyConsumerIdsChangedRequestHeader`.
    NotifyConsumerIdsChanged<'a> = NOTIFY_CONSUMER_IDS_CHANGED {
        /// The group.
        consumer_group: &'a str = "consumerGroup",
    }

    /// A consumer could not process a message and wants it later. Upstream: `ConsumerSendMsgBackRequestHeader`.
    SendBack<'a> = CONSUMER_SEND_MSG_BACK {
        /// Where the message's record starts in the commit log.
        commit_log_offset: i64 = "offset",
        /// The consumer's group.
        group: &'a str = "group",
        /// 0: the broker chooses; negative: to the dead letters; else a delay level.
        delay_level: i32 = "delayLevel",
        /// Id of the message as the consumer knows it.
        origin_message_id: Option<&'a str> = "originMsgId",
        /// Topic of the message as the consumer knows it.
        origin_topic: Option<&'a str> = "originTopic",
        /// Legacy "unit" deployments.
        unit_mode: bool = "unitMode",
        /// Retries before it becomes a dead letter.
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
        /// Broker group that is meant.
        broker_name: Option<&'a str> = "bname",
        /// Ours: why it could not process the message, as the class of its error. Kept with the message, see
        /// [`FailureCause`](crate::message::FailureCause). Apache's brokers do not look at it.
        cause_class: Option<&'a str> = "causeClass",
        /// Ours: what tells errors of one class apart, for example the digest of a stack or of a message.
        cause_digest: Option<&'a str> = "causeDigest",
        /// Ours: the host that it failed on.
        cause_host: Option<&'a str> = "causeHost",
    }

    /// Tells a consumer to go to other offsets. Oneway. Upstream: `ResetOffsetRequestHeader`; broker to client.
    ResetClientOffset<'a> = RESET_CONSUMER_CLIENT_OFFSET {
        /// The topic.
        topic: &'a str = "topic",
        /// The group.
        group: &'a str = "group",
        /// Time that the offsets belong to, in milliseconds.
        timestamp: i64 = "timestamp",
        /// Whether to go ahead as well as back.
        force: bool = "isForce",
    }

    /// Asks a consumer for its offsets. Upstream: `GetConsumerStatusRequestHeader`; broker to client.
    GetClientStatus<'a> = GET_CONSUMER_STATUS_FROM_CLIENT {
        /// The topic.
        topic: &'a str = "topic",
        /// The group.
        group: &'a str = "group",
        /// Not used towards clients.
        client_address: Option<&'a str> = "clientAddr",
    }

    /// What a consumer is doing. The broker passes it on to the client. Upstream: `GetConsumerRunningInfoRequestHeader`.
    GetRunningInfo<'a> = GET_CONSUMER_RUNNING_INFO {
        /// The group.
        consumer_group: &'a str = "consumerGroup",
        /// The client.
        client_id: &'a str = "clientId",
        /// Whether to add the stacks of all threads.
        jstack: bool = "jstackEnable",
    }

    /// Has a consumer process one message. The broker adds the message and passes it on to the client.
    /// Upstream: `ConsumeMessageDirectlyResultRequestHeader`.
    ConsumeDirectly<'a> = CONSUME_MESSAGE_DIRECTLY {
        /// The group.
        consumer_group: &'a str = "consumerGroup",
        /// The client.
        client_id: Option<&'a str> = "clientId",
        /// Offset message id.
        message_id: Option<&'a str> = "msgId",
        /// Added by the broker.
        broker_name: Option<&'a str> = "brokerName",
        /// Topic of the message.
        topic: Option<&'a str> = "topic",
        /// Added by the broker.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Added by the broker.
        group_sys_flag: Option<i32> = "groupSysFlag",
    }
}

responses! {
    /// Answers a heartbeat.
    HeartbeatAnswer {
        /// Whether the broker understands fingerprints.
        supports_v2: bool = "IS_SUPPORT_HEART_BEAT_V2",
        /// Whether the client should send its subscriptions in full.
        subscription_changed: bool = "IS_SUB_CHANGE",
    }
}
