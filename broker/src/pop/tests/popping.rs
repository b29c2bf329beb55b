//! What a pop takes and how it is answered.

use tenonmq_protocol::message::properties::tags_code;

use super::*;

#[tokio::test]
async fn a_message_is_popped_once_and_the_offset_waits_for_its_acknowledgement() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c"]);
    let popped = broker.pop().await;
    assert_eq!(bodies(&popped), ["a", "b", "c"]);
    assert_eq!(broker.pop().await, []);
    assert_eq!(broker.offset(0), Some(0));
    assert_eq!(broker.ack(&popped[1]).await, (0, None));
    assert_eq!(broker.offset(0), Some(0), "a is leased");
    assert_eq!(broker.ack(&popped[0]).await, (0, None));
    assert_eq!(broker.offset(0), Some(2), "c is leased");
    assert_eq!(broker.ack(&popped[2]).await, (0, None));
    assert_eq!(broker.offset(0), Some(3));
}

#[tokio::test]
async fn an_answer_has_what_clients_make_handles_of() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c", "d"]);
    let answer = broker.ask(&Peer::new(1), &PopMessage { max_count: 3, ..any() }).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (0, Some("FOUND")));
    let told = ["popTime", "invisibleTime", "reviveQid", "restNum", "startOffsetInfo", "msgOffsetInfo"];
    let now = broker.core.clock.now_ms().to_string();
    assert_eq!(
        told.map(|name| answer.field(name).unwrap().to_owned()),
        [now.as_str(), "60000", "0", "1", "0 0 0", "0 0 0,1,2"]
    );
    assert_eq!(answer.field("orderCountInfo"), None);
    let answer = broker.ask(&Peer::new(1), &any()).await;
    assert_eq!(told.map(|name| answer.field(name).unwrap().to_owned())[2..], ["1", "0", "0 0 3", "0 0 3"]);
}

#[tokio::test]
async fn a_pop_of_any_queue_reads_all_and_one_of_a_queue_that_one() {
    let broker = TestBroker::new();
    broker.topic(TOPIC, 3);
    (0..3).for_each(|queue_id| {
        broker.store(TOPIC, queue_id, format!("q{queue_id}").as_bytes());
    });
    let one = messages(&broker.ask(&Peer::new(1), &PopMessage { queue_id: 1, ..any() }).await);
    assert_eq!(bodies(&one), ["q1"]);
    let mut others = bodies(&broker.pop().await).into_iter().map(str::to_owned).collect::<Vec<_>>();
    others.sort();
    assert_eq!(others, ["q0", "q2"]);
}

#[tokio::test]
async fn messages_that_the_filter_keeps_out_are_passed_over_and_the_start_is_where_the_pop_began() {
    let broker = TestBroker::new();
    broker.topic(TOPIC, 1);
    for tag in ["A", "B", "A", "B"] {
        broker.store_with(TOPIC, 0, tag.as_bytes(), &format!("TAGS\u{1}{tag}\u{2}"), tags_code(Some(tag)));
    }
    let only_b = PopMessage { expression: Some("B"), expression_type: Some("TAG"), ..any() };
    let answer = broker.ask(&Peer::new(1), &only_b).await;
    assert_eq!((answer.field("startOffsetInfo"), answer.field("msgOffsetInfo")), (Some("0 0 0"), Some("0 0 1,3")));
    let popped = messages(&answer);
    assert_eq!(broker.offset(0), Some(1), "nobody waits for message 0");
    broker.ack(&popped[0]).await;
    assert_eq!(broker.offset(0), Some(3));
    broker.ack(&popped[1]).await;
    assert_eq!(broker.offset(0), Some(4));
}

#[tokio::test]
async fn a_new_group_begins_at_the_first_message_or_at_the_last_one() {
    let broker = TestBroker::with_messages(&[("initPopOffsetByCheckMsgInMem", "false")], &["a", "b", "c"]);
    let popped = messages(&broker.ask(&Peer::new(1), &PopMessage { init_mode: 1, ..any() }).await);
    assert_eq!(bodies(&popped), ["c"]);
    let young = TestBroker::with_messages(&[], &["a", "b", "c"]);
    let popped = messages(&young.ask(&Peer::new(1), &PopMessage { init_mode: 1, ..any() }).await);
    assert_eq!(bodies(&popped), ["a", "b", "c"], "a young queue is read from its start");
}

#[tokio::test]
async fn what_cannot_be_popped_is_refused_with_apaches_code() {
    let broker = TestBroker::with_messages(&[("autoCreateSubscriptionGroup", "false")], &[]);
    let peer = Peer::new(1);
    let ask = async |header: PopMessage<'static>| {
        let answer = broker.ask(&peer, &header).await;
        (answer.code, answer.remark.unwrap())
    };
    assert_eq!(ask(any()).await.0, 26);
    assert_eq!(ask(PopMessage { topic: "none", ..any() }).await.0, 17);
    let (code, remark) = ask(PopMessage { max_count: 33, ..any() }).await;
    assert_eq!((code, remark.as_str()), (29, "the broker[127.0.0.1] pop message's num is greater than 32"));
    let (code, remark) = ask(PopMessage { queue_id: 1, ..any() }).await;
    assert_eq!(code, 29);
    assert!(remark.starts_with("queueId[1] is illegal, topic:[orders] topicConfig.readQueueNums:[1]"), "{remark}");
    let now = broker.core.clock.now_ms();
    let (code, remark) = ask(PopMessage { born_time: now - 1_501, poll_millis: 1_000, ..any() }).await;
    assert_eq!((code, remark.as_str()), (210, "the broker[127.0.0.1] pop message is timeout too much"));
    let long = "a".repeat(2_000);
    let attempt = PopMessage { attempt_id: Some(Box::leak(long.into_boxed_str())), order: true, ..any() };
    assert!(ask(attempt).await.1.starts_with("attemptId"));
}

#[tokio::test]
async fn nothing_to_pop_and_no_wish_to_wait_is_a_timeout() {
    let broker = TestBroker::with_messages(&[], &[]);
    let answer = broker.ask(&Peer::new(1), &any()).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (210, Some("NO_MESSAGE_IN_QUEUE")));
    assert_eq!(answer.field("restNum"), Some("0"));
}

#[tokio::test]
async fn a_reset_by_an_operator_ends_the_leases_behind_it() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c"]);
    let first = broker.pop().await;
    assert!(broker.core.offsets.reset(GROUP, TOPIC, 0, 1));
    let again = broker.pop().await;
    assert_eq!(bodies(&again), ["b", "c"]);
    broker.ack(&again[0]).await;
    broker.ack(&again[1]).await;
    assert_eq!(broker.offset(0), Some(0), "a is leased still");
    broker.ack(&first[0]).await;
    assert_eq!(broker.offset(0), Some(3));
}

#[tokio::test]
async fn an_offset_outside_the_queue_is_corrected() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    broker.core.offsets.set(GROUP, TOPIC, 0, 100);
    assert_eq!(broker.pop().await, []);
    broker.store(TOPIC, 0, b"c");
    assert_eq!(bodies(&broker.pop().await), ["c"]);
}

#[tokio::test]
async fn too_many_unacknowledged_messages_stop_a_group() {
    let settings = [("enablePopMessageThreshold", "true"), ("popInflightMessageThreshold", "1")];
    let broker = TestBroker::with_messages(&settings, &["a", "b", "c"]);
    let two = messages(&broker.ask(&Peer::new(1), &PopMessage { max_count: 2, ..any() }).await);
    assert_eq!(bodies(&two), ["a", "b"]);
    let answer = broker.ask(&Peer::new(1), &any()).await;
    assert_eq!((answer.code, answer.field("restNum")), (210, Some("1")));
    broker.ack(&two[0]).await;
    assert_eq!(bodies(&broker.pop().await), ["c"]);
}

#[tokio::test]
async fn a_peek_takes_nothing() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    let peek =
        tenonmq_protocol::header::PeekMessage { consumer_group: GROUP, topic: TOPIC, queue_id: -1, max_count: 1 };
    let answer = broker.ask(&Peer::new(1), &peek).await;
    assert_eq!((answer.code, answer.field("restNum")), (0, Some("2")));
    assert_eq!(RecordView::parse(&answer.body).unwrap().body(), b"a");
    assert_eq!(bodies(&broker.pop().await), ["a", "b"]);
    assert_eq!(broker.ask(&Peer::new(1), &peek).await.code, 19);
}

#[tokio::test]
async fn conditions_on_properties_choose_what_is_popped_and_bad_ones_are_refused() {
    let broker = TestBroker::new();
    broker.topic(TOPIC, 1);
    for amount in ["5", "50", "x"] {
        broker.store_with(TOPIC, 0, amount.as_bytes(), &format!("amount\u{1}{amount}\u{2}"), 0);
    }
    let pop = |expression| PopMessage { expression: Some(expression), expression_type: Some("SQL92"), ..any() };
    let answer = broker.ask(&Peer::new(1), &pop("amount > 10 AND")).await;
    assert_eq!(answer.code, 23);
    let popped = messages(&broker.ask(&Peer::new(1), &pop("amount > 10")).await);
    assert_eq!(bodies(&popped), ["50"]);
    assert_eq!(broker.offset(0), Some(1), "nobody waits for what does not match");
    broker.ack(&popped[0]).await;
    assert_eq!(broker.offset(0), Some(3));
}

#[tokio::test]
async fn thread_7031_what_groups_have_popped_leaves_nothing_in_memory() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    let groups: Vec<String> = (0..50).map(|n| format!("group-{n}")).collect();
    for group in &groups {
        let header = PopMessage { consumer_group: group, max_count: 2, ..any() };
        let answer = broker.ask(&Peer::new(1), &header).await;
        let popped = messages(&answer);
        let ack = AckMessage {
            consumer_group: group,
            topic: TOPIC,
            queue_id: 0,
            extra_info: &popped[0].handle,
            offset: 0,
            broker_name: None,
        };
        assert_eq!(broker.ask(&Peer::new(1), &ack).await.code, 0);
    }
    assert_eq!(broker.core.pops.open_leases(), 50);
    broker.pass(INVISIBLE);
    assert_eq!(broker.core.pops.open_leases(), 0, "what was returned has no lease");
    groups.iter().for_each(|group| broker.core.pops.remove_group(group));
    assert_eq!(broker.core.pops.table.all().len(), 0);
}
