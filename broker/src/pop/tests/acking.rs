//! Acknowledging, and giving messages another time.

use tenonmq_protocol::{
    body::{BatchAck, BatchAckRequest, json},
    code::RequestCode,
};

use super::*;

async fn batch(broker: &TestBroker, request: &BatchAckRequest) -> (i32, Option<String>) {
    let command = Command::request(RequestCode::BATCH_ACK_MESSAGE).with_body(json::to_vec(request));
    let answer = broker.call(&Peer::new(1), command).await;
    (answer.code, answer.remark)
}

fn batch_of(message: &Message, offsets: &[i64]) -> BatchAck {
    let handle = ReceiptHandle::parse(&message.handle).unwrap();
    let mut ack = BatchAck {
        consumer_group: GROUP.into(),
        topic: TOPIC.into(),
        kind: "0".into(),
        queue_id: handle.queue_id,
        start_offset: handle.start_offset,
        pop_time: handle.pop_time,
        invisible_millis: handle.invisible_millis,
        revive_queue_id: handle.revive_queue_id,
        ..BatchAck::default()
    };
    assert!(offsets.iter().all(|offset| ack.mark(*offset)));
    ack
}

#[tokio::test]
async fn a_batch_acknowledges_each_of_its_messages() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c"]);
    let popped = broker.pop().await;
    let acks = vec![batch_of(&popped[0], &[0, 2, 40])];
    let request = BatchAckRequest { acks, broker_name: "broker-a".into() };
    assert_eq!(batch(&broker, &request).await, (0, None));
    assert_eq!(broker.offset(0), Some(1));
    broker.ack(&popped[1]).await;
    assert_eq!(broker.offset(0), Some(3));
}

#[tokio::test]
async fn a_batch_of_nothing_is_refused() {
    let broker = TestBroker::with_messages(&[], &["a"]);
    let answer = broker.call(&Peer::new(1), Command::request(RequestCode::BATCH_ACK_MESSAGE)).await;
    assert_eq!(answer.code, 208);
    assert_eq!(batch(&broker, &BatchAckRequest::default()).await.0, 208);
    let kind = BatchAck { kind: "7".into(), ..BatchAck::default() };
    let request = BatchAckRequest { acks: vec![kind], broker_name: String::new() };
    assert_eq!(batch(&broker, &request).await, (1, Some("r: \"7\" is no kind of topic".into())));
}

#[tokio::test]
async fn a_handle_of_another_queue_topic_or_broker_changes_nothing_and_is_named() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    let popped = broker.pop().await;
    let with = |from: &str, to: &str| Message { handle: popped[0].handle.replacen(from, to, 1), ..popped[0].clone() };
    for (odd, word) in [
        (with(" broker-a 0", " broker-b 0"), "broker"),
        (with("broker-a 0", "broker-a 1"), "queue"),
        (Message { handle: popped[0].handle.replacen(" 0 broker-a", " 1 broker-a", 1), ..popped[0].clone() }, "kind"),
    ] {
        let header = AckMessage {
            consumer_group: GROUP,
            topic: TOPIC,
            queue_id: 0,
            extra_info: &odd.handle,
            offset: 0,
            broker_name: None,
        };
        let answer = broker.ask(&Peer::new(1), &header).await;
        let remark = answer.remark.unwrap_or_default();
        assert_eq!(answer.code, 0);
        assert!(remark.starts_with("extraInfo: ") && remark.contains(word), "{remark}");
    }
    assert_eq!(broker.offset(0), Some(0));
}

#[tokio::test]
async fn a_forged_or_broken_handle_acknowledges_nothing() {
    let broker = TestBroker::with_messages(&[], &["a"]);
    let popped = broker.pop().await;
    let broken = AckMessage {
        consumer_group: GROUP,
        topic: TOPIC,
        queue_id: 0,
        extra_info: "0 x",
        offset: 0,
        broker_name: None,
    };
    let answer = broker.ask(&Peer::new(1), &broken).await;
    assert_eq!(answer.code, 1);
    assert!(answer.remark.unwrap().contains("extraInfo"));
    let forged = AckMessage { extra_info: "0 5 60000 0 0 broker-a 0 0", ..broken };
    assert_eq!(broker.ask(&Peer::new(1), &forged).await.code, 0, "as Apache answers");
    let ordered = AckMessage { extra_info: "0 5 60000 999 0 broker-a 0 0", ..broken };
    assert_eq!(broker.ask(&Peer::new(1), &ordered).await.code, 0);
    let other_group = AckMessage { consumer_group: "CG2", extra_info: &popped[0].handle, ..broken };
    assert_eq!(broker.ask(&Peer::new(1), &other_group).await.code, 0);
    assert_eq!(broker.offset(0), Some(0));
}

#[tokio::test]
async fn offsets_beyond_the_queue_and_queues_that_are_not_there_have_apaches_codes() {
    let broker = TestBroker::with_messages(&[], &["a"]);
    let popped = broker.pop().await;
    let own = AckMessage {
        consumer_group: GROUP,
        topic: TOPIC,
        queue_id: 0,
        extra_info: &popped[0].handle,
        offset: 2,
        broker_name: None,
    };
    let answer = broker.ask(&Peer::new(1), &own).await;
    let remark = "offset is illegal, key:orders@0, commit:2, store:0~1";
    assert_eq!((answer.code, answer.remark.as_deref()), (208, Some(remark)));
    assert_eq!(broker.ask(&Peer::new(1), &AckMessage { queue_id: 1, ..own }).await.code, 13);
    assert_eq!(broker.ask(&Peer::new(1), &AckMessage { topic: "none", ..own }).await.code, 17);
    let later = ChangeInvisibleTime {
        consumer_group: GROUP,
        topic: TOPIC,
        queue_id: 0,
        extra_info: &popped[0].handle,
        offset: 1,
        invisible_millis: 1,
        broker_name: None,
    };
    assert_eq!(broker.ask(&Peer::new(1), &later).await.code, 208);
}

#[tokio::test]
async fn a_message_with_another_time_has_a_lease_of_its_own() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c"]);
    let mut popped = broker.pop().await;
    let answer = broker.change(&mut popped[1], Duration::from_secs(100)).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (0, Some("not set any response code")));
    assert_eq!((answer.field("invisibleTime"), answer.field("reviveQid")), (Some("100000"), Some("0")));
    broker.ack(&popped[0]).await;
    broker.ack(&popped[2]).await;
    assert_eq!(broker.offset(0), Some(1));
    broker.pass(Duration::from_secs(99));
    assert_eq!(broker.pop().await, [], "its time is not up");
    broker.ack(&popped[1]).await;
    assert_eq!(broker.offset(0), Some(3));
}

#[tokio::test]
async fn the_old_handle_of_a_message_with_another_time_is_worth_nothing() {
    let broker = TestBroker::with_messages(&[], &["a"]);
    let mut popped = broker.pop().await;
    let old = popped[0].clone();
    broker.advance(Duration::from_secs(1));
    broker.change(&mut popped[0], Duration::from_secs(10)).await;
    assert_eq!(broker.ack(&old).await.0, 0);
    assert_eq!(broker.offset(0), Some(0));
    broker.pass(Duration::from_secs(10));
    assert_eq!(bodies(&broker.pop().await), ["a"]);
}

#[tokio::test]
async fn an_acknowledged_message_cannot_be_prolonged_back_to_life() {
    let broker = TestBroker::with_messages(&[], &["a"]);
    let mut popped = broker.pop().await;
    broker.ack(&popped[0]).await;
    let answer = broker.change(&mut popped[0], Duration::from_secs(10)).await;
    assert_eq!(answer.code, 0);
    assert!(answer.remark.unwrap().starts_with("extraInfo: no such message is leased"));
    broker.pass(INVISIBLE);
    assert_eq!(broker.pop().await, []);
}

#[tokio::test]
async fn the_list_of_leases_tells_what_is_open() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c"]);
    let popped = broker.pop().await;
    broker.ack(&popped[1]).await;
    let asked = tenonmq_protocol::body::ListLeases { group: GROUP.into(), ..Default::default() };
    let list = crate::pop::operator::list(&broker.core, &asked).unwrap();
    assert_eq!((list.total, list.messages), (1, 2));
    let lease = &list.leases[0];
    assert_eq!((lease.start, lease.count, lease.acked, &lease.pending[..]), (0, 3, 1, &[0, 2][..]));
    assert_eq!(lease.deadline, broker.core.clock.now_ms() + 60_000);
    assert!(crate::pop::operator::list(&broker.core, &Default::default()).is_err());
}

#[tokio::test]
async fn the_queues_with_leases_are_listed_over_all_groups() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c"]);
    let popped = broker.pop().await;
    broker.ack(&popped[0]).await;
    let other = PopMessage { consumer_group: "other", order: true, ..any() };
    broker.ask(&Peer::new(1), &other).await;
    let found = crate::pop::operator::queues(&broker.core, &Default::default());
    assert_eq!((found.total, found.open), (2, 1));
    let (one, ordered) = (&found.queues[0], &found.queues[1]);
    assert_eq!((&*one.group, one.leases, one.messages, one.offset, one.next), (GROUP, 1, 2, 1, 3));
    assert_eq!(one.next_due, Some(broker.core.clock.now_ms() + 60_000));
    assert_eq!((&*ordered.group, ordered.messages, ordered.ordered), ("other", 3, true));
    broker.ack(&popped[1]).await;
    broker.ack(&popped[2]).await;
    let asked = tenonmq_protocol::body::ListLeaseQueues { group: Some(GROUP.into()), ..Default::default() };
    assert_eq!(crate::pop::operator::queues(&broker.core, &asked).queues, [], "all is done");
}
