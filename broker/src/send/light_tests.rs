//! Light queues from the first send to the offset that is stored.

use tenonmq_protocol::{
    Command,
    body::{ConsumerOffsets, json},
    code::{RequestCode as Code, ResponseCode},
    header::{PullFlags, PullMessage, SendMessage},
    message::{RecordView, properties::find},
};

use crate::remoting::testing::{Peer, TestBroker};

fn broker() -> TestBroker {
    let broker = TestBroker::with(&[("enableLmq", "true"), ("autoCreateSubscriptionGroup", "false")]);
    broker.topic("parent", 2);
    broker
}

fn message(queue_id: i32, properties: &str) -> Command {
    let header =
        SendMessage { producer_group: "shop", topic: "parent", queue_id, properties, ..SendMessage::default() };
    Command::with_header(&header).with_body("order")
}

async fn send(broker: &TestBroker, queue_id: i32) {
    let sent = message(queue_id, "INNER_MULTI_DISPATCH\x01%LMQ%123,%LMQ%456\x02TAGS\x01paid\x02");
    assert_eq!(broker.call(&Peer::new(1), sent).await.code, 0);
}

fn pull(offset: i64) -> PullMessage<'static> {
    PullMessage {
        consumer_group: "%LMQ%group",
        topic: "%LMQ%123",
        queue_offset: offset,
        max_count: 32,
        sys_flag: PullFlags::SUBSCRIPTION | PullFlags::SUSPEND,
        suspend_timeout_millis: 60_000,
        subscription: Some("paid"),
        ..PullMessage::default()
    }
}

#[tokio::test]
async fn messages_of_every_queue_of_the_parent_come_out_of_the_light_queue_in_order() {
    let broker = broker();
    for queue_id in [0, 1, 0] {
        send(&broker, queue_id).await;
    }
    let answer = broker.ask(&Peer::new(2), &pull(0)).await;
    assert_eq!(answer.code, 0);
    let (mut rest, mut offsets) = (&answer.body[..], Vec::new());
    while !rest.is_empty() {
        let record = RecordView::parse(rest).unwrap();
        assert_eq!(record.topic(), "parent");
        offsets.push(find(record.properties_text(), "INNER_MULTI_QUEUE_OFFSET").unwrap().to_owned());
        rest = &rest[record.len()..];
    }
    assert_eq!(offsets, ["0,0", "1,1", "2,2"]);
    let asked = Command::request(Code::GET_MAX_OFFSET).with_field("topic", "%LMQ%456").with_field("queueId", "0");
    let answer = broker.call(&Peer::new(2), asked).await;
    assert!(answer.fields.iter().any(|(name, value)| name == "offset" && value == "3"), "{answer:?}");
}

#[tokio::test]
async fn a_pull_that_waits_on_a_light_queue_is_answered_by_a_send_to_its_parent() {
    let broker = broker();
    let (peer, asked) = (Peer::new(2), pull(0));
    let (answer, ()) = tokio::join!(broker.ask(&peer, &asked), send(&broker, 1));
    assert_eq!(answer.code, 0);
    assert!(!answer.body.is_empty());
}

#[tokio::test]
async fn offsets_of_light_groups_are_where_apache_looks_for_them() {
    let broker = broker();
    send(&broker, 0).await;
    let commit = Command::request(Code::UPDATE_CONSUMER_OFFSET)
        .with_field("consumerGroup", "%LMQ%group")
        .with_field("topic", "%LMQ%123")
        .with_field("queueId", "0")
        .with_field("commitOffset", "1");
    assert_eq!(broker.call(&Peer::new(2), commit).await.code, 0);
    broker.core.offsets.save(0).unwrap();
    let file = broker.core.store.root().join("config/lmqConsumerOffset.json");
    let stored: ConsumerOffsets = json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(stored.lmq_offset_table.unwrap()["%LMQ%123@%LMQ%group"], 1);
    assert!(!stored.offset_table.contains_key("%LMQ%123@%LMQ%group"));
}

#[tokio::test]
async fn a_transactional_message_is_in_its_light_queues_when_it_is_committed() {
    let broker = broker();
    let half = "INNER_MULTI_DISPATCH\x01%LMQ%123\x02TRAN_MSG\x01true\x02PGROUP\x01shop\x02UNIQ_KEY\x0101\x02";
    let answer = broker.call(&Peer::new(1), message(0, half)).await;
    assert_eq!(answer.code, 0);
    assert!(broker.core.store.find_queue("%LMQ%123", 0).is_none(), "nobody sees it yet");
}

#[tokio::test]
async fn a_name_that_is_no_directory_is_no_light_topic() {
    let broker = broker();
    let asked = PullMessage { topic: "%LMQ%a/../b", ..pull(0) };
    assert_eq!(broker.ask(&Peer::new(2), &asked).await.code, ResponseCode::TOPIC_NOT_EXIST.0);
}
