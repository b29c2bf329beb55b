//! What a store finds after it was stopped, killed, or met by strange files.

mod common;

use std::sync::Arc;

use common::{Bench, NOW, copy_tree, record, send, small};
use tenonmq_protocol::message::{SysFlag, TransactionType};
use tenonmq_storage::fs::{FaultyFs, Op};
use tenonmq_storage::{AppendClass, Environment, OpenError, Store, StoreConfig};

fn fill(store: &Store, count: u8) -> u64 {
    for n in 0..count {
        send(store, "T", i32::from(n % 3), &[n; 300]).expect("an append");
    }
    store.watermarks().appended
}

fn assert_filled(store: &Store, count: u8) {
    for id in 0..3 {
        let queue = store.queue("T", i32::from(id));
        for i in 0..queue.max_offset() {
            let entry = queue.entry(i).expect("an entry");
            let body = store.peek(&entry, |record| record.body().to_vec()).expect("a record");
            assert_eq!(body, [(i as u8) * 3 + id; 300]);
        }
    }
    let total: i64 = (0..3).map(|id| store.queue("T", id).max_offset()).sum();
    assert_eq!(total, i64::from(count));
}

#[test]
fn after_a_clean_stop_nothing_is_walked_but_the_last_record() {
    let bench = Bench::new();
    let store = bench.open();
    let end = fill(&store, 100);
    store.shutdown().expect("a clean stop");
    drop(store);
    assert!(!bench.root().join("abort").exists());
    let store = bench.open();
    let report = store.recovery();
    assert!(report.clean);
    assert_eq!((report.records, report.end, report.cut_at), (1, end, None));
    assert_filled(&store, 100);
}

#[test]
fn a_clean_stop_removes_the_file_prepared_and_never_used() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store, 20); // more than half of the first file
    store.shutdown().expect("a clean stop");
    let files = std::fs::read_dir(bench.root().join("commitlog")).expect("a listing").count();
    assert_eq!(files, store.stats().segments);
}

#[test]
fn after_a_kill_only_what_a_kill_can_have_left_open_is_walked() {
    let bench = Bench::new();
    let store = bench.open();
    let end = fill(&store, 100);
    drop(store);
    assert!(bench.root().join("abort").exists());
    let store = bench.open();
    let report = store.recovery();
    assert!(!report.clean);
    assert_eq!((report.records, report.end), (1, end));
    assert_filled(&store, 100);
}

#[test]
fn what_a_killed_process_wrote_is_durable_when_it_is_flushed_and_not_before() {
    let bench = Bench::new();
    let store = bench.open_sync();
    let end = fill(&store, 100);
    drop(store);
    let store = Store::open_in_place(bench.config(), bench.env()).expect("the store opens");
    let marks = store.watermarks();
    assert_eq!((marks.appended, marks.flushed), (end, 0), "nothing says how far the dead process came");
    let opening = bench.fs.calls(Op::Sync);
    store.flush().expect("a flush");
    assert_eq!(store.watermarks().flushed, end);
    assert!(bench.fs.calls(Op::Sync) >= opening + store.stats().segments as u64);
    bench.clock.advance(60_000);
    store.maintain();
    assert!(bench.fs.calls(Op::Sync) >= opening + store.stats().segments as u64 + 3, "the queues too");
}

#[test]
fn after_a_crash_of_the_machine_the_walk_starts_at_the_checkpoint() {
    let bench = Bench::new();
    let store = bench.open();
    let end = fill(&store, 100);
    drop(store);
    std::fs::write(bench.root().join("tenonmq/boot_id"), "another start of the machine").expect("a write");
    let store = bench.open();
    assert_eq!((store.recovery().started_at, store.recovery().records, store.recovery().end), (0, 100, end));
    assert_filled(&store, 100);
}

#[test]
fn the_checkpoint_shortens_the_walk_after_a_crash_of_the_machine() {
    let bench = Bench::new();
    let store = bench.open();
    for n in 0..100_u8 {
        send(&store, "T", i32::from(n % 3), &[n; 300]).expect("an append");
        bench.clock.advance(1000);
    }
    store.flush().expect("a flush");
    bench.clock.advance(60_000);
    store.maintain();
    drop(store);
    std::fs::write(bench.root().join("tenonmq/boot_id"), "another start of the machine").expect("a write");
    let store = bench.open();
    assert!(store.recovery().records < 30, "{:?}", store.recovery());
    assert_filled(&store, 100);
}

#[test]
fn lost_queues_are_built_again_from_the_log() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store, 100);
    store.shutdown().expect("a clean stop");
    drop(store);
    std::fs::remove_dir_all(bench.root().join("consumequeue")).expect("removal");
    let store = bench.open();
    assert_eq!(store.recovery().records, 100);
    assert_filled(&store, 100);
}

#[test]
fn queues_without_their_log_are_removed() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store, 30);
    store.shutdown().expect("a clean stop");
    drop(store);
    std::fs::remove_dir_all(bench.root().join("commitlog")).expect("removal");
    let store = bench.open();
    assert!(store.topics_with_queues().is_empty());
    assert_eq!(send(&store, "T", 0, b"anew").expect("an append").queue_offset, 0);
}

#[test]
fn a_record_whose_writer_died_within_the_properties_is_torn() {
    for missing in 1..7 {
        let bench = Bench::new();
        let store = bench.open();
        let first = send(&store, "T", 0, &[1; 300]).expect("an append").ticket.end;
        let end = send(&store, "T", 0, &[2; 300]).expect("an append").ticket.end as usize;
        drop(store);
        let clear = |path: &str, range: std::ops::Range<usize>| {
            let path = bench.root().join(path);
            let mut bytes = std::fs::read(&path).expect("the file");
            bytes[range].fill(0);
            std::fs::write(&path, &bytes).expect("a write");
        };
        clear("commitlog/00000000000000000000", end - missing..end); // the body is whole, and its checksum fits
        clear("consumequeue/T/0/00000000000000000000", 20..40); // an entry is written after its record
        let store = bench.open();
        assert_eq!(
            (store.recovery().end, store.recovery().cut_at),
            (first, Some(first)),
            "{missing} bytes are missing"
        );
        assert_eq!(store.queue("T", 0).max_offset(), 1);
    }
}

#[test]
fn a_torn_record_is_cut_off_and_what_was_behind_it_is_zeroed() {
    let bench = Bench::new();
    let store = bench.open();
    send(&store, "T", 0, &[1; 300]).expect("an append");
    let second = send(&store, "T", 0, &[2; 300]).expect("an append").physical_offset as usize;
    send(&store, "T", 0, &[3; 300]).expect("an append");
    drop(store);
    let path = bench.root().join("commitlog/00000000000000000000");
    let mut bytes = std::fs::read(&path).expect("the log");
    bytes[second + 120] ^= 1;
    std::fs::write(&path, &bytes).expect("a write");
    std::fs::write(bench.root().join("tenonmq/boot_id"), "another start of the machine").expect("a write");
    let store = bench.open();
    assert_eq!(store.recovery().cut_at, Some(second as u64));
    assert_eq!(store.queue("T", 0).max_offset(), 1);
    let bytes = std::fs::read(&path).expect("the log");
    assert!(bytes[second..].iter().all(|&byte| byte == 0), "a stale record could line up again");
    let again = send(&store, "T", 0, &[4; 300]).expect("an append");
    assert_eq!((again.physical_offset as usize, again.queue_offset), (second, 1));
    drop(store);
    assert_eq!(bench.open().queue("T", 0).max_offset(), 2);
}

#[test]
fn a_half_written_queue_entry_is_written_anew() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store, 9);
    drop(store);
    // The last record is in queue 2 at index 2: its tags code did not make it.
    let path = bench.root().join("consumequeue/T/2/00000000000000000000");
    let mut bytes = std::fs::read(&path).expect("the queue");
    bytes[2 * 20 + 12..3 * 20].fill(0);
    std::fs::write(&path, &bytes).expect("a write");
    let store = bench.open();
    assert_eq!(store.queue("T", 2).entry(2).map(|entry| entry.tags_code), Some(i64::from(b'a')));
    assert_filled(&store, 9);
}

#[test]
fn entries_that_a_crash_of_the_machine_may_have_torn_are_all_written_anew() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store, 30);
    drop(store);
    let path = bench.root().join("consumequeue/T/1/00000000000000000000");
    let mut bytes = std::fs::read(&path).expect("the queue");
    bytes[4 * 20 + 12..5 * 20].fill(0); // the tags code of one
    let other = bytes[20..32].to_vec();
    bytes[7 * 20..7 * 20 + 12].copy_from_slice(&other); // an older record in place of another's
    std::fs::write(&path, &bytes).expect("a write");
    std::fs::write(bench.root().join("tenonmq/boot_id"), "another start of the machine").expect("a write");
    let store = bench.open();
    assert_eq!(store.queue("T", 1).entry(4).map(|entry| entry.tags_code), Some(i64::from(b'a')));
    assert_filled(&store, 30);
}

#[test]
fn a_queue_whose_first_file_a_crash_of_the_machine_took_begins_where_its_records_begin() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store, 200);
    drop(store);
    let queue = bench.root().join("consumequeue/T");
    std::fs::remove_file(queue.join("0/00000000000000000000")).expect("a file");
    for gone in ["00000000000000000000", "00000000000000000400"] {
        std::fs::remove_file(queue.join("1").join(gone)).expect("a file");
    }
    std::fs::write(bench.root().join("tenonmq/boot_id"), "another start of the machine").expect("a write");
    let store = bench.open();
    assert_filled(&store, 200);
    let (queue, before) = (store.queue("T", 0), [store.queue("T", 0).min_offset(), store.queue("T", 1).min_offset()]);
    assert_eq!(before, [0, 0]);
    assert_eq!(send(&store, "T", 0, &[201; 300]).expect("an append").queue_offset, 67);
    drop((queue, store));
    assert_filled(&bench.open(), 201);
}

#[test]
fn committed_messages_met_while_walking_are_reported() {
    let bench = Bench::new();
    let store = bench.open();
    let queue = store.queue("T", 0);
    let mut committed = record("T", 0, b"paid");
    committed.sys_flag = SysFlag(0).with_transaction(TransactionType::Commit).0;
    committed.prepared_transaction_offset = 4711;
    let appended = store.append(&queue, &committed, 0, AppendClass::Settle).expect("an append");
    drop((queue, store));
    let store = bench.open();
    let seen: Vec<_> =
        store.recovery().commits.iter().map(|commit| (commit.prepared_offset, commit.physical_offset)).collect();
    assert_eq!(seen, [(4711, appended.physical_offset)]);
}

#[test]
fn a_record_whose_queue_entry_was_lost_gets_it_back() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store, 9);
    store.shutdown().expect("a clean stop");
    drop(store);
    let path = bench.root().join("consumequeue/T/2/00000000000000000000");
    let mut bytes = std::fs::read(&path).expect("the queue");
    bytes[2 * 20..3 * 20].fill(0);
    std::fs::write(&path, &bytes).expect("a write");
    assert_filled(&bench.open(), 9);
}

#[test]
fn two_stores_cannot_have_one_directory() {
    let bench = Bench::new();
    let store = bench.open();
    assert!(matches!(Store::open(bench.config(), bench.env()), Err(OpenError::Locked { .. })));
    drop(store);
    bench.open();
}

#[test]
fn a_file_of_another_length_is_named() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store, 40);
    store.shutdown().expect("a clean stop");
    drop(store);
    let open = |config: StoreConfig| Store::open(config, bench.env()).map(|_| ()).map_err(|error| error.to_string());
    let said = open(StoreConfig { segment_size: 16_384, ..bench.config() }).expect_err("another length");
    assert!(said.contains("00000000000000000000") && said.contains("mappedFileSizeCommitLog"), "{said}");
    let said = open(StoreConfig { consume_queue_file_size: 800, ..bench.config() }).expect_err("another length");
    assert!(said.contains("consumequeue/T/") && said.contains("mappedFileSizeConsumeQueue"), "{said}");
    open(bench.config()).expect("still in order");
}

#[test]
fn a_missing_file_in_the_middle_is_named() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store, 100);
    store.shutdown().expect("a clean stop");
    drop(store);
    std::fs::remove_file(bench.root().join("commitlog/00000000000000008192")).expect("removal");
    let said = Store::open(bench.config(), bench.env()).expect_err("a gap").to_string();
    assert!(said.contains("00000000000000016384") && said.contains("gap"), "{said}");
}

#[test]
fn a_file_left_without_length_by_a_kill_is_no_obstacle() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store, 9);
    drop(store);
    std::fs::write(bench.root().join("commitlog/00000000000000008192"), "").expect("a write");
    assert_filled(&bench.open(), 9);
}

#[test]
fn a_prepared_file_left_by_a_kill_is_no_obstacle() {
    let bench = Bench::new();
    let store = bench.open();
    let end = fill(&store, 9);
    drop(store);
    std::fs::write(bench.root().join("commitlog/00000000000000008192"), vec![0; 8192]).expect("a write");
    let store = bench.open();
    assert_eq!((store.recovery().end, store.recovery().cut_at), (end, None));
    assert_filled(&store, 9);
    fill(&store, 60);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let fs = Arc::new(FaultyFs::new());
    fs.fail(Op::Create, std::io::ErrorKind::PermissionDenied);
    let clock = Arc::new(tenonmq_storage::ManualClock::new(NOW));
    let said = Store::open(small(dir.path()), Environment { fs, clock }).expect_err("no permission").to_string();
    assert!(said.contains(&dir.path().display().to_string()), "{said}");
}

#[test]
fn a_copy_of_a_running_directory_opens() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store, 50);
    let copy = tempfile::tempdir().expect("a temporary directory");
    copy_tree(bench.root(), copy.path());
    fill(&store, 50);
    let copied = Store::open(small(copy.path()), common::quiet()).expect("the copy opens");
    assert_filled(&copied, 50);
}

#[test]
fn with_a_checksum_over_the_whole_record_any_flipped_bit_of_it_is_found() {
    let bench = Bench::new();
    let config = StoreConfig { record_crc: true, verify_record_crc: true, ..bench.config() };
    let open = || Store::open(config.clone(), bench.env()).expect("the store opens");
    let store = open();
    fill(&store, 9);
    store.shutdown().expect("a clean stop");
    drop(store);
    std::fs::remove_dir_all(bench.root().join("consumequeue")).expect("removal");
    let store = open();
    assert_filled(&store, 9);
    let last = store.queue("T", 2).entry(2).expect("the last entry");
    drop(store);
    let path = bench.root().join("commitlog/00000000000000000000");
    let mut bytes = std::fs::read(&path).expect("the log");
    bytes[last.physical_offset as usize + 40] ^= 1; // the time of birth, which nothing else guards
    std::fs::write(&path, &bytes).expect("a write");
    let store = open();
    assert_eq!(store.recovery().cut_at, Some(last.physical_offset));
}
