//! The table of registered conditions, and its file beside one that Apache wrote.

use std::{fs, sync::Arc};

use tenonmq_protocol::body::json;
use tenonmq_storage::fs::RealFs;

use super::*;

const START: i64 = 1_795_247_670_269;
const DAY: i64 = 86_400_000;

struct Table {
    folder: tempfile::TempDir,
    registry: Registry,
}

fn loaded(folder: tempfile::TempDir, settings: &config::Filters, now_ms: i64) -> Table {
    let file = ConfigFile::new(Arc::new(RealFs), folder.path(), FILE_NAME);
    Table { registry: Registry::load(file, settings, now_ms).unwrap(), folder }
}

fn empty() -> Table {
    loaded(tempfile::tempdir().unwrap(), &config::Filters::default(), START)
}

impl Table {
    fn hears(&self, topic: &str, expression: &str, version: i64, now_ms: i64) {
        let wanted = SubscriptionData {
            topic: topic.into(),
            sub_string: expression.into(),
            expression_type: Some("SQL92".into()),
            sub_version: version,
            ..SubscriptionData::default()
        };
        self.registry.heard("CG_sql", &[wanted], &Expressions::default(), now_ms);
    }

    fn data(&self) -> Option<ConsumerFilterData> {
        self.registry.get("CG_sql", "T_sql")
    }

    fn again(self, settings: &config::Filters, now_ms: i64) -> Self {
        loaded(self.folder, settings, now_ms)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.folder.path().join("config").join(FILE_NAME)).unwrap()
    }
}

#[test]
fn the_file_is_the_one_that_apache_writes() {
    let apache = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../golden/store/clean/data/config/consumerFilter.json"
    ))
    .unwrap();
    let table = empty();
    table.hears("T_sql", "a > 5 AND region = 'eu'", START, START);
    table.hears("T_sql", "a > 5 AND region = 'eu'", 1_795_247_671_367, START + 1_000);
    table.registry.left("CG_sql", 1_795_247_737_028);
    table.registry.save(START + 60_000).unwrap();
    assert_eq!(table.text(), apache);
    let table = table.again(&config::Filters::default(), START + DAY / 2);
    assert_eq!(json::to_vec_pretty(&table.registry.body()), apache.as_bytes());
}

#[test]
fn a_newer_version_replaces_and_an_older_one_does_not() {
    let table = empty();
    table.hears("T_sql", "a > 5", 7, START);
    table.hears("T_sql", "a > 6", 6, START + 1);
    table.hears("T_sql", "a > 7", 7, START + 1);
    assert_eq!(table.data().map(|data| (data.expression, data.born_time)), Some(("a > 5".into(), START)));
    table.hears("T_sql", "a > 8", 8, START + 2);
    assert_eq!(table.data().map(|data| (data.expression, data.born_time)), Some(("a > 8".into(), START + 2)));
    table.hears("T_sql", "a > 8", 9, START + 3);
    assert_eq!(table.data().map(|data| (data.client_version, data.born_time)), Some((9, START + 2)));
}

#[test]
fn a_condition_dies_with_the_last_member_or_when_nobody_wants_it_and_lives_again() {
    let table = empty();
    table.hears("T_sql", "a > 5", 7, START);
    table.registry.left("CG_sql", START + 5);
    assert_eq!(table.data().map(|data| (data.dead, data.dead_time)), Some((true, START + 5)));
    table.registry.left("CG_sql", START + 9);
    assert_eq!(table.data().map(|data| data.dead_time), Some(START + 5), "dead once");
    table.hears("T_sql", "a > 5", 7, START + 10);
    assert_eq!(table.data().map(|data| (data.dead, data.dead_time)), Some((false, 0)));
    table.hears("T_other", "a > 5", 8, START + 11);
    assert_eq!(table.data().map(|data| (data.dead, data.dead_time)), Some((true, START + 11)));
}

#[test]
fn what_does_not_compile_is_not_kept_and_takes_the_old_one_along() {
    let table = empty();
    table.hears("T_sql", "a >", 7, START);
    assert_eq!(table.data(), None);
    table.hears("T_sql", "a > 5", 8, START);
    table.hears("T_sql", "a >", 9, START);
    assert_eq!(table.data(), None);
    assert_eq!(table.registry.state.lock().entries, 0);
}

#[test]
fn what_was_alive_counts_as_gone_after_a_start_and_is_forgotten_after_a_day() {
    let table = empty();
    table.hears("T_sql", "a > 5", 7, START);
    table.registry.save(START).unwrap();
    let table = table.again(&config::Filters::default(), START + 60_000);
    assert_eq!(table.data().map(|data| (data.dead, data.dead_time)), Some((true, START + 30_000)));
    table.registry.save(START + 30_000 + DAY - 1).unwrap();
    assert!(table.data().is_some());
    table.registry.save(START + 30_000 + DAY).unwrap();
    assert!(table.data().is_none());
    assert_eq!(table.text(), "{\n\t\"filterDataByTopic\":{}\n}");
}

#[test]
fn another_bloom_filter_makes_the_file_worthless() {
    let table = empty();
    table.hears("T_sql", "a > 5", 7, START);
    table.registry.save(START).unwrap();
    let table = table.again(&config::Filters { bloom_groups: 64, ..config::Filters::default() }, START);
    assert_eq!(table.data(), None);
}

#[test]
fn groups_of_tags_leave_no_trace_and_the_table_has_a_limit() {
    let settings = config::Filters { max_registered: 2, ..config::Filters::default() };
    let table = loaded(tempfile::tempdir().unwrap(), &settings, START);
    let tags = SubscriptionData { topic: "T_tag".into(), sub_string: "a||b".into(), ..SubscriptionData::default() };
    table.registry.heard("CG_tag", &[tags], &Expressions::default(), START);
    for topic in 0..5 {
        table.hears(&format!("T{topic}"), "a > 5", topic, START);
    }
    assert_eq!(table.registry.state.lock().entries, 2);
    assert!(table.registry.get("CG_tag", "T_tag").is_none());
}
