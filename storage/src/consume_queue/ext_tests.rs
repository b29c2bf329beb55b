//! Extension files that we write: where units go, what a start finds, and what fails without harm.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::ext::FOLDER;
use super::load::LastRun;
use super::table::QueueTable;
use super::{Dispatch, Dispatched, Entry, Queue};
use crate::config::StoreConfig;
use crate::fs::{FileSystem, RealFs};

const FILE_LEN: u64 = 1024;
/// Units of 20 bytes that fit into a file and leave four bytes for what closes it.
const UNITS: u64 = 51;

fn load(root: &Path, write: bool) -> QueueTable {
    let config = StoreConfig {
        consume_queue_file_size: 2_000,
        consume_queue_ext_file_size: FILE_LEN,
        consume_queue_ext: write,
        ..StoreConfig::new(root)
    };
    let fs: Arc<dyn FileSystem> = Arc::new(RealFs);
    QueueTable::load(&config, &fs, LastRun::Stopped).unwrap()
}

fn append(queue: &Queue, count: i64) {
    for _ in 0..count {
        let offset = queue.max_offset();
        let entry = Entry { physical_offset: offset.unsigned_abs() * 100, size: 100, tags_code: 7_000 + offset };
        let record = Dispatch { entry, queue_offset: offset, batch_size: 1, store_timestamp: offset };
        assert_eq!(queue.dispatch(&record).unwrap(), Dispatched::Stored);
    }
}

fn addresses(queue: &Queue) -> Vec<Option<u64>> {
    queue.entries(queue.min_offset()).map(|at| at.entry.ext_address()).collect()
}

fn check(queue: &Queue) {
    for at in queue.entries(queue.min_offset()) {
        assert_eq!(queue.tags_code(&at.entry), Some(7_000 + at.queue_offset), "{at:?}");
    }
}

fn files(root: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root.join(FOLDER).join("orders/0"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_full_file_is_closed_and_the_next_unit_begins_another() {
    let root = tempfile::tempdir().unwrap();
    let table = load(root.path(), true);
    let queue = table.get("orders", 0);
    append(&queue, UNITS as i64 + 2);
    let expected: Vec<_> = (0..UNITS).map(|n| n * 20).chain([FILE_LEN, FILE_LEN + 20]).map(Some).collect();
    assert_eq!(addresses(&queue), expected);
    check(&queue);
    let first = fs::read(root.path().join(FOLDER).join("orders/0/00000000000000000000")).unwrap();
    assert_eq!(first.len() as u64, FILE_LEN);
    assert_eq!(&first[UNITS as usize * 20..], [0xFF, 0xFF, 0, 0]);
    queue.flush(0).unwrap();
}

#[test]
fn a_start_goes_on_behind_the_unit_of_the_last_entry() {
    let root = tempfile::tempdir().unwrap();
    append(&load(root.path(), true).get("orders", 0), 5);
    let queue = load(root.path(), true).get("orders", 0);
    append(&queue, 2);
    assert_eq!(addresses(&queue), [0, 20, 40, 60, 80, 100, 120].map(Some));
    check(&queue);
}

#[test]
fn units_of_entries_that_were_cut_off_are_written_again() {
    let root = tempfile::tempdir().unwrap();
    let queue = load(root.path(), true).get("orders", 0);
    append(&queue, 5);
    assert!(queue.truncate(300).unwrap());
    append(&queue, 1);
    assert_eq!(addresses(&queue), [0, 20, 40, 60].map(Some));
    check(&queue);
}

#[test]
fn entries_with_and_without_units_live_in_one_queue() {
    let root = tempfile::tempdir().unwrap();
    append(&load(root.path(), true).get("orders", 0), 2);
    append(&load(root.path(), false).get("orders", 0), 2);
    let queue = load(root.path(), true).get("orders", 0);
    append(&queue, 1);
    assert_eq!(addresses(&queue), [Some(0), Some(20), None, None, Some(40)]);
    check(&queue);
}

#[test]
fn no_unit_is_written_where_an_entry_may_point_whose_unit_is_lost() {
    let root = tempfile::tempdir().unwrap();
    append(&load(root.path(), true).get("orders", 0), 3);
    let path = root.path().join(FOLDER).join("orders/0/00000000000000000000");
    fs::write(&path, vec![0; FILE_LEN as usize]).unwrap();
    let queue = load(root.path(), true).get("orders", 0);
    append(&queue, 1);
    assert_eq!(addresses(&queue), [0, 20, 40, FILE_LEN].map(Some));
    let codes: Vec<_> = queue.entries(0).map(|at| queue.tags_code(&at.entry)).collect();
    assert_eq!(codes, [None, None, None, Some(7_003)], "any tag matches what is not known");
}

#[test]
fn an_entry_holds_the_tags_code_itself_when_no_unit_can_be_written() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(FOLDER), "no directory").unwrap();
    let queue = load(root.path(), true).get("orders", 0);
    append(&queue, 2);
    assert_eq!(addresses(&queue), [None, None]);
    check(&queue);
}

#[test]
fn light_queues_have_no_units() {
    let root = tempfile::tempdir().unwrap();
    let queue = load(root.path(), true).get("%LMQ%light", 0);
    append(&queue, 1);
    assert_eq!(addresses(&queue), [None]);
}

#[test]
fn files_that_only_old_entries_need_are_removed_with_them() {
    let root = tempfile::tempdir().unwrap();
    let queue = load(root.path(), true).get("orders", 0);
    append(&queue, 220);
    assert_eq!(files(root.path()).len(), 5);
    assert_eq!(queue.delete_before(150 * 100).unwrap(), 1, "a file of the queue holds 100 entries");
    assert_eq!(queue.min_offset(), 150);
    assert_eq!(files(root.path())[0], "00000000000000002048", "150 is in the third");
    check(&queue);
}
