//! Members of one group that want different things.

use std::time::Duration;

use tenonmq_protocol::{
    Command,
    body::{
        ConsumerData, HeartbeatData, ListConflicts, ListSubscriptions, SubscriptionConflicts, SubscriptionData, json,
    },
    code::RequestCode,
    header::{PullFlags, PullMessage},
    message::properties::java_hash,
};

use crate::remoting::testing::{Peer, TestBroker};

fn wants(topic: &str, expression: &str, version: i64) -> SubscriptionData {
    let tags = expression.split("||").map(str::trim).filter(|tag| *tag != "*");
    SubscriptionData {
        topic: topic.into(),
        sub_string: expression.into(),
        sub_version: version,
        code_set: tags.map(java_hash).collect(),
        ..SubscriptionData::default()
    }
}

async fn beat(broker: &TestBroker, peer: &Peer, name: &str, wanted: &[SubscriptionData]) -> (i32, String) {
    let consumer = ConsumerData {
        group_name: "billing".into(),
        subscription_data_set: wanted.to_vec(),
        ..ConsumerData::default()
    };
    let data = HeartbeatData { client_id: name.into(), consumer_data_set: vec![consumer], ..HeartbeatData::default() };
    let answer = broker.call(peer, Command::request(RequestCode::HEART_BEAT).with_body(json::to_vec(&data))).await;
    (answer.code, answer.remark.unwrap_or_default())
}

async fn conflicts(broker: &TestBroker) -> SubscriptionConflicts {
    broker.desk(&Peer::new(99), &ListConflicts::default()).await.unwrap()
}

fn pull(topic: &str) -> PullMessage<'_> {
    PullMessage { consumer_group: "billing", topic, max_count: 8, ..PullMessage::default() }
}

fn broker() -> (TestBroker, Peer, Peer) {
    let broker = TestBroker::new();
    broker.topic("orders", 1);
    broker.topic("refunds", 1);
    (broker, Peer::new(1), Peer::new(2))
}

#[tokio::test]
async fn thread_2836_different_tags_in_one_group_are_shown_with_who_wants_what() {
    let (broker, one, two) = broker();
    beat(&broker, &one, "one", &[wants("orders", "paid", 1)]).await;
    assert_eq!(conflicts(&broker).await.groups, []);
    beat(&broker, &two, "two", &[wants("orders", "open || new", 2)]).await;
    let found = conflicts(&broker).await;
    assert_eq!((found.changes, found.groups.len()), (1, 1));
    let topic = &found.groups[0].topics[0];
    let wanted: Vec<_> =
        topic.wanted.iter().map(|wanted| (wanted.expression.as_str(), wanted.clients.join(","))).collect();
    assert_eq!(wanted, [("new||open", "two".to_owned()), ("paid", "one".to_owned())]);
    assert_eq!(topic.effective.as_ref().unwrap().expression, "new||open", "the newest counts for all");
    broker.store_with("orders", 0, b"x", "TAGS\u{1}paid\u{2}", java_hash("paid").into());
    assert_eq!(broker.ask(&one, &pull("orders")).await.code, 20, "which is how messages are lost");
}

#[tokio::test]
async fn thread_212_different_topics_in_one_group_are_shown() {
    let (broker, one, two) = broker();
    beat(&broker, &one, "one", &[wants("orders", "*", 1), wants("refunds", "*", 1)]).await;
    beat(&broker, &two, "two", &[wants("orders", "*", 1)]).await;
    let found = conflicts(&broker).await;
    let topics = &found.groups[0].topics;
    assert_eq!(topics.len(), 1, "they agree on the orders");
    assert_eq!((topics[0].topic.as_str(), topics[0].unwanted_by.join(",")), ("refunds", "two".to_owned()));
}

#[tokio::test]
async fn thread_2954_a_condition_and_tags_in_one_group_are_shown() {
    let (broker, one, two) = broker();
    let sql = SubscriptionData { expression_type: Some("SQL92".into()), ..wants("orders", "price > 5", 2) };
    beat(&broker, &one, "one", &[wants("orders", "*", 1)]).await;
    beat(&broker, &two, "two", &[sql]).await;
    let wanted = &conflicts(&broker).await.groups[0].topics[0].wanted;
    let kinds: Vec<_> = wanted.iter().map(|wanted| wanted.expression_type.as_str()).collect();
    assert_eq!(kinds, ["SQL92", "TAG"]);
}

#[tokio::test]
async fn thread_7717_the_same_wishes_in_another_order_or_version_are_no_conflict() {
    let (broker, one, two) = broker();
    beat(&broker, &one, "one", &[wants("refunds", "a||b", 1), wants("orders", "*", 1)]).await;
    beat(
        &broker,
        &two,
        "two",
        &[wants("orders", "", 2), wants("refunds", " b || a", 9), wants("%RETRY%billing", "*", 1)],
    )
    .await;
    assert_eq!(conflicts(&broker).await, SubscriptionConflicts::default());
}

#[tokio::test]
async fn a_conflict_counts_once_and_ends_when_members_agree_or_leave() {
    let (broker, one, two) = broker();
    beat(&broker, &one, "one", &[wants("orders", "a", 1)]).await;
    for version in 2..6 {
        beat(&broker, &two, "two", &[wants("orders", "b", version)]).await;
        beat(&broker, &one, "one", &[wants("orders", "a", 1)]).await;
    }
    assert_eq!(conflicts(&broker).await.changes, 1, "heartbeats that say the same change nothing");
    beat(&broker, &one, "one", &[wants("orders", "b", 9)]).await;
    let found = conflicts(&broker).await;
    assert_eq!((found.changes, found.groups.len()), (2, 0));
    beat(&broker, &one, "one", &[wants("orders", "a", 10)]).await;
    assert_eq!(conflicts(&broker).await.groups.len(), 1);
    crate::group::heartbeat::closed(&broker.core, &one.connection);
    let found = conflicts(&broker).await;
    assert_eq!((found.changes, found.groups.len()), (4, 0));
}

#[tokio::test]
async fn a_member_that_wants_something_else_is_refused_if_configured() {
    let broker = TestBroker::with(&[("conflictingSubscriptionsRefused", "true")]);
    let (one, two) = (Peer::new(1), Peer::new(2));
    assert_eq!(beat(&broker, &one, "one", &[wants("orders", "a", 1)]).await.0, 0);
    let (code, remark) = beat(&broker, &two, "two", &[wants("orders", "b", 2)]).await;
    assert_eq!(code, 16);
    assert_eq!(
        remark,
        "member [two] of group [billing] does not agree with member [one]: of topic orders it wants TAG [b], the other \
         one TAG [a]"
    );
    assert_eq!(broker.core.clients.subscription("billing", "orders").unwrap().data.sub_string, "a");
    assert_eq!(broker.core.clients.consumer_group("billing").unwrap().client_ids().len(), 1);
    assert_eq!(beat(&broker, &two, "two", &[wants("orders", "a", 3)]).await.0, 0);
    assert_eq!(beat(&broker, &two, "two", &[wants("orders", "b", 4)]).await.0, 16, "nor may it change its mind alone");
}

#[tokio::test]
async fn a_client_that_reconnects_does_not_disagree_with_its_old_self() {
    let broker = TestBroker::with(&[("conflictingSubscriptionsRefused", "true")]);
    let (old, new) = (Peer::new(1), Peer::new(2));
    assert_eq!(beat(&broker, &old, "one", &[wants("orders", "a", 1)]).await.0, 0);
    assert_eq!(beat(&broker, &new, "one", &[wants("orders", "b", 2)]).await.0, 0);
}

#[tokio::test]
async fn a_refused_member_gets_nothing_either() {
    let broker = TestBroker::with(&[("conflictingSubscriptionsRefused", "true")]);
    broker.topic("orders", 1);
    broker.store_with("orders", 0, b"x", "TAGS\u{1}a\u{2}", java_hash("a").into());
    let (one, two) = (Peer::new(1), Peer::new(2));
    beat(&broker, &one, "one", &[wants("orders", "a", 5)]).await;
    assert_eq!(beat(&broker, &two, "two", &[wants("orders", "b", 1)]).await.0, 16);
    let pull = |version| PullMessage { sub_version: version, ..pull("orders") };
    assert_eq!(broker.ask(&one, &pull(5)).await.code, 0);
    let answer = broker.ask(&two, &pull(1)).await;
    assert_eq!(answer.code, 24, "it would be given messages that it drops");
    assert!(answer.remark.unwrap().contains("no heartbeat of it was accepted"));
    assert_eq!(beat(&broker, &one, "one", &[wants("orders", "b", 6)]).await.0, 0, "alone it may change its mind");
    assert_eq!(beat(&broker, &two, "two", &[wants("orders", "b", 7)]).await.0, 0);
    assert_eq!(broker.ask(&two, &pull(7)).await.code, 20);
}

#[tokio::test]
async fn thread_92_the_expression_of_a_member_that_left_does_not_stay_in_force() {
    let (broker, one, two) = broker();
    beat(&broker, &one, "one", &[wants("orders", "paid", 1), wants("%RETRY%billing", "*", 1)]).await;
    beat(&broker, &two, "two", &[wants("orders", "open", 2), wants("%RETRY%billing", "*", 2)]).await;
    broker.store_with("orders", 0, b"x", "TAGS\u{1}paid\u{2}", java_hash("paid").into());
    assert_eq!(broker.ask(&one, &pull("orders")).await.code, 20, "the newest counts");
    crate::group::heartbeat::closed(&broker.core, &two.connection);
    assert_eq!(broker.ask(&one, &PullMessage { sub_version: 1, ..pull("orders") }).await.code, 0);
    assert_eq!(conflicts(&broker).await.groups, []);
    beat(&broker, &two, "two", &[wants("orders", "paid", 3), wants("%RETRY%billing", "*", 3)]).await;
    assert_eq!(broker.core.clients.subscription("billing", "orders").unwrap().data.sub_version, 3);
}

#[tokio::test]
async fn thread_212_a_topic_stays_subscribed_while_any_member_wants_it() {
    let (broker, one, two) = broker();
    beat(&broker, &one, "one", &[wants("orders", "*", 1)]).await;
    beat(&broker, &two, "two", &[wants("refunds", "*", 2)]).await;
    assert_eq!(broker.ask(&one, &pull("orders")).await.code, 19, "an empty queue, and not a subscription that is gone");
    assert_eq!(broker.ask(&two, &pull("refunds")).await.code, 19);
    crate::group::heartbeat::closed(&broker.core, &two.connection);
    beat(&broker, &one, "one", &[wants("orders", "*", 1)]).await;
    assert!(broker.core.clients.subscription("billing", "refunds").is_none());
}

#[tokio::test]
async fn a_held_pull_goes_by_what_the_group_wants_when_it_ends() {
    let (broker, one, _) = broker();
    beat(&broker, &one, "one", &[wants("orders", "paid", 1)]).await;
    let held = PullMessage { sys_flag: PullFlags::SUSPEND, suspend_timeout_millis: 15_000, ..pull("orders") };
    let (answer, ()) = tokio::join!(broker.ask(&one, &held), async {
        tokio::task::yield_now().await;
        beat(&broker, &one, "one", &[wants("orders", "open", 2)]).await;
        broker.store_with("orders", 0, b"x", "TAGS\u{1}open\u{2}", java_hash("open").into());
        tokio::task::yield_now().await;
        broker.advance(Duration::from_secs(15));
    });
    assert_eq!(answer.code, 0, "passed over by the old expression, it would never come");
}

#[tokio::test]
async fn the_list_says_what_counts_for_each_group_and_why_nothing_passes() {
    let (broker, one, two) = broker();
    let sql = SubscriptionData { expression_type: Some("SQL92".into()), ..wants("refunds", "price >", 3) };
    beat(&broker, &one, "one", &[wants("orders", "paid", 1), sql]).await;
    let ask = async |group: Option<&str>, after: Option<&str>| {
        let asked = ListSubscriptions { group: group.map(Into::into), after: after.map(Into::into) };
        broker.desk(&Peer::new(99), &asked).await
    };
    let found = ask(None, None).await.unwrap();
    assert_eq!((found.groups.len(), found.more), (1, false));
    let group = &found.groups[0];
    assert_eq!((group.group.as_str(), group.members.join(","), group.in_conflict), ("billing", "one".into(), false));
    let topics: Vec<_> =
        group.topics.iter().map(|at| (at.topic.as_str(), at.expression.as_str(), at.version)).collect();
    assert_eq!(topics, [("orders", "paid", 1), ("refunds", "price >", 3)]);
    assert_eq!((&*group.topics[0].expression_type, &group.topics[0].reason), ("TAG", &None));
    assert!(group.topics[1].reason.as_ref().unwrap().contains("ParseException"));
    beat(&broker, &two, "two", &[wants("orders", "*", 2)]).await;
    assert!(ask(Some("billing"), None).await.unwrap().groups[0].in_conflict);
    assert_eq!(ask(None, Some("billing")).await.unwrap().groups, []);
    assert_eq!(ask(Some("nobody"), None).await.unwrap_err().0, 26);
}
