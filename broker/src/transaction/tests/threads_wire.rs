//! Complaints that need the wire: who is asked, what administrators do, who waits.

use std::time::Duration;

use tenonmq_protocol::{
    Command,
    body::{HeartbeatData, ProducerData, json},
    code::RequestCode as Code,
    header::{SendMessage, SendReceipt},
    message::RecordView,
};

use super::super::state::Next;
use crate::{
    core::names::{CHECK_MAX_TIME_TOPIC, HALF_TOPIC, OP_TOPIC},
    remoting::testing::{Peer, START_MS, TestBroker},
};

const SECOND: Duration = Duration::from_secs(1);

fn broker(settings: &[(&str, &str)]) -> TestBroker {
    let broker = TestBroker::with(settings);
    broker.topic("orders", 2);
    broker
}

async fn produce(broker: &TestBroker, peer: &Peer, client_id: &str) {
    let producer_data_set = vec![ProducerData { group_name: "shop".into() }];
    let data = HeartbeatData { client_id: client_id.into(), producer_data_set, ..HeartbeatData::default() };
    let command = Command::request(Code::HEART_BEAT).with_body(json::to_vec(&data));
    assert_eq!(broker.call(peer, command).await.code, 0);
}

/// Sends a half message; its offset in the half queue and in the log.
async fn half(broker: &TestBroker, peer: &Peer, key: &str) -> (i64, i64) {
    let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}shop\u{2}UNIQ_KEY\u{1}{key}\u{2}");
    let header = SendMessage {
        producer_group: "shop",
        topic: "orders",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 1,
        born_timestamp: START_MS,
        properties: &properties,
        ..SendMessage::default()
    };
    let answer = broker.call(peer, Command::with_header(&header).with_body(key.to_owned())).await;
    let receipt = answer.response_header::<SendReceipt<'_>>().unwrap();
    let place = &receipt.message_id[receipt.message_id.len() - 16..];
    (receipt.queue_offset, i64::from_str_radix(place, 16).unwrap())
}

async fn end(broker: &TestBroker, peer: &Peer, half: (i64, i64), verdict: i32) -> i32 {
    let command = Command::request(Code::END_TRANSACTION)
        .with_field("producerGroup", "shop")
        .with_field("tranStateTableOffset", half.0)
        .with_field("commitLogOffset", half.1)
        .with_field("commitOrRollback", verdict)
        .with_field("fromTransactionCheck", true)
        .with_field("msgId", "x");
    broker.call(peer, command).await.code
}

fn check(broker: &TestBroker) {
    while broker.core.transactions.check(&*broker.core) == Next::Now {}
}

/// Half-queue offsets that a client is asked about.
fn asked(peer: &mut Peer) -> Vec<String> {
    let questions = peer.take();
    let is_question = |command: &&Command| command.code == Code::CHECK_TRANSACTION_STATE.0;
    let offset = |command: &Command| command.field("tranStateTableOffset").unwrap().to_owned();
    questions.iter().filter(is_question).map(offset).collect()
}

fn visible(broker: &TestBroker) -> i64 {
    broker.core.store.find_queue("orders", 1).map_or(0, |queue| queue.max_offset())
}

#[tokio::test]
async fn thread_1694_a_producer_whose_channel_takes_nothing_is_passed_over_for_another_of_its_group() {
    let (broker, busy, mut free) = (broker(&[]), Peer::new(1), Peer::new(2));
    produce(&broker, &busy, "busy").await;
    produce(&broker, &free, "free").await;
    for key in ["FD01", "FD02", "FD03", "FD04"] {
        half(&broker, &free, key).await;
    }
    while busy.connection.send_oneway(Command::request(Code::NOTIFY_CONSUMER_IDS_CHANGED)).is_ok() {} // it reads nothing
    broker.advance(6 * SECOND);
    check(&broker);
    let mut offsets = asked(&mut free);
    offsets.sort();
    assert_eq!(offsets, ["0", "1", "2", "3"]);
    for found in broker.core.transactions.unresolved(None, 9) {
        assert!(found.state.asked_whom.is_some_and(|whom| whom.contains("free")));
    }
}

#[tokio::test]
async fn thread_2133_deleting_topics_and_groups_takes_nothing_from_the_transactions() {
    for protect in ["true", "false"] {
        let (broker, mut peer) = (broker(&[("validateSystemTopicWhenUpdateTopic", protect)]), Peer::new(1));
        produce(&broker, &peer, "one").await;
        for (key, verdict) in [("FD01", 8), ("FD02", 12)] {
            let half = half(&broker, &peer, key).await;
            assert_eq!(end(&broker, &peer, half, verdict).await, 0);
        }
        let open = half(&broker, &peer, "FD03").await;
        for topic in [HALF_TOPIC, OP_TOPIC] {
            let delete = Command::request(Code::DELETE_TOPIC_IN_BROKER).with_field("topic", topic);
            assert_ne!(broker.call(&peer, delete).await.code, 0, "{topic}");
        }
        for group in ["shop", "CID_RMQ_SYS_TRANS"] {
            let delete = Command::request(Code::DELETE_SUBSCRIPTIONGROUP)
                .with_field("groupName", group)
                .with_field("cleanOffset", true);
            broker.call(&peer, delete).await;
        }
        let clean = broker.call(&peer, Command::request(Code::CLEAN_UNUSED_TOPIC)).await;
        assert_eq!(clean.code, 0);
        let broker = broker.crashed();
        produce(&broker, &peer, "one").await;
        broker.advance(6 * SECOND);
        check(&broker);
        assert_eq!(asked(&mut peer), [open.0.to_string()]);
        assert_eq!(end(&broker, &peer, open, 8).await, 0);
        assert_eq!(visible(&broker), 2);
    }
}

#[tokio::test]
async fn thread_633_a_parked_message_is_readable_and_is_checked_again_when_it_is_resumed() {
    let (broker, mut peer) = (broker(&[("transactionCheckMax", "1")]), Peer::new(1));
    produce(&broker, &peer, "one").await;
    half(&broker, &peer, "FD01").await;
    broker.advance(6 * SECOND);
    check(&broker);
    assert_eq!(asked(&mut peer), ["0"]);
    broker.advance(30 * SECOND);
    check(&broker);
    assert_eq!(broker.core.transactions.pending(), 0);
    let pull = Command::request(Code::PULL_MESSAGE)
        .with_field("consumerGroup", "CID_ONSAPI_OWNER")
        .with_field("topic", CHECK_MAX_TIME_TOPIC)
        .with_field("queueId", 0)
        .with_field("queueOffset", 0)
        .with_field("maxMsgNums", 8)
        .with_field("sysFlag", 4)
        .with_field("commitOffset", 0)
        .with_field("suspendTimeoutMillis", 0)
        .with_field("subVersion", 0)
        .with_field("subscription", "*");
    let answer = broker.call(&peer, pull).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    let parked = RecordView::parse(&answer.body).unwrap();
    assert_eq!(parked.body(), b"FD01");
    let resume = |id: &str| {
        Command::request(Code::RESUME_CHECK_HALF_MESSAGE)
            .with_field("topic", CHECK_MAX_TIME_TOPIC)
            .with_field("msgId", id)
    };
    let id = parked.message_id().to_string();
    assert_ne!(broker.call(&peer, resume("nonsense")).await.code, 0);
    assert_eq!(broker.call(&peer, resume(&id)).await.code, 0);
    broker.advance(6 * SECOND);
    check(&broker);
    let questions = peer.take();
    let field = |name: &str| questions[0].field(name).unwrap().parse().unwrap();
    let place = (field("tranStateTableOffset"), field("commitLogOffset"));
    assert_eq!(end(&broker, &peer, place, 8).await, 0);
    assert_eq!(visible(&broker), 1);
}

#[tokio::test]
async fn thread_474_a_consumer_that_waits_has_the_message_with_its_commit() {
    let (broker, peer, consumer) = (broker(&[]), Peer::new(1), Peer::new(2));
    let half = half(&broker, &peer, "FD01").await;
    let pull = Command::request(Code::PULL_MESSAGE)
        .with_field("consumerGroup", "billing")
        .with_field("topic", "orders")
        .with_field("queueId", 1)
        .with_field("queueOffset", 0)
        .with_field("maxMsgNums", 8)
        .with_field("sysFlag", 2 | 4)
        .with_field("commitOffset", 0)
        .with_field("suspendTimeoutMillis", 15_000)
        .with_field("subVersion", 0)
        .with_field("subscription", "*");
    let committed = async {
        tokio::task::yield_now().await;
        assert_eq!(end(&broker, &peer, half, 8).await, 0);
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    };
    let pulled = tokio::select! {
        biased;
        pulled = broker.call(&consumer, pull) => pulled,
        () = committed => panic!("the message was committed and nobody told the consumer"),
    };
    assert_eq!(pulled.code, 0);
    assert_eq!(RecordView::parse(&pulled.body).unwrap().body(), b"FD01");
}
