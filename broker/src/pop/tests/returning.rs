//! Messages that are not acknowledged in time.

use tenonmq_storage::{Permit, Role};

use super::*;

#[tokio::test]
async fn thread_7724_an_acknowledged_message_does_not_come_back() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    let popped = broker.pop().await;
    broker.ack(&popped[0]).await;
    broker.pass(INVISIBLE);
    assert_eq!(bodies(&broker.pop().await), ["b"]);
    broker.pass(INVISIBLE);
    let again = broker.pop().await;
    assert_eq!(bodies(&again), ["b"]);
    broker.ack(&again[0]).await;
    broker.pass(INVISIBLE * 10);
    assert_eq!(broker.pop().await, []);
}

#[tokio::test]
async fn thread_7914_an_unacknowledged_message_is_not_lost_on_its_way_to_the_retry_topic() {
    let broker = TestBroker::with_messages(&[], &["a"]);
    broker.pop().await;
    for times in 1..40 {
        broker.pass(INVISIBLE);
        let again = broker.pop().await;
        assert_eq!((bodies(&again), again[0].times), (vec!["a"], times));
        assert_eq!(again[0].topic, TOPIC, "shown under the topic that was popped");
        assert_eq!(broker.offset(0), Some(1), "the copy is what counts now");
    }
}

#[tokio::test]
async fn thread_3787_a_message_is_not_given_back_before_its_time_is_up() {
    let broker = TestBroker::with_messages(&[], &["a"]);
    broker.pop().await;
    broker.pass(INVISIBLE - Duration::from_millis(1));
    assert_eq!(broker.pop().await, []);
    broker.pass(Duration::from_millis(1));
    assert_eq!(bodies(&broker.pop().await), ["a"]);
}

#[tokio::test]
async fn thread_3443_one_message_that_nobody_acknowledges_does_not_hold_up_the_others() {
    let broker = TestBroker::with_messages(&[], &["stuck"]);
    let stuck = broker.pop().await;
    for n in 0..100 {
        broker.store(TOPIC, 0, format!("{n}").as_bytes());
        let popped = broker.pop().await;
        assert_eq!(popped.len(), 1);
        broker.ack(&popped[0]).await;
    }
    assert_eq!(broker.core.pops.open_leases(), 1, "what is done takes no room");
    broker.pass(INVISIBLE);
    assert_eq!(broker.offset(0), Some(101));
    assert_eq!(broker.ack(&stuck[0]).await, (0, None), "too late, and answered as Apache does");
    assert_eq!(bodies(&broker.pop().await), ["stuck"]);
}

#[tokio::test]
async fn thread_6797_an_acknowledgement_writes_no_message() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    let popped = broker.pop().await;
    let before = broker.core.store.watermarks().appended;
    for message in &popped {
        broker.ack(message).await;
    }
    assert_eq!(broker.core.store.watermarks().appended, before);
}

#[tokio::test]
async fn thread_8479_leases_of_a_deleted_topic_are_over_when_it_is_created_again() {
    let broker = TestBroker::with_messages(&[], &["old"]);
    let old = broker.pop().await;
    crate::admin::topic::delete(&broker.core, TOPIC, "test").unwrap();
    broker.topic(TOPIC, 1);
    broker.store(TOPIC, 0, b"new");
    broker.pass(INVISIBLE);
    assert_eq!(bodies(&broker.pop().await), ["new"]);
    assert_eq!(broker.ack(&old[0]).await.0, 0);
    assert_eq!(broker.core.pops.open_leases(), 1);
    broker.pass(INVISIBLE);
    assert_eq!(bodies(&broker.pop().await), ["new"]);
}

#[tokio::test]
async fn a_deleted_group_has_no_leases() {
    let broker = TestBroker::with_messages(&[], &["a"]);
    broker.pop().await;
    let header = tenonmq_protocol::header::DeleteGroup { group: GROUP, clean_offset: true };
    crate::admin::group::delete(&broker.core, &header, "test");
    assert_eq!(broker.core.pops.open_leases(), 0);
    broker.pass(INVISIBLE);
    assert!(broker.core.topics.get("%RETRY%CG_orders").is_none(), "nothing was returned");
    assert_eq!(bodies(&broker.pop().await), ["a"], "a group of that name begins anew");
}

#[tokio::test]
async fn the_copy_is_the_message_with_one_more_try_and_the_time_of_its_first_pop() {
    let broker = TestBroker::new();
    broker.topic(TOPIC, 1);
    broker.store_with(TOPIC, 0, b"a", "KEYS\u{1}k\u{2}UNIQ_KEY\u{1}id\u{2}TAGS\u{1}A\u{2}", 65);
    let first = broker.core.clock.now_ms();
    broker.pop().await;
    for _ in 0..2 {
        broker.pass(INVISIBLE);
        broker.pop().await;
    }
    let copies = broker.core.store.queue("%RETRY%CG_orders", 0);
    assert_eq!(copies.max_offset(), 2);
    let entry = copies.entry(1).unwrap();
    assert_eq!(entry.tags_code, 65);
    let bytes = broker.core.store.read_entry(&entry).unwrap();
    let copy = RecordView::parse(&bytes).unwrap();
    assert_eq!((copy.reconsume_times(), copy.body()), (2, &b"a"[..]));
    assert_eq!(copy.properties().get("1ST_POP_TIME"), Some(first.to_string().as_str()));
    assert_eq!((copy.properties().get("KEYS"), copy.properties().get("POP_CK")), (Some("k"), None));
    assert_eq!(copy.born_host(), broker.core.identity.get().address);
}

#[tokio::test]
async fn with_the_second_version_copies_go_to_the_topic_with_a_plus_and_both_are_read() {
    let broker = TestBroker::with_messages(&[("enableRetryTopicV2", "true")], &["a"]);
    broker.pop().await;
    broker.pass(INVISIBLE);
    assert_eq!(broker.core.store.queue("%RETRY%CG+orders", 0).max_offset(), 1);
    broker.topic("%RETRY%CG_orders", 1);
    broker.store("%RETRY%CG_orders", 0, b"old");
    let mut found = Vec::new();
    while found.len() < 2 {
        found.extend(broker.pop().await); // one of the two in each pop, by chance
    }
    found.sort_by(|one, other| one.body.cmp(&other.body));
    assert_eq!(bodies(&found), ["a", "old"]);
    for (message, kind) in found.iter().zip(["2", "1"]) {
        assert_eq!(message.handle.split(' ').nth(4), Some(kind));
        assert_eq!(broker.ack(message).await, (0, None));
    }
    assert_eq!(broker.core.pops.open_leases(), 0);
}

#[tokio::test]
async fn a_message_whose_record_is_gone_ends_its_lease() {
    let broker = TestBroker::with_messages(&[], &["a"]);
    broker.pop().await;
    broker.core.store.delete_topic(TOPIC).unwrap(); // behind the back of the leases
    broker.pass(INVISIBLE);
    assert_eq!(broker.core.pops.open_leases(), 0);
}

#[tokio::test]
async fn a_message_that_is_not_done_after_the_last_try_goes_to_the_dead_letters_if_that_is_wanted() {
    let broker = TestBroker::with_messages(&[("popDeadLetterEnable", "true")], &["a"]);
    let group = broker.core.groups.find_or_create(GROUP).unwrap();
    let twice = tenonmq_protocol::body::SubscriptionGroupConfig { retry_max_times: 1, ..(*group).clone() };
    broker.core.groups.put(twice).unwrap();
    broker.pop().await;
    broker.pass(INVISIBLE);
    let last = broker.pop().await;
    assert_eq!((bodies(&last), last[0].times), (vec!["a"], 1));
    broker.pass(INVISIBLE);
    assert_eq!(broker.pop().await, []);
    let letters = broker.core.store.queue("%DLQ%CG", 0);
    let bytes = broker.core.store.read_entry(&letters.entry(0).unwrap()).unwrap();
    let letter = RecordView::parse(&bytes).unwrap();
    assert_eq!((letters.max_offset(), letter.body(), letter.reconsume_times()), (1, &b"a"[..], 2));
    assert_eq!(letter.properties().get("RETRY_TOPIC"), Some(TOPIC), "where it was sent, not where it was retried");
    assert_eq!(broker.core.pops.open_leases(), 0);
}

#[tokio::test]
async fn a_slave_neither_pops_nor_returns() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    let one = PopMessage { max_count: 1, ..any() };
    assert_eq!(bodies(&messages(&broker.ask(&Peer::new(1), &one).await)), ["a"]);
    broker.core.store.set_permit(Permit { role: Role::Slave, epoch: 1 });
    let answer = broker.ask(&Peer::new(1), &any()).await;
    assert_eq!((answer.code, answer.body.len()), (210, 0));
    broker.pass(INVISIBLE);
    broker.core.store.set_permit(Permit { role: Role::Master, epoch: 2 });
    assert_eq!(bodies(&broker.pop().await), ["b"], "nothing was returned meanwhile");
    broker.pass(Duration::ZERO);
    assert_eq!(bodies(&broker.pop().await), ["a"]);
}
