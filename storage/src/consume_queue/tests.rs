//! The promises of a queue, one by one. Files of five entries, so that every test crosses their ends.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::Entry;
use super::file::QueueKind;
use super::load::LastRun;
use super::lookup::Boundary;
use super::open_files::Shared;
use super::table::QueueTable;
use super::{Dispatch, Dispatched, Queue};
use crate::config::StoreConfig;
use crate::error::{FileError, OpenError};
use crate::fs::{Fault, FaultyFs, FileSystem, Op, RealFs};
use crate::golden::files_below;

const SIZE: u32 = 100;
const FILE: &str = "00000000000000000000";
const SECOND: &str = "00000000000000000100";

fn config(root: &Path) -> StoreConfig {
    let mut config = StoreConfig::new(root);
    config.consume_queue_file_size = 100;
    config.batch_consume_queue_file_size = 230;
    config
}

fn table_on(root: &Path, fs: Arc<dyn FileSystem>) -> QueueTable {
    QueueTable::load(&config(root), &fs, LastRun::Stopped).unwrap()
}

fn table(root: &Path) -> QueueTable {
    table_on(root, Arc::new(RealFs))
}

/// The n-th message of a log that holds nothing else.
fn record(n: i64) -> Dispatch {
    Dispatch {
        entry: Entry { physical_offset: n as u64 * u64::from(SIZE), size: SIZE, tags_code: n },
        queue_offset: n,
        batch_size: 1,
        store_timestamp: time(n),
    }
}

fn time(n: i64) -> i64 {
    1_000_000 + n * 10
}

fn fill(queue: &Queue, offsets: std::ops::Range<i64>) {
    for n in offsets {
        assert_eq!(queue.dispatch(&record(n)).unwrap(), Dispatched::Stored);
    }
}

fn offsets(queue: &Queue, from: i64) -> Vec<i64> {
    queue.entries(from).map(|at| at.queue_offset).collect()
}

fn file_names(root: &Path) -> Vec<String> {
    files_below(root).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_message_is_readable_as_soon_as_it_is_dispatched() {
    let root = tempfile::tempdir().unwrap();
    let queue = table(root.path()).get("T", 0);
    for n in 0..12 {
        let room = queue.reserve(1).unwrap();
        assert_eq!(queue.dispatch_reserved(&room, &record(n)).unwrap(), Dispatched::Stored);
        assert_eq!(queue.max_offset(), n + 1);
        assert_eq!(queue.entry(n), Some(record(n).entry));
    }
    assert_eq!(offsets(&queue, 0), (0..12).collect::<Vec<_>>());
    assert_eq!(offsets(&queue, 7), (7..12).collect::<Vec<_>>());
    assert!(offsets(&queue, 12).is_empty() && offsets(&queue, -1).is_empty());
    assert_eq!(queue.next_file_offset(7), 10);
}

#[test]
fn a_reservation_covers_several_files() {
    let root = tempfile::tempdir().unwrap();
    let queue = table(root.path()).get("T", 0);
    let room = queue.reserve(13).unwrap();
    for n in 0..13 {
        assert_eq!(queue.dispatch_reserved(&room, &record(n)).unwrap(), Dispatched::Stored);
    }
    assert_eq!(offsets(&queue, 0).len(), 13);
}

#[test]
fn no_file_is_made_before_the_first_entry() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    let queue = table.get("T", 3);
    assert_eq!((queue.min_offset(), queue.max_offset(), queue.max_physical_offset()), (0, 0, 0));
    assert!(file_names(root.path()).is_empty());
    fill(&queue, 0..1);
    assert_eq!(file_names(root.path()), [format!("consumequeue/T/3/{FILE}")]);
    assert_eq!(RealFs.read(&root.path().join("consumequeue/T/3").join(FILE)).unwrap().len(), 100);
}

#[test]
fn a_full_disk_is_told_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    let fs = Arc::new(FaultyFs::new());
    let table = table_on(root.path(), fs.clone());
    let queue = table.get("T", 0);
    fs.fail(Op::Preallocate, io::ErrorKind::StorageFull);
    let error = queue.reserve(1).map(|_| ()).unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains(FILE), "{error}");
    assert!(queue.dispatch(&record(0)).is_err());
    assert_eq!(queue.max_offset(), 0);
    fs.heal(Op::Preallocate);
    fill(&queue, 0..5);

    // The next file is as far away as the last entry was near.
    fs.fail(Op::Create, io::ErrorKind::StorageFull);
    assert!(queue.reserve(1).is_err());
    assert_eq!(queue.max_offset(), 5);
    fs.heal(Op::Create);
    fill(&queue, 5..6);
}

#[test]
fn a_full_disk_leaves_a_queue_that_starts_late_untouched() {
    let root = tempfile::tempdir().unwrap();
    let fs = Arc::new(FaultyFs::new());
    let queue = table_on(root.path(), fs.clone()).get("T", 0);
    fs.fail(Op::Preallocate, io::ErrorKind::StorageFull);
    assert!(queue.dispatch(&record(8)).is_err());
    assert_eq!((queue.min_offset(), queue.max_offset()), (0, 0));
    fs.heal(Op::Preallocate);
    fill(&queue, 8..9);
    assert_eq!((queue.min_offset(), queue.max_offset()), (8, 9));
}

#[test]
fn little_disk_is_reserved_for_a_queue_that_has_little() {
    let root = tempfile::tempdir().unwrap();
    let fs = Arc::new(FaultyFs::new());
    let as_trait: Arc<dyn FileSystem> = fs.clone();
    let table = QueueTable::load(&StoreConfig::new(root.path()), &as_trait, LastRun::Stopped).unwrap();
    let queue = table.get("T", 0);
    fill(&queue, 0..204);
    assert_eq!(fs.calls(Op::Preallocate), 1, "4 KiB hold 204 entries");
    let blocks = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(path).unwrap()) * 512;
    assert!(blocks(&root.path().join("consumequeue/T/0").join(FILE)) <= 16 << 10);
    fill(&queue, 204..20_000);
    assert!(fs.calls(Op::Preallocate) < 20, "{}", fs.calls(Op::Preallocate));
}

#[test]
fn a_record_that_is_there_is_ignored() {
    let root = tempfile::tempdir().unwrap();
    let queue = table(root.path()).get("T", 0);
    fill(&queue, 0..7);
    for n in 0..7 {
        assert_eq!(queue.dispatch(&record(n)).unwrap(), Dispatched::Repeated);
    }
    // A lower offset further on in the log is a repeat as well.
    let later = Dispatch { queue_offset: 3, ..record(50) };
    assert_eq!(queue.dispatch(&later).unwrap(), Dispatched::Repeated);
    assert_eq!(queue.max_offset(), 7);
}

#[test]
fn a_queue_that_starts_late_has_blanks_before_its_first_message() {
    let root = tempfile::tempdir().unwrap();
    let queue = table(root.path()).get("T", 0);
    fill(&queue, 7..9);
    assert_eq!((queue.min_offset(), queue.max_offset()), (7, 9));
    assert_eq!(file_names(root.path()), [format!("consumequeue/T/0/{SECOND}")]);
    let bytes = RealFs.read(&root.path().join("consumequeue/T/0").join(SECOND)).unwrap();
    let blank = [&[0; 8][..], &[0x7f, 0xff, 0xff, 0xff], &[0; 8]].concat();
    assert_eq!(bytes[..40], [blank.clone(), blank].concat());
    assert_eq!(bytes[40..60], record(7).entry.to_bytes());

    let again = table(root.path()).find("T", 0).unwrap();
    assert_eq!((again.min_offset(), again.max_offset()), (7, 9));
    assert_eq!(again.max_physical_offset(), 900);
}

#[test]
fn an_offset_that_no_queue_can_have_does_not_move_the_queue() {
    for queue_offset in [-1, i64::MIN, i64::MAX, i64::MAX / 20] {
        let root = tempfile::tempdir().unwrap();
        let queue = table(root.path()).get("T", 0);
        let damaged = Dispatch { queue_offset, ..record(0) };
        assert_eq!(queue.dispatch(&damaged).unwrap(), Dispatched::Stored);
        assert_eq!((queue.min_offset(), queue.max_offset()), (0, 1), "{queue_offset}");
        assert_eq!(queue.dispatch(&record(1)).unwrap(), Dispatched::Stored);
        assert_eq!(offsets(&queue, 0), [0, 1]);
    }
}

#[test]
fn a_hole_that_a_crash_left_keeps_offsets_true() {
    let root = tempfile::tempdir().unwrap();
    let queue = table(root.path()).get("T", 0);
    fill(&queue, 0..3);
    fill(&queue, 6..8);
    assert_eq!(queue.max_offset(), 8);
    assert_eq!(queue.entry(6), Some(record(6).entry));
    assert!(queue.entry(4).is_some_and(|entry| entry.is_blank()));
    // No file's worth of entries is ever missing: this offset is damage.
    assert_eq!(queue.dispatch(&record(1_000_000)).unwrap(), Dispatched::Stored);
    assert_eq!(queue.max_offset(), 9);
}

#[test]
fn a_queue_is_the_same_after_opening_again() {
    let root = tempfile::tempdir().unwrap();
    for (topic, count) in [("A", 1), ("B", 5), ("C", 6), ("D", 23)] {
        fill(&table(root.path()).get(topic, 0), 0..count);
    }
    let table = table(root.path());
    assert_eq!(table.mapped_files(), 0);
    for (topic, count) in [("A", 1), ("B", 5), ("C", 6), ("D", 23)] {
        let queue = table.find(topic, 0).unwrap();
        assert_eq!((queue.min_offset(), queue.max_offset()), (0, count));
        assert_eq!(queue.max_physical_offset(), record(count - 1).entry.end());
        assert_eq!(table.mapped_files(), 0, "loading maps nothing");
    }
    assert_eq!(table.max_physical_offset(), Some(2300));
    fill(&table.find("D", 0).unwrap(), 23..30);
    assert_eq!(offsets(&table.find("D", 0).unwrap(), 0).len(), 30);
}

#[test]
fn after_a_crash_what_stands_behind_an_unwritten_entry_is_cleared() {
    let root = tempfile::tempdir().unwrap();
    fill(&table(root.path()).get("T", 0), 0..5);
    let path = root.path().join("consumequeue/T/0").join(FILE);
    let mut bytes = RealFs.read(&path).unwrap();
    bytes[40..60].fill(0);
    RealFs.write(&path, &bytes).unwrap();
    let fs: Arc<dyn FileSystem> = Arc::new(RealFs);
    let table = QueueTable::load(&config(root.path()), &fs, LastRun::Killed).unwrap();
    assert_eq!(table.find("T", 0).unwrap().max_offset(), 2);
    assert!(RealFs.read(&path).unwrap()[40..].iter().all(|&byte| byte == 0));
}

#[test]
fn what_is_cleared_at_a_start_cannot_come_back_by_a_crash_of_the_machine() {
    let root = tempfile::tempdir().unwrap();
    fill(&table(root.path()).get("T", 0), 0..4);
    let path = root.path().join("consumequeue/T/0").join(FILE);
    for hole in [None, Some(0..20)] {
        if let Some(lost) = hole.clone() {
            let mut bytes = RealFs.read(&path).unwrap();
            bytes[lost].fill(0);
            RealFs.write(&path, &bytes).unwrap();
        }
        let faulty = Arc::new(FaultyFs::new());
        let fs: Arc<dyn FileSystem> = Arc::<FaultyFs>::clone(&faulty);
        QueueTable::load(&config(root.path()), &fs, LastRun::Crashed).unwrap();
        assert_eq!(faulty.calls(Op::Sync), u64::from(hole.is_some()), "{hole:?}");
    }
}

#[test]
fn an_entry_of_which_a_crash_of_the_machine_took_half_is_not_believed() {
    let root = tempfile::tempdir().unwrap();
    let queue = table(root.path()).get("T", 0);
    let far = |n: i64| {
        let entry = Entry { physical_offset: (4 << 30) + record(n).entry.physical_offset, ..record(n).entry };
        Dispatch { entry, ..record(n) }
    };
    (0..4).for_each(|n| assert_eq!(queue.dispatch(&far(n)).unwrap(), Dispatched::Stored));
    let path = root.path().join("consumequeue/T/0").join(FILE);
    let mut bytes = RealFs.read(&path).unwrap();
    bytes[40..44].fill(0); // the upper half of where the record lies
    RealFs.write(&path, &bytes).unwrap();
    let fs: Arc<dyn FileSystem> = Arc::new(RealFs);
    let table = QueueTable::load(&config(root.path()), &fs, LastRun::Crashed).unwrap();
    let queue = table.find("T", 0).unwrap();
    assert_eq!((queue.max_offset(), queue.max_physical_offset()), (2, far(1).entry.end()));
}

#[test]
fn a_file_of_another_length_stops_the_start_and_names_the_setting() {
    let root = tempfile::tempdir().unwrap();
    fill(&table(root.path()).get("T", 0), 0..1);
    let mut other = config(root.path());
    other.consume_queue_file_size = 200;
    let fs: Arc<dyn FileSystem> = Arc::new(RealFs);
    let error = QueueTable::load(&other, &fs, LastRun::Stopped).err().unwrap();
    assert!(matches!(error, OpenError::WrongSize { expected: 200, found: 100, .. }));
    assert!(error.to_string().contains("mappedFileSizeConsumeQueue"), "{error}");
}

#[test]
fn an_empty_last_file_is_removed_at_start() {
    let root = tempfile::tempdir().unwrap();
    fill(&table(root.path()).get("T", 0), 0..5);
    RealFs.write(&root.path().join("consumequeue/T/0").join(SECOND), b"").unwrap();
    assert_eq!(table(root.path()).find("T", 0).unwrap().max_offset(), 5);
    assert_eq!(file_names(root.path()).len(), 1);
}

#[test]
fn a_cut_takes_entries_files_and_stale_bytes_away() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    let queue = table.get("T", 0);
    fill(&queue, 0..13);
    table.truncate(record(7).entry.physical_offset).unwrap();
    assert_eq!((queue.min_offset(), queue.max_offset(), queue.max_physical_offset()), (0, 7, 700));
    assert_eq!(file_names(root.path()).len(), 2);
    let bytes = RealFs.read(&root.path().join("consumequeue/T/0").join(SECOND)).unwrap();
    assert!(bytes[40..].iter().all(|&byte| byte == 0));
    fill(&queue, 7..9);
    assert_eq!(offsets(&queue, 0).len(), 9);

    table.truncate(0).unwrap();
    assert_eq!((queue.min_offset(), queue.max_offset(), queue.max_physical_offset()), (0, 0, 0));
    assert!(file_names(root.path()).is_empty());
    fill(&queue, 0..2);
    assert_eq!(offsets(&queue, 0), [0, 1]);
}

#[test]
fn a_file_that_cannot_be_removed_leaves_no_hole_before_those_behind_it() {
    let root = tempfile::tempdir().unwrap();
    let fs = Arc::new(FaultyFs::new());
    let queue = table_on(root.path(), fs.clone()).get("T", 0);
    fill(&queue, 0..22);
    fs.fail_with(Op::Remove, Fault { after: 0, times: 1, kind: io::ErrorKind::Other });
    queue.delete_before(10 * u64::from(SIZE)).unwrap_err();
    queue.delete_before(15 * u64::from(SIZE)).unwrap();
    drop(queue);
    let queue = table(root.path()).find("T", 0).unwrap();
    assert_eq!(offsets(&queue, 17), [17, 18, 19, 20, 21]);
    assert_eq!(queue.max_offset(), 22);
}

#[test]
fn old_entries_are_forgotten_and_their_files_removed_but_never_the_last() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    let queue = table.get("T", 0);
    fill(&queue, 0..13);
    assert_eq!(table.delete_before(700).unwrap(), 1);
    assert_eq!((queue.min_offset(), queue.max_offset()), (7, 13));
    assert!(offsets(&queue, 3).is_empty());
    assert_eq!(queue.entry(7), Some(record(7).entry));
    assert_eq!(table.delete_before(5000).unwrap(), 1);
    assert_eq!((queue.min_offset(), queue.max_offset()), (13, 13));
    assert_eq!(file_names(root.path()).len(), 1);

    let again = self::table(root.path());
    again.correct_min(5000);
    let queue = again.find("T", 0).unwrap();
    assert_eq!((queue.min_offset(), queue.max_offset()), (13, 13));
    let late = Dispatch { queue_offset: 13, ..record(60) };
    queue.dispatch(&late).unwrap();
    again.correct_min(5500);
    assert_eq!((queue.min_offset(), queue.max_offset()), (13, 14));
}

#[test]
fn a_time_leads_to_the_first_message_from_it_on_or_the_last_up_to_it() {
    let root = tempfile::tempdir().unwrap();
    let queue = table(root.path()).get("T", 0);
    // Three messages share each store time.
    let stored = |entry: &Entry| Some(time(entry.tags_code / 3));
    assert_eq!(queue.offset_by_time(time(0), Boundary::Lower, stored), 0);
    fill(&queue, 0..12);
    let lower = |ms| queue.offset_by_time(ms, Boundary::Lower, stored);
    let upper = |ms| queue.offset_by_time(ms, Boundary::Upper, stored);
    assert_eq!((lower(0), upper(0)), (0, 0));
    assert_eq!((lower(time(2)), upper(time(2))), (6, 8));
    assert_eq!((lower(time(2) + 1), upper(time(2) + 1)), (9, 8));
    assert_eq!((lower(time(3)), upper(time(3))), (9, 11));
    assert_eq!((lower(time(9)), upper(time(9))), (12, 11));
    queue.correct_min(500);
    assert_eq!((lower(0), upper(time(9))), (5, 11));
}

#[test]
fn a_deleted_topic_leaves_no_file_and_takes_no_entry_by_an_old_handle() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    let queue = table.get("T", 0);
    fill(&queue, 0..7);
    fill(&table.get("T", 1), 0..1);
    table.delete_topic("T").unwrap();
    assert!(file_names(root.path()).is_empty());
    assert!(table.topics().is_empty());
    assert_eq!((queue.max_offset(), queue.is_deleted()), (0, true));
    assert!(queue.reserve(1).is_err() && queue.dispatch(&record(7)).is_err());
    assert!(offsets(&queue, 0).is_empty());
    fill(&table.get("T", 0), 0..1);
}

#[test]
fn a_topic_that_is_no_file_name_never_leaves_the_directory() {
    let root = tempfile::tempdir().unwrap();
    let inner = root.path().join("inner");
    let table = table(&inner);
    for topic in ["..", ".", "", "a/b", "../../x", "a\0b"] {
        let error: FileError = table.get(topic, 0).dispatch(&record(0)).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput);
        table.delete_topic(topic).unwrap();
    }
    assert!(file_names(root.path()).is_empty());
}

#[test]
fn a_lookup_finds_one_queue_whatever_the_order_of_making() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    for id in [3, 0, 7, 1] {
        assert!(table.find("T", id).is_none());
        assert_eq!(table.get("T", id).queue_id(), id);
    }
    assert!(Arc::ptr_eq(&table.get("T", 7), &table.find("T", 7).unwrap()));
    assert!(table.find("U", 7).is_none());
    assert_eq!(table.topics(), [("T".to_owned(), vec![0, 1, 3, 7])]);
}

#[test]
fn a_batch_queue_counts_messages_and_finds_the_batch_of_each() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    table.declare_batch("B", true);
    let queue = table.get("B", 0);
    assert_eq!(queue.kind(), QueueKind::Batch);
    let sizes = [3u16, 4, 5, 1, 2, 6, 1];
    let mut base = 0;
    for (n, &batch_size) in sizes.iter().enumerate() {
        let batch = Dispatch { queue_offset: base, batch_size, ..record(n as i64) };
        assert_eq!(queue.dispatch(&batch).unwrap(), Dispatched::Stored);
        base += i64::from(batch_size);
        assert_eq!(queue.max_offset(), base);
    }
    assert_eq!(queue.entries(12).next().map(|at| (at.queue_offset, at.batch_size)), Some((12, 1)));
    assert_eq!(queue.entries(9).map(|at| at.queue_offset).collect::<Vec<_>>(), [7, 12, 13, 15, 21]);
    assert_eq!(queue.entry(20), Some(record(5).entry));
    table.truncate(400).unwrap();
    assert_eq!(queue.max_offset(), 13);
    let again = self::table(root.path()).find("B", 0).unwrap();
    assert_eq!((again.kind(), again.max_offset()), (QueueKind::Batch, 13));
}

#[test]
fn too_many_mappings_close_the_least_used_queues_and_lose_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut table = table(root.path());
    table.shared = Shared::with_limit(4);
    let queues: Vec<_> = (0..20).map(|id| table.get("T", id)).collect();
    for round in 0..3 {
        for queue in &queues {
            fill(queue, round..round + 1);
            assert!(table.mapped_files() <= 5, "{}", table.mapped_files());
        }
    }
    for queue in &queues {
        assert_eq!(offsets(queue, 0), [0, 1, 2]);
    }
    table.close_idle();
    table.close_idle();
    assert_eq!(table.mapped_files(), 0);
    fill(&queues[3], 3..4);
    assert_eq!(offsets(&queues[3], 0), [0, 1, 2, 3]);
}

#[test]
fn a_flush_syncs_written_queues_once_and_tries_again_after_a_failure() {
    let root = tempfile::tempdir().unwrap();
    let fs = Arc::new(FaultyFs::new());
    let table = table_on(root.path(), fs.clone());
    fill(&table.get("A", 0), 0..1);
    fill(&table.get("B", 0), 0..7);
    let _idle = table.get("C", 0);
    table.flush(2).unwrap();
    assert_eq!(fs.calls(Op::Sync), 0, "less than two pages wait");
    table.flush(0).unwrap();
    assert_eq!(fs.calls(Op::Sync), 3, "one file of A, two of B");
    table.flush(0).unwrap();
    assert_eq!(fs.calls(Op::Sync), 3);

    fill(&table.get("B", 0), 7..8);
    fs.fail(Op::Sync, io::ErrorKind::Other);
    assert!(table.flush(0).is_err());
    fs.heal(Op::Sync);
    table.flush(0).unwrap();
    assert_eq!(fs.calls(Op::Sync), 5, "only the file that was written");
}

/// Lets the other threads of a test end when one of them fails.
struct EndsOthers<'a>(&'a AtomicBool);

impl Drop for EndsOthers<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(std::thread::panicking(), Ordering::Relaxed);
    }
}

#[test]
fn readers_see_every_entry_below_the_maximum_while_the_queue_grows() {
    const COUNT: i64 = 5_000;
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    let queue = table.get("T", 0);
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let _ends = EndsOthers(&failed);
                let mut next = 0;
                while next < COUNT && !failed.load(Ordering::Relaxed) {
                    let max = queue.max_offset();
                    let found: Vec<_> = queue.entries(next).collect();
                    assert!(found.len() as i64 >= max - next, "{} entries from {next} below {max}", found.len());
                    for at in found {
                        assert_eq!((at.queue_offset, at.entry), (next, record(next).entry));
                        next += 1;
                    }
                }
            });
        }
        scope.spawn(|| {
            let _ends = EndsOthers(&failed);
            while queue.max_offset() < COUNT && !failed.load(Ordering::Relaxed) {
                table.close_idle();
                table.flush(2).unwrap();
            }
        });
        let _ends = EndsOthers(&failed);
        fill(&queue, 0..COUNT);
    });
}
