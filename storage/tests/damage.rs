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
