use std::{path::Path, time::Duration};

use tenonmq_storage::fs::RealFs;

use super::*;
use crate::{
    core::clock::ManualClock,
    remoting::testing::{START_MS, config},
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store/clean/data");

fn load(root: &Path, settings: &[(&str, &str)]) -> Groups {
    let file = ConfigFile::new(Arc::new(RealFs), root, "subscriptionGroup.json");
    Groups::load(file, config(settings), Clock::manual(ManualClock::at(START_MS))).unwrap()
}

fn empty(settings: &[(&str, &str)]) -> (tempfile::TempDir, Groups) {
    let root = tempfile::tempdir().unwrap();
    let groups = load(root.path(), settings);
    (root, groups)
}

#[test]
fn every_broker_has_the_built_in_groups() {
    let (_root, groups) = empty(&[]);
    assert_eq!(groups.len(), 8);
    for name in BUILT_IN_GROUPS {
        let config = groups.get(name).unwrap();
        assert_eq!((&*config.group_name, config.retry_max_times, config.retry_queue_nums), (name, 16, 1));
    }
}

#[test]
fn a_group_is_created_for_its_first_consumer_and_found_from_then_on() {
    let (_root, groups) = empty(&[]);
    assert!(groups.get("billing").is_none());
    let created = groups.find_or_create("billing").unwrap();
    assert!(Arc::ptr_eq(&created, &groups.find_or_create("billing").unwrap()));
    let version = groups.version();
    assert_eq!((version.counter, version.timestamp), (1, START_MS));
}

#[test]
fn without_auto_creation_only_system_groups_come_into_being() {
    let (_root, groups) = empty(&[("autoCreateSubscriptionGroup", "false")]);
    assert!(groups.find_or_create("billing").is_none());
    assert!(groups.find_or_create("CID_RMQ_SYS_REVIVE_GROUP").is_some());
    assert!(groups.find_or_create("TOOLS_CONSUMER").is_some());
}

#[test]
fn a_name_that_is_too_long_empty_or_illegal_is_not_created() {
    let (_root, groups) = empty(&[]);
    assert!(groups.find_or_create(&"g".repeat(255)).is_some());
    for name in ["", "a b", "é", "a@b", &"g".repeat(256)] {
        assert!(groups.find_or_create(name).is_none(), "{name:?}");
    }
}

#[test]
fn a_full_table_creates_no_further_group_and_still_changes_those_it_has() {
    let (_root, groups) = empty(&[("subscriptionGroupsMax", "9")]);
    assert!(groups.find_or_create("billing").is_some());
    assert!(groups.find_or_create("audit").is_none());
    assert!(groups.put(group("audit")).is_err());
    assert_eq!(groups.put(group("billing")), Ok(Change::Unchanged));
}

#[test]
fn apaches_file_is_read_and_written_back_with_the_same_content() {
    let before = load(Path::new(GOLDEN), &[]).snapshot();
    assert_eq!((before.data_version.counter, before.data_version.timestamp), (7, 1_795_247_673_912));
    assert!(before.subscription_group_table.contains_key("CG_popfifo"));
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("config")).unwrap();
    std::fs::copy(format!("{GOLDEN}/config/subscriptionGroup.json"), root.path().join("config/subscriptionGroup.json"))
        .unwrap();
    let groups = load(root.path(), &[]);
    groups.find_or_create("billing").unwrap();
    groups.save().unwrap();
    let mut after = load(root.path(), &[]).snapshot();
    assert!(after.subscription_group_table.remove("billing").is_some());
    assert_eq!(after.data_version.counter, 8);
    assert_eq!(after.subscription_group_table, before.subscription_group_table);
}

#[test]
fn what_an_administrator_changes_survives_a_restart() {
    let (root, groups) = empty(&[]);
    let change = groups.put(SubscriptionGroupConfig { retry_max_times: 3, ..group("billing") }).unwrap();
    assert_eq!(change, Change::Created);
    assert_eq!(groups.put(SubscriptionGroupConfig { retry_max_times: 4, ..group("billing") }), Ok(Change::Updated));
    assert!(groups.disable_consume("billing"));
    assert!(!groups.disable_consume("nobody"));
    groups.set_forbidden("billing", "orders", 2, true);
    groups.save().unwrap();
    let again = load(root.path(), &[]);
    let billing = again.get("billing").unwrap();
    assert_eq!((billing.retry_max_times, billing.consume_enable), (4, false));
    assert!(again.is_forbidden("billing", "orders"));
    assert_eq!(again.version(), groups.version());
}

#[test]
fn forbidding_sets_single_bits_and_reading_is_bit_two() {
    let (_root, groups) = empty(&[]);
    groups.set_forbidden("billing", "orders", 0, true);
    assert!(!groups.is_forbidden("billing", "orders"));
    groups.set_forbidden("billing", "orders", 2, true);
    assert!(groups.is_forbidden("billing", "orders"));
    assert!(!groups.is_forbidden("billing", "refunds"));
    assert_eq!(groups.forbidden_bits("billing", "orders"), 0b101);
    groups.set_forbidden("billing", "orders", 2, false);
    groups.set_forbidden("billing", "orders", 0, false);
    assert!(groups.snapshot().forbidden_table.is_empty());
    groups.set_forbidden("billing", "orders", 99, true);
    assert!(groups.snapshot().forbidden_table.is_empty(), "there is no such bit");
}

#[test]
fn a_removed_group_takes_what_it_was_forbidden_along() {
    let (_root, groups) = empty(&[]);
    groups.find_or_create("billing").unwrap();
    groups.set_forbidden("billing", "orders", 2, true);
    assert!(groups.remove("billing"));
    assert!(!groups.remove("billing"));
    assert!(!groups.is_forbidden("billing", "orders"));
    assert!(!groups.contains("billing"));
}

#[tokio::test]
async fn a_change_wakes_the_one_who_saves() {
    let (_root, groups) = empty(&[]);
    groups.find_or_create("billing").unwrap();
    tokio::time::timeout(Duration::from_secs(5), groups.changed()).await.unwrap();
}
