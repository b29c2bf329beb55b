//! What the name server is asked: registration, routes, write permissions, key/value configuration.

requests! {
    /// A broker says what it serves; the body is a [`RegisterBrokerBody`](crate::body::RegisterBrokerBody).
    /// Upstream: `RegisterBrokerRequestHeader`.
    RegisterBroker<'a> = REGISTER_BROKER {
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
        /// `ip:port` that clients connect to.
        broker_address: &'a str = "brokerAddr",
        /// Its cluster.
        cluster_name: &'a str = "clusterName",
        /// `ip:port` that slaves connect to.
        ha_server_address: Option<&'a str> = "haServerAddr",
        /// 0 is the master.
        broker_id: i64 = "brokerId",
        /// Silence after which the broker counts as gone, in milliseconds.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        /// Whether a slave may stand in for a lost master.
        enable_acting_master: Option<bool> = "enableActingMaster",
        /// Whether the body is compressed.
        compressed: bool = "compressed",
        /// Checksum of the body as sent; 0: not checked.
        body_crc32: i32 = "bodyCrc32" or 0,
        /// Zone of the broker.
        zone_name: Option<&'a str> = "__ZONE_NAME",
    }

    /// A broker goes. Upstream: `UnRegisterBrokerRequestHeader`.
    UnregisterBroker<'a> = UNREGISTER_BROKER {
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
        /// `ip:port` that clients connect to.
        broker_address: &'a str = "brokerAddr",
        /// Its cluster.
        cluster_name: &'a str = "clusterName",
        /// 0 is the master.
        broker_id: i64 = "brokerId",
    }

    /// Who serves a topic. Upstream: `GetRouteInfoRequestHeader`.
    GetRoute<'a> = GET_ROUTEINFO_BY_TOPIC {
        /// The topic.
        topic: &'a str = "topic",
        /// Whether the asker reads standard JSON only.
        standard_json_only: bool = "acceptStandardJsonOnly",
    }

    /// Takes the write permission of all topics of a broker. Upstream: `WipeWritePermOfBrokerRequestHeader`.
    WipeWritePerm<'a> = WIPE_WRITE_PERM_OF_BROKER {
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
    }

    /// Gives it back. Upstream: `AddWritePermOfBrokerRequestHeader`.
    AddWritePerm<'a> = ADD_WRITE_PERM_OF_BROKER {
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
    }

    /// Forgets a topic's route. Upstream: `DeleteTopicFromNamesrvRequestHeader`.
    DeleteTopicRoute<'a> = DELETE_TOPIC_IN_NAMESRV {
        /// The topic.
        topic: &'a str = "topic",
        /// Only on the brokers of this cluster.
        cluster_name: Option<&'a str> = "clusterName",
    }

    /// Adds one topic's queues; the body is a [`TopicRoute`](crate::body::TopicRoute).
    /// Upstream: `RegisterTopicRequestHeader`.
    RegisterTopic<'a> = REGISTER_TOPIC_IN_NAMESRV {
        /// The topic.
        topic: &'a str = "topic",
    }

    /// Topics that a cluster serves. Upstream: `GetTopicsByClusterRequestHeader`.
    GetTopicsByCluster<'a> = GET_TOPICS_BY_CLUSTER {
        /// The cluster.
        cluster: &'a str = "cluster",
    }

    /// Whether a broker's topics have changed since; the body is a [`DataVersion`](crate::body::DataVersion).
    /// Upstream: `QueryDataVersionRequestHeader`.
    QueryDataVersion<'a> = QUERY_DATA_VERSION {
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
        /// `ip:port` that clients connect to.
        broker_address: &'a str = "brokerAddr",
        /// Its cluster.
        cluster_name: &'a str = "clusterName",
        /// 0 is the master.
        broker_id: i64 = "brokerId",
    }

    /// The brokers of a group. Upstream: `GetBrokerMemberGroupRequestHeader`.
    GetBrokerMemberGroup<'a> = GET_BROKER_MEMBER_GROUP {
        /// The cluster.
        cluster_name: &'a str = "clusterName",
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
    }

    /// A broker is alive. Upstream: `BrokerHeartbeatRequestHeader`; name servers need the first three fields.
    BrokerHeartbeat<'a> = BROKER_HEARTBEAT {
        /// Its cluster.
        cluster_name: &'a str = "clusterName",
        /// `ip:port` that clients connect to.
        broker_address: &'a str = "brokerAddr",
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
        /// 0 is the master.
        broker_id: Option<i64> = "brokerId",
        /// Master epoch.
        epoch: Option<i32> = "epoch",
        /// End of its log.
        max_offset: Option<i64> = "maxOffset",
        /// Confirmed end of its log.
        confirm_offset: Option<i64> = "confirmOffset",
        /// Silence after which it counts as gone, in milliseconds; upstream's spelling.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMills",
        /// Lower is preferred as master.
        election_priority: Option<i32> = "electionPriority",
    }

    /// The smallest broker id of a group has changed. Oneway. Upstream: `NotifyMinBrokerIdChangeRequestHeader`.
    NotifyMinBrokerIdChange<'a> = NOTIFY_MIN_BROKER_ID_CHANGE {
        /// The new smallest id.
        min_broker_id: Option<i64> = "minBrokerId",
        /// Name of the broker group.
        broker_name: Option<&'a str> = "brokerName",
        /// `ip:port` of the broker with that id.
        min_broker_address: Option<&'a str> = "minBrokerAddr",
        /// `ip:port` of the broker that is gone.
        offline_broker_address: Option<&'a str> = "offlineBrokerAddr",
        /// `ip:port` that slaves connect to.
        ha_broker_address: Option<&'a str> = "haBrokerAddr",
    }

    /// Stores a value. Upstream: `PutKVConfigRequestHeader`.
    PutKvConfig<'a> = PUT_KV_CONFIG {
        /// Namespace of the key.
        namespace: &'a str = "namespace",
        /// The key.
        key: &'a str = "key",
        /// The value.
        value: &'a str = "value",
    }

    /// Reads a value. Upstream: `GetKVConfigRequestHeader`.
    GetKvConfig<'a> = GET_KV_CONFIG {
        /// Namespace of the key.
        namespace: &'a str = "namespace",
        /// The key.
        key: &'a str = "key",
    }

    /// Removes a value. Upstream: `DeleteKVConfigRequestHeader`.
    DeleteKvConfig<'a> = DELETE_KV_CONFIG {
        /// Namespace of the key.
        namespace: &'a str = "namespace",
        /// The key.
        key: &'a str = "key",
    }

    /// Reads all values of a namespace. Upstream: `GetKVListByNamespaceRequestHeader`.
    GetKvList<'a> = GET_KVLIST_BY_NAMESPACE {
        /// The namespace.
        namespace: &'a str = "namespace",
    }
}

responses! {
    /// Answers [`RegisterBroker`]; both fields only for a slave whose master is known.
    RegisterBrokerResult<'a> {
        /// Where the slave replicates from.
        ha_server_address: Option<&'a str> = "haServerAddr",
        /// `ip:port` of the master.
        master_address: Option<&'a str> = "masterAddr",
    }

    /// Answers [`WipeWritePerm`].
    WipeWritePermResult {
        /// Topics that lost the permission.
        topic_count: i32 = "wipeTopicCount",
    }

    /// Answers [`AddWritePerm`].
    AddWritePermResult {
        /// Topics that got the permission.
        topic_count: i32 = "addTopicCount",
    }

    /// Answers [`QueryDataVersion`].
    QueryDataVersionResult {
        /// Whether the name server holds another version.
        changed: bool = "changed",
    }

    /// Answers [`GetKvConfig`].
    GetKvConfigResult<'a> {
        /// The value.
        value: Option<&'a str> = "value",
    }
}
