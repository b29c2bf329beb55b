use std::{collections::BTreeSet, time::Duration};

use tenonmq_protocol::{
    Command, Language,
    body::{ConsumeType, ConsumerData, HeartbeatData, ProducerData, SubscriptionData, json},
    code::RequestCode,
    header::{EndTransaction, PullFlags, PullMessage, SendMessage, group::SendBack, transaction::Verdict as Said},
};

use super::page;
use crate::remoting::testing::{Peer, START_MS, TestBroker};

/// Names of Apache's page that we do not have: what they tell does not exist here (thread pools aside), or would have to be
/// timed on the way of every request.
const NOT_HERE: [&str; 14] = [
    "rocketmq_rpc_latency_",
    "rocketmq_topic_create_execution_time_",
    "rocketmq_consumer_group_create_execution_time_",
    "rocketmq_pop_buffer_scan_time_consume_",
    "rocketmq_pop_offset_buffer_size",
    "rocketmq_pop_revive_",
    "rocketmq_delay_message_latency_",
    "rocketmq_timer_dequeue_lag",
    "rocketmq_timer_dequeue_total",
    "rocketmq_timer_enqueue_latency_",
    "rocketmq_timer_enqueue_total",
    "rocketmq_timer_message_snapshot",
    "rocketmq_messages_out_total{otel_scope_name=\"broker-meter\",cluster=\"DefaultCluster\",consumer_group=\"billing\",is_retry",
    "rocketmq_throughput_out_total{otel_scope_name=\"broker-meter\",cluster=\"DefaultCluster\",consumer_group=\"billing\",is_retry",
];

async fn heartbeat(broker: &TestBroker, consume_type: ConsumeType) {
    let wants = SubscriptionData { topic: "orders".into(), ..SubscriptionData::default() };
    let consumer = ConsumerData {
        group_name: "billing".into(),
        consume_type,
        subscription_data_set: vec![wants],
        ..ConsumerData::default()
    };
    let data = HeartbeatData {
        client_id: "one".into(),
        consumer_data_set: vec![consumer],
        producer_data_set: vec![ProducerData { group_name: "shop".into() }],
        ..HeartbeatData::default()
    };
    let command = Command::request(RequestCode::HEART_BEAT).with_body(json::to_vec(&data));
    assert_eq!(command.language, Language::Java);
    assert_eq!(broker.call(&Peer::new(1), command).await.code, 0);
}

/// Sends a message to `orders`; its offsets in queue and log.
async fn send(broker: &TestBroker, properties: &str, sys_flag: i32) -> (i64, i64) {
    let header =
        SendMessage { producer_group: "shop", topic: "orders", properties, sys_flag, ..SendMessage::default() };
    let answer = broker.call(&Peer::new(2), Command::with_header(&header).with_body("order")).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    let id = answer.field("msgId").unwrap();
    (answer.field("queueOffset").unwrap().parse().unwrap(), i64::from_str_radix(&id[16..], 16).unwrap())
}

async fn half(broker: &TestBroker, key: &str) -> (i64, i64) {
    let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}shop\u{2}UNIQ_KEY\u{1}{key}\u{2}");
    send(broker, &properties, 4).await
}

async fn end(
    broker: &TestBroker,
    (half_queue_offset, commit_log_offset): (i64, i64),
    verdict: Said,
    check: bool,
) -> i32 {
    let header = EndTransaction {
        topic: None,
        producer_group: "shop",
        half_queue_offset,
        commit_log_offset,
        verdict,
        from_check: check,
        message_id: None,
        transaction_id: None,
        broker_name: None,
    };
    if verdict == Said::Unknown {
        let mut bytes = bytes::BytesMut::new();
        Command::with_header(&header).oneway().encode(tenonmq_protocol::Serialization::Json, &mut bytes);
        assert!(broker.frame(&Peer::new(2), &bytes).await.is_none());
        return 0;
    }
    broker.ask(&Peer::new(2), &header).await.code
}

async fn pull(broker: &TestBroker) {
    let header = PullMessage {
        consumer_group: "billing",
        topic: "orders",
        queue_offset: 0,
        max_count: 32,
        sys_flag: PullFlags::SUBSCRIPTION,
        subscription: Some("*"),
        ..PullMessage::default()
    };
    assert_eq!(broker.ask(&Peer::new(1), &header).await.code, 0);
}

/// Everything that the captured page of Apache tells of, done here.
async fn busy_broker(consume_type: ConsumeType) -> TestBroker {
    let broker = TestBroker::new();
    broker.topic("orders", 1);
    heartbeat(&broker, consume_type).await;
    let (_, log_offset) = send(&broker, "", 0).await;
    send(&broker, "DELAY\u{1}3\u{2}", 0).await;
    send(&broker, "TIMER_DELAY_SEC\u{1}60\u{2}", 0).await;
    crate::timer::Scheduler::new(broker.core.clone()).step();
    let committed = half(&broker, "FD0001").await;
    assert_eq!(end(&broker, committed, Said::Commit, false).await, 0);
    let rolled_back = half(&broker, "FD0002").await;
    assert_eq!(end(&broker, rolled_back, Said::Rollback, false).await, 0);
    half(&broker, "FD0003").await;
    pull(&broker).await;
    let dead = SendBack { group: "billing", commit_log_offset: log_offset, delay_level: -1, ..SendBack::default() };
    assert_eq!(broker.ask(&Peer::new(1), &dead).await.code, 0);
    broker
}

/// `name{labels}` of each row.
fn series(page: &str) -> BTreeSet<&str> {
    page.lines().filter(|line| line.starts_with("rocketmq_")).map(|line| &line[..=line.rfind('}').unwrap()]).collect()
}

fn value(page: &str, start: &str) -> f64 {
    let mut rows = page.lines().filter(|line| line.starts_with(start));
    let row = rows.next().unwrap_or_else(|| panic!("no {start} in\n{page}"));
    assert!(rows.next().is_none(), "several rows of {start}");
    row.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_name_and_label_of_apaches_page_is_on_ours_byte_for_byte() {
    let theirs = include_str!("../../../golden/metrics/apache-5.3.3.prom");
    let pushed = page(&busy_broker(ConsumeType::Passively).await.core);
    let popped = page(&busy_broker(ConsumeType::Pop).await.core);
    let ours: BTreeSet<&str> = series(&pushed).union(&series(&popped)).copied().collect();
    let (mut missing, mut checked) = (Vec::new(), 0);
    for wanted in series(theirs) {
        if NOT_HERE.iter().any(|name| wanted.starts_with(name)) {
            assert!(!ours.contains(wanted), "{wanted} is here after all");
        } else if !wanted.contains("message_type=\"delay\",node_id=\"broker-a\",node_type=\"broker\",topic=\"orders\"")
        {
            checked += 1; // the kind of a message is that of its topic here
            missing.extend((!ours.contains(wanted)).then_some(wanted));
        }
    }
    assert_eq!(missing, Vec::<&str>::new());
    assert!(checked > 80, "only {checked} series compared");
}

#[tokio::test]
async fn the_page_counts_what_happened() {
    let page = page(&busy_broker(ConsumeType::Passively).await.core);
    assert_eq!(value(&page, "rocketmq_half_messages{"), 1.0);
    assert_eq!(value(&page, "rocketmq_commit_messages_total{"), 1.0);
    assert_eq!(value(&page, "rocketmq_rollback_messages_total{"), 1.0);
    assert_eq!(value(&page, "rocketmq_finish_message_latency_milliseconds_count{"), 1.0);
    assert_eq!(value(&page, "rocketmq_send_to_dlq_messages_total{"), 1.0);
    assert_eq!(value(&page, "rocketmq_messages_out_total{"), 2.0, "the plain one and the committed one");
    assert_eq!(value(&page, "rocketmq_consumer_ready_messages{"), 0.0);
    assert_eq!(value(&page, "rocketmq_timing_messages{"), 1.0);
    assert_eq!(value(&page, "tenonmq_transaction_pending{"), 1.0);
}

#[tokio::test]
async fn every_line_of_the_page_is_a_comment_or_a_row_and_no_row_comes_twice() {
    let page = page(&busy_broker(ConsumeType::Passively).await.core);
    let mut seen = BTreeSet::new();
    let mut family = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(seen.insert(line.to_owned()), "{line} comes twice");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (row, number) = line.rsplit_once(' ').unwrap();
        assert!(number.parse::<f64>().unwrap() >= 0.0, "{line}");
        assert!(row.starts_with(&family) && row.ends_with('}'), "{line} stands under {family}");
        assert!(seen.insert(row.to_owned()), "{row} comes twice");
    }
    assert!(page.ends_with('\n'));
}

#[tokio::test]
async fn checks_and_their_answers_are_counted_with_repeats_and_contradictions() {
    let broker = TestBroker::with(&[("transactionTimeOut", "6000"), ("transactionCheckMax", "2")]);
    broker.topic("orders", 1);
    let unasked = half(&broker, "FD0000").await;
    assert_eq!(end(&broker, unasked, Said::Unknown, false).await, 0, "its sender does not know yet: no answer");
    assert_eq!(end(&broker, unasked, Said::Rollback, false).await, 0);
    let (asked, never_asked) = (half(&broker, "FD0001").await, half(&broker, "FD0002").await);
    broker.advance(Duration::from_secs(7));
    let check = || while broker.core.transactions.check(&*broker.core) == crate::transaction::state::Next::Now {};
    check();
    let told = page(&broker.core);
    assert_eq!(value(&told, "tenonmq_transaction_paused_groups{"), 1.0);
    assert_eq!(value(&told, "tenonmq_transaction_oldest_age_seconds{"), 7.0);
    assert_eq!(value(&told, "tenonmq_transaction_group_oldest_age_seconds{"), 7.0);
    assert_eq!(value(&told, "tenonmq_transaction_checks_sent_total{"), 0.0);

    let producer = Peer::new(1);
    let data = HeartbeatData {
        client_id: "shop-1".into(),
        producer_data_set: vec![ProducerData { group_name: "shop".into() }],
        ..HeartbeatData::default()
    };
    broker.call(&producer, Command::request(RequestCode::HEART_BEAT).with_body(json::to_vec(&data))).await;
    check();
    assert_eq!(end(&broker, asked, Said::Unknown, true).await, 0);
    broker.advance(Duration::from_secs(31));
    check();
    assert_eq!(end(&broker, asked, Said::Commit, true).await, 0);
    assert_eq!(end(&broker, asked, Said::Commit, false).await, 0);
    assert_ne!(end(&broker, asked, Said::Rollback, false).await, 0);
    broker.advance(Duration::from_secs(31));
    check();
    let told = page(&broker.core);
    let answered = |answer: &str| {
        let common = "otel_scope_name=\"broker-meter\"";
        value(&told, &format!("tenonmq_transaction_checks_answered_total{{{common},answer=\"{answer}\""))
    };
    assert_eq!((answered("commit"), answered("rollback"), answered("unknown")), (1.0, 0.0, 1.0));
    assert_eq!(value(&told, "tenonmq_transaction_checks_sent_total{"), 4.0);
    assert_eq!(value(&told, "tenonmq_transaction_checks_unanswered_total{"), 2.0);
    assert_eq!(value(&told, "tenonmq_transaction_checks_in_flight{"), 0.0);
    assert_eq!(value(&told, "tenonmq_transaction_repeats_total{"), 1.0);
    assert_eq!(value(&told, "tenonmq_transaction_contradictions_total{"), 1.0);
    let exhausted = "tenonmq_transaction_parked_total{otel_scope_name=\"broker-meter\",cluster=\"DefaultCluster\",node_id=\"broker-a\",node_type=\"broker\",reason=\"exhausted\"";
    assert_eq!(value(&told, exhausted), 1.0);
    assert_eq!(value(&told, "tenonmq_transaction_pending{"), 0.0);
    assert!(broker.core.transactions.find(never_asked.0).is_none());
}

#[tokio::test]
async fn the_oldest_of_each_group_is_found_wherever_it_lies() {
    let broker = TestBroker::new();
    broker.topic("orders", 1);
    let other = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}other\u{2}UNIQ_KEY\u{1}FD\u{2}";
    for number in 0..600 {
        half(&broker, &format!("FD{number}")).await;
        broker.advance(Duration::from_secs(1));
    }
    send(&broker, other, 4).await;
    broker.advance(Duration::from_secs(1));
    let oldest = broker.core.transactions.oldest_by_group();
    assert_eq!(oldest["shop"], START_MS);
    assert_eq!(oldest["other"], START_MS + 600_000);
}

#[tokio::test]
async fn labels_of_the_configuration_are_in_every_row_and_rows_beyond_the_limit_are_counted() {
    let broker =
        TestBroker::with(&[("metricsLabel", "zone:a, topic:x,9:b,le:5"), ("metricsOtelCardinalityLimit", "1")]);
    for topic in ["orders", "refunds"] {
        broker.topic(topic, 1);
        broker.store(topic, 0, b"order");
    }
    let page = page(&broker.core);
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("rocketmq_messages_in_total{")).collect();
    let row = concat!(
        "rocketmq_messages_in_total{otel_scope_name=\"broker-meter\",cluster=\"DefaultCluster\",is_system=\"false\",",
        "message_type=\"normal\",node_id=\"broker-a\",node_type=\"broker\",topic=\"orders\",zone=\"a\"} 1"
    );
    assert_eq!(rows, [row]);
    assert!(page.contains(
        "metric=\"rocketmq_messages_in_total\",node_id=\"broker-a\",node_type=\"broker\",topic=\"x\",zone=\"a\"} 1\n"
    ));
    assert_eq!(broker.core.config.load().metrics.bad_labels, ["9:b", "le:5"]);
}

#[tokio::test]
async fn sizes_of_messages_are_counted_in_apaches_classes() {
    let broker = TestBroker::new();
    broker.topic("orders", 1);
    for len in [10, 2_000, 5_000] {
        broker.store("orders", 0, &vec![0; len]);
    }
    let page = page(&broker.core);
    let counts: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("rocketmq_message_size_bucket{"))
        .filter_map(|line| line.rsplit(' ').next())
        .collect();
    assert_eq!(counts, ["1", "2", "3", "3", "3", "3", "3"]);
}
