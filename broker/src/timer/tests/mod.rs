//! Timers against a broker without sockets, whose time the test moves.

mod apache;
mod deliver;
mod model;
mod operate;
mod recall;
mod restart;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tenonmq_protocol::{
    Command,
    header::{SendMessage, SendReceipt},
    message::{RecordView, properties::find},
};

use super::Scheduler;
use crate::{
    core::names::TIMER_TOPIC,
    delay::scheduler::Next,
    remoting::testing::{Peer, START_MS, TestBroker},
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn broker() -> (TestBroker, Peer) {
    let broker = TestBroker::new();
    broker.topic("orders", 2);
    allow_recall(&broker);
    (broker, Peer::new(1))
}

fn allow_recall(broker: &TestBroker) {
    broker.core.config.apply("recallMessageEnable=true").unwrap();
}

fn message(properties: &str) -> SendMessage<'_> {
    SendMessage {
        producer_group: "shop",
        topic: "orders",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 1,
        born_timestamp: START_MS - 7,
        properties,
        ..SendMessage::default()
    }
}

/// Property text from `name=value` words.
fn text(properties: &[(&str, &str)]) -> String {
    properties.iter().map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect()
}

async fn send(broker: &TestBroker, peer: &Peer, properties: &[(&str, &str)]) -> Command {
    let text = text(properties);
    broker.call(peer, Command::with_header(&message(&text)).with_body("order 42")).await
}

/// Sends a message with a unique key that is due after some milliseconds; its recall handle.
async fn timed(broker: &TestBroker, peer: &Peer, key: &str, delay_ms: i64) -> String {
    let delay = delay_ms.to_string();
    let answer = send(broker, peer, &[("UNIQ_KEY", key), ("KEYS", key), ("TIMER_DELAY_MS", &delay)]).await;
    assert_eq!((answer.code, &answer.remark), (0, &None));
    handle(&answer).expect("a handle")
}

fn handle(answer: &Command) -> Option<String> {
    answer.response_header::<SendReceipt<'_>>().unwrap().recall_handle.map(str::to_owned)
}

fn records(broker: &TestBroker, topic: &str, queue_id: i32) -> Vec<Bytes> {
    let Some(queue) = broker.core.store.find_queue(topic, queue_id) else { return Vec::new() };
    queue.entries(queue.min_offset()).map(|at| broker.core.store.read_entry(&at.entry).unwrap()).collect()
}

fn delivered(broker: &TestBroker) -> usize {
    records(broker, "orders", 1).len()
}

/// Unique keys of what was delivered, in order.
fn keys(broker: &TestBroker) -> Vec<String> {
    let records = records(broker, "orders", 1);
    let views = records.iter().map(|record| RecordView::parse(record).unwrap());
    views.map(|view| property(&view, "UNIQ_KEY").unwrap().to_owned()).collect()
}

fn waiting(broker: &TestBroker) -> Vec<Bytes> {
    records(broker, TIMER_TOPIC, 0)
}

fn step(broker: &TestBroker) -> Next {
    let mut scheduler = Scheduler::new(Arc::clone(&broker.core));
    loop {
        match scheduler.step() {
            Next::Now => {}
            next => return next,
        }
    }
}

fn property<'a>(record: &RecordView<'a>, name: &str) -> Option<&'a str> {
    find(record.properties_text(), name)
}

fn pending(broker: &TestBroker) -> usize {
    broker.core.timers.progress(broker.core.clock.now_ms()).pending
}
