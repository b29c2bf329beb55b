use tenonmq_protocol::{
    Language,
    body::{ConsumeFromWhere, ConsumeType, MessageModel},
    message::properties::java_hash,
};

use super::*;
use crate::{
    filter::{Expressions, Filter},
    remoting::testing::Peer,
};

const NOW: i64 = 1_000_000;

fn info<'a>(peer: &'a Peer, client_id: &'a str) -> ClientInfo<'a> {
    ClientInfo { connection: &peer.connection, client_id, language: Language::Java, version: 479 }
}

fn data(group: &str) -> ConsumerData {
    ConsumerData { group_name: group.into(), ..ConsumerData::default() }
}

fn wants(topic: &str, expression: &str, version: i64) -> SubscriptionData {
    let tags: Vec<String> = expression.split("||").filter(|tag| *tag != "*").map(Into::into).collect();
    SubscriptionData {
        topic: topic.into(),
        sub_string: expression.into(),
        code_set: tags.iter().map(|tag| java_hash(tag)).collect(),
        tags_set: tags,
        sub_version: version,
        ..SubscriptionData::default()
    }
}

fn join(clients: &Clients, peer: &Peer, client_id: &str, group: &str, topics: &[SubscriptionData]) -> Heard {
    clients.consumer_heard(&info(peer, client_id), &data(group), Some(topics), 0, NOW).unwrap().1
}

fn names(groups: &[Left]) -> Vec<&str> {
    groups.iter().map(|left| &**left.group.name()).collect()
}

#[test]
fn a_first_heartbeat_joins_and_the_next_changes_nothing() {
    let (clients, one) = (Clients::default(), Peer::new(1));
    let first = join(&clients, &one, "one", "billing", &[wants("orders", "*", 1)]);
    assert_eq!(first, Heard { joined: true, topics_changed: true, ..Heard::default() });
    let second = join(&clients, &one, "one", "billing", &[wants("orders", "*", 1)]);
    assert_eq!(second, Heard::default());
    assert!(!second.rebalances());
}

#[test]
fn a_newer_version_replaces_a_subscription_without_a_rebalance() {
    let (clients, one) = (Clients::default(), Peer::new(1));
    join(&clients, &one, "one", "billing", &[wants("orders", "a", 5)]);
    let heard = join(&clients, &one, "one", "billing", &[wants("orders", "b", 6)]);
    assert!(!heard.rebalances());
    let subscription = clients.subscription("billing", "orders").unwrap();
    assert_eq!((&*subscription.data.sub_string, subscription.data.sub_version), ("b", 6));
    join(&clients, &one, "one", "billing", &[wants("orders", "a", 5)]);
    assert_eq!(clients.subscription("billing", "orders").unwrap().data.sub_string, "b", "older versions do not count");
}

#[test]
fn a_topic_that_comes_or_goes_is_a_rebalance() {
    let (clients, one) = (Clients::default(), Peer::new(1));
    join(&clients, &one, "one", "billing", &[wants("orders", "*", 1)]);
    let both = [wants("orders", "*", 1), wants("refunds", "*", 2)];
    assert!(join(&clients, &one, "one", "billing", &both).topics_changed);
    assert_eq!(clients.subscribers("refunds").len(), 1);
    assert!(join(&clients, &one, "one", "billing", &both[1..]).topics_changed);
    assert!(clients.subscription("billing", "orders").is_none());
    assert!(clients.subscribers("orders").is_empty());
}

#[test]
fn the_last_heartbeat_says_how_the_group_consumes() {
    let (clients, one) = (Clients::default(), Peer::new(1));
    join(&clients, &one, "one", "billing", &[wants("orders", "*", 1)]);
    let changed = ConsumerData {
        message_model: MessageModel::Broadcasting,
        consume_type: ConsumeType::Actively,
        consume_from_where: ConsumeFromWhere::Timestamp,
        ..data("billing")
    };
    clients.consumer_heard(&info(&one, "one"), &changed, Some(&[wants("orders", "*", 1)]), 0, NOW).unwrap();
    let group = clients.consumer_group("billing").unwrap();
    assert!(group.is_broadcasting());
    assert_eq!(group.view().consume_type, ConsumeType::Actively);
    assert_eq!(group.view().consume_from_where, ConsumeFromWhere::Timestamp);
    assert!(group.subscription("orders").is_some());
}

#[test]
fn only_tag_expressions_filter_by_tag() {
    let filter = |data: SubscriptionData| Subscription::new(data, &Expressions::default()).filter;
    assert_eq!(filter(wants("orders", "*", 1)), Filter::ALL);
    assert_eq!(filter(wants("orders", "a||b", 1)), Filter::of_codes([java_hash("a"), java_hash("b")]));
    let typed =
        |kind: Option<&str>| SubscriptionData { expression_type: kind.map(Into::into), ..wants("orders", "a", 1) };
    for kind in [None, Some(""), Some("TAG")] {
        assert_eq!(filter(typed(kind)), Filter::of_codes([java_hash("a")]), "{kind:?}");
    }
    assert!(filter(typed(Some("SQL92"))).needs_record());
    assert_eq!(filter(typed(Some("XPATH"))), Filter::NOTHING);
}

#[test]
fn a_heartbeat_without_subscriptions_keeps_those_that_are_known() {
    let (clients, one) = (Clients::default(), Peer::new(1));
    let heartbeat = |topics: Option<&[SubscriptionData]>, fingerprint| {
        clients.consumer_heard(&info(&one, "one"), &data("billing"), topics, fingerprint, NOW).unwrap().1
    };
    assert!(!heartbeat(Some(&[wants("orders", "*", 1)]), 77).wants_subscriptions);
    assert_eq!(heartbeat(None, 77), Heard::default());
    assert!(clients.subscription("billing", "orders").is_some());
}

#[test]
fn another_fingerprint_asks_for_the_subscriptions_once() {
    let (clients, one, two) = (Clients::default(), Peer::new(1), Peer::new(2));
    let heartbeat = |peer, fingerprint| {
        let topics = [wants("orders", "*", 1)];
        clients.consumer_heard(&info(peer, "x"), &data("billing"), Some(&topics), fingerprint, NOW).unwrap().1
    };
    assert!(!heartbeat(&one, 77).wants_subscriptions);
    assert!(heartbeat(&two, 78).wants_subscriptions);
    assert!(!heartbeat(&two, 78).wants_subscriptions);
}

#[test]
fn a_heartbeat_without_subscriptions_to_a_group_that_knows_none_asks_for_them() {
    let (clients, one) = (Clients::default(), Peer::new(1));
    let (_, heard) = clients.consumer_heard(&info(&one, "one"), &data("billing"), None, 77, NOW).unwrap();
    assert!(heard.wants_subscriptions, "a broker that was restarted would refuse every pull of that client");
}

#[test]
fn a_group_ends_with_its_last_member() {
    let (clients, one, two) = (Clients::default(), Peer::new(1), Peer::new(2));
    join(&clients, &one, "one", "billing", &[]);
    join(&clients, &two, "two", "billing", &[]);
    let left = clients.consumer_left(&one.connection, "billing").unwrap();
    assert_eq!((left.gone.len(), left.last), (1, false));
    let left = clients.consumer_left(&two.connection, "billing").unwrap();
    assert!(left.last);
    assert!(clients.consumer_group("billing").is_none());
    assert!(clients.consumer_left(&two.connection, "billing").is_none());
    assert_eq!(clients.counts().connections, 0);
    assert!(join(&clients, &one, "one", "billing", &[]).joined, "the group may come back");
}

#[test]
fn a_closed_connection_leaves_all_its_groups() {
    let (clients, one, two) = (Clients::default(), Peer::new(1), Peer::new(2));
    join(&clients, &one, "one", "billing", &[]);
    join(&clients, &one, "one", "audit", &[]);
    join(&clients, &two, "two", "billing", &[]);
    clients.producer_heard(&info(&one, "one"), "shop", NOW).unwrap();
    let left = clients.connection_closed(&one.connection);
    assert_eq!(names(&left), ["billing", "audit"]);
    assert_eq!(left.iter().map(|left| left.last).collect::<Vec<_>>(), [false, true]);
    assert!(clients.producers("shop").is_empty());
    assert!(clients.connection_closed(&one.connection).is_empty());
    let counts = ClientCounts { consumer_groups: 1, producer_groups: 0, connections: 1, ..ClientCounts::default() };
    assert_eq!(clients.counts(), counts);
}

#[test]
fn who_is_silent_too_long_is_removed_and_its_connection_named_once() {
    let (clients, one, two) = (Clients::default(), Peer::new(1), Peer::new(2));
    join(&clients, &one, "one", "billing", &[]);
    clients.producer_heard(&info(&one, "one"), "shop", NOW).unwrap();
    clients.consumer_heard(&info(&two, "two"), &data("billing"), Some(&[]), 0, NOW + 50).unwrap();
    let (left, closing) = clients.expire(NOW);
    assert!(left.is_empty() && closing.is_empty(), "seen at that very moment is not before it");
    let (left, closing) = clients.expire(NOW + 1);
    assert_eq!(names(&left), ["billing"]);
    assert_eq!(closing.iter().map(|connection| connection.id()).collect::<Vec<_>>(), [1]);
    assert!(clients.producers("shop").is_empty());
    assert_eq!(clients.consumer_group("billing").unwrap().client_ids(), ["two".into()]);
}

#[test]
fn a_heartbeat_keeps_its_sender() {
    let (clients, one) = (Clients::default(), Peer::new(1));
    join(&clients, &one, "one", "billing", &[]);
    clients.consumer_heard(&info(&one, "one"), &data("billing"), Some(&[]), 0, NOW + 100).unwrap();
    assert!(clients.expire(NOW + 100).0.is_empty());
    assert_eq!(clients.consumer_group("billing").unwrap().members()[0].last_seen_ms(), NOW + 100);
}

#[test]
fn a_client_that_reconnected_is_listed_once_and_reached_on_its_newest_connection() {
    let (clients, old, new, other) = (Clients::default(), Peer::new(1), Peer::new(2), Peer::new(3));
    join(&clients, &old, "one", "billing", &[]);
    join(&clients, &other, "two", "billing", &[]);
    join(&clients, &new, "one", "billing", &[]);
    let group = clients.consumer_group("billing").unwrap();
    assert_eq!(group.client_ids(), ["one".into(), "two".into()]);
    assert_eq!(group.member("one").unwrap().connection().id(), 2);
    assert!(group.member("three").is_none());
}

#[test]
fn producers_take_turns_and_closed_ones_are_passed_over() {
    let clients = Clients::default();
    let peers = [Peer::new(1), Peer::new(2), Peer::new(3)];
    for peer in &peers {
        assert!(clients.producer_heard(&info(peer, "p"), "shop", NOW).unwrap());
    }
    assert!(!clients.producer_heard(&info(&peers[0], "p"), "shop", NOW).unwrap());
    let next = || clients.next_producer("shop").map(|member| member.connection().id());
    assert_eq!([next(), next(), next(), next()], [Some(1), Some(2), Some(3), Some(1)]);
    peers[1].connection.close();
    assert_eq!([next(), next(), next()], [Some(3), Some(3), Some(1)]);
    peers[0].connection.close();
    peers[2].connection.close();
    assert_eq!(next(), None);
    assert!(clients.next_producer("nobody").is_none());
}

#[test]
fn a_producer_is_found_by_its_client_id_until_it_leaves_its_last_group() {
    let (clients, one) = (Clients::default(), Peer::new(1));
    clients.producer_heard(&info(&one, "one"), "shop", NOW).unwrap();
    clients.producer_heard(&info(&one, "one"), "till", NOW).unwrap();
    clients.producer_left(&one.connection, "shop");
    assert_eq!(clients.producer_client("one").unwrap().id(), 1);
    clients.producer_left(&one.connection, "till");
    assert!(clients.producer_client("one").is_none());
    assert_eq!(clients.counts(), ClientCounts::default());
}

#[test]
fn what_clients_can_make_grow_has_limits_and_refusals_are_counted() {
    let limits = Limits { groups: 2, groups_per_connection: 2, subscriptions_per_group: 1, name_len: 10 };
    let (clients, one, two) = (Clients::new(limits, Expressions::default()), Peer::new(1), Peer::new(2));
    let heard = |peer, group: &str, topics: &[SubscriptionData]| {
        clients.consumer_heard(&info(peer, "id"), &data(group), Some(topics), 0, NOW).map(|_| ())
    };
    heard(&one, "a", &[]).unwrap();
    heard(&one, "b", &[]).unwrap();
    let refused = |outcome: Result<(), TooMany>| outcome.unwrap_err().to_string();
    assert_eq!(refused(heard(&one, "c", &[])), "too many consumer groups of one connection: the limit is 2");
    assert_eq!(refused(heard(&two, "c", &[])), "too many consumer groups: the limit is 2");
    assert_eq!(refused(heard(&two, "12345678901", &[])), "too many bytes in a group name: the limit is 10");
    let topics = [wants("orders", "*", 1), wants("refunds", "*", 1)];
    assert_eq!(refused(heard(&two, "a", &topics)), "too many subscribed topics: the limit is 1");
    assert_eq!(clients.counts().refused, 4);
    heard(&one, "a", &[]).unwrap();
    heard(&two, "a", &[]).unwrap();
}
