//! What brokers and operators ask controllers, and what these tell brokers (1001 to 1013).

requests! {
    /// The master's replicas in sync; the body is the new set. Upstream: `AlterSyncStateSetRequestHeader`.
    AlterSyncStateSet<'a> = CONTROLLER_ALTER_SYNC_STATE_SET {
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
        /// Who is the master.
        master_broker_id: i64 = "masterBrokerId",
        /// Since when, counted in elections.
        master_epoch: i32 = "masterEpoch",
        /// When it was asked, in milliseconds.
        invoke_time: Option<i64> = "invokeTime",
    }

    /// Elects a master. Upstream: `ElectMasterRequestHeader`.
    ElectMaster<'a> = CONTROLLER_ELECT_MASTER {
        /// The cluster.
        cluster_name: &'a str = "clusterName",
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
        /// Who asks, or who shall be it.
        broker_id: i64 = "brokerId" or -1,
        /// Whether `broker_id` shall be it.
        designate: bool = "designateElect",
        /// When it was asked, in milliseconds.
        invoke_time: Option<i64> = "invokeTime",
    }

    /// A broker joins its group. Upstream: `RegisterBrokerToControllerRequestHeader`.
    RegisterToController<'a> = CONTROLLER_REGISTER_BROKER {
        /// The cluster.
        cluster_name: &'a str = "clusterName",
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
        /// Its id.
        broker_id: i64 = "brokerId",
        /// `ip:port` that clients connect to.
        broker_address: &'a str = "brokerAddress",
        /// When it was asked, in milliseconds.
        invoke_time: Option<i64> = "invokeTime",
    }

    /// Who is master of a group. Upstream: `GetReplicaInfoRequestHeader`.
    GetReplicaInfo<'a> = CONTROLLER_GET_REPLICA_INFO {
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
    }

    /// Forgets brokers. Upstream: `CleanControllerBrokerDataRequestHeader`.
    CleanBrokerData<'a> = CLEAN_BROKER_DATA {
        /// The cluster.
        cluster_name: Option<&'a str> = "clusterName",
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
        /// Their ids, joined by `;`; absent: all.
        broker_ids: Option<&'a str> = "brokerControllerIdsToClean",
        /// Even if they are alive.
        clean_living: bool = "isCleanLivingBroker",
        /// When it was asked, in milliseconds.
        invoke_time: Option<i64> = "invokeTime",
    }

    /// The next free id of a group. Upstream: `GetNextBrokerIdRequestHeader`.
    GetNextBrokerId<'a> = CONTROLLER_GET_NEXT_BROKER_ID {
        /// The cluster.
        cluster_name: &'a str = "clusterName",
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
    }

    /// Takes an id. Upstream: `ApplyBrokerIdRequestHeader`.
    ApplyBrokerId<'a> = CONTROLLER_APPLY_BROKER_ID {
        /// The cluster.
        cluster_name: &'a str = "clusterName",
        /// Name of the broker group.
        broker_name: &'a str = "brokerName",
        /// The id.
        applied_broker_id: i64 = "appliedBrokerId",
        /// Tells two brokers with one id apart.
        register_check_code: Option<&'a str> = "registerCheckCode",
    }

    /// Roles of a group have changed; the body is the set in sync. Upstream: `NotifyBrokerRoleChangedRequestHeader`.
    NotifyRoleChanged<'a> = NOTIFY_BROKER_ROLE_CHANGED {
        /// `ip:port` of the master.
        master_address: Option<&'a str> = "masterAddress",
        /// Since when, counted in elections.
        master_epoch: Option<i32> = "masterEpoch",
        /// Version of the set in sync.
        sync_state_set_epoch: Option<i32> = "syncStateSetEpoch",
        /// Who is the master.
        master_broker_id: Option<i64> = "masterBrokerId",
    }
}

responses! {
    /// Answers [`AlterSyncStateSet`].
    AlterSyncStateSetResult {
        /// Version of the new set.
        sync_state_set_epoch: i32 = "newSyncStateSetEpoch",
    }

    /// Who is master. Answers [`ElectMaster`], [`RegisterToController`] and [`GetReplicaInfo`].
    MasterInfo<'a> {
        /// The cluster, when a broker registered.
        cluster_name: Option<&'a str> = "clusterName",
        /// Name of the broker group, when a broker registered.
        broker_name: Option<&'a str> = "brokerName",
        /// Who is the master.
        master_broker_id: Option<i64> = "masterBrokerId",
        /// Its `ip:port`.
        master_address: Option<&'a str> = "masterAddress",
        /// Since when, counted in elections.
        master_epoch: Option<i32> = "masterEpoch",
        /// Version of the set in sync.
        sync_state_set_epoch: Option<i32> = "syncStateSetEpoch",
    }

    /// The state of the controllers themselves. Answers code 1005. Upstream: `GetMetaDataResponseHeader`.
    ControllerMetadata<'a> {
        /// Name of the controllers' group.
        group: Option<&'a str> = "group",
        /// Id of the leader.
        leader_id: Option<&'a str> = "controllerLeaderId",
        /// `ip:port` of the leader.
        leader_address: Option<&'a str> = "controllerLeaderAddress",
        /// Whether the answering one is it.
        is_leader: bool = "isLeader",
        /// All of them: `id:ip:port` joined by `;`.
        peers: Option<&'a str> = "peers",
    }

    /// Answers [`GetNextBrokerId`].
    NextBrokerId<'a> {
        /// The cluster.
        cluster_name: Option<&'a str> = "clusterName",
        /// Name of the broker group.
        broker_name: Option<&'a str> = "brokerName",
        /// The id.
        next_broker_id: i64 = "nextBrokerId",
    }

    /// Answers [`ApplyBrokerId`].
    ApplyBrokerIdResult<'a> {
        /// The cluster.
        cluster_name: Option<&'a str> = "clusterName",
        /// Name of the broker group.
        broker_name: Option<&'a str> = "brokerName",
    }
}
