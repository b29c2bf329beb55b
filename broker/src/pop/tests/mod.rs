//! Rules of popping, as clients see them.

mod acking;
mod crashing;
mod order;
mod popping;
mod returning;
mod reviving;
mod waiting;

use std::time::Duration;

use tenonmq_protocol::{
    Command,
    header::{AckMessage, ChangeInvisibleTime, PopMessage, PopTopic, ReceiptHandle},
    message::RecordView,
};

use super::returning::step;
use crate::remoting::testing::{Peer, TestBroker};

pub(super) const GROUP: &str = "CG";
pub(super) const TOPIC: &str = "orders";
pub(super) const INVISIBLE: Duration = Duration::from_secs(60);

/// A request for everything in any queue, from the first message on, without a wait.
pub(super) fn any() -> PopMessage<'static> {
    PopMessage {
        consumer_group: GROUP,
        topic: TOPIC,
        queue_id: -1,
        max_count: 32,
        invisible_millis: INVISIBLE.as_millis() as i64,
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

/// A popped message, and its handle as a client makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) queue_id: i32,
    pub(super) offset: i64,
    pub(super) body: String,
    pub(super) times: i32,
    pub(super) handle: String,
}

/// Messages of a pop's answer.
pub(super) fn messages(answer: &Command) -> Vec<Message> {
    let field = |name: &str| answer.field(name).unwrap_or_default().to_owned();
    let starts = field("startOffsetInfo");
    let start_of = |kind: &str, queue_id: i32| {
        let key = format!("{kind} {queue_id} ");
        starts.split(';').find_map(|part| part.strip_prefix(&key)).expect("a start for each queue").to_owned()
    };
    let records = RecordView::iter_all(&answer.body).map(Result::unwrap);
    records
        .map(|record| {
            let handle = match record.properties().get("POP_CK") {
                Some(handle) => handle.to_owned(),
                None => {
                    let start = start_of("0", record.queue_id());
                    let (time, invisible, revive) = (field("popTime"), field("invisibleTime"), field("reviveQid"));
                    let (queue_id, offset) = (record.queue_id(), record.queue_offset());
                    format!("{start} {time} {invisible} {revive} 0 broker-a {queue_id} {offset}")
                }
            };
            Message {
                topic: record.topic().to_owned(),
                queue_id: record.queue_id(),
                offset: record.queue_offset(),
                body: String::from_utf8_lossy(record.body()).into_owned(),
                times: record.reconsume_times(),
                handle,
            }
        })
        .collect()
}

pub(super) fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.body.as_str()).collect()
}

impl TestBroker {
    /// Pops what is there now.
    pub(super) async fn pop(&self) -> Vec<Message> {
        messages(&self.ask(&Peer::new(1), &any()).await)
    }

    /// Acknowledges as a client does; code and remark.
    pub(super) async fn ack(&self, message: &Message) -> (i32, Option<String>) {
        let real = real_topic(message);
        let header = AckMessage {
            consumer_group: GROUP,
            topic: &real,
            queue_id: message.queue_id,
            extra_info: &message.handle,
            offset: message.offset,
            broker_name: None,
        };
        let answer = self.ask(&Peer::new(1), &header).await;
        (answer.code, answer.remark)
    }

    /// Gives a message another time, and the message its new handle.
    pub(super) async fn change(&self, message: &mut Message, invisible: Duration) -> Command {
        let real = real_topic(message);
        let header = ChangeInvisibleTime {
            consumer_group: GROUP,
            topic: &real,
            queue_id: message.queue_id,
            extra_info: &message.handle.clone(),
            offset: message.offset,
            invisible_millis: invisible.as_millis() as i64,
            broker_name: None,
        };
        let answer = self.ask(&Peer::new(1), &header).await;
        if let Some(pop_time) = answer.field("popTime") {
            let old = ReceiptHandle::parse(&message.handle).unwrap();
            let new = ReceiptHandle {
                start_offset: message.offset,
                pop_time: pop_time.parse().unwrap(),
                invisible_millis: answer.field("invisibleTime").unwrap().parse().unwrap(),
                ..old
            };
            message.handle = new.to_string();
        }
        answer
    }

    /// Time passes, and what is due is returned.
    pub(super) fn pass(&self, time: Duration) {
        self.advance(time);
        step(&self.core);
    }

    /// The group's stored offset.
    pub(super) fn offset(&self, queue_id: i32) -> Option<i64> {
        self.core.offsets.get(GROUP, TOPIC, queue_id)
    }

    /// A topic with one queue and these messages in it.
    pub(super) fn with_messages(settings: &[(&str, &str)], bodies: &[&str]) -> Self {
        let broker = Self::with(settings);
        broker.topic(TOPIC, 1);
        bodies.iter().for_each(|body| {
            broker.store(TOPIC, 0, body.as_bytes());
        });
        broker
    }
}

pub(super) fn real_topic(message: &Message) -> String {
    match ReceiptHandle::parse(&message.handle).unwrap().kind {
        PopTopic::Normal => TOPIC.to_owned(),
        PopTopic::RetryV1 => format!("%RETRY%{GROUP}_{TOPIC}"),
        PopTopic::RetryV2 => format!("%RETRY%{GROUP}+{TOPIC}"),
    }
}
