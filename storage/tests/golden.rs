//! Directories written by Apache RocketMQ 5.3.3 open here, and hold what Apache says they hold.

mod common;

use std::collections::HashMap;

use common::{golden, golden_path, quiet};
use serde_json::Value;
use tenonmq_protocol::message::RecordView;
use tenonmq_storage::Store;

fn lines(name: &str, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(golden_path(name).join("expected").join(file)).expect("expected content");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn number(line: &Value, field: &str) -> i64 {
    line[field].as_i64().unwrap_or_else(|| panic!("{field} in {line}"))
}

fn assert_every_record_is_there(name: &str, store: &Store) {
    for line in lines(name, "commitlog.jsonl") {
        match line["kind"].as_str() {
            Some("message") => {
                let offset = number(&line, "physicalOffset");
                let bytes = store.read(offset as u64).unwrap_or_else(|| panic!("record at {offset}"));
                let record = RecordView::parse(&bytes).expect("a record");
                assert_eq!(record.len() as i64, number(&line, "size"));
                assert_eq!(record.topic(), line["topic"].as_str().expect("a topic"));
                assert_eq!(i64::from(record.queue_id()), number(&line, "queueId"));
                assert_eq!(record.queue_offset(), number(&line, "queueOffset"));
                assert_eq!(record.store_timestamp(), number(&line, "storeTimestamp"));
                record.verify_crc().expect("the checksum");
            }
            Some("end") => {
                assert_eq!(store.watermarks().appended as i64, number(&line, "physicalOffset"));
                assert_eq!(store.watermarks().confirmed as i64, number(&line, "physicalOffset"));
            }
            _ => {}
        }
    }
}

fn assert_every_entry_is_there(name: &str, store: &Store) {
    let mut counts = HashMap::new();
    for line in lines(name, "consumequeue.jsonl") {
        let (topic, id) = (line["topic"].as_str().expect("a topic"), number(&line, "queueId") as i32);
        let queue = store.find_queue(topic, id).unwrap_or_else(|| panic!("queue {topic} {id}"));
        let count = counts.entry((topic.to_owned(), id)).or_insert_with(|| queue.min_offset());
        let index = number(&line, "index");
        *count = index + 1;
        let entry = queue.entry(index).unwrap_or_else(|| panic!("entry {index} of {topic} {id}"));
        assert_eq!(entry.physical_offset as i64, number(&line, "physicalOffset"), "{line}");
        assert_eq!(i64::from(entry.size), number(&line, "size"));
        assert_eq!(entry.tags_code, number(&line, "tagsCode"));
    }
    for ((topic, id), count) in counts {
        assert_eq!(store.find_queue(&topic, id).map(|queue| queue.max_offset()), Some(count), "{topic} {id}");
    }
}

#[test]
fn a_directory_that_apache_stopped_cleanly_opens_with_all_in_it() {
    let (_dir, config) = golden("clean");
    let store = Store::open(config, quiet()).expect("the store opens");
    assert!(store.recovery().clean);
    assert_eq!(store.recovery().cut_at, None);
    assert_every_record_is_there("clean", &store);
    assert_every_entry_is_there("clean", &store);
}

#[test]
fn a_directory_that_apache_was_killed_over_opens_with_all_in_it() {
    let (_dir, config) = golden("killed");
    let store = Store::open(config, quiet()).expect("the store opens");
    assert!(!store.recovery().clean);
    assert_eq!(store.recovery().started_at, 262_144, "the worked example of the reference");
    assert_every_record_is_there("killed", &store);
    assert_every_entry_is_there("killed", &store);
}

#[test]
fn a_directory_with_queue_extensions_and_record_checksums_opens_with_all_in_it() {
    let (_dir, mut config) = golden("ext");
    config.record_crc = true;
    config.verify_record_crc = true;
    let store = Store::open(config, quiet()).expect("the store opens");
    assert_every_record_is_there("ext", &store);
    assert_every_entry_is_there("ext", &store);
}

#[test]
fn a_golden_directory_keeps_its_abort_file_until_a_clean_stop() {
    let (dir, config) = golden("killed");
    let abort = dir.path().join("abort");
    let store = Store::open(config, quiet()).expect("the store opens");
    assert!(abort.exists());
    store.shutdown().expect("a clean stop");
    assert!(!abort.exists());
}

fn assert_every_key_is_found(name: &str, store: &Store) {
    for line in lines(name, "index-queries.jsonl") {
        let (topic, key) = (line["topic"].as_str().expect("a topic"), line["key"].as_str().expect("a key"));
        let mut expected: Vec<_> =
            line["physicalOffsets"].as_array().expect("offsets").iter().filter_map(Value::as_u64).collect();
        let mut seen = std::collections::HashSet::new();
        expected.retain(|offset| seen.insert(*offset));
        assert_eq!(store.query_by_key(topic, key, 64, 0, i64::MAX).offsets, expected, "{topic} {key}");
    }
}

#[test]
fn keys_are_found_as_apache_finds_them() {
    for name in ["clean", "ext"] {
        let (_dir, config) = golden(name);
        let store = Store::open(config, quiet()).expect("the store opens");
        assert_every_key_is_found(name, &store);
    }
}

#[test]
fn keys_lost_by_a_kill_are_indexed_again() {
    let (_dir, config) = golden("killed");
    let store = Store::open(config, quiet()).expect("the store opens");
    while store.stats().indexed < store.watermarks().confirmed {
        std::thread::yield_now();
    }
    assert_every_key_is_found("killed", &store);
}

#[test]
fn a_lost_index_is_built_again() {
    let (dir, config) = golden("clean");
    std::fs::remove_dir_all(dir.path().join("index")).expect("removal");
    let store = Store::open(config.clone(), quiet()).expect("the store opens");
    store.shutdown().expect("a clean stop");
    assert_every_key_is_found("clean", &store);
    drop(store);
    let store = Store::open(config, quiet()).expect("the store opens");
    assert_eq!(store.stats().indexed, store.watermarks().confirmed);
    assert_every_key_is_found("clean", &store);
}
