//! A broker that dies with leases open.

use super::*;

#[tokio::test]
async fn leases_and_acknowledgements_survive_a_crash() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c"]);
    let popped = broker.pop().await;
    broker.ack(&popped[1]).await;
    let broker = broker.crashed();
    assert_eq!(broker.core.pops.open_leases(), 1);
    assert_eq!(broker.pop().await, [], "a and c are leased, b is done");
    assert_eq!(broker.ack(&popped[0]).await, (0, None));
    let broker = broker.crashed();
    broker.pass(INVISIBLE);
    assert_eq!(bodies(&broker.pop().await), ["c"]);
    assert_eq!(broker.offset(0), Some(3));
}

#[tokio::test]
async fn a_time_that_was_changed_survives_a_crash() {
    let broker = TestBroker::with_messages(&[], &["a", "b"]);
    let mut popped = broker.pop().await;
    broker.change(&mut popped[1], INVISIBLE * 2).await;
    let broker = broker.crashed();
    broker.pass(INVISIBLE);
    assert_eq!(bodies(&broker.pop().await), ["a"]);
    assert_eq!(broker.ack(&popped[1]).await, (0, None));
    broker.pass(INVISIBLE * 2);
    assert_eq!(bodies(&broker.pop().await), ["a"]);
}

#[tokio::test]
async fn a_copy_that_was_made_and_not_noted_is_recognised() {
    let broker = TestBroker::new();
    broker.topic(TOPIC, 1);
    broker.store_with(TOPIC, 0, b"a", "UNIQ_KEY\u{1}id-1\u{2}", 0);
    broker.pop().await;
    let folder = broker.folder().join("tenonmq").join("pop-leases");
    let log = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let before = std::fs::read(&log).unwrap();
    broker.pass(INVISIBLE); // the copy is made, and noted
    broker.core.offsets.set(GROUP, TOPIC, 0, 0);
    let broker = broker.restarted_after(|| std::fs::write(&log, &before).unwrap()); // and the note is lost
    assert_eq!(broker.core.pops.open_leases(), 1);
    broker.pass(Duration::ZERO);
    assert_eq!(broker.core.store.queue("%RETRY%CG_orders", 0).max_offset(), 1, "one copy");
    assert_eq!(bodies(&broker.pop().await), ["a"]);
    assert_eq!(broker.pop().await, []);
}

#[tokio::test]
async fn a_group_that_was_moved_on_by_another_broker_has_no_leases_before_that() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c"]);
    let popped = broker.pop().await;
    broker.core.offsets.set(GROUP, TOPIC, 0, 2); // what Apache's broker would have saved
    let broker = broker.restarted();
    broker.pass(INVISIBLE);
    assert_eq!(bodies(&broker.pop().await), ["c"]);
    assert_eq!(broker.ack(&popped[0]).await, (0, None));
}

#[tokio::test]
async fn leases_of_a_topic_that_another_broker_deleted_and_created_are_dropped() {
    let broker = TestBroker::with_messages(&[], &["old", "old"]);
    broker.pop().await;
    broker.core.store.delete_topic(TOPIC).unwrap();
    broker.store(TOPIC, 0, b"new");
    broker.core.offsets.remove_topic(TOPIC);
    let broker = broker.restarted();
    broker.pass(INVISIBLE);
    assert_eq!(bodies(&broker.pop().await), ["new"]);
}

/// What a power cut leaves of a queue may be shorter than what was popped of it.
#[tokio::test]
async fn what_comes_to_a_queue_that_was_cut_is_popped_after_a_second_crash_too() {
    let broker = TestBroker::with_messages(&[], &["old", "old", "old"]);
    broker.pop().await;
    broker.core.store.delete_topic(TOPIC).unwrap();
    broker.store(TOPIC, 0, b"0");
    broker.core.offsets.remove_topic(TOPIC);
    let broker = broker.crashed();
    for body in [b"1", b"2", b"3", b"4"] {
        broker.store(TOPIC, 0, body); // nobody pops meanwhile
    }
    let broker = broker.crashed();
    assert_eq!(bodies(&broker.pop().await), ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn what_lies_where_leases_of_other_messages_were_is_popped() {
    let broker = TestBroker::new();
    for topic in ["another", TOPIC, TOPIC] {
        broker.topic(topic, 1);
        broker.store(topic, 0, b"old");
    }
    broker.pop().await;
    broker.core.store.delete_topic(TOPIC).unwrap();
    for body in [b"0", b"1", b"2"] {
        broker.store(TOPIC, 0, body);
    }
    broker.core.offsets.remove_topic(TOPIC);
    let broker = broker.crashed();
    assert_eq!(bodies(&broker.pop().await), ["0", "1", "2"]);
}

#[tokio::test]
async fn a_log_that_is_told_anew_tells_the_same() {
    let broker = TestBroker::with_messages(&[], &["a", "b", "c"]);
    let popped = broker.pop().await;
    broker.ack(&popped[0]).await;
    broker.core.pops.renew_log(&broker.core.store).unwrap();
    broker.ack(&popped[1]).await;
    let files = std::fs::read_dir(broker.folder().join("tenonmq").join("pop-leases")).unwrap().count();
    assert_eq!(files, 1);
    let broker = broker.crashed();
    broker.pass(INVISIBLE);
    assert_eq!(bodies(&broker.pop().await), ["c"]);
}
