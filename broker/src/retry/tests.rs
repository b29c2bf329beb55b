//! What a consumer gives up, for a while or for good, against a broker without sockets.

use std::{fs, sync::Arc, time::Duration};

use tenonmq_protocol::{
    Command,
    header::{SendBack, SendMessage, SendReceipt},
    message::{Assigned, NewRecord, RecordView, properties::find, queue::MessageQueue},
};

use super::copy::{Target, copy, text};
use crate::{
    core::{
        names::SCHEDULE_TOPIC,
        topics::{perm, topic},
    },
    delay::Scheduler,
    remoting::testing::{Peer, START_MS, TestBroker},
};

const VERSION: i32 = tenonmq_protocol::VERSION;

/// A broker with the topic `orders`, the group `billing`, and one message; where its record lies.
pub(super) fn broker(settings: &[(&str, &str)]) -> (TestBroker, Peer, i64) {
    let broker = TestBroker::with(settings);
    broker.topic("orders", 2);
    let _ = broker.core.groups.find_or_create("billing"); // unless the settings forbid it
    let at = broker.store("orders", 1, b"order 42");
    let entry = broker.core.store.find_queue("orders", 1).unwrap().entry(at).unwrap();
    (broker, Peer::new(1), entry.physical_offset.cast_signed())
}

pub(super) fn back(commit_log_offset: i64, delay_level: i32) -> SendBack<'static> {
    SendBack {
        commit_log_offset,
        group: "billing",
        delay_level,
        origin_message_id: Some("id"),
        origin_topic: Some("orders"),
        unit_mode: false,
        max_reconsume_times: Some(16),
        broker_name: None,
        cause_class: None,
        cause_digest: None,
        cause_host: None,
    }
}

pub(super) fn outcome(answer: &Command) -> (i32, &str) {
    (answer.code, answer.remark.as_deref().unwrap_or_default())
}

/// What `look` sees of the last record of a queue; `None` when there is none.
pub(super) fn last<T>(
    broker: &TestBroker,
    topic: &str,
    queue_id: i32,
    look: impl FnOnce(&RecordView<'_>) -> T,
) -> Option<T> {
    let queue = broker.core.store.find_queue(topic, queue_id)?;
    broker.core.store.peek(&queue.entry(queue.max_offset() - 1)?, look)
}

pub(super) fn property(record: &RecordView<'_>, name: &str) -> Option<String> {
    find(record.properties_text(), name).map(str::to_owned)
}

fn offset(record: &RecordView<'_>) -> i64 {
    record.physical_offset()
}

/// Lets the time of a level pass; where the copy lies that the group is given then.
pub(super) fn retried_at(broker: &TestBroker, level: i32) -> i64 {
    let delay = broker.core.store.config().delay_levels_ms[usize::try_from(level - 1).unwrap()];
    broker.advance(Duration::from_millis(delay.unsigned_abs()));
    Scheduler::new(Arc::clone(&broker.core)).step();
    last(broker, "%RETRY%billing", 0, offset).unwrap()
}

#[tokio::test]
async fn a_message_sent_back_waits_for_the_level_of_its_next_retry() {
    let (broker, peer, at) = broker(&[]);
    let mut from = at;
    for retry in 0..3 {
        let answer = broker.ask(&peer, &back(from, 0)).await;
        assert_eq!(outcome(&answer), (0, ""));
        let level = 3 + retry;
        last(&broker, SCHEDULE_TOPIC, level - 1, |record| {
            assert_eq!(record.body(), b"order 42");
            assert_eq!(record.reconsume_times(), retry + 1);
            assert_eq!(property(record, "DELAY"), Some(level.to_string()));
            assert_eq!(property(record, "REAL_TOPIC").as_deref(), Some("%RETRY%billing"));
            assert_eq!(property(record, "REAL_QID").as_deref(), Some("0"));
            assert!(property(record, "RETRY_TOPIC").is_some());
            assert_eq!(property(record, "WAIT").as_deref(), Some("false"));
            assert_eq!(property(record, "ORIGIN_MESSAGE_ID"), Some(format!("7F00000100002A9F{at:016X}")));
        })
        .unwrap();
        from = retried_at(&broker, level);
    }
    assert!(broker.core.topics.get("%RETRY%billing").is_some_and(|topic| topic.config.perm == perm::READ_WRITE));
}

#[tokio::test]
async fn the_consumer_may_choose_the_level_and_one_beyond_the_highest_is_the_highest() {
    let (broker, peer, at) = broker(&[]);
    assert_eq!(broker.ask(&peer, &back(at, 5)).await.code, 0);
    assert_eq!(last(&broker, SCHEDULE_TOPIC, 4, |record| property(record, "DELAY")).flatten().as_deref(), Some("5"));
    assert_eq!(broker.ask(&peer, &back(at, 99)).await.code, 0);
    assert_eq!(last(&broker, SCHEDULE_TOPIC, 17, |record| property(record, "DELAY")).flatten().as_deref(), Some("18"));
}

#[tokio::test]
async fn a_negative_level_goes_to_the_dead_letters_at_once() {
    let (broker, peer, at) = broker(&[]);
    assert_eq!(outcome(&broker.ask(&peer, &back(at, -1)).await), (0, ""));
    last(&broker, "%DLQ%billing", 0, |record| {
        assert_eq!((record.reconsume_times(), record.body()), (1, &b"order 42"[..]));
        assert_eq!(property(record, "DELAY").as_deref(), Some("0"));
        assert_eq!(property(record, "REAL_TOPIC"), None);
    })
    .unwrap();
    let config = broker.core.topics.get("%DLQ%billing").unwrap().config.clone();
    assert_eq!(config, topic("%DLQ%billing", 1, perm::READ_WRITE));
}

#[tokio::test]
async fn what_was_retried_as_often_as_the_consumer_says_is_a_dead_letter() {
    let (broker, peer, at) = broker(&[]);
    let asked = SendBack { max_reconsume_times: Some(0), ..back(at, 0) };
    assert_eq!(broker.ask(&peer, &asked).await.code, 0);
    assert!(last(&broker, "%DLQ%billing", 0, |_| ()).is_some());
}

#[tokio::test]
async fn a_consumer_older_than_3_4_9_has_no_say_in_how_often() {
    let (broker, peer, at) = broker(&[]);
    let mut command = Command::with_header(&SendBack { max_reconsume_times: Some(0), ..back(at, 0) });
    command.version = 120;
    assert_eq!(broker.call(&peer, command).await.code, 0);
    assert!(last(&broker, "%DLQ%billing", 0, |_| ()).is_none());
    assert!(last(&broker, SCHEDULE_TOPIC, 2, |_| ()).is_some());
}

#[tokio::test]
async fn a_group_that_does_not_exist_and_may_not_be_created_sends_nothing_back() {
    let (broker, peer, at) = broker(&[("autoCreateSubscriptionGroup", "false")]);
    let answer = broker.ask(&peer, &SendBack { group: "unknown", ..back(at, 0) }).await;
    assert_eq!(answer.code, 26);
    assert!(answer.remark.unwrap().starts_with("subscription group not exist, unknown \nSee https://"));
}

#[tokio::test]
async fn a_broker_that_may_not_be_written_takes_nothing_back() {
    let (broker, peer, at) = broker(&[("brokerPermission", "4")]);
    let answer = broker.ask(&peer, &back(at, 0)).await;
    assert_eq!(outcome(&answer), (16, "the broker[127.0.0.1] sending message is forbidden"));
}

#[tokio::test]
async fn a_group_without_retry_queues_wants_no_retries() {
    let (broker, peer, at) = broker(&[]);
    let mut config = (*broker.core.groups.get("billing").unwrap()).clone();
    config.retry_queue_nums = 0;
    broker.core.groups.put(config).unwrap();
    assert_eq!(outcome(&broker.ask(&peer, &back(at, 0)).await), (0, ""));
    assert!(broker.core.topics.get("%RETRY%billing").is_none());
}

#[tokio::test]
async fn a_retry_topic_that_may_not_be_written_takes_nothing() {
    let (broker, peer, at) = broker(&[]);
    broker.core.topics.put(topic("%RETRY%billing", 1, perm::READ), START_MS);
    let answer = broker.ask(&peer, &back(at, 0)).await;
    assert_eq!(outcome(&answer), (16, "the topic[%RETRY%billing] sending message is forbidden"));
}

#[tokio::test]
async fn there_must_be_a_message_at_the_offset() {
    let (broker, peer, at) = broker(&[]);
    for wrong in [at + 4, at + 100_000, -1] {
        let answer = broker.ask(&peer, &back(wrong, 0)).await;
        assert_eq!(outcome(&answer), (1, &*format!("look message by offset failed, {wrong}")));
    }
}

pub(super) fn retried(reconsume_times: i32, max: Option<i32>) -> SendMessage<'static> {
    SendMessage {
        producer_group: "CLIENT_INNER_PRODUCER",
        topic: "%RETRY%billing",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 0,
        born_timestamp: START_MS,
        properties: "RETRY_TOPIC\u{1}orders\u{2}UNIQ_KEY\u{1}FD01\u{2}DELAY\u{1}3\u{2}",
        reconsume_times,
        max_reconsume_times: max,
        ..SendMessage::default()
    }
}

pub(super) async fn send(broker: &TestBroker, peer: &Peer, header: &SendMessage<'_>) -> Command {
    let mut command = Command::with_header(header).with_body("order 42");
    command.version = VERSION;
    broker.call(peer, command).await
}

#[tokio::test]
async fn a_consumer_that_sends_to_its_retry_topic_itself_is_delayed_by_its_level() {
    let (broker, peer, _) = broker(&[]);
    let answer = send(&broker, &peer, &retried(3, Some(3))).await;
    let receipt = answer.response_header::<SendReceipt<'_>>().unwrap();
    assert_eq!((answer.code, receipt.queue_id, receipt.queue_offset), (0, 0, 0));
    let real = last(&broker, SCHEDULE_TOPIC, 2, |record| property(record, "REAL_TOPIC")).flatten();
    assert_eq!(real.as_deref(), Some("%RETRY%billing"));
}

#[tokio::test]
async fn a_send_to_the_retry_topic_beyond_the_limit_is_a_dead_letter() {
    let (broker, peer, _) = broker(&[]);
    let answer = send(&broker, &peer, &retried(4, Some(3))).await;
    assert_eq!(answer.code, 0);
    last(&broker, "%DLQ%billing", 0, |record| {
        assert_eq!(property(record, "DELAY").as_deref(), Some("-1"));
        assert_eq!((record.topic(), record.queue_id(), record.reconsume_times()), ("%DLQ%billing", 0, 4));
    })
    .unwrap();
    assert_eq!(send(&broker, &peer, &retried(17, None)).await.code, 0);
    assert_eq!(broker.core.store.find_queue("%DLQ%billing", 0).unwrap().max_offset(), 2);
}

#[tokio::test]
async fn what_a_group_with_a_queue_lock_sends_to_its_retry_topic_is_given_up() {
    let (broker, peer, _) = broker(&[]);
    let queue = MessageQueue { topic: "orders".into(), broker_name: "broker-a".into(), queue_id: 0 };
    broker.core.locks.lock("billing", "client", vec![queue], broker.core.clock.now_ms());
    assert_eq!(send(&broker, &peer, &retried(1, Some(3))).await.code, 0);
    assert!(last(&broker, "%DLQ%billing", 0, |_| ()).is_some());
    assert!(last(&broker, SCHEDULE_TOPIC, 2, |_| ()).is_none());
}

#[tokio::test]
async fn a_send_to_the_retry_topic_of_no_group_is_refused() {
    let (broker, peer, _) = broker(&[("autoCreateSubscriptionGroup", "false")]);
    let header = SendMessage { topic: "%RETRY%unknown", ..retried(1, None) };
    assert_eq!(send(&broker, &peer, &header).await.code, 26);
}

/// The record that Apache wrote at a log offset of the `clean` directory.
fn golden(offset: usize) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store/clean/data/commitlog");
    let file = fs::read(format!("{folder}/{:020}", offset / 131_072 * 131_072)).unwrap();
    RecordView::parse(&file[offset % 131_072..]).unwrap().bytes().to_vec()
}

fn encoded(record: &NewRecord<'_>, like: &RecordView<'_>) -> Vec<u8> {
    let at = Assigned {
        queue_offset: like.queue_offset(),
        physical_offset: like.physical_offset(),
        store_timestamp: like.store_timestamp(),
    };
    let mut bytes = vec![0; record.encoded_len()];
    record.encode(&mut bytes, at);
    bytes
}

#[test]
fn a_message_sent_back_is_byte_for_byte_what_apache_stores() {
    for (message, sent_back, topic, level) in
        [(271_051, 271_579, "%RETRY%CG_retry", 3), (279_272, 279_665, "%DLQ%CG_retry", 0)]
    {
        let (message, sent_back) = (golden(message), golden(sent_back));
        let message = RecordView::parse(&message).unwrap();
        let like = RecordView::parse(&sent_back).unwrap();
        let target = Target { topic, queue_id: 0, level, delayed_by: Some(level).filter(|level| *level > 0) };
        let mut properties = Vec::new();
        text(&message, message.topic(), &target, None, &mut properties);
        let stored = copy(&message, &target, like.store_host(), &properties);
        let stored =
            if level > 0 { NewRecord { topic: SCHEDULE_TOPIC, queue_id: level - 1, ..stored } } else { stored };
        assert_eq!(encoded(&stored, &like), sent_back);
    }
}
