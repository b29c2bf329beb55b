//! A store with more queues than may be mapped: what it costs to write to each, to open it again, and to read from each.
//!
//! With 1,000 topics, 100,000 queues, on two busy cores without optimisation: 43 MiB of private memory while writing and 78
//! after opening, 9 open files, 16,442 mappings at most, 8 s to open.

mod common;

use std::time::Instant;

use common::{quiet, record, small};
use tenonmq_storage::{AppendClass, FetchLimits, Store, StoreConfig};

/// More than are mapped at a time. Measured with 1,000 as well.
const TOPICS: usize = 170;
const QUEUES: i32 = 100;

fn config(root: &std::path::Path) -> StoreConfig {
    // Queue files of the usual length; blocks are reserved only where something is written.
    StoreConfig { segment_size: 8 << 20, consume_queue_file_size: 300_000 * 20, index_enabled: false, ..small(root) }
}

fn topics() -> impl Iterator<Item = String> {
    (0..TOPICS).map(|number| format!("topic-{number}"))
}

/// Bytes of private memory, open files, and mappings of this process.
fn usage() -> (usize, usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line for private memory");
    let kib = line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number of KiB");
    let files = std::fs::read_dir("/proc/self/fd").expect("the kernel tells").count();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the kernel tells").lines().count();
    (kib * 1024, files, maps)
}

fn say(what: &str, began: Instant) {
    let (memory, files, maps) = usage();
    println!("{what}: {:?}, {} MiB private, {files} files, {maps} mappings", began.elapsed(), memory >> 20);
}

#[test]
fn more_queues_than_may_be_mapped_take_a_message_each_and_give_it_back_after_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let began = Instant::now();
    let store = Store::open(config(dir.path()), quiet()).expect("the store opens");
    for topic in topics() {
        for queue_id in 0..QUEUES {
            let queue = store.queue(&topic, queue_id);
            store.append(&queue, &record(&topic, queue_id, b"one"), 97, AppendClass::Send).expect("an append");
        }
    }
    say("written", began);
    let (memory, files, maps) = usage();
    assert!(memory < 256 << 20, "{memory} bytes");
    assert!(files < 1_000 && maps < 20_000, "{files} files, {maps} mappings");
    let began = Instant::now();
    store.shutdown().expect("an ordered end");
    drop(store);
    say("closed", began);

    let began = Instant::now();
    let store = Store::open(config(dir.path()), quiet()).expect("the store opens");
    say("opened", began);
    assert_eq!(store.stats().queues, TOPICS * QUEUES as usize);
    assert!(usage().2 < 1_000, "queues that nobody uses are not mapped");
    let began = Instant::now();
    for topic in topics() {
        for queue_id in 0..QUEUES {
            let queue = store.find_queue(&topic, queue_id).expect("it is there");
            let limits =
                FetchLimits { max_count: 32, max_bytes: 4096, memory_count: 32, memory_bytes: 4096, disk: None };
            assert_eq!(store.fetch(&queue, 0, limits, |_| true).count, 1, "{topic}/{queue_id}");
        }
    }
    say("read", began);
    let (memory, files, maps) = usage();
    assert!(memory < 256 << 20, "{memory} bytes");
    assert!(files < 1_000 && maps < 20_000, "{files} files, {maps} mappings");
}
