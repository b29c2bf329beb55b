//! Queues against the directories that Apache wrote: read in place, and rebuilt from the log byte for byte.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::ext::{self, ExtUnit};
use super::file::QueueKind;
use super::load::LastRun;
use super::table::QueueTable;
use crate::dispatch::Dispatcher;
use crate::fs::{FileSystem, RealFs};
use crate::golden::{Golden, VARIANTS, files_below};

fn load(golden: &Golden, root: &std::path::Path, clean: bool) -> QueueTable {
    let fs: Arc<dyn FileSystem> = Arc::new(RealFs);
    QueueTable::load(&golden.config(root), &fs, if clean { LastRun::Stopped } else { LastRun::Killed }).unwrap()
}

fn number(line: &Value, field: &str) -> i64 {
    line[field].as_i64().unwrap_or_else(|| panic!("{field} in {line}"))
}

fn queue_id(line: &Value) -> i32 {
    i32::try_from(number(line, "queueId")).unwrap()
}

#[test]
fn every_captured_entry_is_read() {
    for variant in VARIANTS {
        let golden = Golden::open(variant);
        let copy = golden.copy();
        let table = load(&golden, copy.path(), variant != "killed");
        let expected = golden.expected("consumequeue");
        let queues: BTreeSet<_> =
            expected.iter().map(|line| (line["topic"].as_str().unwrap(), queue_id(line))).collect();
        for &(topic, queue_id_wanted) in &queues {
            let queue = table.find(topic, queue_id_wanted).unwrap();
            assert_eq!(queue.kind(), QueueKind::Simple);
            let of_queue = |line: &&Value| line["topic"] == topic && queue_id(line) == queue_id_wanted;
            let lines: Vec<_> = expected.iter().filter(of_queue).collect();
            let found: Vec<_> = queue.entries(0).collect();
            assert_eq!(found.len(), lines.len(), "{variant} {topic} {queue_id_wanted}");
            assert_eq!((queue.min_offset(), queue.max_offset()), (0, lines.len() as i64));
            for (found, line) in found.iter().zip(&lines) {
                assert_eq!(found.queue_offset, number(line, "index"));
                assert_eq!(found.entry.physical_offset as i64, number(line, "physicalOffset"));
                assert_eq!(i64::from(found.entry.size), number(line, "size"));
                assert_eq!(found.entry.tags_code, number(line, "tagsCode"));
                assert_eq!(queue.entry(found.queue_offset), Some(found.entry));
            }
            assert_eq!(queue.max_physical_offset(), found.last().unwrap().entry.end());
        }
        let simple = table.all().into_iter().filter(|queue| queue.kind() == QueueKind::Simple).count();
        assert_eq!(simple, queues.len());
    }
}

#[test]
fn every_captured_batch_entry_is_read_by_any_of_its_offsets() {
    for variant in VARIANTS {
        let golden = Golden::open(variant);
        let copy = golden.copy();
        let queue = load(&golden, copy.path(), true).find("T_bcq", 0).unwrap();
        assert_eq!(queue.kind(), QueueKind::Batch);
        let expected = golden.expected("batchconsumequeue");
        let end = expected.last().map(|line| number(line, "baseOffset") + number(line, "batchSize"));
        assert_eq!(Some(queue.max_offset()), end);
        for line in &expected {
            let base = number(line, "baseOffset");
            for offset in base..base + number(line, "batchSize") {
                let found = queue.entries(offset).next().unwrap();
                assert_eq!(found.queue_offset, base);
                assert_eq!(i64::from(found.batch_size), number(line, "batchSize"));
                assert_eq!(found.entry.physical_offset as i64, number(line, "physicalOffset"));
                assert_eq!(i64::from(found.entry.size), number(line, "size"));
                assert_eq!(found.entry.tags_code, number(line, "tagsCode"));
            }
        }
        assert_eq!(queue.entries(queue.max_offset()).next(), None);
    }
}

#[test]
fn the_queues_rebuilt_from_the_log_equal_apaches_files_byte_for_byte() {
    for variant in VARIANTS {
        let golden = Golden::open(variant);
        let target = tempfile::tempdir().unwrap();
        let config = golden.config(target.path());
        let table = Arc::new(load(&golden, target.path(), true));
        let dispatcher = Dispatcher::new(Arc::clone(&table), config.delay_levels_ms, true);
        for _ in 0..2 {
            // The second round finds everything there.
            for (physical, record) in golden.records() {
                dispatcher.dispatch(&record, physical).unwrap();
            }
        }
        for folder in ["consumequeue", "batchconsumequeue", ext::FOLDER] {
            let ours = files_below(&target.path().join(folder));
            let theirs = files_below(&golden.data().join(folder));
            let names = |files: &[(String, Vec<u8>)]| files.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
            assert_eq!(names(&ours), names(&theirs), "{variant}");
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert!(ours.1 == theirs.1, "{variant} {folder}/{}", ours.0);
            }
        }
    }
}

#[test]
fn tags_codes_and_store_times_are_read_from_apaches_ext_files() {
    let golden = Golden::open("ext");
    let copy = golden.copy();
    let table = load(&golden, copy.path(), true);
    let records = golden.records();
    let mut seen = 0;
    for queue in table.all().iter().filter(|queue| queue.place().writes_ext()) {
        for found in queue.entries(0) {
            let address = found.entry.ext_address().unwrap();
            let unit = queue.ext().unit(address).unwrap().unwrap();
            let (_, record) = records.iter().find(|(at, _)| *at == found.entry.physical_offset).unwrap();
            assert_eq!(unit, ExtUnit::new(queue.tags_code(&found.entry).unwrap(), record.store_timestamp()));
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
    let queue = table.find("T_seq", 0).unwrap();
    assert_eq!(queue.ext().unit(4000).unwrap(), None);
    assert_eq!(queue.ext().unit(1 << 40).unwrap(), None);
}
