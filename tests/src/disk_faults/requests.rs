//! What is asked of the broker, noted in the ledger as it is answered.

use tenonmq_protocol::{
    Command, ResponseCode,
    body::{SubscriptionGroupConfig, json},
    code::RequestCode as Code,
    header::{AckMessage, CreateTopic, PopMessage, SendBack, SendMessage, SendReceipt, UpdateOffset},
    message::RecordView,
};

use super::{
    bench::Broker,
    ledger::{Stored, Visible},
    script::{GROUP, POPPING, START_MS, Script},
};

/// Length of a body: a file of the log takes some twenty messages.
const BODY: usize = 200;

impl Script<'_> {
    /// A request; the answer if it was one of success.
    fn ask(&mut self, broker: &Broker, what: &str, command: &Command) -> Option<Command> {
        let answer = broker.call(command);
        if answer.code == ResponseCode::SUCCESS.0 {
            self.ledger.acknowledged += 1;
            return Some(answer);
        }
        if answer.code == ResponseCode::POLLING_TIMEOUT.0 {
            return None; // a pop that finds nothing
        }
        let remark = answer.remark.unwrap_or_default();
        self.ledger.refusals.push(format!("{what}: {} {remark}", answer.code));
        None
    }

    pub(super) fn create_topic(&mut self, broker: &Broker, topic: &str, queues: i32) {
        let header = CreateTopic {
            topic,
            default_topic: None,
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: 6,
            filter_type: None,
            topic_sys_flag: None,
            order: false,
            attributes: None,
            force: false,
        };
        if self.ask(broker, "topic", &Command::with_header(&header)).is_some() {
            self.ledger.topics.insert(topic.to_owned());
        }
    }

    pub(super) fn create_group(&mut self, broker: &Broker, group: &str) {
        let config = SubscriptionGroupConfig { group_name: group.to_owned(), ..SubscriptionGroupConfig::default() };
        let command = Command::request(Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(json::to_vec(&config));
        if self.ask(broker, "group", &command).is_some() {
            self.ledger.groups.insert(group.to_owned());
        }
    }

    /// Changes the configuration.
    pub(super) fn change(&mut self, broker: &Broker, region: &str) {
        let command = Command::request(Code::UPDATE_BROKER_CONFIG).with_body(format!("regionId={region}"));
        if self.ask(broker, "configuration", &command).is_some() {
            self.ledger.regions.clear();
        }
        self.ledger.regions.push(region.to_owned());
    }

    /// Gives the name server a key.
    pub(super) fn key(&mut self, broker: &Broker, key: &str) {
        match broker.keys.put("script", key, "value") {
            Ok(()) => drop(self.ledger.keys.insert(key.to_owned())),
            Err(error) => self.ledger.refusals.push(format!("key: {error}")),
        }
    }

    /// Sends a message with a body of its own; the body, and the receipt if there is one.
    fn put(&mut self, broker: &Broker, topic: &str, queue_id: i32, more: &[(&str, &str)]) -> (String, Option<Stored>) {
        self.count += 1;
        let body = format!("{:BODY$}", self.count);
        let mut properties = format!("UNIQ_KEY\u{1}U{}\u{2}", self.count);
        more.iter().for_each(|(name, value)| properties.push_str(&format!("{name}\u{1}{value}\u{2}")));
        let header = SendMessage {
            producer_group: GROUP,
            topic,
            default_topic: "TBW102",
            default_topic_queue_nums: 1,
            queue_id,
            born_timestamp: START_MS,
            properties: &properties,
            ..SendMessage::default()
        };
        let answer = self.ask(broker, "send", &Command::with_header(&header).with_body(body.clone()));
        let stored = answer.map(|answer| {
            let receipt = answer.response_header::<SendReceipt<'_>>().expect("a receipt");
            let place = receipt.message_id.get(receipt.message_id.len() - 16..).unwrap_or_default();
            let log_offset = u64::from_str_radix(place, 16).expect("a log offset");
            let (queue_id, offset) = (receipt.queue_id, receipt.queue_offset);
            Stored { topic: topic.to_owned(), queue_id, offset, log_offset, body: body.clone() }
        });
        (body, stored)
    }

    pub(super) fn send(&mut self, broker: &Broker, topic: &str, queue_id: i32, more: &[(&str, &str)]) {
        let (_, stored) = self.put(broker, topic, queue_id, more);
        self.ledger.stored.extend(stored);
    }

    /// A message that is visible later: it is stored elsewhere first.
    pub(super) fn delayed(&mut self, broker: &Broker, more: &[(&str, &str)]) {
        let (body, stored) = self.put(broker, "orders", 0, more);
        let is = if stored.is_some() { Visible::Once } else { Visible::Perhaps };
        self.ledger.later.insert(("orders".to_owned(), body), is);
    }

    pub(super) fn transaction(&mut self, broker: &Broker, verdict: Option<bool>) {
        let Some(half) = self.half(broker) else { return };
        match verdict {
            Some(commits) => self.decide(broker, half, commits),
            None => _ = self.ledger.undecided.insert(half.body),
        }
    }

    /// A half message: it is not visible until more is said.
    pub(super) fn half(&mut self, broker: &Broker) -> Option<Stored> {
        let (body, half) = self.put(broker, "orders", 1, &[("TRAN_MSG", "true"), ("PGROUP", GROUP)]);
        self.ledger.later.insert(("orders".to_owned(), body), Visible::Never);
        half
    }

    pub(super) fn decide(&mut self, broker: &Broker, half: Stored, commits: bool) {
        let command = Command::request(Code::END_TRANSACTION)
            .with_field("producerGroup", GROUP)
            .with_field("tranStateTableOffset", half.offset)
            .with_field("commitLogOffset", half.log_offset)
            .with_field("commitOrRollback", if commits { 8 } else { 12 })
            .with_field("fromTransactionCheck", false)
            .with_field("msgId", "x");
        let is_done = self.ask(broker, "verdict", &command).is_some();
        let is = match (commits, is_done) {
            (true, true) => Visible::Once,
            (true, false) => Visible::Perhaps,
            (false, _) => Visible::Never,
        };
        self.ledger.later.insert(("orders".to_owned(), half.body), is);
    }

    pub(super) fn send_back(&mut self, broker: &Broker) {
        let Some(first) = self.ledger.stored.iter().find(|stored| stored.topic == "orders").cloned() else { return };
        let header = SendBack {
            commit_log_offset: first.log_offset.cast_signed(),
            group: GROUP,
            delay_level: 3,
            origin_message_id: None,
            origin_topic: None,
            unit_mode: false,
            cause_class: None,
            cause_digest: None,
            cause_host: None,
            max_reconsume_times: None,
            broker_name: None,
        };
        let is_done = self.ask(broker, "send back", &Command::with_header(&header)).is_some();
        let is = if is_done { Visible::Once } else { Visible::Perhaps };
        self.ledger.later.insert((format!("%RETRY%{GROUP}"), first.body), is);
    }

    pub(super) fn commit(&mut self, broker: &Broker, topic: &str, queue_id: i32, commit_offset: i64) {
        let header = UpdateOffset { consumer_group: GROUP, topic, queue_id, commit_offset, broker_name: None };
        let is_done = self.ask(broker, "offset", &Command::with_header(&header)).is_some();
        self.ledger.committed(GROUP, topic, queue_id, commit_offset, is_done);
    }

    /// Pops messages of `bills`, and acknowledges the first of them.
    pub(super) fn pop(&mut self, broker: &Broker, count: i32, acks: usize) {
        let Some(popped) = self.ask(broker, "pop", &Command::with_header(&popping("bills", count))) else { return };
        for (offset, handle) in handles(&popped).into_iter().take(acks) {
            let header = AckMessage {
                consumer_group: POPPING,
                topic: "bills",
                queue_id: 0,
                extra_info: &handle,
                offset,
                broker_name: None,
            };
            if self.ask(broker, "ack", &Command::with_header(&header)).is_some() {
                self.ledger.acked.insert(offset);
            } else {
                self.ledger.perhaps_acked.insert(offset);
            }
        }
    }
}

/// A request for messages that are there now.
pub(super) fn popping(topic: &str, max_count: i32) -> PopMessage<'_> {
    PopMessage {
        consumer_group: POPPING,
        topic,
        queue_id: -1,
        max_count,
        invisible_millis: 60_000,
        poll_millis: 0,
        born_time: 0,
        init_mode: 0,
        expression_type: None,
        expression: None,
        order: false,
        attempt_id: None,
        broker_name: None,
    }
}

/// Offsets and handles of popped messages.
fn handles(popped: &Command) -> Vec<(i64, String)> {
    let field = |name: &str| popped.field(name).unwrap_or_default();
    let start = field("startOffsetInfo").split(';').next().and_then(|part| part.rsplit(' ').next()).unwrap_or_default();
    let handle = |record: RecordView<'_>| {
        let (time, invisible, revive) = (field("popTime"), field("invisibleTime"), field("reviveQid"));
        let offset = record.queue_offset();
        (offset, format!("{start} {time} {invisible} {revive} 0 broker-a {} {offset}", record.queue_id()))
    };
    RecordView::iter_all(&popped.body).filter_map(Result::ok).map(handle).collect()
}
