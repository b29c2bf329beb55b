//! From [`Values`] to [`Config`]: which key is which field, and what it may be.

use std::path::PathBuf;
use std::time::Duration;

use super::machine::Machine;
use super::model::{
    Clients, Config, DeadLetters, Delays, Filters, Http, Identity, Messages, Metrics, MetricsExporter, NameServer,
    Offsets, Polling, Pop, Pull, Registration, Remoting, Roles, Topics, Transactions,
};
use super::policies::{self, BACK_OFF_MOST, CheckPolicy, back_off_percent};
use super::read::Reader;
use super::store::store;
use super::values::{ConfigError, Values};

type Result<T> = std::result::Result<T, ConfigError>;

/// The largest count that upstream's 32-bit keys can hold.
const MOST: u32 = i32::MAX as u32;

impl Config {
    /// The configuration of these values on this machine.
    ///
    /// # Errors
    /// [`ConfigError::BadValue`] for the first value that its key does not take, and
    /// [`ConfigError::Conflict`] for values that exclude each other.
    pub fn build(values: &Values, machine: &Machine) -> Result<Self> {
        Ok(Self::build_noting(values, machine)?.0)
    }

    /// As [`Config::build`], with the keys that were set although they have no effect here.
    pub(super) fn build_noting(values: &Values, machine: &Machine) -> Result<(Self, Vec<&'static str>)> {
        let read = Reader::new(values, machine);
        let config = build(&read)?;
        check(&config)?;
        Ok((config, read.without_effect()))
    }
}

fn build(read: &Reader<'_>) -> Result<Config> {
    let registration = registration(read)?;
    let roles = roles(read, &registration)?;
    let data_directory = PathBuf::from(read.required("storePathRootDir")?);
    let messages = messages(read)?;
    Ok(Config {
        identity: identity(read)?,
        name_server: name_server(read, roles, &data_directory)?,
        roles,
        registration,
        topics: topics(read)?,
        store: store(read, &data_directory, &messages.delay_levels)?,
        messages,
        pull: pull(read)?,
        polling: polling(read)?,
        pop: pop(read)?,
        filters: filters(read)?,
        transactions: transactions(read)?,
        delays: Delays {
            flush_interval: read.millis("flushDelayOffsetInterval", 1)?,
            version_step: read.number("delayOffsetUpdateVersionStep", 1..=i64::MAX as u64)?,
        },
        dead_letters: DeadLetters {
            max_jobs: read.number("deadLetterJobsMax", 1..=1_000)?,
            max_kept: read.number("deadLetterJobsKeptMax", 0..=100_000)?,
            max_redrives: read.number("deadLetterRedrivesMax", 1..=1_000_000)?,
            per_second: read.number("deadLettersPerSecond", 1..=1_000_000)?,
            send_backs_remembered: read.number("sendBacksRememberedMax", 0..=10_000_000)?,
        },
        offsets: Offsets {
            flush_interval: read.millis("flushConsumerOffsetInterval", 1)?,
            server_side_reset: read.flag("useServerSideResetOffset")?,
            version_step: read.number("consumerOffsetUpdateVersionStep", 1..=i64::MAX as u64)?,
            history_bytes: read.number("offsetHistoryMaxBytes", 4096..=1 << 40)?,
            max: read.number("consumerOffsetsMax", 1..=1_000_000_000)?,
        },
        clients: clients(read)?,
        stats_items: read.number("statsItemsMax", 1..=10_000_000)?,
        remoting: remoting(read)?,
        http: http(read, roles)?,
        metrics: metrics(read)?,
        data_directory,
        shutdown_timeout: read.millis("shutdownTimeoutMillis", 100)?,
    })
}

fn identity(read: &Reader<'_>) -> Result<Identity> {
    let port = read.port("listenPort")?;
    let ha_port = match read.port("haListenPort")? {
        0 if port != 0 => port.saturating_add(1),
        given => given,
    };
    Ok(Identity {
        cluster: read.required("brokerClusterName")?,
        name: read.required("brokerName")?,
        id: read.number("brokerId", 0..=i64::MAX)?,
        advertised: read.given("brokerIP1"),
        advertised_for_slaves: read.given("brokerIP2"),
        port,
        ha_port,
        bind: read.address("bindAddress")?,
        region: read.text("regionId"),
        permission: read.number("brokerPermission", 0..=7)?,
    })
}

fn roles(read: &Reader<'_>, registration: &Registration) -> Result<Roles> {
    Ok(Roles {
        broker: read.flag("brokerEnable")?,
        name_server: match read.choice("namesrvEnable")? {
            "auto" => registration.name_servers.is_empty(),
            word => word == "true",
        },
    })
}

fn name_server(read: &Reader<'_>, roles: Roles, data: &std::path::Path) -> Result<NameServer> {
    let only_role = !roles.broker && roles.name_server;
    let port = match read.given("namesrvListenPort") {
        None if only_role && read.given("listenPort").is_some() => read.port("listenPort")?,
        _ => read.port("namesrvListenPort")?,
    };
    let bind = match read.given("namesrvBindAddress") {
        Some(_) => read.address("namesrvBindAddress")?,
        None => read.address("bindAddress")?,
    };
    let wait = read.seconds("waitSecondsForService", 0)?;
    Ok(NameServer {
        port,
        bind,
        kv_path: match read.given("kvConfigPath") {
            Some(path) => PathBuf::from(path),
            None => data.join("kvConfig.json"),
        },
        order_messages: read.flag("orderMessageEnable")?,
        return_order_config: read.flag("returnOrderTopicConfigToBroker")?,
        acting_master: read.flag("supportActingMaster")?,
        topic_list: read.flag("enableTopicList")?,
        all_topic_list: read.flag("enableAllTopicList")?,
        delete_missing_topics: read.flag("deleteTopicWithBrokerRegistration")?,
        wait_before_routes: read.flag("needWaitForService")?.then_some(wait),
        max_brokers: read.number("namesrvMaxBrokers", 1..=10_000_000)?,
        max_topics: read.number("namesrvMaxTopics", 1..=100_000_000)?,
        scan_interval: read.millis("scanNotActiveBrokerInterval", 1)?,
    })
}

fn registration(read: &Reader<'_>) -> Result<Registration> {
    let period = read.millis("registerNameServerPeriod", 0)?;
    Ok(Registration {
        name_servers: name_servers(read)?,
        period: period.clamp(Duration::from_secs(10), Duration::from_secs(60)),
        timeout: read.millis("registerBrokerTimeoutMills", 1)?,
        acting_master: read.flag("enableSlaveActingMaster")?,
        heartbeat_interval: read.millis("brokerHeartbeatInterval", 100)?,
        not_active_timeout: read.millis("brokerNotActiveTimeoutMillis", 1)?,
        address_check_timeout: read.millis("advertisedAddressCheckTimeoutMillis", 1)?,
    })
}

fn name_servers(read: &Reader<'_>) -> Result<Vec<String>> {
    let text = read.text("namesrvAddr");
    let addresses: Vec<String> = text
        .split([';', ','])
        .map(|address| address.trim().trim_start_matches("http://").to_owned())
        .filter(|address| !address.is_empty())
        .collect();
    let is_host_and_port = |address: &String| {
        address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if addresses.iter().all(is_host_and_port) {
        Ok(addresses)
    } else {
        Err(read.bad("namesrvAddr", "use host:port, several separated by ;"))
    }
}

fn topics(read: &Reader<'_>) -> Result<Topics> {
    Ok(Topics {
        auto_create: read.flag("autoCreateTopicEnable")?,
        auto_create_groups: read.flag("autoCreateSubscriptionGroup")?,
        max_groups: read.number("subscriptionGroupsMax", 1..=100_000_000)?,
        default_queues: read.number("defaultTopicQueueNums", 1..=65_535)?,
        cluster_topic: read.flag("clusterTopicEnable")?,
        broker_topic: read.flag("brokerTopicEnable")?,
        trace_topic: read.flag("traceTopicEnable")?,
        trace_topic_name: read.required("msgTraceTopicName")?,
        protect_system_topics: read.flag("validateSystemTopicWhenUpdateTopic")?,
        delete_retry_topics: read.flag("clearRetryTopicWhenDeleteTopic")?,
        light: read.flag("enableLmq")?,
    })
}

/// What upstream makes of `timerPrecisionMs`: one of four steps, the next lower one.
fn timer_precision(asked_ms: i64) -> i64 {
    [1000, 500, 200].into_iter().find(|step| asked_ms >= *step).unwrap_or(100)
}

fn messages(read: &Reader<'_>) -> Result<Messages> {
    let delay_levels_text = read.text("messageDelayLevel");
    let delay_levels =
        delay_levels_text.split_whitespace().map(delay).collect::<Option<Vec<_>>>().ok_or_else(|| {
            let allowed = "use numbers with the unit s, m, h or d, separated by blanks";
            read.bad("messageDelayLevel", allowed)
        })?;
    Ok(Messages {
        max_body: read.number("maxMessageSize", 1..=MOST)?,
        reject_transactions: read.flag("rejectTransactionMessage")?,
        recall: read.flag("recallMessageEnable")?,
        accept_from_ms: read.number("startAcceptSendRequestTimeStamp", 0..=i64::MAX)?,
        delay_levels,
        delay_levels_text,
        timers: read.flag("timerWheelEnable")?,
        max_timer_delay: read.seconds("timerMaxDelaySec", 1)?,
        timer_precision_ms: timer_precision(read.number("timerPrecisionMs", 1..=i32::MAX.into())?),
        timers_max: read.number("timerPendingMax", 1..=MOST.into())?,
        timer_roll_window: read.number("timerRollWindowSlot", 2..=604_740)?,
        timer_log_file_size: read.number("mappedFileSizeTimerLog", 1_024..=MOST.into())?,
        stop_timer_enqueue: read.flag("timerStopEnqueue")?,
        stop_timer_dequeue: read.flag("timerStopDequeue")?,
        recall_when_not_writable: read.flag("allowRecallWhenBrokerNotWriteable")?,
        trace_on: read.flag("traceOn")?,
        flush_timeout: read.millis("syncFlushTimeout", 1)?,
        store_replies: read.flag("storeReplyMessageEnable")?,
    })
}

/// `10m` as a duration.
fn delay(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u32 = text.get(..text.len() - 1)?.parse().ok()?;
    Some(Duration::from_secs(u64::from(number) * unit))
}

fn pull(read: &Reader<'_>) -> Result<Pull> {
    Ok(Pull {
        max_count: read.number("maxTransferCountOnMessageInMemory", 1..=MOST)?,
        max_bytes: read.number("maxTransferBytesOnMessageInMemory", 1..=MOST)?,
        max_count_on_disk: read.number("maxTransferCountOnMessageInDisk", 1..=MOST)?,
        max_bytes_on_disk: read.number("maxTransferBytesOnMessageInDisk", 1..=MOST)?,
        max_scanned: read.number("maxFilterMessageSize", 1..=MOST)?,
        from_slave: read.flag("slaveReadEnable")?,
        lite: read.flag("litePullMessageEnable")?,
        max_query: read.number("defaultQueryMaxNum", 1..=MOST)?,
    })
}

fn filters(read: &Reader<'_>) -> Result<Filters> {
    Ok(Filters {
        sql: read.flag("enablePropertyFilter")?,
        retry_topics: read.flag("filterSupportRetry")?,
        max_expressions: read.number("filterExpressionsMax", 1..=1_000_000)?,
        expression_max_bytes: read.number("filterExpressionMaxBytes", 16..=1 << 24)?,
        refuse_rest: read.flag("filterRestRefused")?,
        max_registered: read.number("filterDataMax", 0..=10_000_000)?,
        keep_dead: read.millis("filterDataCleanTimeSpan", 0)?,
        bloom_error_percent: read.number("maxErrorRateOfBloomFilter", 1..=99)?,
        bloom_groups: read.number("expectConsumerNumUseFilter", 1..=1_000_000)?,
        refuse_conflicts: read.flag("conflictingSubscriptionsRefused")?,
    })
}

fn polling(read: &Reader<'_>) -> Result<Polling> {
    Ok(Polling {
        long: read.flag("longPollingEnable")?,
        short: read.millis("shortPollingTimeMills", 1)?,
        max_waiting: read.number("maxPopPollingSize", 1..=MOST)?,
        max_waiting_each: read.number("popPollingSize", 1..=MOST)?,
    })
}

fn pop(read: &Reader<'_>) -> Result<Pop> {
    Ok(Pop {
        retry_topic_v2: read.flag("enableRetryTopicV2")?,
        read_retry_topic_v1: read.flag("retrieveMessageFromPopRetryTopicV1")?,
        retry_probability: read.number("popFromRetryProbability", 0..=100)?,
        revive_queues: read.number("reviveQueueNum", 1..=1_024)?,
        dead_letters: read.flag("popDeadLetterEnable")?,
        ordered_skips_acked: read.flag("popOrderedSkipsAcknowledged")?,
        by_default: read.choice("defaultMessageRequestMode")? == "POP",
        default_share_queues: read.number("defaultPopShareQueueNum", -1..=i32::MAX)?,
        tells_retry_topic: read.flag("popResponseReturnActualRetryTopic")?,
        tells_of_free_queues: read.flag("enableNotifyAfterPopOrderLockRelease")?,
        init_by_memory: read.flag("initPopOffsetByCheckMsgInMem")?,
        inflight_threshold: match read.flag("enablePopMessageThreshold")? {
            true => Some(read.number("popInflightMessageThreshold", 1..=usize::MAX)?),
            false => None,
        },
        max_topics: read.number("popPollingMapSize", 1..=usize::MAX)?,
        max_queues: read.number("popQueuesMax", 1..=usize::MAX)?,
        max_leases: read.number("popLeasesMax", 1..=i64::MAX)?,
        log_file_len: read.number("popLeaseLogFileSize", 1_048_576..=1_073_741_824)?,
    })
}

fn checks(read: &Reader<'_>) -> Result<CheckPolicy> {
    let back_off = read.text("transactionCheckBackOff");
    let millis = |name| read.number(name, 1..=i64::MAX);
    Ok(CheckPolicy {
        interval_ms: millis("transactionCheckInterval")?,
        max_checks: read.number("transactionCheckMax", 1..=MOST)?,
        per_second: read.number("transactionChecksPerSecondPerGroup", 0..=1_000_000)?,
        unanswered: read.number("transactionChecksUnansweredMaxPerGroup", 1..=MOST)?,
        jitter_percent: read.number("transactionCheckJitter", 0..=100)?,
        back_off_percent: back_off_percent(&back_off)
            .ok_or_else(|| read.bad("transactionCheckBackOff", &format!("use a factor from 1 to {BACK_OFF_MOST}")))?,
        longest_ms: millis("transactionCheckIntervalMax")?,
    })
}

fn transactions(read: &Reader<'_>) -> Result<Transactions> {
    let checks = checks(read)?;
    let group_checks = policies::parse(&read.text("transactionCheckPolicies"), checks)
        .map_err(|wrong| read.bad("transactionCheckPolicies", &wrong))?;
    Ok(Transactions {
        immunity: read.millis("transactionTimeOut", 0)?,
        checks,
        group_checks,
        max_op_record: read.number("transactionOpMsgMaxSize", 32..=MOST)?,
        op_interval: read.millis("transactionOpBatchInterval", 0)?,
        give_up_after: match read.number("transactionGiveUpAfterHours", 0..=MOST)? {
            0 => None,
            hours => Some(Duration::from_secs(u64::from(hours) * 3600)),
        },
    })
}

fn clients(read: &Reader<'_>) -> Result<Clients> {
    Ok(Clients {
        max_groups: read.number("clientGroupsMax", 1..=100_000_000)?,
        max_groups_per_connection: read.number("clientGroupsPerConnectionMax", 1..=100_000_000)?,
        max_subscriptions_per_group: read.number("clientSubscriptionsPerGroupMax", 1..=100_000_000)?,
        max_locks: read.number("queueLocksMax", 1..=100_000_000)?,
        max_routes: read.number("assignmentTopicsMax", 1..=100_000_000)?,
        route_period: read.millis("loadBalancePollNameServerInterval", 0)?,
        expiry: read.millis("channelExpiredTimeout", 1)?,
        subscription_expiry: read.millis("subscriptionExpiredTimeout", 1)?,
        notify_changes: read.flag("notifyConsumerIdsChangedEnable")?,
        balance: read.flag("serverLoadBalancerEnable")?,
        reject_pull_consumers: read.flag("rejectPullConsumerEnable")?,
        strict_locks: read.flag("lockInStrictMode")?,
        disable_slow_groups: read.flag("disableConsumeIfConsumerReadSlowly")?,
        slow_group_bytes: read.number("consumerFallbehindThreshold", 1..=i64::MAX as u64)?,
    })
}

fn remoting(read: &Reader<'_>) -> Result<Remoting> {
    Ok(Remoting {
        max_frame: read.number("remotingFrameMaxLength", 4_096..=(1 << 30))?,
        max_connections: read.number("remotingMaxConnections", 1..=10_000_000)?,
        write_timeout: read.millis("remotingWriteTimeoutMillis", 1)?,
        max_held: read.number("remotingHeldRequestsMax", 1..=1_000_000_000)?,
        max_stuck: read.number("remotingStuckBytesMax", (1 << 20)..=(1 << 40))?,
        send_wait: match read.flag("brokerFastFailureEnable")? {
            true => read.millis("waitTimeMillsInSendQueue", 1)?,
            false => Duration::ZERO,
        },
        idle: read.seconds("serverChannelMaxIdleTimeSeconds", 1)?,
        backlog: read.number("serverSocketBacklog", 1..=65_535)?,
        workers: read.number("remotingWorkerThreads", 0..=1_024)?,
        write_high_water: read.number("writeBufferHighWaterMark", 0..=(1 << 30))?,
    })
}

fn http(read: &Reader<'_>, roles: Roles) -> Result<Http> {
    let port = match read.given("httpPort") {
        _ if !read.flag("httpEnable")? => None,
        Some(_) => Some(read.port("httpPort")?),
        None => roles.broker.then(|| read.port("listenPort")).transpose()?.map(|port| port.saturating_sub(1)),
    };
    Ok(Http {
        port,
        bind: read.address("httpBindAddress")?,
        max_connections: read.number("httpConnectionsMax", 1..=100_000)?,
        timeout: read.millis("httpRequestTimeoutMillis", 1)?,
    })
}

fn metrics(read: &Reader<'_>) -> Result<Metrics> {
    let labels = read.text("metricsLabel");
    let pieces = labels.split(',').map(str::trim).filter(|piece| !piece.is_empty());
    let (good, bad): (Vec<_>, Vec<_>) = pieces.partition(|piece| label(piece).is_some());
    Ok(Metrics {
        exporter: match read.choice("metricsExporterType")? {
            "DISABLE" => MetricsExporter::None,
            "PROM" => MetricsExporter::Prometheus,
            other => MetricsExporter::NotSupported(other),
        },
        exporter_host: read.given("metricsPromExporterHost").or_else(|| read.given("brokerIP1")),
        exporter_port: read.port("metricsPromExporterPort")?,
        labels: good.into_iter().filter_map(label).collect(),
        bad_labels: bad.into_iter().map(str::to_owned).collect(),
        max_rows: read.number("metricsOtelCardinalityLimit", 1..=i32::MAX as usize)?,
    })
}

/// `name:value`, where the name is one that Prometheus takes.
fn label(piece: &str) -> Option<(String, String)> {
    let (name, value) = piece.split_once(':').filter(|(_, value)| !value.contains(':'))?;
    let first = name.chars().next()?;
    let is_ours = ["le", "otel_scope_name"].contains(&name);
    let is_name = !is_ours && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !first.is_ascii_digit();
    is_name.then(|| (name.to_owned(), value.to_owned()))
}

/// What single values cannot tell.
fn check(config: &Config) -> Result<()> {
    let conflict = |text: String| Err(ConfigError::Conflict(text));
    let Roles { broker, name_server } = config.roles;
    if !broker && !name_server {
        return conflict("neither the broker nor the name server is enabled: nothing to do".into());
    }
    let broker_port = config.identity.port;
    if broker && (1..=2).contains(&broker_port) {
        return conflict(format!("listenPort = {broker_port} leaves no room for the second port, two below it"));
    }
    let second_port = broker_port.saturating_sub(2);
    let port = config.name_server.port;
    if broker && name_server && port != 0 && (port == broker_port || port == second_port) {
        return conflict(format!(
            "the name server cannot listen on {port} as well: the broker uses {broker_port} and {second_port}; \
             set namesrvListenPort or listenPort, or switch one of the two off"
        ));
    }
    Ok(())
}
