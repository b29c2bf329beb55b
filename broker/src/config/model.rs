//! The typed configuration. Each field says its upstream key, unit, default and bound.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tenonmq_storage::StoreConfig;

use super::policies::{CheckPolicy, GroupPolicies};

/// Everything that can be configured, grouped by who uses it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this broker is.
    pub identity: Identity,
    /// Which parts of the program run.
    pub roles: Roles,
    /// The name-server role.
    pub name_server: NameServer,
    /// How this broker makes itself known to name servers.
    pub registration: Registration,
    /// Topics and subscription groups.
    pub topics: Topics,
    /// What may be sent.
    pub messages: Messages,
    /// How much one pull returns.
    pub pull: Pull,
    /// Requests that wait for messages.
    pub polling: Polling,
    /// Pop consumption.
    pub pop: Pop,
    /// Property filters.
    pub filters: Filters,
    /// Half messages and their checks.
    pub transactions: Transactions,
    /// Delay levels.
    pub delays: Delays,
    /// Messages that are sent back, and dead letters that are sent again.
    pub dead_letters: DeadLetters,
    /// Consumer offsets.
    pub offsets: Offsets,
    /// Connected clients and their groups.
    pub clients: Clients,
    /// `statsItemsMax`, default 10 000: topics, and as many pairs of topic and group, with statistics. Read at start.
    pub stats_items: usize,
    /// Sockets and their limits.
    pub remoting: Remoting,
    /// The HTTP port.
    pub http: Http,
    /// What the metrics pages say.
    pub metrics: Metrics,
    /// The data directory's files, flushing and retention.
    pub store: StoreConfig,
    /// Where the data is. `storePathRootDir`; the same as `store.root`.
    pub data_directory: PathBuf,
    /// How long an ordered shutdown may take. `shutdownTimeoutMillis`, default 5 s.
    pub shutdown_timeout: Duration,
}

/// Who this broker is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `brokerClusterName`, default `DefaultCluster`. Also the name of a topic.
    pub cluster: String,
    /// `brokerName`, default the machine's name. Masters and slaves of one data share it.
    pub name: String,
    /// `brokerId`; 0 is the master.
    pub id: i64,
    /// `brokerIP1`: what clients are told, when somebody set it. A name is allowed as well as an address.
    pub advertised: Option<String>,
    /// `brokerIP2`: what slaves are told, when somebody set it.
    pub advertised_for_slaves: Option<String>,
    /// `listenPort`, default 10911; 0 lets the system choose.
    pub port: u16,
    /// `haListenPort`, default `listenPort` + 1.
    pub ha_port: u16,
    /// `bindAddress`, default 0.0.0.0.
    pub bind: IpAddr,
    /// `regionId`, default `DefaultRegion`; told in the answer to a send.
    pub region: String,
    /// `brokerPermission`: 4 read, 2 write; default 6.
    pub permission: u32,
}

/// Which parts of the program run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// `brokerEnable`, default true.
    pub broker: bool,
    /// `namesrvEnable`, default `auto`: true unless `namesrvAddr` names another name server.
    pub name_server: bool,
}

/// The name-server role.
#[derive(Debug, Clone)]
pub struct NameServer {
    /// `namesrvListenPort`, default 9876. Without the broker role, `listenPort` counts as well.
    pub port: u16,
    /// `namesrvBindAddress`, default `bindAddress`.
    pub bind: IpAddr,
    /// `kvConfigPath`, default `kvConfig.json` below the data directory.
    pub kv_path: PathBuf,
    /// `orderMessageEnable`, default false: a route carries the topic's order configuration.
    pub order_messages: bool,
    /// `returnOrderTopicConfigToBroker`, default true.
    pub return_order_config: bool,
    /// `supportActingMaster`, default false.
    pub acting_master: bool,
    /// `enableTopicList`, default true: topics of one cluster may be listed.
    pub topic_list: bool,
    /// `enableAllTopicList`, default true.
    pub all_topic_list: bool,
    /// `deleteTopicWithBrokerRegistration`, default false: a full registration removes what it lacks.
    pub delete_missing_topics: bool,
    /// `needWaitForService`, default false: no routes until `wait` has passed since the start.
    pub wait_before_routes: Option<Duration>,
    /// `namesrvMaxBrokers`, default 10 000 broker processes.
    pub max_brokers: usize,
    /// `namesrvMaxTopics`, default 1 000 000.
    pub max_topics: usize,
    /// `scanNotActiveBrokerInterval`, in milliseconds, default 5 s.
    pub scan_interval: Duration,
}

/// How this broker makes itself known to name servers.
#[derive(Debug, Clone)]
pub struct Registration {
    /// `namesrvAddr`: `host:port`, separated by `;`. Name servers elsewhere, not the embedded one.
    pub name_servers: Vec<String>,
    /// `registerNameServerPeriod`, in milliseconds, default 30 s; taken to 10 s … 60 s.
    pub period: Duration,
    /// `registerBrokerTimeoutMills`, default 24 s.
    pub timeout: Duration,
    /// `enableSlaveActingMaster`, default false.
    pub acting_master: bool,
    /// `brokerNotActiveTimeoutMillis`, default 10 s; told to name servers when `acting_master`.
    pub not_active_timeout: Duration,
    /// `brokerHeartbeatInterval`, default 1 s; between signs of life when `acting_master`.
    pub heartbeat_interval: Duration,
    /// `advertisedAddressCheckTimeoutMillis`, default 1 s: how long the self-check at start may take.
    pub address_check_timeout: Duration,
}

/// Topics and subscription groups.
#[derive(Debug, Clone)]
pub struct Topics {
    /// `autoCreateTopicEnable`, default true.
    pub auto_create: bool,
    /// `autoCreateSubscriptionGroup`, default true.
    pub auto_create_groups: bool,
    /// `subscriptionGroupsMax`, default 100 000: subscription groups that may exist. Read at start.
    pub max_groups: usize,
    /// `defaultTopicQueueNums`, default 8: queues of `TBW102` and upper bound for auto-created topics.
    pub default_queues: u32,
    /// `clusterTopicEnable`, default true: writable topic with the cluster's name.
    pub cluster_topic: bool,
    /// `brokerTopicEnable`, default true: writable topic with the broker's name.
    pub broker_topic: bool,
    /// `traceTopicEnable`, default false.
    pub trace_topic: bool,
    /// `msgTraceTopicName`, default `RMQ_SYS_TRACE_TOPIC`.
    pub trace_topic_name: String,
    /// `validateSystemTopicWhenUpdateTopic`, default true: system topics may not be created or changed.
    pub protect_system_topics: bool,
    /// `clearRetryTopicWhenDeleteTopic`, default true.
    pub delete_retry_topics: bool,
    /// `enableLmq`, default false: groups `%LMQ%…` exist without being created, and offsets are kept in Apache's file for
    /// light queues. Read at start.
    pub light: bool,
}

/// What may be sent.
#[derive(Debug, Clone)]
pub struct Messages {
    /// `maxMessageSize`, default 4 MiB: body bytes.
    pub max_body: u32,
    /// `rejectTransactionMessage`, default false.
    pub reject_transactions: bool,
    /// `recallMessageEnable`, default false.
    pub recall: bool,
    /// `startAcceptSendRequestTimeStamp`, ms since the epoch, default 0: earlier sends are refused.
    pub accept_from_ms: i64,
    /// `messageDelayLevel`, default `1s 5s … 2h`: the delay of level 1, 2, ….
    pub delay_levels: Vec<Duration>,
    /// `messageDelayLevel` as configured; it goes to clients in this form.
    pub delay_levels_text: String,
    /// `timerWheelEnable`, default true: messages may ask for a time instead of a level.
    pub timers: bool,
    /// `timerMaxDelaySec`, default three days as upstream's; a time further away is refused with 13. Forty days
    /// (3,456,000) and more work.
    pub max_timer_delay: Duration,
    /// `timerPrecisionMs`, default 1000: what `TIMER_OUT_MS` is rounded to, for Apache: 100, 200, 500 or 1000, the next
    /// lower one of what is configured. We deliver to the millisecond.
    pub timer_precision_ms: i64,
    /// `timerPendingMax`, default 10,000,000: messages that may wait for a time of their own, 16 to 32 bytes of memory each.
    pub timers_max: u64,
    /// `timerRollWindowSlot`, default 172 800: how many steps ahead Apache is left a timer before it puts it back.
    pub timer_roll_window: i64,
    /// `mappedFileSizeTimerLog`, in bytes, default 100 MiB: length of the timer log's files as they are left to Apache.
    pub timer_log_file_size: u64,
    /// `timerStopEnqueue`, default false: new timers are stored and not looked at.
    pub stop_timer_enqueue: bool,
    /// `timerStopDequeue`, default false: timers that are due wait.
    pub stop_timer_dequeue: bool,
    /// `allowRecallWhenBrokerNotWriteable`, default true.
    pub recall_when_not_writable: bool,
    /// `traceOn`, default true; told in the answer to a send.
    pub trace_on: bool,
    /// `syncFlushTimeout`, in milliseconds, default 5 s: how long a send waits for the disk before it is answered with 10.
    pub flush_timeout: Duration,
    /// `storeReplyMessageEnable`, default true: replies are stored besides being pushed to their requester.
    pub store_replies: bool,
}

/// How much one pull returns.
#[derive(Debug, Clone)]
pub struct Pull {
    /// `maxTransferCountOnMessageInMemory`, default 32.
    pub max_count: u32,
    /// `maxTransferBytesOnMessageInMemory`, default 256 KiB.
    pub max_bytes: u32,
    /// `maxTransferCountOnMessageInDisk`, default 8: for records that are no longer in memory.
    pub max_count_on_disk: u32,
    /// `maxTransferBytesOnMessageInDisk`, default 64 KiB.
    pub max_bytes_on_disk: u32,
    /// `maxFilterMessageSize`, default 16 000: queue entries looked at for one filtered pull.
    pub max_scanned: u32,
    /// `slaveReadEnable`, default false.
    pub from_slave: bool,
    /// `litePullMessageEnable`, default true.
    pub lite: bool,
    /// `defaultQueryMaxNum`, default 32: messages in the answer to a query by key.
    pub max_query: u32,
}

/// Requests that wait for messages.
#[derive(Debug, Clone)]
pub struct Polling {
    /// `longPollingEnable`, default true: as long as the client asks; otherwise `short`.
    pub long: bool,
    /// `shortPollingTimeMills`, default 1 s.
    pub short: Duration,
    /// `maxPopPollingSize`, default 100 000: waiting requests, all together.
    pub max_waiting: u32,
    /// `popPollingSize`, default 1024: waiting requests of one queue and group.
    pub max_waiting_each: u32,
}

/// Pop consumption.
#[derive(Debug, Clone)]
pub struct Pop {
    /// `enableRetryTopicV2`, default false.
    pub retry_topic_v2: bool,
    /// `retrieveMessageFromPopRetryTopicV1`, default true.
    pub read_retry_topic_v1: bool,
    /// `popFromRetryProbability`, in percent, default 20.
    pub retry_probability: u32,
    /// `reviveQueueNum`, default 8.
    pub revive_queues: u32,
    /// `popDeadLetterEnable`, default false: what is not acknowledged after the group's last try goes to its dead letters.
    pub dead_letters: bool,
    /// `popOrderedSkipsAcknowledged`, default false: when messages come again in order, those behind the first that were
    /// acknowledged do not.
    pub ordered_skips_acked: bool,
    /// `defaultMessageRequestMode`, default `PULL`: clients that let the broker divide queues pop, unless told otherwise.
    pub by_default: bool,
    /// `defaultPopShareQueueNum`, default −1.
    pub default_share_queues: i32,
    /// `popResponseReturnActualRetryTopic`, default false: messages of a retry topic are shown as they are.
    pub tells_retry_topic: bool,
    /// `enableNotifyAfterPopOrderLockRelease`, default true: who waits is told of a queue that is free again.
    pub tells_of_free_queues: bool,
    /// `initPopOffsetByCheckMsgInMem`, default true: a new group that begins behind the last message begins at the first
    /// one while that is likely in memory.
    pub init_by_memory: bool,
    /// `popInflightMessageThreshold`, with `enablePopMessageThreshold`: leased messages of one queue and group beyond
    /// which nothing more is popped. `None`, the default: no limit of its own.
    pub inflight_threshold: Option<usize>,
    /// `popPollingMapSize`, default 100 000: topics that are popped, counted for each group.
    pub max_topics: usize,
    /// `popQueuesMax`, default 1 000 000: queues that are popped, counted for each group.
    pub max_queues: usize,
    /// `popLeasesMax`, default 5 000 000: open leases, over all queues.
    pub max_leases: i64,
    /// `popLeaseLogFileSize`, default 16 MiB: length of each file of the lease log, in bytes.
    pub log_file_len: usize,
}

/// Property filters.
#[derive(Debug, Clone)]
pub struct Filters {
    /// `enablePropertyFilter`, default true (Apache: false): SQL expressions may be used.
    pub sql: bool,
    /// `filterSupportRetry`, default false: they apply to retry topics as well.
    pub retry_topics: bool,
    /// `filterExpressionsMax`, default 1024: compiled expressions kept for those who carry them in their requests. Read at
    /// start.
    pub max_expressions: usize,
    /// `filterExpressionMaxBytes`, default 65536: longest expression that is compiled. Read at start.
    pub expression_max_bytes: usize,
    /// `filterRestRefused`, default false: an expression with words behind its end, which Apache ignores without saying so,
    /// does not compile. Read at start.
    pub refuse_rest: bool,
    /// `filterDataMax`, default 100 000: conditions kept in `consumerFilter.json`. Read at start.
    pub max_registered: usize,
    /// `filterDataCleanTimeSpan`, in milliseconds, default a day: how long a condition that nobody wants is kept. Read at
    /// start.
    pub keep_dead: Duration,
    /// `maxErrorRateOfBloomFilter`, in percent, default 20. Read at start.
    pub bloom_error_percent: u32,
    /// `expectConsumerNumUseFilter`, default 32. Read at start.
    pub bloom_groups: u32,
    /// `conflictingSubscriptionsRefused`, default false: a member that wants something else than the other members of its
    /// group is not let in. While it is on, a group changes its mind only when all have left.
    pub refuse_conflicts: bool,
}

impl Default for Filters {
    fn default() -> Self {
        Self {
            sql: true,
            retry_topics: false,
            max_expressions: 1024,
            expression_max_bytes: 65_536,
            refuse_rest: false,
            max_registered: 100_000,
            keep_dead: Duration::from_secs(24 * 3600),
            bloom_error_percent: 20,
            bloom_groups: 32,
            refuse_conflicts: false,
        }
    }
}

/// Half messages and their checks.
#[derive(Debug, Clone)]
pub struct Transactions {
    /// `transactionTimeOut`, in milliseconds, default 6 s: age below which a half message is not checked.
    pub immunity: Duration,
    /// How producers are asked, by default.
    pub checks: CheckPolicy,
    /// `transactionCheckPolicies`, default none: groups that are asked otherwise, as
    /// `group:perSecond=50,backOff=2;group:…`. What is not said is as in `checks`.
    pub group_checks: Option<Arc<GroupPolicies>>,
    /// `transactionOpMsgMaxSize`, default 4096: bytes of offsets in one op record.
    pub max_op_record: u32,
    /// `transactionOpBatchInterval`, in milliseconds, default 3 s.
    pub op_interval: Duration,
    /// `transactionGiveUpAfterHours`, default 0 for never: age at which an undecided message goes to
    /// `TRANS_CHECK_MAX_TIME_TOPIC` although it was not checked as often as allowed. Apache gives up after
    /// `fileReservedTime`; here a message outlives its log file.
    pub give_up_after: Option<Duration>,
}

/// How far the delay levels are delivered. The levels themselves are in [`Messages`].
#[derive(Debug, Clone)]
pub struct Delays {
    /// `flushDelayOffsetInterval`, in milliseconds, default 10 s.
    pub flush_interval: Duration,
    /// `delayOffsetUpdateVersionStep`, default 200: deliveries per step of the table's version. Read at start.
    pub version_step: u64,
}

/// Messages that are sent back, and dead letters that are sent again.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    /// `deadLetterJobsMax`, default 16: redrive jobs that run or are paused at one time.
    pub max_jobs: usize,
    /// `deadLetterJobsKeptMax`, default 100: ended redrive jobs whose results are kept; older ones are removed.
    pub max_kept: usize,
    /// `deadLetterRedrivesMax`, default 3: a message that was sent again so often and came back is in quarantine.
    pub max_redrives: i32,
    /// `deadLettersPerSecond`, default 1 000: messages a second of a redrive job that says nothing else.
    pub per_second: i32,
    /// `sendBacksRememberedMax`, default 0: send-backs that are remembered, so that a repeat makes no second copy; about
    /// 40 bytes each. Read at start.
    pub send_backs_remembered: usize,
}

/// Consumer offsets.
#[derive(Debug, Clone)]
pub struct Offsets {
    /// `flushConsumerOffsetInterval`, in milliseconds, default 5 s.
    pub flush_interval: Duration,
    /// `useServerSideResetOffset`, default true.
    pub server_side_reset: bool,
    /// `consumerOffsetUpdateVersionStep`, default 500: commits per step of the table's version.
    pub version_step: u64,
    /// `offsetHistoryMaxBytes`, default 16 MiB: size of each of the history's two files. Read at start.
    pub history_bytes: u64,
    /// `consumerOffsetsMax`, default 2 000 000: queues with an offset, counted for each group. Read at start.
    pub max: usize,
}

/// Connected clients and their groups.
#[derive(Debug, Clone)]
pub struct Clients {
    /// `clientGroupsMax`, default 100 000: consumer groups with members, and as many producer groups. Read at start.
    pub max_groups: usize,
    /// `clientGroupsPerConnectionMax`, default 1 000: groups of each kind that one connection may be in. Read at start.
    pub max_groups_per_connection: usize,
    /// `clientSubscriptionsPerGroupMax`, default 10 000: topics that one group may subscribe to. Read at start.
    pub max_subscriptions_per_group: usize,
    /// `queueLocksMax`, default 1 000 000: queue locks of all groups. Read at start.
    pub max_locks: usize,
    /// `assignmentTopicsMax`, default 100 000: topics whose route is remembered for clients that let the broker divide
    /// queues. Read at start.
    pub max_routes: usize,
    /// `loadBalancePollNameServerInterval`, in milliseconds, default 30 s: how long such a route is good for.
    pub route_period: Duration,
    /// `channelExpiredTimeout`, in milliseconds, default 120 s without a heartbeat.
    pub expiry: Duration,
    /// `subscriptionExpiredTimeout`, in milliseconds, default 600 s.
    pub subscription_expiry: Duration,
    /// `notifyConsumerIdsChangedEnable`, default true.
    pub notify_changes: bool,
    /// `serverLoadBalancerEnable`, default true: queues are divided here for clients that ask; otherwise each gets all.
    pub balance: bool,
    /// `rejectPullConsumerEnable`, default false.
    pub reject_pull_consumers: bool,
    /// `lockInStrictMode`, default false.
    pub strict_locks: bool,
    /// `disableConsumeIfConsumerReadSlowly`, default false.
    pub disable_slow_groups: bool,
    /// `consumerFallbehindThreshold`, default 16 GiB.
    pub slow_group_bytes: u64,
}

/// Sockets and their limits.
#[derive(Debug, Clone)]
pub struct Remoting {
    /// `remotingFrameMaxLength`, default 16 MiB: a longer frame closes its connection.
    pub max_frame: usize,
    /// `remotingMaxConnections`, default 20 000 a listener.
    pub max_connections: usize,
    /// `remotingWriteTimeoutMillis`, default 30 s: a peer that takes none of its replies for so long is disconnected. Nothing
    /// more is served to it meanwhile.
    pub write_timeout: Duration,
    /// `remotingHeldRequestsMax`, default 500 000 a listener: long polls and others that wait for their reply.
    pub max_held: usize,
    /// `remotingStuckBytesMax`, default 256 MiB a listener: memory held for peers that do not finish their frames or do not
    /// read their replies.
    pub max_stuck: usize,
    /// `waitTimeMillsInSendQueue`, default 200 ms: sends of a peer that is ahead by more are refused. Zero without
    /// `brokerFastFailureEnable`.
    pub send_wait: Duration,
    /// `serverChannelMaxIdleTimeSeconds`, default 120: without reading or writing.
    pub idle: Duration,
    /// `serverSocketBacklog`, default 1024: connections not yet accepted.
    pub backlog: u32,
    /// `remotingWorkerThreads`, default 0: as many as processors.
    pub workers: usize,
    /// `writeBufferHighWaterMark`, bytes; 0 leaves the choice to the program.
    pub write_high_water: usize,
}

/// The HTTP port: metrics, health, readiness. Read at start.
#[derive(Debug, Clone)]
pub struct Http {
    /// `httpPort`, default one below `listenPort`: a port that no other broker can have, because it needs those beside it.
    /// 0 lets the system choose. `None` with `httpEnable` = false, and without the broker role unless `httpPort` is set.
    pub port: Option<u16>,
    /// `httpBindAddress`, default 127.0.0.1: what is shown there is for operators.
    pub bind: IpAddr,
    /// `httpConnectionsMax`, default 64 a listener; further ones wait for their turn.
    pub max_connections: usize,
    /// `httpRequestTimeoutMillis`, default 10 s: from accepting a connection until its answer has been taken.
    pub timeout: Duration,
}

/// What the metrics pages say. Read at start, but for `max_rows`.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// `metricsExporterType`, default `DISABLE`.
    pub exporter: MetricsExporter,
    /// `metricsPromExporterHost`, default what clients are told (`brokerIP1`).
    pub exporter_host: Option<String>,
    /// `metricsPromExporterPort`, default 5557.
    pub exporter_port: u16,
    /// `metricsLabel`, `name:value` separated by commas: labels of every row.
    pub labels: Vec<(String, String)>,
    /// Pieces of `metricsLabel` that are no such pair.
    pub bad_labels: Vec<String>,
    /// `metricsOtelCardinalityLimit`, default 50 000: rows of one metric; how many are left out is a metric as well.
    pub max_rows: usize,
}

/// Where metrics go besides the HTTP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsExporter {
    /// Nowhere.
    None,
    /// To a page on a port of its own, where Apache has it.
    Prometheus,
    /// Where this program cannot send them (`OTLP_GRPC`, `LOG`).
    NotSupported(&'static str),
}
