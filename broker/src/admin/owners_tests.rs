use std::time::Duration;

use tenonmq_protocol::{
    Command, RequestCode,
    body::{ConsumerData, HeartbeatData, SubscriptionData, json},
    header::PullMessage,
};

use super::*;
use crate::remoting::testing::{Peer, TestBroker};

async fn join(broker: &TestBroker, peer: &Peer, client_id: &str, topic: &str) {
    let orders = SubscriptionData { topic: topic.into(), sub_version: 1, ..SubscriptionData::default() };
    let consumer =
        ConsumerData { group_name: "billing".into(), subscription_data_set: vec![orders], ..ConsumerData::default() };
    let data =
        HeartbeatData { client_id: client_id.into(), consumer_data_set: vec![consumer], ..HeartbeatData::default() };
    let command = Command::request(RequestCode::HEART_BEAT).with_body(json::to_vec(&data));
    assert_eq!(broker.call(peer, command).await.code, 0);
}

async fn pull(broker: &TestBroker, peer: &Peer, queue_id: i32) {
    let header = PullMessage {
        consumer_group: "billing",
        topic: "orders",
        queue_id,
        max_count: 32,
        subscription: Some("*"),
        ..PullMessage::default()
    };
    broker.ask(peer, &header).await;
}

async fn ask(broker: &TestBroker) -> OwnerList {
    let asked = ListOwners { group: "billing".into(), topic: "orders".into() };
    broker.desk(&Peer::new(99), &asked).await.unwrap()
}

fn orders(broker: &TestBroker) {
    broker.topic("orders", 2);
    broker.core.groups.find_or_create("billing").unwrap();
    (0..5).for_each(|_| _ = broker.store("orders", 0, b"x"));
    broker.core.offsets.commit("billing", "orders", 0, 2);
}

fn causes(list: &OwnerList) -> Vec<Option<&str>> {
    list.queues.iter().map(|queue| queue.idle.as_deref()).collect()
}

/// #9830, #1918: after a rebalance one queue was read by nobody, and nothing said so.
#[tokio::test]
async fn thread_9830_1918_a_queue_that_nobody_reads_is_shown_with_its_cause() {
    let (broker, one) = (TestBroker::new(), Peer::new(1));
    orders(&broker);
    let list = ask(&broker).await;
    assert_eq!(causes(&list), [Some("no member of the group is connected"); 2]);

    join(&broker, &one, "one", "payments").await;
    assert_eq!(causes(&ask(&broker).await), [Some("no member subscribes to the topic"); 2]);

    join(&broker, &one, "one", "orders").await;
    broker.advance(Duration::from_secs(90));
    pull(&broker, &one, 0).await;
    let list = ask(&broker).await;
    assert_eq!(causes(&list), [None, Some("not pulled since the broker started 90 s ago")]);
    assert_eq!((list.queues[0].owner.as_deref(), &*list.queues[0].owner_by), (Some("one"), "pull"));
    assert_eq!((list.queues[0].committed, list.queues[0].max, list.queues[0].lag), (Some(2), 5, 3));
    assert_eq!((list.members.len(), &*list.members[0].client_id), (1, "one"));

    broker.advance(Duration::from_secs(61));
    assert_eq!(causes(&ask(&broker).await)[0], Some("last pull 61 s ago"));
}

#[tokio::test]
async fn a_lock_names_its_owner_and_a_reset_that_waits_is_mentioned() {
    let (broker, one, two) = (TestBroker::new(), Peer::new(1), Peer::new(2));
    orders(&broker);
    join(&broker, &one, "one", "orders").await;
    join(&broker, &two, "two", "orders").await;
    let queue = MessageQueue::new("orders", "broker-a", 1);
    broker.core.locks.lock("billing", "two", vec![queue], broker.core.clock.now_ms());
    broker.core.offsets.reset("billing", "orders", 1, 0);
    let list = ask(&broker).await;
    assert_eq!((list.queues[1].owner.as_deref(), &*list.queues[1].owner_by), (Some("two"), "lock"));
    let cause = "not pulled since the broker started 0 s ago; locked by two; a reset waits for the next pull";
    assert_eq!(causes(&list)[1], Some(cause));

    pull(&broker, &one, 0).await;
    broker.close(&one);
    assert_eq!(causes(&ask(&broker).await)[0], Some("its last reader has left"));
}

#[tokio::test]
async fn groups_and_topics_that_do_not_exist_are_named() {
    let broker = TestBroker::new();
    let asked = ListOwners { group: "billing".into(), topic: "orders".into() };
    let refused = broker.desk(&Peer::new(1), &asked).await.unwrap_err();
    assert_eq!(refused, (17, "topic: \"orders\" does not exist".into()));
    broker.topic("orders", 1);
    let refused = broker.desk(&Peer::new(1), &asked).await.unwrap_err();
    assert_eq!(refused, (26, "group: \"billing\" does not exist".into()));
}
