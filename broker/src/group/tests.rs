//! Heartbeats, member lists and queue locks against a broker without sockets, and captured conversations.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tenonmq_protocol::{
    Command,
    body::{
        ConsumerData, ConsumerIds, HeartbeatData, LockRequest, LockResponse, MessageModel, ProducerData,
        SubscriptionData, json,
    },
    code::RequestCode,
    header::group::{GetConsumerList, UnregisterClient},
    message::MessageQueue,
};
use tokio::sync::watch;

use crate::{
    core::groups::group,
    remoting::testing::{Peer, TestBroker},
};

const NOTIFY: i32 = 40;

fn subscription(topic: &str, version: i64) -> SubscriptionData {
    SubscriptionData { topic: topic.into(), sub_version: version, ..SubscriptionData::default() }
}

fn consumer(group: &str, topics: &[&str]) -> ConsumerData {
    let subscription_data_set = topics.iter().map(|topic| subscription(topic, 1)).collect();
    ConsumerData { group_name: group.into(), subscription_data_set, ..ConsumerData::default() }
}

fn heartbeat(client_id: &str, consumers: Vec<ConsumerData>) -> HeartbeatData {
    HeartbeatData {
        client_id: client_id.into(),
        consumer_data_set: consumers,
        producer_data_set: vec![ProducerData { group_name: "CLIENT_INNER_PRODUCER".into() }],
        ..HeartbeatData::default()
    }
}

async fn beat(broker: &TestBroker, peer: &Peer, data: &HeartbeatData) -> Command {
    let command = Command::request(RequestCode::HEART_BEAT).with_body(json::to_vec(data));
    broker.call(peer, command).await
}

async fn joined(broker: &TestBroker, peer: &Peer, client_id: &str, group: &str) {
    assert_eq!(beat(broker, peer, &heartbeat(client_id, vec![consumer(group, &["orders"])])).await.code, 0);
}

#[tokio::test]
async fn a_heartbeat_registers_and_creates_group_and_retry_topic() {
    let (broker, one) = (TestBroker::new(), Peer::new(1));
    let answer = beat(&broker, &one, &heartbeat("one", vec![consumer("billing", &["orders"])])).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (0, None));
    assert_eq!(answer.field("IS_SUPPORT_HEART_BEAT_V2"), Some("true"));
    assert_eq!(answer.field("IS_SUB_CHANGE"), Some("true"), "always, in the first version");
    assert!(broker.core.groups.contains("billing"));
    let retry = broker.core.topics.get("%RETRY%billing").unwrap();
    let config = &retry.config;
    assert_eq!((config.read_queue_nums, config.write_queue_nums, config.perm, config.order), (1, 1, 6, false));
    assert!(broker.core.clients.subscription("billing", "orders").is_some());
    assert_eq!(broker.core.clients.producers("CLIENT_INNER_PRODUCER").len(), 1);
}

#[tokio::test]
async fn a_retry_topic_has_the_groups_queues_and_the_order_of_what_the_group_reads() {
    let (broker, one) = (TestBroker::new(), Peer::new(1));
    let mut config = group("billing");
    config.retry_queue_nums = 3;
    broker.core.groups.put(config).unwrap();
    broker.topic("orders", 1);
    let mut orders = broker.core.topics.get("orders").unwrap().config.clone();
    orders.order = true;
    broker.core.topics.put(orders, 1);
    let unit = ConsumerData { unit_mode: true, ..consumer("billing", &["orders"]) };
    beat(&broker, &one, &heartbeat("one", vec![unit])).await;
    let retry = broker.core.topics.get("%RETRY%billing").unwrap();
    assert_eq!((retry.config.read_queue_nums, retry.config.order, retry.config.topic_sys_flag), (3, true, 2));
    beat(&broker, &one, &heartbeat("one", vec![consumer("billing", &["refunds"])])).await;
    assert!(!broker.core.topics.get("%RETRY%billing").unwrap().config.order);
}

#[tokio::test]
async fn a_group_that_may_not_be_created_is_passed_over_in_silence() {
    let (broker, one) = (TestBroker::with(&[("autoCreateSubscriptionGroup", "false")]), Peer::new(1));
    let answer = beat(&broker, &one, &heartbeat("one", vec![consumer("billing", &["orders"])])).await;
    assert_eq!(answer.code, 0);
    assert!(broker.core.clients.consumer_group("billing").is_none());
    assert!(broker.core.topics.get("%RETRY%billing").is_none());
    assert_eq!(broker.core.clients.producers("CLIENT_INNER_PRODUCER").len(), 1);
}

#[tokio::test]
async fn everybody_in_the_group_hears_of_a_new_member_itself_included() {
    let (broker, mut one, mut two) = (TestBroker::new(), Peer::new(1), Peer::new(2));
    joined(&broker, &one, "one", "billing").await;
    assert_eq!(one.received(), [NOTIFY]);
    joined(&broker, &one, "one", "billing").await;
    assert!(one.received().is_empty(), "nothing has changed");
    joined(&broker, &two, "two", "billing").await;
    assert_eq!((one.received(), two.received()), (vec![NOTIFY], vec![NOTIFY]));
}

#[tokio::test]
async fn those_who_remain_hear_of_a_member_that_leaves_closes_or_falls_silent() {
    let (broker, mut one) = (TestBroker::new(), Peer::new(1));
    joined(&broker, &one, "one", "billing").await;
    let leaving = Peer::new(2);
    joined(&broker, &leaving, "two", "billing").await;
    one.received();
    let farewell = UnregisterClient { client_id: "two", producer_group: None, consumer_group: Some("billing") };
    assert_eq!(broker.ask(&leaving, &farewell).await.code, 0);
    assert_eq!(one.received(), [NOTIFY]);
    assert_eq!(broker.ask(&leaving, &farewell).await.code, 0, "leaving twice is no error");

    let closing = Peer::new(3);
    joined(&broker, &closing, "three", "billing").await;
    one.received();
    broker.close(&closing);
    assert_eq!(one.received(), [NOTIFY]);

    let silent = Peer::new(4);
    joined(&broker, &silent, "four", "billing").await;
    broker.advance(Duration::from_secs(120));
    joined(&broker, &one, "one", "billing").await;
    one.received();
    super::heartbeat::drop_silent(&broker.core);
    assert!(silent.connection.is_open(), "exactly at its time it is not too late");
    broker.advance(Duration::from_millis(1));
    super::heartbeat::drop_silent(&broker.core);
    assert!(!silent.connection.is_open());
    assert_eq!(one.received(), [NOTIFY]);
}

#[tokio::test]
async fn nobody_is_told_when_the_group_broadcasts_or_group_or_broker_want_no_news() {
    let broadcast = ConsumerData { message_model: MessageModel::Broadcasting, ..consumer("billing", &["orders"]) };
    let mut quiet = group("billing");
    quiet.notify_consumer_ids_changed_enable = false;
    for (settings, config, data) in [
        (&[][..], group("billing"), broadcast),
        (&[], quiet, consumer("billing", &["orders"])),
        (&[("notifyConsumerIdsChangedEnable", "false")], group("billing"), consumer("billing", &["orders"])),
    ] {
        let (broker, mut one) = (TestBroker::with(settings), Peer::new(1));
        broker.core.groups.put(config).unwrap();
        beat(&broker, &one, &heartbeat("one", vec![data])).await;
        assert!(one.received().is_empty());
        assert!(broker.core.clients.consumer_group("billing").is_some());
    }
}

#[tokio::test]
async fn pull_consumers_are_not_registered_when_the_broker_rejects_them() {
    let (broker, one) = (TestBroker::with(&[("rejectPullConsumerEnable", "true")]), Peer::new(1));
    let pulling =
        ConsumerData { consume_type: tenonmq_protocol::body::ConsumeType::Actively, ..consumer("billing", &[]) };
    assert_eq!(beat(&broker, &one, &heartbeat("one", vec![pulling, consumer("audit", &[])])).await.code, 0);
    assert!(broker.core.clients.consumer_group("billing").is_none());
    assert!(broker.core.clients.consumer_group("audit").is_some());
}

#[tokio::test]
async fn a_heartbeat_of_the_second_version_is_told_whether_to_send_its_subscriptions() {
    let (broker, one) = (TestBroker::new(), Peer::new(1));
    let full = HeartbeatData { heartbeat_fingerprint: 7, ..heartbeat("one", vec![consumer("billing", &["orders"])]) };
    let changed = |answer: &Command| answer.field("IS_SUB_CHANGE").map(str::to_owned);
    assert_eq!(changed(&beat(&broker, &one, &full).await).as_deref(), Some("false"));
    let short = HeartbeatData {
        heartbeat_fingerprint: 7,
        without_sub: true,
        ..heartbeat("one", vec![consumer("billing", &[])])
    };
    assert_eq!(changed(&beat(&broker, &one, &short).await).as_deref(), Some("false"));
    assert!(broker.core.clients.subscription("billing", "orders").is_some());
    let other = HeartbeatData { heartbeat_fingerprint: 8, ..short };
    assert_eq!(changed(&beat(&broker, &one, &other).await).as_deref(), Some("true"));
}

#[tokio::test]
async fn a_heartbeat_that_is_no_json_is_answered_with_an_error() {
    let (broker, one) = (TestBroker::new(), Peer::new(1));
    let answer = broker.call(&one, Command::request(RequestCode::HEART_BEAT).with_body(&b"{\"clientID\":"[..])).await;
    assert_eq!(answer.code, 1);
    assert!(answer.remark.is_some());
}

#[tokio::test]
async fn members_are_listed_and_a_group_without_any_is_an_error() {
    let (broker, one, two) = (TestBroker::new(), Peer::new(1), Peer::new(2));
    let asked = GetConsumerList { consumer_group: "billing" };
    let answer = broker.ask(&one, &asked).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (1, Some("no consumer for this group, billing")));
    joined(&broker, &two, "two", "billing").await;
    joined(&broker, &one, "one", "billing").await;
    let answer = broker.ask(&one, &asked).await;
    let ids: ConsumerIds = json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.code, ids.consumer_id_list), (0, vec!["one".to_owned(), "two".to_owned()]));
}

#[tokio::test]
async fn locks_are_granted_refused_given_up_and_expire_by_the_brokers_clock() {
    let (broker, peer) = (TestBroker::new(), Peer::new(1));
    let body = |client: &str| {
        let mq_set = vec![MessageQueue::new("orders", "broker-a", 0)];
        let client_id = client.to_owned();
        json::to_vec(&LockRequest { client_id, consumer_group: "billing".into(), mq_set, only_this_broker: false })
    };
    let lock = async |client: &str| {
        let answer = broker.call(&peer, Command::request(RequestCode::LOCK_BATCH_MQ).with_body(body(client))).await;
        assert_eq!(answer.code, 0);
        json::from_slice::<LockResponse>(&answer.body).unwrap().locked.len()
    };
    assert_eq!((lock("one").await, lock("two").await), (1, 0));
    let unlock = Command::request(RequestCode::UNLOCK_BATCH_MQ).with_body(body("one"));
    assert_eq!(broker.call(&peer, unlock).await.code, 0);
    assert_eq!((lock("two").await, lock("one").await), (1, 0));
    broker.advance(Duration::from_millis(60_001));
    assert_eq!(lock("one").await, 1);
}

#[tokio::test]
async fn groups_are_written_when_the_broker_stops() {
    let (broker, one) = (TestBroker::new(), Peer::new(1));
    let (stop, stopped) = watch::channel(false);
    let saver = tokio::spawn(super::keep_saved(Arc::clone(&broker.core), stopped));
    joined(&broker, &one, "one", "billing").await;
    stop.send_replace(true);
    saver.await.unwrap();
    assert!(broker.restarted().core.groups.contains("billing"));
}

/// Replays what captured clients sent, and compares each answer with Apache's.
mod captured {
    use super::*;

    const WIRE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/wire");
    /// Heartbeat, unregister, member list, lock and unlock; commits, which have no answer.
    const REPLAYED: [i64; 6] = [34, 35, 38, 41, 42, 15];

    struct Frame {
        connection: u64,
        opaque: i64,
        code: i64,
        to_server: bool,
        is_response: bool,
        bytes: Vec<u8>,
    }

    fn frames(file: &str) -> Vec<Frame> {
        let bytes = std::fs::read(format!("{WIRE}/{file}")).unwrap();
        let index = std::fs::read_to_string(format!("{WIRE}/index.jsonl")).unwrap();
        let lines = index.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let of_file = lines.filter(|line| line["file"] == file && line["link"] == "broker");
        of_file
            .map(|line| {
                let number = |name: &str| line[name].as_i64().unwrap();
                let start = usize::try_from(number("offset")).unwrap();
                let end = start + usize::try_from(number("length")).unwrap();
                Frame {
                    connection: number("connection").unsigned_abs(),
                    opaque: number("opaque"),
                    code: number("code"),
                    to_server: line["direction"] == "to-server",
                    is_response: line["kind"] == "response",
                    bytes: bytes[start..end].to_vec(),
                }
            })
            .collect()
    }

    fn decoded(bytes: &[u8]) -> Command {
        let frame = tenonmq_protocol::FrameView::peek(bytes, bytes.len()).unwrap().unwrap();
        Command::decode(&frame).unwrap()
    }

    /// A JSON body with its lists sorted: their order comes from a hash table.
    fn sorted(body: &[u8]) -> Option<serde_json::Value> {
        let mut value: serde_json::Value = serde_json::from_slice(body).ok()?;
        for list in value.as_object_mut()?.values_mut().filter_map(serde_json::Value::as_array_mut) {
            list.sort_by_key(ToString::to_string);
        }
        Some(value)
    }

    fn outcome(answer: &Command) -> (i32, Option<&str>, BTreeMap<&str, &str>, Option<serde_json::Value>) {
        let fields = answer.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        (answer.code, answer.remark.as_deref(), fields, sorted(&answer.body))
    }

    async fn replay(broker: &TestBroker, peers: &mut BTreeMap<u64, Peer>, file: &str) -> usize {
        let frames = frames(file);
        let mut compared = 0;
        for frame in frames.iter().filter(|frame| frame.to_server && !frame.is_response) {
            if !REPLAYED.contains(&frame.code) {
                continue;
            }
            let peer = peers.entry(frame.connection).or_insert_with(|| Peer::new(frame.connection));
            let answer = broker.frame(peer, &frame.bytes).await;
            let is_its_answer = |other: &&Frame| {
                other.is_response && other.connection == frame.connection && other.opaque == frame.opaque
            };
            let Some(expected) = frames.iter().find(is_its_answer) else { continue };
            let (answer, expected) = (answer.unwrap(), decoded(&expected.bytes));
            assert_eq!(outcome(&answer), outcome(&expected), "{file}: code {} opaque {}", frame.code, frame.opaque);
            compared += 1;
        }
        compared
    }

    async fn conversation(files: &[&str]) -> usize {
        let broker = TestBroker::new();
        let mut peers = BTreeMap::new();
        let mut compared = 0;
        for file in files {
            compared += replay(&broker, &mut peers, file).await;
        }
        compared
    }

    #[tokio::test]
    async fn push_consumers_get_the_answers_that_apache_gave() {
        for prefix in ["json", "rocketmq"] {
            let files = ["push-concurrent", "push-second-member", "push-orderly", "push-send-back", "push-broadcast"];
            let files = files.map(|name| format!("{prefix}-{name}.bin"));
            let compared = conversation(&files.each_ref().map(String::as_str)).await;
            assert!(compared >= 30, "{prefix}: only {compared} answers were compared");
        }
    }
}
