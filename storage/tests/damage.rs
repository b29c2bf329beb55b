//! Damaged directories: they open, or say clearly why not, never panic, and lose nothing before the damage.

mod common;

use std::path::{Path, PathBuf};

use common::{Bench, copy_tree, quiet, send, small};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use tenonmq_storage::{FetchLimits, Store};

/// Bytes of property text at the end of each record.
const PROPERTIES: u64 = 7;

struct Written {
    bench: Bench,
    /// Log offset, end and body of every record.
    records: Vec<(u64, u64, Vec<u8>)>,
    files: Vec<PathBuf>,
}

/// A directory of some 60 records in four log files and two queues, killed or stopped.
fn written(clean: bool) -> Written {
    let bench = Bench::new();
    let store = bench.open();
    let mut records = Vec::new();
    for n in 0..60_u8 {
        let body = vec![n; 50 + usize::from(n) * 7];
        let placed = send(&store, "T", i32::from(n % 2), &body).expect("an append");
        records.push((placed.physical_offset, placed.ticket.end, body));
        bench.clock.advance(500);
        if n % 10 == 0 {
            store.flush().expect("a flush");
            bench.clock.advance(1000);
            store.maintain();
        }
    }
    if clean {
        store.shutdown().expect("a clean stop");
    }
    drop(store);
    let mut files = Vec::new();
    list(bench.root(), &mut files);
    files.sort();
    let files = files.iter().map(|file| file.strip_prefix(bench.root()).expect("below").to_owned()).collect();
    Written { bench, records, files }
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a listing") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            list(&path, files);
        } else if std::fs::metadata(&path).expect("metadata").len() > 0 {
            files.push(path);
        }
    }
}

/// Log offset of a byte, if the file is one of the log.
fn log_offset(file: &Path, position: usize) -> Option<u64> {
    let name = file.file_name()?.to_str()?;
    file.starts_with("commitlog").then(|| name.parse::<u64>().ok())?.map(|base| base + position as u64)
}

/// What was acknowledged before `damage` is there, byte for byte, and every queue can be read to its end.
fn check(store: &Store, records: &[(u64, u64, Vec<u8>)], damage: u64) {
    for (offset, _, body) in records.iter().filter(|(_, end, _)| *end <= damage) {
        let bytes = store.read(*offset).unwrap_or_else(|| panic!("record at {offset}, damage at {damage}"));
        let record = tenonmq_protocol::message::RecordView::parse(&bytes).expect("a record");
        assert_eq!(record.body(), body);
    }
    for (topic, ids) in store.topics_with_queues() {
        for id in ids {
            let queue = store.queue(&topic, id);
            let mut from = queue.min_offset();
            while from < queue.max_offset() {
                let fetched = store.fetch(&queue, from, FetchLimits::new(32, 1 << 20), |_| true);
                assert!(fetched.next_begin > from, "{:?} at {from}", fetched.status);
                from = fetched.next_begin;
            }
        }
    }
    send(store, "T", 0, b"life goes on").expect("an append");
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(12))]

    #[test]
    fn a_flipped_byte_anywhere_costs_at_most_what_is_behind_it(
        clean in any::<bool>(),
        crashed in any::<bool>(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..=255_u8), 12),
    ) {
        let written = written(clean);
        for (file, position, mask) in hits {
            let copy = tempfile::tempdir().expect("a temporary directory");
            copy_tree(written.bench.root(), copy.path());
            let file = &written.files[file.index(written.files.len())];
            let path = copy.path().join(file);
            let mut bytes = std::fs::read(&path).expect("a file");
            let position = position.index(bytes.len());
            bytes[position] ^= mask;
            std::fs::write(&path, &bytes).expect("a write");
            if crashed {
                std::fs::write(copy.path().join("tenonmq/boot_id"), "another start").expect("a write");
            }
            let damage = log_offset(file, position).unwrap_or(u64::MAX);
            match Store::open(small(copy.path()), quiet()) {
                Ok(store) => check(&store, &written.records, damage),
                Err(error) => prop_assert!(error.to_string().contains(&copy.path().display().to_string()), "{error}"),
            }
        }
    }

    #[test]
    fn a_log_whose_end_never_reached_the_disk_opens_with_all_before_it(
        lost in prop::collection::vec(any::<prop::sample::Index>(), 6),
    ) {
        let written = written(false);
        let end = written.records.last().map_or(0, |(_, end, _)| *end);
        for lost in lost {
            let copy = tempfile::tempdir().expect("a temporary directory");
            copy_tree(written.bench.root(), copy.path());
            std::fs::write(copy.path().join("tenonmq/boot_id"), "another start").expect("a write");
            let from = lost.index(end as usize) as u64;
            for file in written.files.iter().filter(|file| file.starts_with("commitlog")) {
                let path = copy.path().join(file);
                let mut bytes = std::fs::read(&path).expect("a file");
                let base = log_offset(file, 0).expect("a log file");
                let keep = usize::try_from(from.saturating_sub(base)).unwrap_or(usize::MAX).min(bytes.len());
                bytes[keep..].fill(0);
                std::fs::write(&path, &bytes).expect("a write");
            }
            // What the checkpoint vouches for did not get lost in truth; so neither may it here.
            std::fs::write(copy.path().join("checkpoint"), vec![0; 4096]).expect("a write");
            let store = Store::open(small(copy.path()), quiet()).expect("the store opens");
            check(&store, &written.records, from);
            let before = |lost: u64| written.records.iter().filter(|(_, end, _)| *end <= from + lost).count() as i64;
            let total: i64 = (0..2).map(|id| store.queue("T", id).max_offset()).sum();
            // The format guards body and lengths, not the text of the properties: a record may lose that and stay.
            prop_assert!(total == before(0) + 1 || total == before(PROPERTIES) + 1, "{total} at {from}");
        }
    }
}

/// Bodies of all messages of a queue that are delivered.
fn delivered(store: &Store, id: i32) -> Vec<Vec<u8>> {
    let queue = store.queue("T", id);
    let fetched = store.fetch(&queue, 0, FetchLimits::new(32, 1 << 20), |_| true);
    assert_eq!(fetched.next_begin, queue.max_offset());
    let records = fetched.records.iter().flat_map(|bytes| tenonmq_protocol::message::RecordView::iter_all(bytes));
    records.map(|record| record.expect("a record").body().to_vec()).collect()
}

/// Two queues with four messages of one length each, cleanly stopped.
fn eight_alike() -> Bench {
    let bench = Bench::new();
    let store = bench.open();
    for n in 0..8_u8 {
        send(&store, "T", i32::from(n % 2), &[n; 30]).expect("an append");
    }
    store.shutdown().expect("a clean stop");
    bench
}

#[test]
fn a_queue_entry_that_points_to_another_record_of_that_length_delivers_none() {
    let bench = eight_alike();
    let path = bench.root().join("consumequeue/T/0/00000000000000000000");
    let mut bytes = std::fs::read(&path).expect("a file");
    let (first, second) = (bytes[..20].to_vec(), bytes[20..40].to_vec());
    for (entry, other) in [(20, first), (0, second)] {
        let whole = bytes.clone();
        bytes[entry..entry + 20].copy_from_slice(&other);
        std::fs::write(&path, &bytes).expect("a write");
        let store = Store::open(small(bench.root()), quiet()).expect("the store opens");
        let left: Vec<u8> = [0, 2, 4, 6].into_iter().filter(|n| usize::from(*n) * 10 != entry).collect();
        assert_eq!(delivered(&store, 0), left.iter().map(|n| vec![*n; 30]).collect::<Vec<_>>());
        store.shutdown().expect("a clean stop");
        bytes = whole;
    }
}

#[test]
fn a_damaged_body_is_delivered_to_nobody_where_reads_are_verified() {
    let bench = eight_alike();
    let path = bench.root().join("commitlog/00000000000000000000");
    let mut bytes = std::fs::read(&path).expect("a file");
    let body = bytes.windows(30).position(|window| window == [4; 30]).expect("the body");
    bytes[body + 7] ^= 1;
    std::fs::write(&path, &bytes).expect("a write");
    for verify_reads in [false, true] {
        let config = tenonmq_storage::StoreConfig { verify_reads, ..small(bench.root()) };
        let store = Store::open(config, quiet()).expect("the store opens");
        assert_eq!(delivered(&store, 0).len(), if verify_reads { 3 } else { 4 });
        assert_eq!(store.read((body - 88) as u64).is_none(), verify_reads);
        assert_eq!(delivered(&store, 1).len(), 4);
        store.shutdown().expect("a clean stop");
    }
}
