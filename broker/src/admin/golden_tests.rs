//! What operators' tools asked an Apache broker, asked of ours: answers have the captured code and the captured fields.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use serde_json::Value;
use tenonmq_protocol::{
    Command, DEFAULT_MAX_FRAME, FrameView,
    body::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData, json},
    code::RequestCode as Code,
};

use crate::remoting::testing::{Peer, TestBroker};

/// One captured request, as bytes, and its answer.
struct Exchange {
    request: Vec<u8>,
    code: Code,
    answer: Command,
}

/// What was asked with one of `codes`, in both encodings.
fn exchanges(codes: &[Code]) -> Vec<Exchange> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/wire"));
    let mut files: HashMap<String, Vec<u8>> = HashMap::new();
    let mut open: HashMap<(u64, i32), (Code, Vec<u8>)> = HashMap::new();
    let mut all = Vec::new();
    for line in std::fs::read_to_string(folder.join("index.jsonl")).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let name = line["file"].as_str().unwrap();
        if line["link"] != "broker" || !name.contains("-admin-") {
            continue;
        }
        let file = files.entry(name.to_owned()).or_insert_with(|| std::fs::read(folder.join(name)).unwrap());
        let start = usize::try_from(line["offset"].as_u64().unwrap()).unwrap();
        let frame = FrameView::peek(&file[start..], DEFAULT_MAX_FRAME).unwrap().unwrap();
        let (command, bytes) = (Command::decode(&frame).unwrap(), file[start..start + frame.len].to_vec());
        let key = (line["connection"].as_u64().unwrap(), command.opaque);
        let from_client = line["direction"] == "to-server";
        if from_client && codes.contains(&Code(command.code)) && !command.is_response() {
            open.insert(key, (Code(command.code), bytes));
        } else if !from_client && command.is_response() {
            let asked = open.remove(&key);
            all.extend(asked.map(|(code, request)| Exchange { request, code, answer: command }));
        }
    }
    all
}

/// A broker where the captured group reads the captured topic.
async fn broker(peer: &Peer) -> TestBroker {
    let broker = TestBroker::new();
    broker.topic("W_topic", 2);
    for queue_id in [0, 0, 0, 1] {
        broker.store("W_topic", queue_id, b"hello");
    }
    let topic = SubscriptionData { topic: "W_topic".into(), sub_version: 1, ..SubscriptionData::default() };
    let data = HeartbeatData {
        client_id: "127.0.0.1@adminc".into(),
        consumer_data_set: vec![ConsumerData {
            group_name: "WCG_admin".into(),
            subscription_data_set: vec![topic],
            ..ConsumerData::default()
        }],
        producer_data_set: vec![ProducerData { group_name: "WPG_admin".into() }],
        ..HeartbeatData::default()
    };
    let beat = Command::request(Code::HEART_BEAT).with_body(json::to_vec(&data));
    assert_eq!(broker.call(peer, beat).await.code, 0);
    broker.core.offsets.commit("WCG_admin", "W_topic", 0, 1);
    broker
}

/// Names of a body's fields, at any depth. Keys that are data, as names of topics, do not begin with a small letter.
fn shape(body: &[u8]) -> BTreeSet<String> {
    let text = std::str::from_utf8(body).unwrap();
    let quoted: Vec<&str> = text.split('"').collect();
    let keys = quoted.windows(2).filter(|pair| pair[1].starts_with(':')).map(|pair| pair[0]);
    keys.filter(|key| key.starts_with(|first: char| first.is_ascii_lowercase())).map(str::to_owned).collect()
}

#[tokio::test]
async fn operators_tools_get_the_fields_that_they_got_from_apache() {
    let peer = Peer::new(1);
    let broker = broker(&peer).await;
    let codes = [
        Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
        Code::GET_CONSUMER_CONNECTION_LIST,
        Code::GET_PRODUCER_CONNECTION_LIST,
        Code::GET_CONSUME_STATS,
        Code::INVOKE_BROKER_TO_RESET_OFFSET,
        Code::QUERY_CONSUME_QUEUE,
        Code::GET_BROKER_CONSUME_STATS,
        Code::GET_BROKER_HA_STATUS,
        Code::DELETE_SUBSCRIPTIONGROUP,
    ];
    let mut compared: BTreeMap<Code, usize> = BTreeMap::new();
    for exchange in exchanges(&codes) {
        let answer = broker.frame(&peer, &exchange.request).await.unwrap();
        assert_eq!(answer.code, exchange.answer.code, "{:?}", exchange.code);
        let (ours, theirs) = (shape(&answer.body), shape(&exchange.answer.body));
        // Groups that only the captured broker had contribute nothing, so ours may lack nothing else.
        assert!(ours.is_subset(&theirs) || theirs.is_empty(), "{:?}: {ours:?} {theirs:?}", exchange.code);
        if exchange.code != Code::GET_CONSUME_STATS || ours.len() > 2 {
            assert_eq!(ours, theirs, "{:?}", exchange.code);
            *compared.entry(exchange.code).or_default() += 1;
        }
    }
    assert_eq!(compared.keys().copied().collect::<BTreeSet<_>>(), codes.into_iter().collect(), "{compared:?}");
}
