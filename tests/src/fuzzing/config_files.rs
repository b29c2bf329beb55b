//! What lies in `config/`, and what an operator writes: every table and both formats of the broker's configuration.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};
use tenonmq_broker::config::{FileText, Input, Machine, load, properties};
use tenonmq_protocol::body::{
    BrokerStatsData, ConsumerFilters, ConsumerOffsets, DelayOffsets, HeartbeatData, KvTable, MessageRequestModes,
    OrderTable, SubscriptionGroupTable, TimerMetrics, TopicConfigTable, json,
};

/// Longest broker configuration that is tried, in bytes: unknown keys are compared with all known ones.
const BROKER_FILE: usize = 1024;
/// An error about a configuration of a few lines is a few lines.
const ERROR_BYTES: usize = 2048;

/// The input as each of the tables, and as a configuration file of either format.
pub(super) fn config_files(bytes: &[u8]) {
    table::<TopicConfigTable>(bytes);
    table::<SubscriptionGroupTable>(bytes);
    table::<ConsumerOffsets>(bytes);
    table::<DelayOffsets>(bytes);
    table::<TimerMetrics>(bytes);
    table::<ConsumerFilters>(bytes);
    table::<OrderTable>(bytes);
    table::<MessageRequestModes>(bytes);
    table::<KvTable>(bytes);
    table::<HeartbeatData>(bytes);
    table::<BrokerStatsData>(bytes);
    property_lines(bytes);
    for name in ["broker.conf", "broker.toml"] {
        broker_file(name, bytes);
    }
}

/// A table that is read is written to text that reads the same, in one way; an error says where or in which field.
fn table<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let value: T = match json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return assert!(error.to_string().starts_with("body"), "{error}"),
    };
    for write in [json::to_vec::<T>, json::to_vec_pretty::<T>, json::to_vec_standard::<T>] {
        let written = write(&value);
        let again: T =
            json::from_slice(&written).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&written)));
        assert_eq!(again, value, "{}", String::from_utf8_lossy(&written));
        assert_eq!(write(&again), written, "one way to write a table");
    }
}

fn property_lines(bytes: &[u8]) {
    let text = properties::decode(bytes);
    let entries = match properties::parse(&text) {
        Ok(entries) => entries,
        Err(error) => return assert!(error.to_string().starts_with("line "), "{error}"),
    };
    let mut written = String::new();
    for entry in &entries {
        properties::write_line(&mut written, &entry.key, &entry.value);
    }
    let again = properties::parse(&written).expect("lines that were written here");
    let plain = |entry: &properties::Entry| (entry.key.clone(), entry.value.clone());
    assert_eq!(
        again.iter().map(plain).collect::<Vec<_>>(),
        entries.iter().map(plain).collect::<Vec<_>>(),
        "{written:?}"
    );
}

/// A file with an unknown key is a warning; one that cannot be followed is an error that names the file or the key.
fn broker_file(name: &str, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(BROKER_FILE)];
    let file = FileText { path: name.into(), text: properties::decode(bytes) };
    let input = Input { file: Some(file), ..Input::default() };
    match load(&input, &Machine::for_tests()) {
        Ok(loaded) => assert!(loaded.warnings.len() <= bytes.len()),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(name), "{text}");
            assert!(text.len() <= ERROR_BYTES + 4 * bytes.len(), "an error of {} bytes", text.len());
        }
    }
}
