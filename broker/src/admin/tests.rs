//! What administrators ask about groups and consumers, against a broker without sockets.

use std::collections::BTreeMap;

use tenonmq_protocol::{
    Command,
    body::{
        ConsumeStats, ConsumerConnection, ConsumerData, ConsumerOffsets, GroupList, HeartbeatData, MessageRequestMode,
        MessageRequestModes, ProducerConnection, ProducerData, QueryAssignment, ResetOffsetBody, SetMessageRequestMode,
        SubscriptionData, SubscriptionGroupConfig, SubscriptionGroupTable, TopicList, json,
    },
    code::RequestCode as Code,
    message::MessageQueue,
};

use crate::remoting::testing::{Peer, TestBroker};

async fn ask(broker: &TestBroker, code: Code, fields: &[(&str, &str)]) -> Command {
    let command = fields.iter().fold(Command::request(code), |command, (name, value)| command.with_field(*name, value));
    broker.call(&Peer::new(99), command).await
}

async fn body<T: serde::de::DeserializeOwned>(broker: &TestBroker, code: Code, fields: &[(&str, &str)]) -> T {
    let answer = ask(broker, code, fields).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (0, None));
    json::from_slice(&answer.body).unwrap()
}

async fn refused(broker: &TestBroker, code: Code, fields: &[(&str, &str)]) -> (i32, String) {
    let answer = ask(broker, code, fields).await;
    (answer.code, answer.remark.unwrap_or_default())
}

async fn put(broker: &TestBroker, group: &SubscriptionGroupConfig) -> Command {
    let command = Command::request(Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(json::to_vec(group));
    broker.call(&Peer::new(99), command).await
}

/// Connects `peer` as "one": consumer of `group` for the topic "orders", producer of the group "shop".
async fn connect(broker: &TestBroker, peer: &Peer, group: &str) {
    let orders = SubscriptionData { topic: "orders".into(), sub_version: 1, ..SubscriptionData::default() };
    let consumer =
        ConsumerData { group_name: group.into(), subscription_data_set: vec![orders], ..ConsumerData::default() };
    let data = HeartbeatData {
        client_id: "one".into(),
        consumer_data_set: vec![consumer],
        producer_data_set: vec![ProducerData { group_name: "shop".into() }],
        ..HeartbeatData::default()
    };
    let command = Command::request(Code::HEART_BEAT).with_body(json::to_vec(&data));
    assert_eq!(broker.call(peer, command).await.code, 0);
}

/// A topic "orders" with two queues of 3 and 1 messages, and a group that has read 2 of the first.
fn orders(broker: &TestBroker) {
    broker.topic("orders", 2);
    for body in [b"a", b"b", b"c"] {
        broker.store("orders", 0, body);
    }
    broker.store("orders", 1, b"d");
    broker.core.groups.find_or_create("billing").unwrap();
    broker.core.offsets.commit("billing", "orders", 0, 2);
}

fn queue(queue_id: i32) -> MessageQueue {
    MessageQueue::new("orders", "broker-a", queue_id)
}

#[tokio::test]
async fn a_message_is_found_by_its_key_as_soon_as_it_is_stored() {
    let broker = TestBroker::with(&[("messageIndexEnable", "true")]);
    broker.topic("orders", 1);
    for n in 0..20 {
        let key = format!("order-{n}");
        broker.store_with("orders", 0, b"x", &format!("KEYS\u{1}{key}\u{2}"), 0);
        let wanted = [
            ("topic", "orders"),
            ("key", &key),
            ("maxNum", "32"),
            ("beginTimestamp", "0"),
            ("endTimestamp", "9223372036854775807"),
        ];
        assert_eq!(ask(&broker, Code::QUERY_MESSAGE, &wanted).await.code, 0, "{key}");
    }
}

#[tokio::test]
async fn a_group_that_an_administrator_sets_is_listed_and_outlives_a_restart() {
    let broker = TestBroker::new();
    let group = SubscriptionGroupConfig {
        group_name: "billing".into(),
        retry_max_times: 3,
        ..SubscriptionGroupConfig::default()
    };
    assert_eq!(put(&broker, &group).await.code, 0);
    let broker = broker.restarted();
    let table: SubscriptionGroupTable = body(&broker, Code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[]).await;
    assert_eq!(table.subscription_group_table["billing"], group);
    assert!(table.subscription_group_table.contains_key("CID_RMQ_SYS_TRANS"));
    let one: SubscriptionGroupConfig = body(&broker, Code::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "billing")]).await;
    assert_eq!(one, group);
}

#[tokio::test]
async fn numbers_of_retries_that_could_never_work_are_refused_by_the_name_of_their_field() {
    let broker = TestBroker::new();
    let body = |rest: &str| format!(r#"{{"groupName":"billing",{rest}}}"#);
    let customized =
        |next: &str| body(&format!(r#""groupRetryPolicy":{{"customizedRetryPolicy":{{"next":[{next}]}}}}"#));
    let growing = |rest: &str| {
        body(&format!(r#""groupRetryPolicy":{{"type":"EXPONENTIAL","exponentialRetryPolicy":{{{rest}}}}}"#))
    };
    for (text, field) in [
        (body(r#""retryQueueNums":65537"#), "retryQueueNums: "),
        (customized(""), "groupRetryPolicy.customizedRetryPolicy.next: "),
        (customized("1,-1"), "groupRetryPolicy.customizedRetryPolicy.next: "),
        (customized(&["1"; 1001].join(",")), "groupRetryPolicy.customizedRetryPolicy.next: "),
        (growing(r#""initial":-1"#), "groupRetryPolicy.exponentialRetryPolicy.initial: "),
        (growing(r#""max":-1"#), "groupRetryPolicy.exponentialRetryPolicy.max: "),
        (growing(r#""multiplier":0"#), "groupRetryPolicy.exponentialRetryPolicy.multiplier: "),
    ] {
        let answer = broker
            .call(&Peer::new(1), Command::request(Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(text))
            .await;
        assert_eq!(answer.code, 29, "{:?}", answer.remark);
        assert!(answer.remark.as_deref().unwrap().starts_with(field), "{:?}", answer.remark);
    }
    assert!(broker.core.groups.get("billing").is_none());
    for text in [
        body(r#""retryQueueNums":-1,"retryMaxTimes":-1,"groupRetryPolicy":null"#),
        growing(r#""initial":5000,"max":7200000,"multiplier":2"#),
        customized("1000,5000,10000"),
    ] {
        let command = Command::request(Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(text);
        assert_eq!(broker.call(&Peer::new(1), command).await.code, 0);
    }
    let policy = &broker.core.groups.get("billing").unwrap().group_retry_policy;
    assert_eq!(policy.customized_retry_policy.as_ref().unwrap().next, [1000, 5000, 10_000]);
}

#[tokio::test]
async fn a_group_that_no_consumer_could_use_is_refused() {
    let broker = TestBroker::new();
    for name in ["", "a b", "a@b"] {
        let group = SubscriptionGroupConfig { group_name: name.into(), ..SubscriptionGroupConfig::default() };
        assert_eq!(put(&broker, &group).await.code, 29, "{name}");
    }
    let attributes = BTreeMap::from([("+colour".to_owned(), "red".to_owned())]);
    let group =
        SubscriptionGroupConfig { group_name: "billing".into(), attributes, ..SubscriptionGroupConfig::default() };
    let answer = put(&broker, &group).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("unsupported key: colour")));
}

#[tokio::test]
async fn deleting_a_group_keeps_its_offsets_unless_told_otherwise() {
    let broker = TestBroker::new();
    orders(&broker);
    assert_eq!(ask(&broker, Code::DELETE_SUBSCRIPTIONGROUP, &[("groupName", "billing")]).await.code, 0);
    assert!(!broker.core.groups.contains("billing"));
    assert_eq!(broker.core.offsets.get("billing", "orders", 0), Some(2));
    let fields = [("groupName", "billing"), ("cleanOffset", "true")];
    assert_eq!(ask(&broker, Code::DELETE_SUBSCRIPTIONGROUP, &fields).await.code, 0);
    assert_eq!(broker.core.offsets.get("billing", "orders", 0), None);
}

#[tokio::test]
async fn a_group_may_be_forbidden_to_read_a_topic_and_allowed_again() {
    let broker = TestBroker::new();
    for (readable, text) in [("false", r#""readable":false"#), ("true", r#""readable":true"#)] {
        let fields = [("group", "billing"), ("topic", "orders"), ("readable", readable)];
        let answer = ask(&broker, Code::UPDATE_AND_GET_GROUP_FORBIDDEN, &fields).await;
        assert!(std::str::from_utf8(&answer.body).unwrap().contains(text));
        assert_eq!(broker.core.groups.is_forbidden("billing", "orders"), readable == "false");
    }
}

#[tokio::test]
async fn connections_are_listed_and_groups_without_any_are_refused_in_apaches_words() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    let offline = refused(&broker, Code::GET_CONSUMER_CONNECTION_LIST, &[("consumerGroup", "billing")]).await;
    assert_eq!(offline, (206, "the consumer group[billing] not online".to_owned()));
    let offline = refused(&broker, Code::GET_PRODUCER_CONNECTION_LIST, &[("producerGroup", "shop")]).await;
    assert_eq!(offline, (1, "the producer group[shop] not exist".to_owned()));
    connect(&broker, &peer, "billing").await;
    let fields = [("consumerGroup", "billing")];
    let found: ConsumerConnection = body(&broker, Code::GET_CONSUMER_CONNECTION_LIST, &fields).await;
    assert_eq!((found.connection_set.len(), found.connection_set[0].client_id.as_str()), (1, "one"));
    assert_eq!(found.subscription_table.keys().collect::<Vec<_>>(), ["orders"]);
    let found: ProducerConnection =
        body(&broker, Code::GET_PRODUCER_CONNECTION_LIST, &[("producerGroup", "shop")]).await;
    assert_eq!(found.connection_set[0].client_addr, "127.0.0.1:0");
    let all = ask(&broker, Code::GET_ALL_PRODUCER_INFO, &[]).await;
    assert!(
        std::str::from_utf8(&all.body).unwrap().starts_with(r#"{"data":{"shop":[{"clientId":"one","language":"JAVA""#)
    );
}

#[tokio::test]
async fn progress_is_told_for_every_readable_queue_of_topics_that_have_offsets() {
    let broker = TestBroker::new();
    orders(&broker);
    broker.core.offsets.note_pull("billing", "orders", 0, 3);
    let stats: ConsumeStats = body(&broker, Code::GET_CONSUME_STATS, &[("consumerGroup", "billing")]).await;
    assert_eq!(stats.offset_table.len(), 2);
    let first = stats.offset_table[&queue(0)];
    assert_eq!((first.broker_offset, first.consumer_offset, first.pull_offset), (3, 2, 3));
    assert!(first.last_timestamp > 0);
    assert_eq!(stats.offset_table[&queue(1)].last_timestamp, 0);
    assert_eq!(stats.total_diff(), 2);
    let all = ask(&broker, Code::GET_BROKER_CONSUME_STATS, &[("isOrder", "false")]).await;
    let text = std::str::from_utf8(&all.body).unwrap();
    assert!(text.contains(r#""pullOffset":0"#) && text.contains(r#""totalDiff":2"#), "{text}");
    let ordered = ask(&broker, Code::GET_BROKER_CONSUME_STATS, &[("isOrder", "true")]).await;
    assert!(std::str::from_utf8(&ordered.body).unwrap().contains(r#"{"billing":[]}"#));
}

#[tokio::test]
async fn a_connected_group_is_not_shown_in_a_topic_that_it_no_longer_reads() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    orders(&broker);
    broker.topic("refunds", 1);
    broker.core.offsets.commit("billing", "refunds", 0, 0);
    connect(&broker, &peer, "billing").await;
    let stats: ConsumeStats = body(&broker, Code::GET_CONSUME_STATS, &[("consumerGroup", "billing")]).await;
    assert!(stats.offset_table.keys().all(|queue| queue.topic == "orders"));
    let fields = [("consumerGroup", "billing"), ("topicList", "refunds;")];
    let stats: ConsumeStats = body(&broker, Code::GET_CONSUME_STATS, &fields).await;
    assert!(stats.offset_table.keys().all(|queue| queue.topic == "refunds") && stats.offset_table.len() == 1);
}

#[tokio::test]
async fn who_reads_what_comes_from_subscriptions_and_offsets_but_not_from_bare_pulls() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    orders(&broker);
    connect(&broker, &peer, "audit").await;
    broker.core.offsets.note_pull("TOOLS_CONSUMER", "orders", 0, 1);
    let groups: GroupList = body(&broker, Code::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", "orders")]).await;
    assert_eq!(groups.group_list, ["audit", "billing"]);
    let topics: TopicList = body(&broker, Code::QUERY_TOPICS_BY_CONSUMER, &[("group", "billing")]).await;
    assert_eq!((topics.topic_list, topics.broker_addr.as_deref()), (vec!["orders".into()], Some("127.0.0.1:10911")));
    let fields = [("group", "audit"), ("topic", "orders")];
    let answer = ask(&broker, Code::QUERY_SUBSCRIPTION_BY_CONSUMER, &fields).await;
    assert!(std::str::from_utf8(&answer.body).unwrap().contains(r#""subString":"*""#));
    let offsets: ConsumerOffsets = body(&broker, Code::GET_ALL_CONSUMER_OFFSET, &[]).await;
    assert_eq!(offsets.offset_table["orders@billing"], BTreeMap::from([(0, 2)]));
}

#[tokio::test]
async fn a_reset_moves_the_group_and_marks_every_queue_for_its_next_pull() {
    let broker = TestBroker::new();
    orders(&broker);
    let mut fields =
        vec![("topic", "orders"), ("group", "billing"), ("queueId", "-1"), ("offset", "-1"), ("isForce", "true")];
    fields.push(("timestamp", "-1"));
    let moved: ResetOffsetBody = body(&broker, Code::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await;
    assert_eq!(moved.offset_table, BTreeMap::from([(queue(0), 3), (queue(1), 1)]));
    assert!(broker.core.offsets.has_reset("billing", "orders", 1));
    *fields.last_mut().unwrap() = ("timestamp", "0");
    let moved: ResetOffsetBody = body(&broker, Code::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await;
    assert_eq!(moved.offset_table[&queue(0)], 0);
    assert_eq!(broker.core.offsets.get("billing", "orders", 0), Some(0));
}

#[tokio::test]
async fn a_reset_to_a_place_that_is_not_there_is_refused() {
    let broker = TestBroker::new();
    orders(&broker);
    let fields = |topic, group, offset| {
        [
            ("topic", topic),
            ("group", group),
            ("queueId", "0"),
            ("offset", offset),
            ("timestamp", "0"),
            ("isForce", "true"),
        ]
    };
    let code = Code::INVOKE_BROKER_TO_RESET_OFFSET;
    let answer = refused(&broker, code, &fields("orders", "billing", "5")).await;
    assert_eq!(answer, (1, "Target offset 5 not in consume queue range [0-3]".to_owned()));
    let answer = refused(&broker, code, &fields("nowhere", "billing", "0")).await;
    assert_eq!(answer, (17, "Topic nowhere does not exist".to_owned()));
    let answer = refused(&broker, code, &fields("orders", "nobody", "0")).await;
    assert_eq!(answer, (26, "Group nobody does not exist".to_owned()));
}

#[tokio::test]
async fn members_are_told_of_a_reset_when_the_broker_leaves_it_to_them() {
    let (broker, mut peer) = (TestBroker::with(&[("useServerSideResetOffset", "false")]), Peer::new(1));
    orders(&broker);
    let fields = [("topic", "orders"), ("group", "billing"), ("timestamp", "-1"), ("isForce", "true")];
    let code = Code::INVOKE_BROKER_TO_RESET_OFFSET;
    let answer = refused(&broker, code, &fields).await;
    assert_eq!(answer, (1, "THe consumer group <billing> not exist".to_owned()), "no offset in queue 1");
    broker.core.offsets.commit("billing", "orders", 1, 0);
    assert_eq!(refused(&broker, code, &fields).await.0, 206);
    connect(&broker, &peer, "billing").await;
    peer.received();
    let moved: ResetOffsetBody = body(&broker, code, &fields).await;
    assert_eq!((moved.offset_table[&queue(0)], peer.received()), (3, vec![220]));
    assert_eq!(broker.core.offsets.get("billing", "orders", 0), Some(2), "the members commit it themselves");
}

#[tokio::test]
async fn offsets_are_copied_to_another_group_and_compared_with_others() {
    let broker = TestBroker::new();
    orders(&broker);
    let fields = [("srcGroup", "billing"), ("destGroup", "audit"), ("offline", "true")];
    assert_eq!(ask(&broker, Code::CLONE_GROUP_OFFSET, &fields).await.code, 0);
    assert_eq!(broker.core.offsets.get("audit", "orders", 0), Some(2));
    broker.core.offsets.commit("billing", "orders", 0, 3);
    let fields = [("topic", "orders"), ("compareGroup", "billing")];
    let answer = ask(&broker, Code::QUERY_CORRECTION_OFFSET, &fields).await;
    assert_eq!(&answer.body[..], br#"{"correctionOffsets":{0:2}}"#);
}

#[tokio::test]
async fn queue_entries_and_times_can_be_looked_at() {
    let broker = TestBroker::new();
    orders(&broker);
    let fields = [("topic", "orders"), ("queueId", "0"), ("index", "1"), ("count", "5")];
    let answer = ask(&broker, Code::QUERY_CONSUME_QUEUE, &fields).await;
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert!(
        text.starts_with(r#"{"maxQueueIndex":3,"minQueueIndex":0,"queueData":[{"eval":false,"physicOffset":"#),
        "{text}"
    );
    assert_eq!(text.matches("physicSize").count(), 2);
    let fields = [("topic", "orders"), ("queueId", "7"), ("index", "0"), ("count", "1")];
    assert_eq!(refused(&broker, Code::QUERY_CONSUME_QUEUE, &fields).await, (1, "7@orders is not exist!".to_owned()));
    let answer = ask(&broker, Code::QUERY_CONSUME_TIME_SPAN, &[("topic", "orders"), ("group", "billing")]).await;
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert!(text.contains(r#""consumeTimeStampStr":"20"#) && text.contains(r#""queueId":1"#), "{text}");
}

#[tokio::test]
async fn a_request_for_a_member_that_is_not_there_is_refused() {
    let broker = TestBroker::new();
    let fields = [("consumerGroup", "billing"), ("clientId", "one"), ("jstackEnable", "false")];
    let answer = refused(&broker, Code::GET_CONSUMER_RUNNING_INFO, &fields).await;
    assert_eq!(answer, (1, "The Consumer <billing> <one> not online".to_owned()));
    let fields = [("topic", "orders"), ("group", "billing"), ("clientAddr", "")];
    let answer = refused(&broker, Code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &fields).await;
    assert_eq!(answer, (1, "No Any Consumer online in the consumer group: [billing]".to_owned()));
}

#[tokio::test]
async fn a_group_told_to_pop_is_assigned_all_queues_of_the_broker_and_still_pulls_its_retries() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    orders(&broker);
    connect(&broker, &peer, "billing").await;
    let assigned = async |broker: &TestBroker, topic: &str| {
        let asked = QueryAssignment {
            client_id: "one".into(),
            consumer_group: "billing".into(),
            strategy_name: "AVG".into(),
            topic: topic.into(),
            ..QueryAssignment::default()
        };
        let command = Command::request(Code::QUERY_ASSIGNMENT).with_body(json::to_vec(&asked));
        String::from_utf8(broker.call(&peer, command).await.body.to_vec()).unwrap()
    };
    assert_eq!(assigned(&broker, "orders").await.matches(r#""mode":"PULL""#).count(), 2);
    assert_eq!(assigned(&broker, "nowhere").await, "{}");
    let mode = SetMessageRequestMode {
        consumer_group: "billing".into(),
        mode: MessageRequestMode::Pop,
        pop_share_queue_num: 8,
        topic: "orders".into(),
    };
    let command = Command::request(Code::SET_MESSAGE_REQUEST_MODE).with_body(json::to_vec(&mode));
    assert_eq!(broker.call(&peer, command).await.code, 0);
    let popped = r#"{"messageQueueAssignments":[{"messageQueue":{"brokerName":"broker-a","queueId":-1,"topic":"orders"},"mode":"POP"}]}"#;
    assert_eq!(assigned(&broker, "orders").await, popped);
    let retry = r#"{"messageQueueAssignments":[{"messageQueue":{"brokerName":"broker-a","queueId":0,"topic":"%RETRY%billing"},"mode":"PULL"}]}"#;
    assert_eq!(assigned(&broker, "%RETRY%billing").await, retry);
    let broker = broker.restarted();
    let modes: MessageRequestModes = body(&broker, Code::GET_ALL_MESSAGE_REQUEST_MODE, &[]).await;
    assert_eq!(modes.message_request_mode_map["orders"]["billing"], mode);
}

#[tokio::test]
async fn a_broker_alone_has_no_slaves_and_no_counters_by_topic() {
    let broker = TestBroker::new();
    let status = ask(&broker, Code::GET_BROKER_HA_STATUS, &[]).await;
    let text = std::str::from_utf8(&status.body).unwrap();
    assert!(
        text.contains(r#""haConnectionInfo":[],"inSyncSlaveNums":0,"master":true,"masterCommitLogMaxOffset":0"#),
        "{text}"
    );
    let fields = [("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "orders")];
    let answer = refused(&broker, Code::VIEW_BROKER_STATS_DATA, &fields).await;
    assert_eq!(answer, (1, "The stats <TOPIC_PUT_NUMS> <orders> not exist".to_owned()));
}
