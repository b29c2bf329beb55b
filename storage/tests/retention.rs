//! What is removed when it is old, and what is not.

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Bench, send};
use tenonmq_storage::fs::Space;
use tenonmq_storage::{FetchLimits, FetchStatus, Store};

fn fill(store: &Store) {
    for n in 0..100_u8 {
        send(store, "T", 0, &[n; 300]).expect("an append");
    }
    store.flush().expect("a flush");
}

fn real_now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[test]
fn old_files_go_when_asked_and_their_entries_with_them_but_never_the_last() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store);
    let young = store.read(store.watermarks().appended - 411 + 8);
    drop(young);
    let first = store.read(0).expect("the first record");
    let queue = store.queue("T", 0);
    bench.clock.set(real_now_ms() + Duration::from_secs(71 * 3600).as_millis() as i64);
    store.trigger_clean();
    store.maintain();
    assert_eq!(store.watermarks().min, 0, "not old enough");
    bench.clock.set(real_now_ms() + Duration::from_secs(73 * 3600).as_millis() as i64);
    store.trigger_clean();
    store.maintain();
    assert_eq!(store.stats().segments, 1, "never the last one");
    let min = store.watermarks().min;
    assert!(min > 0);
    assert!(queue.min_offset() > 0);
    assert!(queue.entry(queue.min_offset()).is_some_and(|entry| entry.physical_offset >= min));
    let fetched = store.fetch(&queue, 0, FetchLimits::new(32, 1 << 20), |_| true);
    assert_eq!((fetched.status, fetched.next_begin), (FetchStatus::OffsetTooSmall, queue.min_offset()));
    assert_eq!(first.len(), 300 + 92 + 7, "still readable by who holds it");
    drop(store);
    let store = bench.open();
    assert_eq!(store.watermarks().min, min);
    assert_eq!(store.queue("T", 0).max_offset(), 100);
}

#[test]
fn a_disk_that_fills_up_loses_its_oldest_files_whatever_their_age() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store);
    bench.fs.set_space(Some(Space { total: 1000, available: 130 }));
    bench.clock.advance(10_000);
    store.maintain();
    assert!(store.watermarks().min > 0);
}
