//! Pops and notifications that are held.

use futures_util::poll;
use tenonmq_protocol::{
    header::{Notification, PollingInfo},
    message::{properties::tags_code, record::NewRecord},
};
use tenonmq_storage::AppendClass;

use super::*;
use crate::core::deliver;

fn waiting() -> PopMessage<'static> {
    PopMessage { poll_millis: 15_000, ..any() }
}

fn send(broker: &TestBroker, queue_id: i32, body: &[u8], tag: Option<&str>) {
    let text = tag.map(|tag| format!("TAGS\u{1}{tag}\u{2}")).unwrap_or_default();
    let address = broker.core.identity.get().address;
    let record = NewRecord {
        topic: TOPIC,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: address,
        store_host: address,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: text.as_bytes(),
        body_crc: tenonmq_protocol::message::record::body_crc(body),
    };
    let core = &broker.core;
    let queue = core.store.queue(TOPIC, queue_id);
    deliver::append(&core.store, &core.waiters, &queue, &record, tags_code(tag), AppendClass::Send).unwrap();
}

#[tokio::test]
async fn a_held_pop_is_woken_by_a_message_in_any_queue() {
    let broker = TestBroker::new();
    broker.topic(TOPIC, 2);
    let peer = Peer::new(1);
    let header = waiting();
    let mut held = Box::pin(broker.ask(&peer, &header));
    assert!(poll!(&mut held).is_pending());
    send(&broker, 1, b"a", None);
    assert_eq!(bodies(&messages(&held.await)), ["a"]);
}

#[tokio::test]
async fn a_message_wakes_one_of_those_who_wait_and_what_is_left_the_next() {
    let broker = TestBroker::with_messages(&[], &[]);
    let (one, other) = (Peer::new(1), Peer::new(2));
    let header = PopMessage { max_count: 1, ..waiting() };
    let mut first = Box::pin(broker.ask(&one, &header));
    let mut second = Box::pin(broker.ask(&other, &header));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    send(&broker, 0, b"a", None);
    assert!(poll!(&mut second).is_pending());
    assert_eq!(bodies(&messages(&first.await)), ["a"]);
    send(&broker, 0, b"b", None);
    assert_eq!(bodies(&messages(&second.await)), ["b"]);
}

#[tokio::test]
async fn who_was_woken_and_went_away_passes_the_message_on() {
    let broker = TestBroker::with_messages(&[], &[]);
    let (one, other) = (Peer::new(1), Peer::new(2));
    let header = waiting();
    let mut first = Box::pin(broker.ask(&one, &header));
    let mut second = Box::pin(broker.ask(&other, &header));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    send(&broker, 0, b"a", None);
    drop(first);
    assert_eq!(bodies(&messages(&second.await)), ["a"]);
}

#[tokio::test]
async fn a_message_that_the_filter_keeps_out_wakes_nobody() {
    let broker = TestBroker::with_messages(&[], &[]);
    let peer = Peer::new(1);
    let header = PopMessage { expression: Some("B"), ..waiting() };
    let mut held = Box::pin(broker.ask(&peer, &header));
    assert!(poll!(&mut held).is_pending());
    send(&broker, 0, b"a", Some("A"));
    assert!(poll!(&mut held).is_pending());
    send(&broker, 0, b"b", Some("B"));
    assert_eq!(bodies(&messages(&held.await)), ["b"]);
}

#[tokio::test]
async fn a_returned_message_wakes_a_pop_of_its_topic() {
    let broker = TestBroker::with_messages(&[], &["a"]);
    broker.pop().await;
    broker.advance(INVISIBLE - Duration::from_secs(1));
    let peer = Peer::new(1);
    let header = PopMessage { queue_id: 0, ..waiting() };
    let mut held = Box::pin(broker.ask(&peer, &header));
    assert!(poll!(&mut held).is_pending());
    broker.pass(Duration::from_secs(1));
    assert_eq!(bodies(&messages(&held.await)), ["a"]);
}

#[tokio::test]
async fn thread_client_go_956_a_reset_reaches_a_group_whose_pop_is_held_at_once() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    for message in [broker.pop().await, broker.pop().await].concat() {
        broker.ack(&message).await;
    }
    let peer = Peer::new(1);
    let header = waiting();
    let mut held = Box::pin(broker.ask(&peer, &header));
    assert!(poll!(&mut held).is_pending());
    assert!(broker.core.offsets.reset(GROUP, TOPIC, 0, 1));
    broker.core.wake_for_reset(GROUP, TOPIC, 0);
    assert_eq!(bodies(&messages(&held.await)), ["b"]);
}

#[tokio::test]
async fn a_held_pop_is_answered_when_its_time_is_up() {
    let broker = TestBroker::with_messages(&[], &[]);
    let peer = Peer::new(1);
    let header = PopMessage { born_time: broker.core.clock.now_ms() - 5_000, ..waiting() };
    let mut held = Box::pin(broker.ask(&peer, &header));
    assert!(poll!(&mut held).is_pending());
    broker.advance(Duration::from_millis(9_999));
    assert!(poll!(&mut held).is_pending());
    broker.advance(Duration::from_millis(1));
    let answer = held.await;
    assert_eq!((answer.code, answer.remark.as_deref()), (210, Some("NO_MESSAGE_IN_QUEUE")));
    assert_eq!(broker.core.pops.held.count(), 0);
}

#[tokio::test]
async fn too_many_held_pops_are_refused() {
    for (key, count) in [("maxPopPollingSize", 1), ("popPollingSize", 2)] {
        let broker = TestBroker::with_messages(&[(key, "1")], &[]);
        let peer = Peer::new(1);
        let header = waiting();
        let mut held: Vec<_> = (0..count).map(|_| Box::pin(broker.ask(&peer, &header))).collect();
        for pop in &mut held {
            assert!(poll!(pop).is_pending());
        }
        let info = PollingInfo { consumer_group: GROUP, topic: TOPIC, queue_id: -1 };
        assert_eq!(broker.ask(&peer, &info).await.field("pollingNum"), Some(count.to_string().as_str()));
        assert_eq!(broker.ask(&peer, &header).await.code, 209, "{key}");
        let asked = notification();
        let answer = broker.ask(&peer, &asked);
        if key == "maxPopPollingSize" {
            assert_eq!(answer.await.field("pollingFull"), Some("true"));
        }
    }
}

fn notification() -> Notification<'static> {
    Notification {
        consumer_group: GROUP,
        topic: TOPIC,
        queue_id: -1,
        poll_millis: 10_000,
        born_time: 0,
        order: false,
        attempt_id: None,
    }
}

#[tokio::test]
async fn a_notification_tells_of_a_message_and_leaves_it() {
    let broker = TestBroker::with_messages(&[], &[]);
    let peer = Peer::new(1);
    let header = notification();
    let mut held = Box::pin(broker.ask(&peer, &header));
    assert!(poll!(&mut held).is_pending());
    send(&broker, 0, b"a", None);
    let answer = held.await;
    assert_eq!((answer.code, answer.field("hasMsg")), (0, Some("true")));
    assert_eq!(broker.ask(&peer, &notification()).await.field("hasMsg"), Some("true"));
    assert_eq!(bodies(&broker.pop().await), ["a"]);
    let now = Notification { poll_millis: 0, ..notification() };
    assert_eq!(broker.ask(&peer, &now).await.field("hasMsg"), Some("false"));
}

#[tokio::test]
async fn a_notification_ends_without_a_message() {
    let broker = TestBroker::with_messages(&[], &[]);
    let peer = Peer::new(1);
    let header = notification();
    let mut held = Box::pin(broker.ask(&peer, &header));
    assert!(poll!(&mut held).is_pending());
    broker.advance(Duration::from_secs(10));
    let answer = held.await;
    assert_eq!((answer.code, answer.field("hasMsg"), answer.field("pollingFull")), (0, Some("false"), Some("false")));
}
