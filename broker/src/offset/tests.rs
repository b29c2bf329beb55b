//! Offset requests against a broker without sockets.

use std::time::Duration;

use tenonmq_protocol::{
    Command,
    body::offset_desk::ListMoves,
    code::{RequestCode, ResponseCode},
    header::offset::{
        Boundary, GetEarliestStoreTime, GetMaxOffset, GetMinOffset, OffsetAnswer, QueryOffset, SearchOffset,
        UpdateOffset,
    },
};
use tokio::sync::watch;

use crate::remoting::testing::{Peer, START_MS, TestBroker};

fn query(queue_id: i32) -> QueryOffset<'static> {
    QueryOffset {
        consumer_group: "billing",
        topic: "orders",
        queue_id,
        set_zero_if_not_found: None,
        broker_name: Some("broker-a"),
    }
}

fn update(group: &'static str, topic: &'static str, commit_offset: i64) -> UpdateOffset<'static> {
    UpdateOffset { consumer_group: group, topic, queue_id: 0, commit_offset, broker_name: None }
}

fn offset(answer: &Command) -> i64 {
    assert_eq!(answer.code, ResponseCode::SUCCESS.0, "{:?}", answer.remark);
    answer.response_header::<OffsetAnswer>().unwrap().offset
}

fn refusal(answer: &Command) -> (i32, &str) {
    (answer.code, answer.remark.as_deref().unwrap_or_default())
}

#[tokio::test]
async fn a_committed_offset_is_the_answer_to_a_query() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 2);
    broker.core.groups.find_or_create("billing").unwrap();
    let committed = broker.ask(&peer, &update("billing", "orders", 9)).await;
    assert_eq!((committed.code, committed.remark), (0, None));
    assert_eq!(offset(&broker.ask(&peer, &query(0)).await), 9);
    assert_eq!(broker.ask(&peer, &query(1)).await.code, ResponseCode::QUERY_NOT_FOUND.0);
}

#[tokio::test]
async fn a_commit_needs_its_group_first_and_its_topic_second() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    let answer = broker.ask(&peer, &update("billing", "orders", 9)).await;
    assert_eq!(refusal(&answer), (26, "Group billing not exist!"));
    broker.core.groups.find_or_create("billing").unwrap();
    let answer = broker.ask(&peer, &update("billing", "orders", 9)).await;
    assert_eq!(refusal(&answer), (17, "Topic orders not exist!"));
}

#[tokio::test]
async fn a_commit_without_queue_or_offset_is_an_invalid_parameter() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    let command = Command::request(RequestCode::UPDATE_CONSUMER_OFFSET)
        .with_field("consumerGroup", "billing")
        .with_field("topic", "orders");
    let answer = broker.call(&peer, command.clone()).await;
    assert_eq!(refusal(&answer), (29, "QueueId is null, topic is orders"));
    let answer = broker.call(&peer, command.with_field("queueId", 0)).await;
    assert_eq!(refusal(&answer), (29, "Offset is null, topic is orders"));
}

#[tokio::test]
async fn a_commit_under_a_reset_mark_is_ignored_with_success() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 1);
    broker.core.groups.find_or_create("billing").unwrap();
    broker.core.offsets.reset("billing", "orders", 0, 3);
    let answer = broker.ask(&peer, &update("billing", "orders", 9)).await;
    assert_eq!(refusal(&answer), (0, "Offset has been previously reset"));
    assert_eq!(offset(&broker.ask(&peer, &query(0)).await), 3);
}

#[tokio::test]
async fn a_commit_that_finds_no_room_is_told_to_come_back() {
    let (broker, peer) = (TestBroker::with(&[("consumerOffsetsMax", "1")]), Peer::new(1));
    broker.topic("orders", 1);
    broker.topic("refunds", 1);
    broker.core.groups.find_or_create("billing").unwrap();
    assert_eq!(broker.ask(&peer, &update("billing", "orders", 1)).await.code, 0);
    let answer = broker.ask(&peer, &update("billing", "refunds", 1)).await;
    assert_eq!(refusal(&answer), (2, "the table of consumer offsets is full"));
    assert_eq!(broker.ask(&peer, &update("billing", "orders", 2)).await.code, 0);
}

#[tokio::test]
async fn a_new_group_starts_at_zero_while_the_first_message_is_recent() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 1);
    let nothing = broker.ask(&peer, &query(0)).await;
    let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
    assert_eq!(refusal(&nothing), (22, remark), "a queue without messages has no message 0");
    broker.store("orders", 0, b"one");
    assert_eq!(offset(&broker.ask(&peer, &query(0)).await), 0);
}

#[tokio::test]
async fn a_client_may_ask_not_to_be_sent_to_zero() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 1);
    broker.store("orders", 0, b"one");
    let asked = QueryOffset { set_zero_if_not_found: Some(false), ..query(0) };
    let answer = broker.ask(&peer, &asked).await;
    assert_eq!(refusal(&answer), (22, "Not found, do not set to zero, maybe this group boot first"));
    let asked = QueryOffset { set_zero_if_not_found: Some(true), ..query(0) };
    assert_eq!(offset(&broker.ask(&peer, &asked).await), 0);
}

#[tokio::test]
async fn the_ends_of_a_queue_are_told_and_those_of_an_unknown_one_are_zero() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 2);
    broker.store("orders", 0, b"one");
    broker.store("orders", 0, b"two");
    let max = |queue_id| GetMaxOffset { topic: "orders", queue_id, committed: true, broker_name: None };
    let min = |queue_id| GetMinOffset { topic: "orders", queue_id, broker_name: None };
    assert_eq!(offset(&broker.ask(&peer, &max(0)).await), 2);
    assert_eq!(offset(&broker.ask(&peer, &min(0)).await), 0);
    assert_eq!(offset(&broker.ask(&peer, &max(1)).await), 0);
    assert_eq!(offset(&broker.ask(&peer, &min(1)).await), 0);
}

#[tokio::test]
async fn a_time_finds_the_first_message_of_that_time_or_later() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 1);
    for body in [b"one", b"two"] {
        broker.store("orders", 0, body);
        broker.advance(Duration::from_secs(10));
    }
    let at = |timestamp| SearchOffset {
        topic: "orders",
        queue_id: 0,
        timestamp,
        boundary: Boundary::Lower,
        broker_name: None,
    };
    assert_eq!(offset(&broker.ask(&peer, &at(START_MS - 1)).await), 0);
    assert_eq!(offset(&broker.ask(&peer, &at(START_MS + 1)).await), 1);
    assert_eq!(offset(&broker.ask(&peer, &at(START_MS + 20_000)).await), 2);
    let elsewhere = SearchOffset { topic: "refunds", ..at(START_MS) };
    assert_eq!(offset(&broker.ask(&peer, &elsewhere).await), 0);
}

#[tokio::test]
async fn the_store_time_of_the_first_message_is_minus_one_without_one() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 1);
    let asked = GetEarliestStoreTime { topic: "orders", queue_id: 0, broker_name: None };
    assert_eq!(broker.ask(&peer, &asked).await.field("timestamp"), Some("-1"));
    broker.store("orders", 0, b"one");
    assert_eq!(broker.ask(&peer, &asked).await.field("timestamp"), Some(START_MS.to_string().as_str()));
}

#[tokio::test]
async fn a_oneway_commit_counts_and_gets_no_answer() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 1);
    broker.core.groups.find_or_create("billing").unwrap();
    let mut bytes = bytes::BytesMut::new();
    let command = Command::with_header(&update("billing", "orders", 4)).oneway();
    command.encode(tenonmq_protocol::Serialization::Binary, &mut bytes);
    assert_eq!(broker.frame(&peer, &bytes).await, None);
    assert_eq!(broker.core.offsets.get("billing", "orders", 0), Some(4));
}

#[tokio::test]
async fn the_saver_writes_what_was_committed_when_the_broker_stops() {
    let broker = TestBroker::new();
    let (stop, stopped) = watch::channel(false);
    let saver = tokio::spawn(super::keep_saved(broker.core.clone(), stopped));
    broker.core.offsets.commit("billing", "orders", 0, 5);
    stop.send_replace(true);
    saver.await.unwrap();
    let text = std::fs::read_to_string(broker.folder().join("config/consumerOffset.json")).unwrap();
    let compact: String = text.split_whitespace().collect();
    assert!(compact.contains("\"orders@billing\":{0:5}"), "{text}");
}

#[tokio::test]
async fn thread_alibaba_28_offsets_are_there_after_a_restart() {
    let broker = TestBroker::new();
    broker.core.offsets.commit("billing", "orders", 0, 5);
    let broker = broker.restarted();
    assert_eq!(broker.core.offsets.get("billing", "orders", 0), Some(5));
}

#[tokio::test]
async fn thread_3210_a_killed_broker_knows_every_offset_that_it_acknowledged() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 2);
    broker.core.groups.find_or_create("billing").unwrap();
    for commit_offset in 1..=100 {
        assert_eq!(broker.ask(&peer, &update("billing", "orders", commit_offset)).await.code, 0);
    }
    let broker = broker.crashed();
    assert_eq!(offset(&broker.ask(&peer, &query(0)).await), 100);
    broker.core.offsets.save(1).unwrap();
    broker.core.offsets.set("billing", "orders", 0, 101);
    let broker = broker.crashed();
    assert_eq!(broker.core.offsets.get("billing", "orders", 0), Some(101));
}

/// Another start of the machine.
fn without_power(broker: TestBroker) -> TestBroker {
    let boot_id = broker.folder().join("tenonmq/boot_id");
    broker.crashed_after(|| std::fs::write(boot_id, "another").unwrap())
}

#[tokio::test]
async fn an_offset_beyond_what_a_power_cut_left_of_the_log_is_brought_back_and_stays_so() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    broker.topic("orders", 2);
    broker.core.groups.find_or_create("billing").unwrap();
    broker.core.groups.save().unwrap();
    for body in [b"1", b"2"] {
        broker.store("orders", 0, body);
    }
    for (queue_id, commit_offset) in [(0, 5), (1, 7)] {
        let header = UpdateOffset { queue_id, ..update("billing", "orders", commit_offset) };
        assert_eq!(broker.ask(&peer, &header).await.code, 0);
    }
    let broker = without_power(broker);
    assert_eq!(broker.core.offsets.get("billing", "orders", 0), Some(2));
    assert_eq!(broker.core.offsets.get("billing", "orders", 1), Some(0));
    let saved = std::fs::read_to_string(broker.folder().join("config/consumerOffset.json")).unwrap();
    assert!(saved.split_whitespace().collect::<String>().contains("{0:2,1:0}"), "{saved}");
    let moves = broker.core.offset_history.list(&ListMoves::default()).moves;
    assert_eq!(
        moves.iter().filter(|entry| entry.action == "bring-back").map(|entry| entry.queues.len()).sum::<usize>(),
        2
    );
    for _ in 0..9 {
        broker.store("orders", 0, b"stored later at the offsets that were passed");
    }
    let broker = without_power(broker);
    assert_eq!(broker.core.offsets.get("billing", "orders", 0), Some(2));
}
