//! Request–reply against a broker without sockets.

use tenonmq_protocol::{
    Command,
    body::{HeartbeatData, ProducerData, json},
    code::RequestCode as Code,
    header::{PushReply, SendMessage},
    message::{SysFlag, properties::find},
};

use crate::remoting::testing::{Peer, START_MS, TestBroker};

const TOPIC: &str = "DefaultCluster_REPLY_TOPIC";
const PROPERTIES: &str =
    "CORRELATION_ID\u{1}c1\u{2}REPLY_TO_CLIENT\u{1}asker\u{2}TTL\u{1}8000\u{2}MSG_TYPE\u{1}reply\u{2}";

async fn connect(broker: &TestBroker, peer: &Peer, client_id: &str) {
    let producer_data_set = vec![ProducerData { group_name: "shop".into() }];
    let data = HeartbeatData { client_id: client_id.into(), producer_data_set, ..HeartbeatData::default() };
    let command = Command::request(Code::HEART_BEAT).with_body(json::to_vec(&data));
    assert_eq!(broker.call(peer, command).await.code, 0);
}

fn header(properties: &str) -> SendMessage<'_> {
    SendMessage {
        producer_group: "desk",
        topic: TOPIC,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        born_timestamp: 5,
        flag: 7,
        properties,
        ..SendMessage::default()
    }
}

fn reply(properties: &str) -> Command {
    Command { code: Code::SEND_REPLY_MESSAGE_V2.0, ..Command::with_header(&header(properties)) }.with_body("answer")
}

/// The requester confirms what it is pushed with `code`; the push and the replier's answer.
async fn exchange(broker: &TestBroker, replier: &Peer, requester: &mut Peer, code: i32) -> (Command, Command) {
    let confirm = async {
        let push = requester.next().await;
        requester.answer(&push, code, "why");
        push
    };
    tokio::join!(confirm, broker.call(replier, reply(PROPERTIES)))
}

fn field<'a>(answer: &'a Command, name: &str) -> &'a str {
    answer.field(name).unwrap_or_default()
}

fn stored(broker: &TestBroker) -> i64 {
    broker.core.store.find_queue(TOPIC, 0).map_or(0, |queue| queue.max_offset())
}

#[tokio::test]
async fn a_reply_is_pushed_to_the_one_who_asked_and_then_stored() {
    let broker = TestBroker::new();
    let (replier, mut requester) = (Peer::new(1), Peer::new(2));
    connect(&broker, &requester, "asker").await;
    let (push, answer) = exchange(&broker, &replier, &mut requester, 0).await;

    assert_eq!((push.code, &push.body[..]), (326, &b"answer"[..]));
    let pushed = push.request_header::<PushReply<'_>>().unwrap();
    assert_eq!((pushed.topic, pushed.producer_group, pushed.flag, pushed.born_timestamp), (TOPIC, "desk", 7, 5));
    assert_eq!((pushed.store_host, pushed.store_timestamp), ("127.0.0.1:10911", START_MS));
    let properties = pushed.properties.unwrap();
    for (name, value) in [
        ("CORRELATION_ID", "c1"),
        ("TTL", "8000"),
        ("MSG_REGION", "DefaultRegion"),
        ("TRACE_ON", "true"),
        ("PUSH_REPLY_TIME", &START_MS.to_string()),
    ] {
        assert_eq!(find(properties, name), Some(value));
    }

    assert_eq!((answer.code, answer.remark.as_deref()), (0, None));
    assert_eq!((field(&answer, "queueId"), field(&answer, "queueOffset")), ("0", "0"));
    assert_eq!(field(&answer, "msgId").len(), 32);
    assert_eq!(answer.field("transactionId"), None);
    assert_eq!(stored(&broker), 1);
}

#[tokio::test]
async fn a_reply_is_not_stored_when_the_configuration_says_so() {
    let broker = TestBroker::with(&[("storeReplyMessageEnable", "false")]);
    let (replier, mut requester) = (Peer::new(1), Peer::new(2));
    connect(&broker, &requester, "asker").await;
    let (_, answer) = exchange(&broker, &replier, &mut requester, 0).await;
    assert_eq!((answer.code, field(&answer, "msgId"), field(&answer, "queueOffset")), (0, "0", "0"));
    assert_eq!(stored(&broker), 0);
}

#[tokio::test]
async fn the_long_form_of_a_reply_is_understood() {
    let broker = TestBroker::new();
    let mut command = Command::request(Code::SEND_REPLY_MESSAGE).with_body("answer");
    header("").encode_long(&mut command.fields);
    let answer = broker.call(&Peer::new(1), command).await;
    let remark = "reply message properties[REPLY_TO_CLIENT] is null";
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some(remark)));
}

#[tokio::test]
async fn a_reply_to_nobody_is_refused_and_stored() {
    let broker = TestBroker::new();
    let answer = broker.call(&Peer::new(1), reply(PROPERTIES)).await;
    let remark = "push reply message fail, channel of <asker> not found.";
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some(remark)));
    assert_eq!(stored(&broker), 1);
}

#[tokio::test]
async fn a_compressed_reply_is_stored_as_compressed() {
    let broker = TestBroker::new();
    let flagged = SendMessage { sys_flag: SysFlag::COMPRESSED, ..header("") };
    let command = Command { code: Code::SEND_REPLY_MESSAGE_V2.0, ..Command::with_header(&flagged) }.with_body("zip");
    broker.call(&Peer::new(1), command).await;
    let queue = broker.core.store.find_queue(TOPIC, 0).unwrap();
    let record = broker.core.store.read(queue.entry(0).unwrap().physical_offset).unwrap();
    let view = tenonmq_protocol::message::RecordView::parse(&record).unwrap();
    assert_eq!(view.sys_flag().0, SysFlag::COMPRESSED);
}

#[tokio::test]
async fn a_reply_is_checked_as_a_send_is() {
    let broker = TestBroker::new();
    let mut closed = header(PROPERTIES);
    closed.topic = "SCHEDULE_TOPIC_XXXX";
    let command = Command { code: Code::SEND_REPLY_MESSAGE_V2.0, ..Command::with_header(&closed) }.with_body("answer");
    let answer = broker.call(&Peer::new(1), command).await;
    assert_eq!(answer.code, 16);
    assert_eq!(broker.call(&Peer::new(1), Command { body: Default::default(), ..reply(PROPERTIES) }).await.code, 13);
    assert_eq!(stored(&broker), 0);
}

/// The replier's side timed out or failed without a word on why.
#[tokio::test]
async fn thread_3933_a_reply_that_the_requester_does_not_take_is_refused_with_the_reason() {
    let broker = TestBroker::new();
    let (replier, mut requester) = (Peer::new(1), Peer::new(2));
    connect(&broker, &requester, "asker").await;
    let (_, answer) = exchange(&broker, &replier, &mut requester, 1).await;
    let remark = "push reply message to askerfail. it answered 1: why";
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some(remark)));
}

#[tokio::test]
async fn thread_2435_a_requester_that_leaves_while_its_reply_is_pushed_costs_the_replier_no_time() {
    let broker = TestBroker::new();
    let (replier, mut requester) = (Peer::new(1), Peer::new(2));
    connect(&broker, &requester, "asker").await;
    let leave = async {
        requester.next().await;
        broker.close(&requester);
    };
    let ((), answer) = tokio::join!(leave, broker.call(&replier, reply(PROPERTIES)));
    let remark = "push reply message to askerfail. the connection is closed or its peer does not read";
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some(remark)));
}

/// The requester's old connection ended after it had a new one, and took its name with it.
#[tokio::test]
async fn thread_spring_310_a_requester_that_reconnected_gets_its_reply() {
    let broker = TestBroker::new();
    let (replier, old, mut new) = (Peer::new(1), Peer::new(2), Peer::new(3));
    connect(&broker, &old, "asker").await;
    connect(&broker, &new, "asker").await;
    broker.close(&old);
    let (_, answer) = exchange(&broker, &replier, &mut new, 0).await;
    assert_eq!(answer.code, 0);
}

/// "The news can be consumed, just reported as wrong": requester and replier may share one connection.
#[tokio::test]
async fn thread_spring_256_a_client_may_answer_itself() {
    let broker = TestBroker::new();
    let mut peer = Peer::new(1);
    connect(&broker, &peer, "asker").await;
    let connection = peer.again();
    let (_, answer) = exchange(&broker, &connection, &mut peer, 0).await;
    assert_eq!(answer.code, 0);
}
