//! Numbers for operators (202, 208, 303, 315, 317, 321, 345, 907, 1007).

use std::collections::BTreeMap;

use super::heartbeat::SubscriptionData;
use crate::message::MessageQueue;

bodies! {
    /// Ends of a topic's queues (202).
    #[derive(Default)]
    TopicStatsTable {
        /// By queue.
        offset_table: BTreeMap<MessageQueue, TopicOffset>,
        /// Messages stored a second.
        topic_put_tps: f64,
    }

    /// Ends of one queue.
    #[derive(Default, Copy)]
    TopicOffset {
        /// When its last message was stored, in milliseconds.
        last_update_timestamp: i64,
        /// Offset behind its last message.
        max_offset: i64,
        /// Offset of its first message.
        min_offset: i64,
    }

    /// How far a group has read (208).
    #[derive(Default)]
    ConsumeStats {
        /// Messages read a second.
        consume_tps: f64,
        /// By queue.
        offset_table: BTreeMap<MessageQueue, OffsetState>,
    }

    /// How far a group has read one queue. Upstream: `OffsetWrapper`.
    #[derive(Default, Copy)]
    OffsetState {
        /// Offset behind the last message.
        broker_offset: i64,
        /// Offset that the group has committed.
        consumer_offset: i64,
        /// When the last message it has read was stored, in milliseconds.
        last_timestamp: i64,
        /// Offset that it has pulled up to.
        pull_offset: i64,
    }

    /// How far all groups have read (317).
    #[derive(Default)]
    ConsumeStatsList {
        /// `ip:port` of the broker.
        broker_addr: String,
        /// For each group one entry with its topics.
        consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
        /// Messages not yet read.
        total_diff: i64,
        /// Messages pulled and not yet committed.
        total_inflight_diff: i64,
    }

    /// One counter (315).
    #[derive(Default)]
    BrokerStatsData {
        /// Over the last day.
        stats_day: BrokerStatsItem,
        /// Over the last hour.
        stats_hour: BrokerStatsItem,
        /// Over the last minute.
        stats_minute: BrokerStatsItem,
    }

    /// A counter over some time.
    #[derive(Default, Copy)]
    BrokerStatsItem {
        /// Average of one count.
        avgpt: f64,
        /// Sum.
        sum: i64,
        /// Sum a second.
        tps: f64,
    }

    /// Times of what a group has yet to read (303).
    #[derive(Default)]
    ConsumeTimeSpans {
        /// By queue.
        consume_time_span_set: Vec<QueueTimeSpan>,
    }

    /// Times of one queue; the texts are `yyyy-MM-dd#HH:mm:ss:SSS`.
    #[derive(Default)]
    QueueTimeSpan {
        /// Store time of the next message to read, in milliseconds.
        consume_time_stamp: i64,
        /// The same as text.
        consume_time_stamp_str: Option<String>,
        /// Age of that message, in milliseconds.
        delay_time: i64,
        /// Store time of the last message.
        max_time_stamp: i64,
        /// The same as text.
        max_time_stamp_str: Option<String>,
        /// The queue.
        message_queue: Option<MessageQueue>,
        /// Store time of the first message.
        min_time_stamp: i64,
        /// The same as text.
        min_time_stamp_str: Option<String>,
    }

    /// Entries of a consume queue (321).
    #[derive(Default)]
    ConsumeQueueEntries {
        /// The group's compiled filter.
        filter_data: Option<String>,
        /// Index behind the last entry.
        max_queue_index: i64,
        /// Index of the first entry.
        min_queue_index: i64,
        /// The entries.
        queue_data: Vec<ConsumeQueueEntry>,
        /// What the group reads.
        subscription_data: Option<SubscriptionData>,
    }

    /// One entry of a consume queue.
    #[derive(Default)]
    ConsumeQueueEntry {
        /// Bits of the SQL filters.
        bit_map: Option<String>,
        /// Whether the group's filter matches.
        eval: bool,
        /// Extension of the entry.
        extend_data_json: Option<String>,
        /// What went wrong.
        msg: Option<String>,
        /// Commit log offset of the record.
        physic_offset: i64,
        /// Its length.
        physic_size: i32,
        /// Code of its tags.
        tags_code: i64,
    }

    /// A group's subscription to a topic (345).
    #[derive(Default)]
    QuerySubscription {
        /// The group.
        group: String,
        /// The subscription.
        subscription_data: Option<SubscriptionData>,
        /// The topic.
        topic: String,
    }

    /// How reading of messages that are not in memory is limited (2003).
    #[derive(Default)]
    ColdReads {
        /// Bytes that a group may read within a period unless it has a limit of its own.
        cg_cold_read_threshold: i64,
        /// Limits of groups, in bytes.
        config_table: BTreeMap<String, i64>,
        /// Bytes that all groups have read within this period.
        global_acc: i64,
        /// Bytes that all groups together may read within a period.
        global_cold_read_threshold: i64,
        /// Bytes that each group has read.
        runtime_table: BTreeMap<String, i64>,
    }

    /// State of replication (907). Upstream: `HARuntimeInfo`.
    #[derive(Default)]
    HaRuntimeInfo {
        /// As a slave.
        ha_client_runtime_info: HaClientRuntimeInfo,
        /// As a master: its slaves.
        ha_connection_info: Vec<HaConnectionInfo>,
        /// Slaves that keep up.
        in_sync_slave_nums: i32,
        /// Whether it is the master.
        master: bool,
        /// End of the master's log.
        master_commit_log_max_offset: i64,
    }

    /// A slave's own view.
    #[derive(Default)]
    HaClientRuntimeInfo {
        /// When it read last, in milliseconds.
        last_read_timestamp: i64,
        /// When it wrote last, in milliseconds.
        last_write_timestamp: i64,
        /// `ip:port` of its master.
        master_addr: Option<String>,
        /// Flushed end of the master's log.
        master_flush_offset: i64,
        /// End of its log.
        max_offset: i64,
        /// Bytes a second.
        transferred_byte_in_second: i64,
    }

    /// A master's view of one slave.
    #[derive(Default)]
    HaConnectionInfo {
        /// `ip:port` of the slave.
        addr: String,
        /// Bytes that it is behind.
        diff: i64,
        /// Whether it keeps up.
        in_sync: bool,
        /// What it has acknowledged.
        slave_ack_offset: i64,
        /// Where the transfer began.
        transfer_from_where: i64,
        /// Bytes a second.
        transferred_byte_in_second: i64,
    }

    /// A broker's terms as master and slave (1007).
    #[derive(Default)]
    EpochEntryCache {
        /// Its id.
        broker_id: i64,
        /// Broker group.
        broker_name: String,
        /// Its cluster.
        cluster_name: String,
        /// The terms.
        epoch_list: Vec<EpochEntry>,
        /// End of its log.
        max_offset: i64,
    }

    /// One term of a master.
    #[derive(Default, Copy, Eq)]
    EpochEntry {
        /// Log offset behind it.
        end_offset: i64,
        /// Its number.
        epoch: i32,
        /// Log offset where it begins.
        start_offset: i64,
    }
}

impl ConsumeStats {
    /// Messages that the group has yet to read.
    pub fn total_diff(&self) -> i64 {
        self.offset_table.values().map(|state| state.broker_offset.saturating_sub(state.consumer_offset)).sum()
    }
}
