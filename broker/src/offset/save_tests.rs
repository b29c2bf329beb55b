use std::{path::Path, sync::Arc};

use tenonmq_storage::fs::{FileSystem, RealFs};

use super::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store/clean/data");

fn file(root: &Path) -> ConfigFile {
    ConfigFile::new(Arc::new(RealFs), root, FILE_NAME)
}

fn load(file: ConfigFile) -> Result<Offsets, LoadError> {
    Offsets::load(file, &crate::remoting::testing::config(&[]).load().offsets)
}

fn read(root: &Path) -> String {
    String::from_utf8(RealFs.read(&root.join("config").join(FILE_NAME)).unwrap()).unwrap()
}

#[test]
fn apaches_file_is_read_entry_by_entry() {
    let offsets = load(file(Path::new(GOLDEN))).unwrap();
    assert_eq!(offsets.of_topic("CG_normal", "T_normal"), [(0, 8), (1, 6), (2, 5), (3, 5)]);
    assert_eq!(offsets.get("CG_retry", "%RETRY%CG_retry", 0), Some(1));
    assert_eq!(offsets.get("CID_RMQ_SYS_TRANS", "RMQ_SYS_TRANS_HALF_TOPIC", 0), Some(12));
    assert_eq!(offsets.len(), 18);
    assert_eq!(offsets.version(1).timestamp, 1_795_247_653_153, "reading is no change");
}

#[test]
fn what_is_written_from_apaches_file_says_the_same() {
    let root = tempfile::tempdir().unwrap();
    let mut offsets = load(file(Path::new(GOLDEN))).unwrap();
    offsets.file.as_mut().unwrap().file = file(root.path());
    *offsets.file.as_ref().unwrap().saved_changes.lock() = None;
    offsets.save(1).unwrap();
    let golden: ConsumerOffsets = json::from_str(&read(Path::new(GOLDEN))).unwrap();
    let ours: ConsumerOffsets = json::from_str(&read(root.path())).unwrap();
    assert_eq!(ours.offset_table, golden.offset_table);
    assert_eq!(ours.data_version, golden.data_version);
    let sorted = |body: &ConsumerOffsets| {
        let mut map = body.group_topic_map.clone();
        map.values_mut().for_each(|topics| topics.sort());
        map
    };
    assert_eq!(sorted(&ours), sorted(&golden));
    let compact: String = read(root.path()).split_whitespace().collect();
    assert!(compact.contains("\"T_order@CG_order\":{0:4,1:0}"), "queue ids are not quoted");
}

#[test]
fn offsets_survive_a_restart_and_reset_marks_and_pull_offsets_do_not() {
    let root = tempfile::tempdir().unwrap();
    let offsets = load(file(root.path())).unwrap();
    offsets.commit("billing", "orders", 0, 7);
    offsets.note_pull("billing", "orders", 1, 9);
    offsets.reset("billing", "orders", 2, 3);
    offsets.save(1).unwrap();
    let again = load(file(root.path())).unwrap();
    assert_eq!(again.snapshot(), offsets.snapshot());
    assert!(!again.has_reset("billing", "orders", 2));
    assert_eq!(again.pulled("billing", "orders", 1), None);
}

#[test]
fn a_table_that_has_not_changed_is_not_written_again() {
    let root = tempfile::tempdir().unwrap();
    let offsets = load(file(root.path())).unwrap();
    offsets.commit("billing", "orders", 0, 7);
    offsets.save(1).unwrap();
    RealFs.write(&root.path().join("config").join(FILE_NAME), b"{}").unwrap();
    offsets.save(2).unwrap();
    assert_eq!(read(root.path()), "{}");
    offsets.commit("billing", "orders", 0, 8);
    offsets.save(3).unwrap();
    assert!(read(root.path()).contains("orders@billing"));
}

#[test]
fn the_version_takes_a_step_for_every_five_hundred_commits() {
    let root = tempfile::tempdir().unwrap();
    let offsets = load(file(root.path())).unwrap();
    let mut commits = 0;
    let mut commit_to = |total: i64| {
        for offset in commits..total {
            offsets.commit("billing", "orders", 0, offset);
        }
        commits = total;
        offsets.version(total)
    };
    assert_eq!(commit_to(499).counter, 0);
    let version = commit_to(500);
    assert_eq!((version.counter, version.timestamp), (1, 500));
    assert_eq!(commit_to(999), version);
    assert_eq!(commit_to(2600).counter, 5);
}

#[test]
fn an_empty_table_is_written_as_apache_writes_it() {
    let root = tempfile::tempdir().unwrap();
    load(file(root.path())).unwrap().save(1).unwrap();
    let compact: String = read(root.path()).split_whitespace().collect();
    let version = r#"{"counter":0,"stateVersion":0,"timestamp":0}"#;
    assert_eq!(compact, format!(r#"{{"dataVersion":{version},"groupTopicMap":{{}},"offsetTable":{{}}}}"#));
}

#[test]
fn keys_without_a_topic_and_a_group_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    let text = br#"{"offsetTable":{"orders":{0:1},"a@b@c":{0:2},"orders@billing":{0:3}}}"#;
    file(root.path()).save(text).unwrap();
    let offsets = load(file(root.path())).unwrap();
    assert_eq!(offsets.len(), 1);
    assert_eq!(offsets.get("billing", "orders", 0), Some(3));
}

#[test]
fn a_file_and_backup_that_cannot_be_read_stop_the_start() {
    let root = tempfile::tempdir().unwrap();
    file(root.path()).save(b"[broken").unwrap();
    assert!(load(file(root.path())).is_err());
}
