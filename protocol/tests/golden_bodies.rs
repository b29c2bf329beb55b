//! The typed bodies take all of every captured JSON body and configuration file, and write the same bytes in the same
//! order, but for the entries of maps, whose order Apache leaves open.

mod common;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use common::{Captured, captured};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenonmq_protocol::RequestCode;
use tenonmq_protocol::body::*;

/// Reads and writes a body. What is written must consist of the same bytes and read as the same value.
fn through<T: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8], what: &dyn Debug) {
    let value: T = json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {what:?}"));
    let written = [json::to_vec(&value), json::to_vec_standard(&value)];
    let sorted = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.sort_unstable();
        bytes
    };
    let same = written.iter().any(|written| sorted(written) == sorted(body));
    assert!(same, "{}\n{}\n{what:?}", String::from_utf8_lossy(body), String::from_utf8_lossy(&written[0]));
    for written in written {
        assert_eq!(json::from_slice::<T>(&written).unwrap(), value);
    }
}

fn check(code: RequestCode, response: bool, body: &[u8], what: &dyn Debug) -> bool {
    use RequestCode as R;
    match (code, response) {
        (R::REGISTER_BROKER, false) => through::<RegisterBrokerBody>(body, what),
        (R::REGISTER_BROKER | R::GET_BROKER_RUNTIME_INFO, true) => through::<KvTable>(body, what),
        (R::GET_ROUTEINFO_BY_TOPIC, true) | (R::REGISTER_TOPIC_IN_NAMESRV, false) => through::<TopicRoute>(body, what),
        (R::GET_BROKER_CLUSTER_INFO, true) => through::<ClusterInfo>(body, what),
        (R::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, false) => through::<SubscriptionGroupConfig>(body, what),
        (R::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, true) => through::<SubscriptionGroupTable>(body, what),
        (R::GET_TOPIC_STATS_INFO, true) => through::<TopicStatsTable>(body, what),
        (R::GET_CONSUMER_CONNECTION_LIST, true) => through::<ConsumerConnection>(body, what),
        (R::GET_PRODUCER_CONNECTION_LIST, true) => through::<ProducerConnection>(body, what),
        (R::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, true) => through::<TopicList>(body, what),
        (R::GET_CONSUME_STATS, true) => through::<ConsumeStats>(body, what),
        (R::GET_ALL_TOPIC_CONFIG, true) => through::<TopicConfigAndMappingTable>(body, what),
        (R::GET_CONSUMER_STATUS_FROM_CLIENT | R::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, true) => {
            through::<ConsumerStatus>(body, what);
        }
        (R::INVOKE_BROKER_TO_RESET_OFFSET, true) => through::<ResetOffsetBody>(body, what),
        (R::QUERY_TOPIC_CONSUME_BY_WHO, true) => through::<GroupList>(body, what),
        (R::GET_CONSUMER_RUNNING_INFO, true) => through::<ConsumerRunningInfo>(body, what),
        (R::CONSUME_MESSAGE_DIRECTLY, true) => through::<ConsumeDirectlyResult>(body, what),
        (R::VIEW_BROKER_STATS_DATA, true) => through::<BrokerStatsData>(body, what),
        (R::GET_BROKER_CONSUME_STATS, true) => through::<ConsumeStatsList>(body, what),
        (R::QUERY_CONSUME_QUEUE, true) => through::<ConsumeQueueEntries>(body, what),
        (R::QUERY_DATA_VERSION, false) => through::<DataVersion>(body, what),
        (R::HEART_BEAT, false) => through::<HeartbeatData>(body, what),
        (R::GET_TOPIC_CONFIG, true) => through::<TopicConfigAndMapping>(body, what),
        (R::GET_CONSUMER_LIST_BY_GROUP, true) => through::<ConsumerIds>(body, what),
        (R::QUERY_ASSIGNMENT, false) => through::<QueryAssignment>(body, what),
        (R::QUERY_ASSIGNMENT, true) => through::<Assignments>(body, what),
        (R::SET_MESSAGE_REQUEST_MODE, false) => through::<SetMessageRequestMode>(body, what),
        (R::GET_ALL_MESSAGE_REQUEST_MODE, true) => through::<MessageRequestModes>(body, what),
        (R::LOCK_BATCH_MQ | R::UNLOCK_BATCH_MQ, false) => through::<LockRequest>(body, what),
        (R::LOCK_BATCH_MQ, true) => through::<LockResponse>(body, what),
        (R::GET_ALL_CONSUMER_OFFSET, true) => through::<ConsumerOffsets>(body, what),
        (R::GET_ALL_DELAY_OFFSET, true) => through::<DelayOffsets>(body, what),
        (R::CHECK_CLIENT_CONFIG, false) => through::<CheckClientConfig>(body, what),
        (R::GET_TIMER_METRICS, true) => through::<TimerMetrics>(body, what),
        (R::GET_BROKER_MEMBER_GROUP, true) => through::<BrokerMemberGroupBody>(body, what),
        (R::GET_BROKER_HA_STATUS, true) => through::<HaRuntimeInfo>(body, what),
        _ => return false,
    }
    true
}

#[test]
fn every_captured_json_body_has_a_type_that_keeps_all_of_it() {
    let mut kinds = BTreeMap::new();
    for Captured { bytes, line, .. } in captured() {
        let body = &bytes[bytes.len() - line["bodyLength"].as_u64().unwrap() as usize..];
        let response = line["kind"] == "response";
        let code = line.get("requestCode").unwrap_or(&line["code"]).as_i64().unwrap() as i32;
        let is_json = line.get("bodyNote").and_then(|note| note.as_str()).is_some_and(|note| note.starts_with("json"));
        if is_json {
            assert!(check(RequestCode(code), response, body, &line), "no type for {line}");
            *kinds.entry((code, response)).or_insert(0) += 1;
        }
    }
    assert!(kinds.len() >= 36, "{kinds:?}");
}

#[test]
fn compressed_registrations_read_as_the_plain_one_of_the_same_broker_would() {
    let mut seen = 0;
    for Captured { bytes, line, .. } in captured().into_iter().filter(|frame| frame.folder == "compressed-register") {
        let body = &bytes[bytes.len() - line["bodyLength"].as_u64().unwrap() as usize..];
        if line["code"] != 103 || line["kind"] == "response" {
            continue;
        }
        let body = RegisterBrokerBody::decode(body, 479, 1 << 20).unwrap();
        let table = &body.topic_config_serialize_wrapper;
        assert!(table.data_version.timestamp > 1_700_000_000_000);
        assert_eq!(table.topic_config_table["TBW102"].perm, 7);
        assert_eq!(RegisterBrokerBody::decode(&body.encode_compressed().unwrap(), 479, 1 << 20).unwrap(), body);
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn configuration_files_read_and_write() {
    fn file<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str) {
        for variant in ["clean", "killed", "ext"] {
            let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store"));
            let Ok(bytes) = fs::read(root.join(variant).join("data/config").join(name)) else { continue };
            let plain: Vec<u8> = bytes.into_iter().filter(|byte| !b"\n\t".contains(byte)).collect();
            through::<T>(&plain, &(variant, name));
            let value: T = json::from_slice(&plain).unwrap();
            assert_eq!(json::from_slice::<T>(&json::to_vec_pretty(&value)).unwrap(), value);
        }
    }
    file::<TopicConfigTable>("topics.json");
    file::<SubscriptionGroupTable>("subscriptionGroup.json");
    file::<ConsumerOffsets>("consumerOffset.json");
    file::<DelayOffsets>("delayOffset.json");
    file::<TimerMetrics>("timermetrics");
}
