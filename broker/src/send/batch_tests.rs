//! Batches against a broker without sockets: plain ones, and those that a topic of the queue type BatchCQ keeps whole.

use tenonmq_protocol::{
    Command,
    code::RequestCode as Code,
    header::{PullFlags, PullMessage, PullResult, SendMessage, SendReceipt},
    message::{BatchElement, RecordView, SysFlag, properties::find},
};

use crate::{
    core::topics::{perm, topic},
    remoting::testing::{Peer, START_MS, TestBroker},
};

const KEY: &str = "UNIQ_KEY\u{1}batch-1\u{2}";

fn broker() -> TestBroker {
    let broker = TestBroker::new();
    broker.topic("plain", 1);
    declare(&broker);
    broker
}

fn declare(broker: &TestBroker) {
    let mut config = topic("whole", 1, perm::READ_WRITE);
    config.attributes.insert("queue.type".into(), "BatchCQ".into());
    broker.core.store.declare_batch_topic("whole", true);
    broker.core.topics.put(config, START_MS);
}

fn body(count: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for number in 0..count {
        let text = format!("message {number}");
        let element = BatchElement { flag: 0, body: text.as_bytes(), properties: b"TAGS\x01red\x02" };
        element.encode_into(&mut body).unwrap();
    }
    body
}

async fn send(broker: &TestBroker, header: SendMessage<'_>, body: Vec<u8>) -> Command {
    let code = if header.batch { Code::SEND_BATCH_MESSAGE } else { Code::SEND_MESSAGE_V2 };
    let command = Command { code: code.0, ..Command::with_header(&header) };
    broker.call(&Peer::new(1), command.with_body(body)).await
}

fn batch<'a>(topic: &'a str, properties: &'a str) -> SendMessage<'a> {
    SendMessage { producer_group: "shop", topic, properties, batch: true, ..SendMessage::default() }
}

async fn pull(broker: &TestBroker, topic: &str, offset: i64, tags: &str) -> Command {
    let header = PullMessage {
        consumer_group: "billing",
        topic,
        queue_offset: offset,
        max_count: 32,
        sys_flag: PullFlags::SUBSCRIPTION,
        subscription: Some(tags),
        ..PullMessage::default()
    };
    broker.ask(&Peer::new(1), &header).await
}

#[tokio::test]
async fn a_batch_with_a_key_is_one_record_in_a_topic_that_keeps_batches_whole() {
    let broker = broker();
    for base in [0, 3] {
        let answer = send(&broker, batch("whole", KEY), body(3)).await;
        let receipt: SendReceipt<'_> = answer.response_header().unwrap();
        assert_eq!((receipt.queue_offset, receipt.batch_unique_id), (base, Some("batch-1")));
        assert_eq!(receipt.message_id.len(), 32, "one record, one id");
    }
    let answer = pull(&broker, "whole", 0, "*").await;
    let result: PullResult = answer.response_header().unwrap();
    assert_eq!((answer.code, result.next_begin_offset, result.max_offset), (0, 6, 6));
    let record = RecordView::parse(&answer.body).unwrap();
    assert_eq!(record.sys_flag().0, SysFlag::INNER_BATCH | SysFlag::NEED_UNWRAP);
    assert_eq!(record.body(), body(3));
    let property = |name| find(record.properties_text(), name);
    assert_eq!((property("INNER_NUM"), property("INNER_BASE")), (Some("3"), Some("0")));
    assert_eq!((property("UNIQ_KEY"), property("CLUSTER")), (Some("batch-1"), Some("DefaultCluster")));
}

#[tokio::test]
async fn a_batch_without_a_key_is_stored_message_by_message() {
    let broker = broker();
    let answer = send(&broker, batch("whole", ""), body(2)).await;
    let receipt: SendReceipt<'_> = answer.response_header().unwrap();
    assert_eq!((receipt.queue_offset, receipt.batch_unique_id), (0, None));
    assert_eq!(receipt.message_id.split(',').count(), 2);
}

#[tokio::test]
async fn a_single_message_in_a_topic_of_batches_is_an_ordinary_record() {
    let broker = broker();
    let single = SendMessage { batch: false, ..batch("whole", KEY) };
    assert_eq!(send(&broker, single, b"alone".to_vec()).await.code, 0);
    assert_eq!(send(&broker, batch("whole", KEY), body(2)).await.field("queueOffset"), Some("1"));
    let answer = pull(&broker, "whole", 0, "*").await;
    let record = RecordView::parse(&answer.body).unwrap();
    assert_eq!((record.sys_flag().0, find(record.properties_text(), "INNER_NUM")), (0, None));
}

#[tokio::test]
async fn a_batch_in_an_ordinary_topic_is_never_whole() {
    let broker = broker();
    let answer = send(&broker, batch("plain", KEY), body(2)).await;
    assert_eq!((answer.code, answer.field("batchUniqId")), (0, None));
    assert_eq!(broker.core.store.find_queue("plain", 0).unwrap().max_offset(), 2);
}

/// The queue entry of a whole batch has no tags: Apache's tag filter lets none of them through.
#[tokio::test]
async fn a_whole_batch_goes_to_who_wants_some_of_its_tags() {
    let broker = broker();
    send(&broker, batch("whole", KEY), body(2)).await;
    assert_eq!(pull(&broker, "whole", 0, "red").await.code, 0);
}

#[tokio::test]
async fn a_message_that_only_says_that_it_is_a_batch_is_illegal() {
    let broker = broker();
    let single = SendMessage { batch: false, ..batch("plain", "INNER_NUM\u{1}2\u{2}") };
    assert_eq!(send(&broker, single, body(2)).await.code, 13);
    let flagged = SendMessage { sys_flag: SysFlag::INNER_BATCH, ..single };
    assert_eq!(send(&broker, flagged, body(2)).await.code, 13);
    let torn = SendMessage { topic: "whole", ..flagged };
    assert_eq!(send(&broker, torn, b"no batch at all".to_vec()).await.code, 13);
    assert_eq!(send(&broker, torn, body(2)).await.code, 0);
    assert_eq!(broker.core.store.find_queue("whole", 0).unwrap().max_offset(), 2);
}

#[tokio::test]
async fn whole_batches_are_there_after_a_crash() {
    let broker = broker();
    send(&broker, batch("whole", KEY), body(3)).await;
    let broker = broker.crashed();
    let answer = send(&broker, batch("whole", KEY), body(2)).await;
    assert_eq!(answer.field("queueOffset"), Some("3"));
    let answer = pull(&broker, "whole", 4, "*").await;
    assert_eq!(RecordView::parse(&answer.body).unwrap().queue_offset(), 3, "the batch that holds the offset asked for");
}
