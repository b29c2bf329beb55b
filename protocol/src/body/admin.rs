//! Users and access rules (3001 to 3010), replicas (1001 to 1008), RocksDB (354).

use std::collections::BTreeMap;

use super::route::BrokerMemberGroup;

bodies! {
    /// One user.
    #[derive(Default)]
    UserInfo {
        /// Its password; never shown by Apache's tools.
        password: Option<String>,
        /// `enable` or `disable`.
        user_status: Option<String>,
        /// `Super` or `Normal`.
        user_type: Option<String>,
        /// Its name.
        username: Option<String>,
    }

    /// Access rules of one subject.
    #[derive(Default)]
    AclInfo {
        /// The rules.
        policies: Option<Vec<PolicyInfo>>,
        /// `User:name`.
        subject: Option<String>,
    }

    /// Access rules of one kind.
    #[derive(Default)]
    PolicyInfo {
        /// The rules.
        entries: Option<Vec<PolicyEntryInfo>>,
        /// `Custom` or `Default`.
        policy_type: Option<String>,
    }

    /// One access rule.
    #[derive(Default)]
    PolicyEntryInfo {
        /// `Pub`, `Sub`, `Create`, …
        actions: Option<Vec<String>>,
        /// `Allow` or `Deny`.
        decision: Option<String>,
        /// `Topic:name`, `Group:name`, …
        resource: Option<String>,
        /// Addresses that it holds for.
        source_ips: Option<Vec<String>>,
    }

    /// Replicas that have all that is confirmed.
    #[derive(Default)]
    SyncStateSet {
        /// Their broker ids.
        sync_state_set: Vec<i64>,
        /// Version of the set.
        sync_state_set_epoch: i32,
    }

    /// The group after an election (1002).
    #[derive(Default)]
    ElectMasterBody {
        /// Its brokers.
        broker_member_group: Option<BrokerMemberGroup>,
        /// Replicas that have all that is confirmed.
        sync_state_set: Option<Vec<i64>>,
    }

    /// Replicas of several groups (1006).
    #[derive(Default)]
    BrokerReplicasInfo {
        /// By broker group.
        replicas_info_table: BTreeMap<String, ReplicasInfo>,
    }

    /// Replicas of one group.
    #[derive(Default)]
    ReplicasInfo {
        /// Those in sync.
        in_sync_replicas: Vec<ReplicaIdentity>,
        /// `ip:port` of the master.
        master_address: Option<String>,
        /// Its id.
        master_broker_id: Option<i64>,
        /// Since when, counted in elections.
        master_epoch: i32,
        /// The others.
        not_in_sync_replicas: Vec<ReplicaIdentity>,
        /// Version of the set in sync.
        sync_state_set_epoch: i32,
    }

    /// One replica.
    #[derive(Default)]
    ReplicaIdentity {
        /// Whether it was heard lately.
        alive: Option<bool>,
        /// Its `ip:port`.
        broker_address: Option<String>,
        /// Its id.
        broker_id: Option<i64>,
        /// Broker group.
        broker_name: Option<String>,
    }

    /// How far a second consume queue format is (354).
    #[derive(Default)]
    CheckRocksdbResult {
        /// Text for people.
        check_result: Option<String>,
        /// 0 fine, 1 not fine, 2 in progress, 3 error.
        check_status: i32,
    }
}
