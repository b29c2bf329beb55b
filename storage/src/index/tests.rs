//! The index against what Apache's own index answers and writes.

use std::sync::Arc;

use tenonmq_protocol::message::{RawRecord, RecordView};

use super::builder::keys;
use super::*;
use crate::clock::ManualClock;
use crate::fs::{FaultyFs, Op, RealFs};
use crate::golden::{Golden, VARIANTS};

const ALL_TIME: (i64, i64) = (0, i64::MAX);

struct Bench {
    fs: Arc<dyn FileSystem>,
    clock: Arc<dyn Clock>,
    manual: Arc<ManualClock>,
    checkpoint: Arc<Checkpoint>,
    config: StoreConfig,
}

impl Bench {
    fn new(config: StoreConfig, fs: Arc<dyn FileSystem>) -> Self {
        let manual = Arc::new(ManualClock::new(1_795_247_671_511));
        let checkpoint = Arc::new(Checkpoint::load(Arc::clone(&fs), &config.root).unwrap());
        Self { clock: manual.clone(), manual, checkpoint, fs, config }
    }

    fn tiny(root: &Path) -> Self {
        Self::with_fs(root, Arc::new(RealFs))
    }

    fn with_fs(root: &Path, fs: Arc<dyn FileSystem>) -> Self {
        let mut config = StoreConfig::new(root);
        config.index_slots = 4;
        config.index_entries = 5;
        Self::new(config, fs)
    }

    fn open(&self, clean: bool) -> Index {
        Index::open(&self.config, &self.fs, &self.clock, &self.checkpoint, clean).unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.fs.list(&self.config.root.join("index")).unwrap().into_iter().map(|entry| entry.name).collect()
    }
}

fn find(index: &Index, key: &str) -> Vec<u64> {
    index.query("T", key, 64, ALL_TIME.0, ALL_TIME.1).offsets
}

fn add(index: &Index, keys: &[&str], physical: u64, store_timestamp: i64) -> Result<(), FileError> {
    let mut builder = index.build();
    builder.add_hashes(keys.iter().map(|key| key_hash("T", key)), physical, store_timestamp)?;
    builder.finish()
}

fn add_record(index: &Index, record: &RecordView<'_>, physical: u64) {
    let mut builder = index.build();
    builder.add(&RawRecord::parse(record.bytes()).unwrap(), physical).unwrap();
    builder.finish().unwrap();
}

#[test]
fn every_query_on_captured_files_gives_what_apache_gives() {
    for variant in ["clean", "ext"] {
        let golden = Golden::open(variant);
        let copy = golden.copy();
        let index = Bench::new(golden.config(copy.path()), Arc::new(RealFs)).open(true);
        let queries = golden.expected("index-queries");
        assert!(queries.len() > 200);
        for query in queries {
            let (topic, key) = (query["topic"].as_str().unwrap(), query["key"].as_str().unwrap());
            assert_eq!(u64::from(key_hash(topic, key)), query["keyHash"].as_u64().unwrap(), "{query}");
            let mut expected: Vec<u64> = Vec::new();
            for offset in query["physicalOffsets"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()) {
                if !expected.contains(&offset) {
                    expected.push(offset);
                }
            }
            let hits = index.query(topic, key, 1000, 0, i64::MAX);
            assert_eq!(hits.offsets, expected, "{variant} {query}");
        }
    }
}

#[test]
fn the_index_built_from_the_log_equals_apaches_files_byte_for_byte() {
    for variant in ["clean", "ext"] {
        let golden = Golden::open(variant);
        let target = tempfile::tempdir().unwrap();
        let bench = Bench::new(golden.config(target.path()), Arc::new(RealFs));
        let index = bench.open(true);
        for (physical, record) in golden.records() {
            add_record(&index, &record, physical);
        }
        let content = |root: &Path| -> Vec<Vec<u8>> {
            let files = crate::golden::files_below(&root.join("index"));
            files.into_iter().map(|(_, content)| content).collect()
        };
        let (ours, theirs) = (content(target.path()), content(&golden.data()));
        assert_eq!(ours.len(), theirs.len(), "{variant}");
        for (n, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert!(ours == theirs, "file {n} of {variant}: {:?}", ours.iter().zip(theirs).position(|(a, b)| a != b));
        }
    }
}

#[test]
fn after_a_crash_files_newer_than_the_checkpoint_go_and_building_brings_their_keys_back() {
    let golden = Golden::open("killed");
    let copy = golden.copy();
    let index = Bench::new(golden.config(copy.path()), Arc::new(RealFs)).open(false);
    assert_eq!(index.file_count(), 3);
    assert_eq!(index.last_offset(), Some(282_999));
    for (physical, record) in golden.records() {
        add_record(&index, &record, physical);
    }
    // The record at 282999 was indexed to its end, so it is not put a second time.
    assert_eq!(index.files.load()[3].header().next_entry, 110);
    for (physical, record) in golden.records() {
        for key in keys(record.properties_bytes()) {
            let hits = index.query(record.topic(), key, 1000, 0, i64::MAX).offsets;
            assert!(hits.contains(&physical), "{} {key}", record.topic());
        }
    }
}

#[test]
fn after_a_crash_a_file_that_is_not_full_goes_whatever_its_header_says() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::tiny(root.path());
    let index = bench.open(true);
    for n in 0..6 {
        add(&index, &["k"], n * 100, 1_000).unwrap();
    }
    assert_eq!(bench.checkpoint.index_timestamp(), 1_000, "as late as the second file");
    drop(index);
    let index = bench.open(false);
    assert_eq!((bench.names().len(), index.file_count(), index.last_offset()), (1, 1, Some(300)));
}

#[test]
fn a_captured_index_is_opened_in_every_variant_and_names_its_last_record() {
    for variant in VARIANTS {
        let golden = Golden::open(variant);
        let copy = golden.copy();
        let index = Bench::new(golden.config(copy.path()), Arc::new(RealFs)).open(true);
        if variant == "killed" {
            continue;
        }
        let headers = golden.expected("index-headers");
        let files = index.files.load();
        assert_eq!(files.len(), headers.len());
        for (file, expected) in files.iter().zip(&headers) {
            let header = file.header();
            assert_eq!(header.begin_timestamp, expected["beginTimestamp"].as_i64().unwrap());
            assert_eq!(header.end_timestamp, expected["endTimestamp"].as_i64().unwrap());
            assert_eq!(header.begin_physical, expected["beginPhyOffset"].as_i64().unwrap());
            assert_eq!(header.end_physical, expected["endPhyOffset"].as_i64().unwrap());
            assert_eq!(i64::from(header.used_slots), expected["hashSlotCount"].as_i64().unwrap());
            assert_eq!(i64::from(header.next_entry), expected["indexCount"].as_i64().unwrap());
        }
        assert_eq!(index.last_offset(), headers.last().and_then(|header| header["endPhyOffset"].as_u64()));
    }
}

#[test]
fn keys_are_the_unique_key_and_then_each_word() {
    let text = "KEYS\u{1}a  b \u{2}UNIQ_KEY\u{1}u\u{2}TAGS\u{1}t\u{2}";
    assert_eq!(keys(text.as_bytes()).collect::<Vec<_>>(), ["u", "a", "b"]);
    assert_eq!(keys(b"TAGS\x01t\x02").count(), 0);
}

#[test]
fn newest_comes_first_over_several_files_and_no_more_than_asked() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::tiny(root.path());
    let index = bench.open(true);
    for n in 0..10 {
        add(&index, &["k"], n * 100, 1_000_000 + n as i64).unwrap();
    }
    assert_eq!(index.file_count(), 3);
    assert_eq!(find(&index, "k"), [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]);
    assert_eq!(index.query("T", "k", 3, 0, i64::MAX).offsets, [900, 800, 700]);
    assert!(find(&index, "other").is_empty());
    let hits = index.query("T", "k", 0, 0, i64::MAX);
    assert_eq!((hits.last_timestamp, hits.last_offset), (1_000_009, 900));
}

#[test]
fn a_query_sees_only_the_seconds_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let index = Bench::tiny(root.path()).open(true);
    for n in 0..10u64 {
        add(&index, &["k"], n, 1_000_000 + 2_000 * n as i64).unwrap();
    }
    let within = |begin, end| index.query("T", "k", 64, begin, end).offsets;
    assert_eq!(within(1_004_000, 1_008_000), [4, 3, 2]);
    assert_eq!(within(1_004_500, 1_007_999), [3, 2], "the second of 1004500 counts as a whole");
    assert!(within(0, 999_999).is_empty());
    assert_eq!(within(1_018_000, i64::MAX), [9]);
}

#[test]
fn a_record_given_twice_is_found_once() {
    let root = tempfile::tempdir().unwrap();
    let index = Bench::tiny(root.path()).open(true);
    add(&index, &["a", "b"], 10, 1_000).unwrap();
    add(&index, &["a", "b"], 10, 1_000).unwrap();
    assert_eq!(index.files.load()[0].header().next_entry, 3);
    add(&index, &["c"], 20, 1_000).unwrap();
    add(&index, &["a"], 10, 1_000).unwrap();
    assert_eq!(find(&index, "a"), [10]);
    // Interrupted between its keys: given again, and still found once.
    add(&index, &["c", "d"], 20, 1_000).unwrap();
    assert_eq!(find(&index, "c"), [20]);
    assert_eq!(find(&index, "d"), [20]);
}

#[test]
fn a_full_file_is_durable_and_in_the_checkpoint_before_the_next_begins() {
    let root = tempfile::tempdir().unwrap();
    let fs = Arc::new(FaultyFs::new());
    let bench = Bench::with_fs(root.path(), fs.clone());
    let index = bench.open(true);
    for n in 0..4 {
        add(&index, &["k"], n, 1_000 + n as i64).unwrap();
    }
    assert_eq!(bench.checkpoint.index_timestamp(), 0);
    fs.fail(Op::Sync, std::io::ErrorKind::Other);
    assert!(add(&index, &["k"], 4, 2_000).is_err());
    assert_eq!(bench.checkpoint.index_timestamp(), 0);
    fs.heal(Op::Sync);
    add(&index, &["k"], 4, 2_000).unwrap();
    assert_eq!(bench.checkpoint.index_timestamp(), 1_003);
}

#[test]
fn a_full_disk_is_an_error_that_goes_away_and_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let fs = Arc::new(FaultyFs::new());
    let bench = Bench::with_fs(root.path(), fs.clone());
    let index = bench.open(true);
    fs.fail(Op::Preallocate, std::io::ErrorKind::StorageFull);
    assert!(add(&index, &["k"], 0, 1_000).is_err());
    assert_eq!(bench.names().len(), 0);
    assert!(find(&index, "k").is_empty());
    fs.heal(Op::Preallocate);
    add(&index, &["k"], 0, 1_000).unwrap();
    assert_eq!(find(&index, "k"), [0]);
}

#[test]
fn names_are_times_and_always_grow() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::tiny(root.path());
    let index = bench.open(true);
    for n in 0..9 {
        add(&index, &["k"], n, 1_000).unwrap();
        if n == 5 {
            bench.manual.set(1_000_000);
        }
    }
    let names = bench.names();
    assert_eq!(names.len(), 3);
    let local = local_time(1_795_247_671_511);
    assert_eq!(names, [local, local + 1, local + 2].map(|name| format!("{name:017}")));
    // In UTC, as the capture was made, this moment is 20261121075431511; zones differ by hours and quarters of one.
    assert_eq!(local % 100_000, 31_511);
}

#[test]
fn files_that_point_before_the_log_go_but_never_the_newest() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::tiny(root.path());
    let index = bench.open(true);
    for n in 0..10 {
        add(&index, &["k"], n * 100, 1_000).unwrap();
    }
    assert_eq!(index.delete_before(300).unwrap(), 0);
    assert_eq!(index.delete_before(301).unwrap(), 1);
    assert_eq!(index.delete_before(u64::MAX).unwrap(), 1);
    assert_eq!(bench.names().len(), 1);
    assert_eq!(find(&index, "k"), [900, 800]);
    assert_eq!(find(&bench.open(true), "k"), [900, 800]);
}

#[test]
fn cutting_the_log_drops_the_files_that_know_more() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::tiny(root.path());
    let index = bench.open(true);
    for n in 0..10 {
        add(&index, &["k"], n * 100, 1_000).unwrap();
    }
    index.truncate(600).unwrap();
    assert_eq!(index.last_offset(), Some(300));
    add(&index, &["k"], 600, 2_000).unwrap();
    assert_eq!(find(&index, "k"), [600, 300, 200, 100, 0]);
    index.clear().unwrap();
    assert_eq!((index.last_offset(), bench.names().len()), (None, 0));
}

#[test]
fn a_damaged_chain_ends_instead_of_going_round() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::tiny(root.path());
    let index = bench.open(true);
    for n in 0..4 {
        add(&index, &["k"], n, 1_000).unwrap();
    }
    drop(index);
    let path = bench.config.root.join("index").join(&bench.names()[0]);
    let mut bytes = RealFs.read(&path).unwrap();
    let previous_of_second = 40 + 4 * 4 + 20 * 2 + 16;
    bytes[previous_of_second..previous_of_second + 4].copy_from_slice(&3u32.to_be_bytes());
    RealFs.write(&path, &bytes).unwrap();
    assert_eq!(find(&bench.open(true), "k"), [3, 2, 1]);
}
