//! Acknowledging several popped messages at once (200151), and Apache's records of popped messages.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::desk::DeskRequest;
use crate::code::RequestCode;

bodies! {
    /// Popped messages that are done (200151).
    #[derive(Default)]
    BatchAckRequest {
        /// By batch that was popped.
        acks: Vec<BatchAck>,
        /// Broker that they were popped from.
        broker_name: String,
    }

    /// Messages of one popped batch that are done. JSON has one-letter keys; long names are read too.
    #[derive(Default)]
    BatchAck {
        /// Base64 of a little-endian bit set: bit i stands for offset `start_offset` + i.
        #[serde(rename = "b", alias = "bitSet")]
        bits: String,
        /// The group.
        #[serde(rename = "c", alias = "consumerGroup")]
        consumer_group: String,
        /// How long they stay invisible, in milliseconds.
        #[serde(rename = "it", alias = "invisibleTime")]
        invisible_millis: i64,
        /// When they were popped, in milliseconds.
        #[serde(rename = "pt", alias = "popTime")]
        pop_time: i64,
        /// Queue that they were popped from.
        #[serde(rename = "q", alias = "queueId")]
        queue_id: i32,
        /// Which topic they were popped from: `0` the topic, `1` and `2` its retry topics.
        #[serde(rename = "r", alias = "retry")]
        kind: String,
        /// Revive queue.
        #[serde(rename = "rq", alias = "reviveQueueId")]
        revive_queue_id: i32,
        /// First offset of the batch.
        #[serde(rename = "so", alias = "startOffset")]
        start_offset: i64,
        /// The original topic.
        #[serde(rename = "t", alias = "topic")]
        topic: String,
    }

    /// Apache's record of a popped batch in the revive topic, tag `ck`.
    #[derive(Default, Eq)]
    PopCheckPoint {
        /// Which messages are done.
        #[serde(rename = "bm", alias = "bitMap")]
        bit_map: i32,
        /// The broker.
        #[serde(rename = "bn", alias = "brokerName")]
        broker_name: Option<String>,
        /// The group.
        #[serde(rename = "c", alias = "cid")]
        consumer_group: String,
        /// Offsets of the messages, from the first on.
        #[serde(rename = "d", alias = "queueOffsetDiff")]
        offset_deltas: Option<Vec<i32>>,
        /// How long they stay invisible, in milliseconds.
        #[serde(rename = "it", alias = "invisibleTime")]
        invisible_millis: i64,
        /// Number of messages.
        #[serde(rename = "n", alias = "num")]
        count: i32,
        /// When they were popped, in milliseconds.
        #[serde(rename = "pt", alias = "popTime")]
        pop_time: i64,
        /// Queue that they were popped from.
        #[serde(rename = "q", alias = "queueId")]
        queue_id: i32,
        /// When they become visible again, in milliseconds.
        #[serde(rename = "reviveTime")]
        revive_time: i64,
        /// Place in the revive queue.
        #[serde(rename = "ro", alias = "reviveOffset")]
        revive_offset: i64,
        /// How often it was put again.
        #[serde(rename = "rp", alias = "rePutTimes")]
        re_put_times: Option<String>,
        /// Offset of the first message.
        #[serde(rename = "so", alias = "startOffset")]
        start_offset: i64,
        /// The topic.
        #[serde(rename = "t", alias = "topic")]
        topic: String,
    }

    /// What groups that pop in order hold (`consumerOrderInfo.json`).
    #[derive(Default)]
    OrderTable {
        /// `topic@group` → queue → what is held of it.
        table: BTreeMap<String, BTreeMap<i32, QueueOrder>>,
    }

    /// What a group holds of one queue, popped in order.
    #[derive(Default)]
    QueueOrder {
        /// The attempt that popped it.
        #[serde(rename = "a")]
        attempt_id: Option<String>,
        /// Which messages are done, a bit each.
        #[serde(rename = "cm")]
        acked_bits: i64,
        /// How long it stays invisible, in milliseconds.
        #[serde(rename = "i")]
        invisible_millis: Option<i64>,
        /// When it was popped, by the broker's clock, in milliseconds.
        #[serde(rename = "l")]
        last_consumed: i64,
        /// Queue offset of the first message, and how far the others are from it.
        #[serde(rename = "o")]
        offsets: Option<Vec<i64>>,
        /// How often messages were popped before, by offset.
        #[serde(rename = "oc")]
        counts: Option<BTreeMap<i64, i32>>,
        /// When messages with a time of their own become visible, by offset, in milliseconds.
        #[serde(rename = "ot")]
        visible_at: Option<BTreeMap<i64, i64>>,
        /// When it was popped, in milliseconds.
        pop_time: i64,
    }

    /// Open leases of a group (540,050).
    #[derive(Default)]
    ListLeases {
        /// The group.
        group: String,
        /// Most leases in the answer; 0: 1,000.
        limit: u32,
        /// Only of this queue.
        queue_id: Option<i32>,
        /// Only of this topic.
        topic: Option<String>,
    }

    /// Open leases of a group, by topic, queue and start.
    #[derive(Default)]
    LeaseList {
        /// The leases, up to the limit.
        leases: Vec<OpenLease>,
        /// Messages that are leased, over all that was asked for.
        messages: i64,
        /// Leases that are open, over all that was asked for.
        total: i64,
    }

    /// Messages that were popped together and are not all acknowledged.
    #[derive(Default)]
    OpenLease {
        /// Messages that are done.
        acked: i32,
        /// Messages that were popped.
        count: i32,
        /// When the others are given again, in milliseconds since the epoch.
        deadline: i64,
        /// Whether they were popped in order.
        ordered: bool,
        /// Queue offsets of those that are not done.
        pending: Vec<i64>,
        /// When they were popped, in milliseconds since the epoch.
        pop_time: i64,
        /// The queue.
        queue_id: i32,
        /// Where the pop began to read.
        start: i64,
        /// The topic, perhaps a retry topic.
        topic: String,
    }

    /// Queues of which something is leased (540,051).
    #[derive(Default)]
    ListLeaseQueues {
        /// Only of this group.
        group: Option<String>,
        /// Most queues in the answer; 0: 1,000.
        limit: u32,
        /// Only of this topic.
        topic: Option<String>,
    }

    /// Queues of which something is leased, by group, topic and queue.
    #[derive(Default)]
    LeaseQueues {
        /// Leases that are open, over all groups, whatever was asked for.
        open: i64,
        /// The queues, up to the limit.
        queues: Vec<LeaseQueue>,
        /// Queues with leases, over all that was asked for.
        total: i64,
    }

    /// What a group has popped of a queue and not acknowledged.
    #[derive(Default)]
    LeaseQueue {
        /// The group.
        group: String,
        /// Leases that are open.
        leases: i64,
        /// Messages that are leased.
        messages: i64,
        /// Where the next pop begins.
        next: i64,
        /// When something is given again next, in milliseconds since the epoch.
        next_due: Option<i64>,
        /// The group's offset that is stored: the lowest message that is leased.
        offset: i64,
        /// When the oldest of the leases was popped, in milliseconds since the epoch.
        oldest: Option<i64>,
        /// Whether they were popped in order.
        ordered: bool,
        /// The queue.
        queue_id: i32,
        /// The topic, perhaps a retry topic.
        topic: String,
        /// Pops that wait for messages of the topic.
        waiting: i64,
    }

    /// Apache's record of acknowledged messages in the revive topic, tags `ack` and `bAck`.
    #[derive(Default, Eq)]
    PopAck {
        /// Offset of the message, of a single one.
        #[serde(rename = "ao", alias = "ackOffset")]
        ack_offset: i64,
        /// Offsets of several messages.
        #[serde(rename = "aol", alias = "ackOffsetList")]
        ack_offsets: Option<Vec<i64>>,
        /// The broker.
        #[serde(rename = "bn", alias = "brokerName")]
        broker_name: Option<String>,
        /// The group.
        #[serde(rename = "c", alias = "consumerGroup")]
        consumer_group: String,
        /// When they were popped, in milliseconds.
        #[serde(rename = "pt", alias = "popTime")]
        pop_time: i64,
        /// Queue that they were popped from.
        #[serde(rename = "q", alias = "queueId")]
        queue_id: i32,
        /// First offset of the popped batch.
        #[serde(rename = "so", alias = "startOffset")]
        start_offset: i64,
        /// The topic.
        #[serde(rename = "t", alias = "topic")]
        topic: String,
    }
}

impl DeskRequest for ListLeases {
    const CODE: RequestCode = RequestCode::LEASE_LIST;
    type Answer = LeaseList;
}

impl DeskRequest for ListLeaseQueues {
    const CODE: RequestCode = RequestCode::LEASE_QUEUES;
    type Answer = LeaseQueues;
}

impl BatchAck {
    /// Offsets that are done. Bits that are not base64 stand for none.
    pub fn offsets(&self) -> impl Iterator<Item = i64> + use<> {
        let start = self.start_offset;
        let bytes = STANDARD.decode(&self.bits).unwrap_or_default();
        bytes.into_iter().zip(0i64..).flat_map(move |(byte, at)| {
            (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| start.saturating_add(at * 8 + bit))
        })
    }

    /// Marks an offset as done; one before `start_offset`, or 4096 or more behind it, cannot be marked.
    pub fn mark(&mut self, offset: i64) -> bool {
        let Some(bit) = offset.checked_sub(self.start_offset).and_then(|bit| usize::try_from(bit).ok()) else {
            return false;
        };
        let mut bytes = STANDARD.decode(&self.bits).unwrap_or_default();
        if bit >= 4096 {
            return false;
        }
        if bytes.len() <= bit / 8 {
            bytes.resize(bit / 8 + 1, 0);
        }
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte |= 1 << (bit % 8);
        }
        self.bits = STANDARD.encode(bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::json;

    #[test]
    fn the_bit_set_of_the_reference_names_its_offsets() {
        let text =
            r#"{"acks":[{"b":"AQI=","c":"CG","it":0,"pt":0,"q":0,"r":"0","rq":0,"so":3,"t":"T"}],"brokerName":"b0"}"#;
        let request: BatchAckRequest = json::from_str(text).unwrap();
        assert_eq!(request.acks[0].offsets().collect::<Vec<_>>(), [3, 12]);
        assert_eq!(String::from_utf8(json::to_vec(&request)).unwrap(), text);
        let mut ack = BatchAck { start_offset: 3, ..BatchAck::default() };
        assert!(ack.mark(3) && ack.mark(12) && !ack.mark(2) && !ack.mark(5000));
        assert_eq!(ack.bits, "AQI=");
    }

    #[test]
    fn the_records_of_the_reference_read_and_write() {
        let text = r#"{"bm":0,"bn":"b0","c":"CG","d":[0,1],"it":60000,"n":2,"pt":1000,"q":0,"reviveTime":61000,"ro":0,"so":3,"t":"T"}"#;
        let point: PopCheckPoint = json::from_str(text).unwrap();
        assert_eq!(String::from_utf8(json::to_vec(&point)).unwrap(), text);
        let ack: PopAck = json::from_str(r#"{"ackOffset":3,"bn":"b0","consumerGroup":"CG"}"#).unwrap();
        assert_eq!((ack.ack_offset, ack.consumer_group.as_str()), (3, "CG"));
    }
}
