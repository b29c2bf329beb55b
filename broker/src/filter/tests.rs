//! Filters as consumers meet them: heartbeats, checks and pulls against a broker without sockets.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use tenonmq_protocol::{
    Command,
    body::{CheckClientConfig, ConsumerData, HeartbeatData, SubscriptionData, json},
    code::RequestCode,
    header::{PullFlags, PullMessage},
    message::{RecordView, properties::tags_code},
};

use super::*;
use crate::remoting::testing::{Peer, TestBroker};

const SECOND: Duration = Duration::from_secs(1);

fn broker() -> (TestBroker, Peer) {
    let broker = TestBroker::new();
    broker.topic("orders", 1);
    (broker, Peer::new(1))
}

fn stored(broker: &TestBroker, topic: &str, body: &str, properties: &[(&str, &str)]) -> i64 {
    let text: String = properties.iter().map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect();
    let tags = properties.iter().find(|(name, _)| *name == "TAGS").map(|(_, value)| *value);
    broker.store_with(topic, 0, body.as_bytes(), &text, tags_code(tags))
}

fn sql(topic: &str, expression: &str, version: i64) -> SubscriptionData {
    SubscriptionData {
        topic: topic.into(),
        sub_string: expression.into(),
        sub_version: version,
        expression_type: Some("SQL92".into()),
        ..SubscriptionData::default()
    }
}

async fn beat(broker: &TestBroker, peer: &Peer, wanted: Vec<SubscriptionData>) -> Command {
    let consumer =
        ConsumerData { group_name: "billing".into(), subscription_data_set: wanted, ..ConsumerData::default() };
    let data = HeartbeatData { client_id: "one".into(), consumer_data_set: vec![consumer], ..HeartbeatData::default() };
    broker.call(peer, Command::request(RequestCode::HEART_BEAT).with_body(json::to_vec(&data))).await
}

async fn checked(broker: &TestBroker, peer: &Peer, wanted: SubscriptionData) -> (i32, String) {
    let body = CheckClientConfig { subscription_data: wanted, ..CheckClientConfig::default() };
    let answer =
        broker.call(peer, Command::request(RequestCode::CHECK_CLIENT_CONFIG).with_body(json::to_vec(&body))).await;
    (answer.code, answer.remark.unwrap_or_default())
}

fn carrying<'a>(expression: &'a str, kind: &'a str) -> PullMessage<'a> {
    PullMessage {
        sys_flag: PullFlags::SUBSCRIPTION,
        subscription: Some(expression),
        expression_type: Some(kind),
        ..registered("orders", 0)
    }
}

fn registered(topic: &str, version: i64) -> PullMessage<'_> {
    PullMessage { consumer_group: "billing", topic, max_count: 32, sub_version: version, ..PullMessage::default() }
}

fn bodies(answer: &Command) -> Vec<String> {
    RecordView::iter_all(&answer.body)
        .map(|record| String::from_utf8(record.unwrap().body().to_vec()).unwrap())
        .collect()
}

#[tokio::test]
async fn a_pull_that_carries_a_condition_gets_what_fulfils_it() {
    let (broker, one) = broker();
    stored(&broker, "orders", "cheap", &[("price", "3"), ("region", "eu")]);
    stored(&broker, "orders", "dear", &[("price", "30"), ("region", "eu")]);
    stored(&broker, "orders", "far", &[("price", "30"), ("region", "us")]);
    stored(&broker, "orders", "bare", &[]);
    stored(&broker, "orders", "tagged", &[("TAGS", "vip"), ("price", "1")]);
    for (condition, wanted) in [
        ("price > 5", vec!["dear", "far"]),
        ("price > 5 AND region = 'eu'", vec!["dear"]),
        ("TAGS = 'vip' OR region IN ('us')", vec!["far", "tagged"]),
        ("price IS NULL", vec!["bare"]),
        ("NOT (price > 5)", vec!["cheap", "tagged"]),
    ] {
        let answer = broker.ask(&one, &carrying(condition, "SQL92")).await;
        assert_eq!(
            (answer.code, bodies(&answer)),
            (0, wanted.iter().map(ToString::to_string).collect()),
            "{condition}"
        );
        assert_eq!(answer.field("nextBeginOffset"), Some("5"));
    }
    let answer = broker.ask(&one, &carrying("price > 500", "SQL92")).await;
    assert_eq!((answer.code, answer.field("nextBeginOffset")), (20, Some("5")), "pull again from there");
}

#[tokio::test]
async fn a_pull_with_a_condition_that_makes_no_sense_is_refused_with_the_reason() {
    let (broker, one) = broker();
    for (condition, kind, reason) in [
        ("price >", "SQL92", "Encountered \"<EOF>\" at line 1, column 7."),
        ("price > 'x'", "SQL92", "Value ''x'' cannot be compared."),
        ("", "SQL92", "the expression is empty"),
        ("price > 5", "XPATH", "expression type XPATH is neither TAG nor SQL92"),
    ] {
        let answer = broker.ask(&one, &carrying(condition, kind)).await;
        let remark = answer.remark.unwrap();
        assert_eq!(answer.code, 23, "{remark}");
        assert!(remark.starts_with("parse the consumer's subscription failed: "), "{remark}");
        assert!(remark.contains(reason), "{remark}");
    }
    let deep = format!("{}price > 5{}", "(".repeat(10_000), ")".repeat(10_000));
    let answer = broker.ask(&one, &carrying(&deep, "SQL92")).await;
    assert_eq!(answer.code, 23);
    assert!(answer.remark.unwrap().contains("nests deeper than 200 levels at line 1, column 201"));
}

#[tokio::test]
async fn a_registered_condition_counts_for_pulls_that_carry_none() {
    let (broker, one) = broker();
    stored(&broker, "orders", "cheap", &[("price", "3")]);
    stored(&broker, "orders", "dear", &[("price", "30")]);
    assert_eq!(beat(&broker, &one, vec![sql("orders", "price > 5", 7)]).await.code, 0);
    let answer = broker.ask(&one, &registered("orders", 7)).await;
    assert_eq!((answer.code, bodies(&answer)), (0, vec!["dear".to_owned()]));
    let answer = broker.ask(&one, &registered("orders", 8)).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (25, Some("the consumer's subscription not latest")));
    assert_eq!(beat(&broker, &one, vec![sql("orders", "price < 5", 8)]).await.code, 0);
    assert_eq!(bodies(&broker.ask(&one, &registered("orders", 8)).await), ["cheap"]);
}

#[tokio::test]
async fn a_registered_condition_that_does_not_compile_leaves_the_pull_without_filter_data() {
    let (broker, one) = broker();
    stored(&broker, "orders", "any", &[("price", "3")]);
    assert_eq!(beat(&broker, &one, vec![sql("orders", "price >", 1)]).await.code, 0, "as Apache: the check says why");
    let answer = broker.ask(&one, &registered("orders", 1)).await;
    let remark = "The broker's consumer filter data is not exist!Your expression may be wrong!";
    assert_eq!((answer.code, answer.remark.as_deref()), (27, Some(remark)));
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn a_check_tells_what_is_wrong_in_apaches_words() {
    let (broker, one) = broker();
    assert_eq!(checked(&broker, &one, sql("orders", "price > 5", 1)).await, (0, String::new()));
    let (code, remark) = checked(&broker, &one, sql("orders", "price BETWEEN 5 AND 3", 1)).await;
    assert_eq!(code, 23);
    assert_eq!(
        remark,
        "java.lang.RuntimeException: Illegal values of between, left value(5) must less than or equal to right value(3)"
    );
}

#[tokio::test]
async fn without_property_filters_everything_is_answered_as_by_apache() {
    let broker = TestBroker::with(&[("enablePropertyFilter", "false")]);
    let one = Peer::new(1);
    broker.topic("orders", 1);
    let remark = "The broker does not support consumer to filter message by SQL92".to_owned();
    assert_eq!(checked(&broker, &one, sql("orders", "price > 5", 1)).await, (1, remark.clone()));
    beat(&broker, &one, vec![sql("orders", "price > 5", 1)]).await;
    for pull in [registered("orders", 1), carrying("price > 5", "SQL92")] {
        let answer = broker.ask(&one, &pull).await;
        assert_eq!((answer.code, answer.remark), (1, Some(remark.clone())));
    }
}

#[tokio::test]
async fn a_held_pull_waits_on_while_nothing_fulfils_its_condition() {
    let (broker, one) = broker();
    stored(&broker, "orders", "first", &[]);
    let pull = PullMessage {
        queue_offset: 1,
        sys_flag: PullFlags::SUBSCRIPTION | PullFlags::SUSPEND,
        suspend_timeout_millis: 15_000,
        ..carrying("price > 5", "SQL92")
    };
    let arrive = |price: &str| {
        let offset = stored(&broker, "orders", "next", &[("price", price)]);
        let queue = broker.core.store.queue("orders", 0);
        broker.core.waiters.arrived(&queue, offset, 0);
    };
    let asked = broker.ask(&one, &pull);
    tokio::pin!(asked);
    let mut waits = async || {
        for _ in 0..5 {
            tokio::select! { biased; _ = &mut asked => return false, () = tokio::task::yield_now() => {} }
        }
        true
    };
    assert!(waits().await);
    arrive("3");
    assert!(waits().await, "nothing for it");
    arrive("30");
    let answer = asked.await;
    assert_eq!((answer.code, answer.field("nextBeginOffset")), (0, Some("3")));
}

#[tokio::test]
async fn a_held_pull_that_ran_out_of_time_says_how_far_it_has_looked() {
    let (broker, one) = broker();
    stored(&broker, "orders", "first", &[]);
    let pull = PullMessage {
        queue_offset: 1,
        sys_flag: PullFlags::SUBSCRIPTION | PullFlags::SUSPEND,
        suspend_timeout_millis: 15_000,
        ..carrying("price > 5", "SQL92")
    };
    let (answer, ()) = tokio::join!(broker.ask(&one, &pull), async {
        tokio::task::yield_now().await;
        let offset = stored(&broker, "orders", "next", &[("price", "3")]);
        broker.core.waiters.arrived(&broker.core.store.queue("orders", 0), offset, 0);
        tokio::task::yield_now().await;
        broker.advance(15 * SECOND);
    });
    assert_eq!((answer.code, answer.field("nextBeginOffset")), (20, Some("2")));
    assert_eq!(answer.remark.as_deref(), Some("NO_MATCHED_MESSAGE"));
}

#[tokio::test]
async fn a_retry_topic_is_filtered_by_what_the_group_wants_of_the_origin_if_configured() {
    for (setting, wanted) in [("true", vec!["kept", "elsewhere"]), ("false", vec!["lost", "kept", "elsewhere"])] {
        let broker = TestBroker::with(&[("filterSupportRetry", setting)]);
        let one = Peer::new(1);
        let every = "RETRY_TOPIC IS NOT NULL";
        beat(&broker, &one, vec![sql("orders", "price > 5", 1), sql("%RETRY%billing", every, 1)]).await;
        stored(&broker, "%RETRY%billing", "lost", &[("price", "3"), ("RETRY_TOPIC", "orders")]);
        stored(&broker, "%RETRY%billing", "kept", &[("price", "30"), ("RETRY_TOPIC", "orders")]);
        stored(&broker, "%RETRY%billing", "elsewhere", &[("price", "3"), ("RETRY_TOPIC", "others")]);
        let answer = broker.ask(&one, &registered("%RETRY%billing", 1)).await;
        assert_eq!(bodies(&answer), wanted, "filterSupportRetry={setting}");
    }
}

#[tokio::test]
async fn a_class_that_filters_is_refused_and_not_passed_over() {
    let (broker, one) = broker();
    stored(&broker, "orders", "any", &[]);
    let class = SubscriptionData {
        topic: "orders".into(),
        sub_string: "org.example.OrderFilter".into(),
        class_filter_mode: true,
        ..SubscriptionData::default()
    };
    assert_eq!(beat(&broker, &one, vec![class.clone()]).await.code, 0);
    let remark = "The broker does not support consumer to filter message by class";
    let answer = broker.ask(&one, &registered("orders", 0)).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some(remark)));
    assert_eq!(checked(&broker, &one, class).await, (1, remark.to_owned()));
}

#[tokio::test]
async fn a_check_refuses_what_nests_too_deep_is_too_long_or_compares_the_wrong_types() {
    let (broker, one) = broker();
    for (expression, reason) in [
        (format!("{}a > 5{}", "(".repeat(10_000), ")".repeat(10_000)), "nests deeper than 200 levels"),
        (format!("{}TRUE", "NOT ".repeat(10_000)), "nests deeper than 200 levels"),
        (format!("a = '{}'", "x".repeat(70_000)), "(filterExpressionMaxBytes)"),
        ("a > 'x'".to_owned(), "java.lang.RuntimeException: "),
        ("TRUE > 5".to_owned(), "java.lang."),
        ("a >".to_owned(), "org.apache.rocketmq.filter.parser."),
    ] {
        let (code, remark) = checked(&broker, &one, sql("orders", &expression, 1)).await;
        assert!(
            code == 23 && remark.contains(reason),
            "{code} {remark} for {}",
            &expression[..12.min(expression.len())]
        );
    }
}

#[tokio::test]
async fn a_pull_with_another_version_of_the_subscription_is_told_and_gets_nothing() {
    let (broker, one) = broker();
    stored(&broker, "orders", "any", &[("TAGS", "paid")]);
    let tags = |tag: &str, version| SubscriptionData {
        topic: "orders".into(),
        sub_string: tag.into(),
        sub_version: version,
        code_set: [java_hash(tag)].into(),
        ..SubscriptionData::default()
    };
    assert_eq!(broker.ask(&one, &registered("orders", 5)).await.code, 24, "the group has no members");
    beat(&broker, &one, vec![tags("open", 5)]).await;
    let answer = broker.ask(&one, &registered("orders", 6)).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (25, Some("the consumer's subscription not latest")));
    beat(&broker, &one, vec![tags("paid", 6)]).await;
    assert_eq!(bodies(&broker.ask(&one, &registered("orders", 6)).await), ["any"]);
    assert_eq!(broker.ask(&one, &registered("others", 6)).await.code, 17, "no such topic");
    broker.topic("others", 1);
    assert_eq!(broker.ask(&one, &registered("others", 6)).await.code, 24, "the group does not want it");
}

#[tokio::test]
async fn conditions_survive_in_the_file_and_are_dead_until_their_group_is_back() {
    let (broker, one) = broker();
    beat(&broker, &one, vec![sql("orders", "price > 5", 7)]).await;
    let data = broker.core.filters.get("billing", "orders").unwrap();
    assert_eq!((data.expression.as_str(), data.client_version, data.dead), ("price > 5", 7, false));
    let broker = broker.restarted_after(|| {});
    assert!(broker.core.filters.get("billing", "orders").unwrap().dead);
    let one = Peer::new(1);
    assert_eq!(broker.ask(&one, &registered("orders", 7)).await.code, 24, "nobody has said what it wants");
    beat(&broker, &one, vec![sql("orders", "price > 5", 8)]).await;
    let data = broker.core.filters.get("billing", "orders").unwrap();
    assert_eq!((data.client_version, data.dead), (8, false));
    crate::group::heartbeat::closed(&broker.core, &one.connection);
    assert!(broker.core.filters.get("billing", "orders").unwrap().dead);
}

#[tokio::test]
async fn pull_consumers_are_refused_if_configured() {
    let broker = TestBroker::with(&[("rejectPullConsumerEnable", "true")]);
    broker.topic("orders", 1);
    stored(&broker, "orders", "any", &[]);
    let (one, two) = (Peer::new(1), Peer::new(2));
    let answer = broker.ask(&one, &carrying("*", "TAG")).await;
    assert_eq!(answer.code, 24);
    assert!(answer.remark.unwrap().contains("the pull consumer is rejected by server"));
    let tools = PullMessage { consumer_group: "TOOLS_CONSUMER", ..carrying("*", "TAG") };
    assert_eq!(broker.ask(&one, &tools).await.code, 0);
    let everything = SubscriptionData { topic: "orders".into(), sub_string: "*".into(), ..SubscriptionData::default() };
    beat(&broker, &one, vec![everything]).await;
    assert_eq!(broker.ask(&two, &carrying("*", "TAG")).await.code, 0, "the group does not pull by itself");
}

#[test]
fn an_expression_passes_its_alternatives_and_nothing_else() {
    let filter = Filter::tags(" TagA ||TagB|| ");
    assert!(filter.passes_entry(java_hash("TagA").into()));
    assert!(filter.passes_entry(java_hash("TagB").into()));
    assert!(!filter.passes_entry(java_hash("TagC").into()));
    assert!(!filter.passes_entry(0));
}

#[test]
fn a_star_and_an_empty_expression_pass_everything() {
    for expression in ["*", "", "  "] {
        assert_eq!(Filter::tags(expression), Filter::ALL);
    }
}

#[test]
fn a_filter_of_a_condition_is_judged_by_the_record_alone() {
    let expressions = Expressions::default();
    let filter = Filter::subscribed(&sql("orders", "price > 5", 1), &expressions);
    assert!(filter.needs_record());
    assert!(filter.passes_entry(0) && filter.passes_entry(i64::MAX));
    assert_eq!(filter, Filter::subscribed(&sql("orders", "price > 5", 2), &expressions));
    assert!(!Filter::NOTHING.passes_entry(0));
    assert_eq!(Filter::subscribed(&sql("orders", "price >", 1), &expressions), Filter::NOTHING);
    let legacy = SubscriptionData { class_filter_mode: true, ..sql("orders", "any.Class", 1) };
    assert_eq!(Filter::subscribed(&legacy, &expressions), Filter::ALL);
}

proptest! {
    #[test]
    fn no_heartbeat_text_makes_a_filter_panic(kind in "(TAG|SQL92|XPATH|)", text in "\\PC{0,40}") {
        let data = SubscriptionData {
            expression_type: Some(kind), sub_string: text, topic: "orders".into(), ..SubscriptionData::default()
        };
        let filter = Filter::subscribed(&data, &Expressions::default());
        let _ = filter.passes_entry(7);
        let _ = Arc::new(filter);
    }
}
