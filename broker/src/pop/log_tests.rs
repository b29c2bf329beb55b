use tenonmq_storage::fs::RealFs;

use super::super::lease::{Lease, LeaseKey, Leases};
use super::*;

fn open(folder: &Path) -> (LeaseLog, Replay) {
    let mut replay = Replay::new(u64::MAX);
    let log = LeaseLog::open(folder, Arc::new(RealFs), 4096, &mut replay).unwrap();
    (log, replay)
}

fn begin(next: i64) -> Event {
    Event::Queue { group: "g".into(), topic: "t".into(), queue_id: 0, next, leases: 0, order: None }
}

fn leased(start: i64, next: i64) -> Change {
    let offsets: Vec<i64> = (start..next).collect();
    let lease = Lease::of(start, &offsets, 100, 0, 7);
    Change::Leased { key: LeaseKey { start, pop_time: 1 }, lease, next }
}

fn leases(replay: Replay) -> Leases {
    replay.finish().remove(&1).map(|kept| kept.leases).unwrap_or_default()
}

#[test]
fn what_was_written_is_read_again_over_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    log.append(1, &begin(0)).unwrap();
    let mut expected = Leases::starting_at(0);
    for start in 0..200 {
        log.change(1, &leased(start, start + 1)).unwrap();
        expected.apply(leased(start, start + 1));
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().count() > 2);
    assert_eq!(leases(open(folder.path()).1), expected);
    let (log, _) = open(folder.path());
    log.change(1, &leased(200, 201)).unwrap();
    expected.apply(leased(200, 201));
    assert_eq!(leases(open(folder.path()).1), expected);
}

#[test]
fn a_hole_between_two_files_ends_the_reading() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    log.append(1, &begin(0)).unwrap();
    for start in 0..100 {
        log.change(1, &leased(start, start + 1)).unwrap();
    }
    let first = path_of(folder.path(), 1);
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[2000..].fill(0);
    std::fs::write(&first, bytes).unwrap();
    let found = leases(open(folder.path()).1);
    assert!(found.len() > 10 && found.next() == found.len() as i64, "a state that once was");
    let (log, _) = open(folder.path());
    log.change(1, &leased(found.next(), 500)).unwrap();
    assert_eq!(leases(open(folder.path()).1).next(), 500, "and the log goes on from there");
}

#[test]
fn a_state_that_is_told_counts_when_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    log.append(1, &begin(0)).unwrap();
    log.change(1, &leased(0, 3)).unwrap();
    let key = LeaseKey { start: 9, pop_time: 1 };
    let told = Event::Queue { group: "g".into(), topic: "t".into(), queue_id: 0, next: 10, leases: 1, order: None };
    log.append(1, &told).unwrap();
    assert_eq!(leases(open(folder.path()).1).next(), 3);
    log.append(1, &Event::Kept(key, Lease::of(9, &[9], 100, 0, 7))).unwrap();
    let found = leases(open(folder.path()).1);
    assert_eq!((found.next(), found.len(), found.floor()), (10, 1, 9));
}

#[test]
fn a_copy_that_the_commit_log_lost_does_not_end_a_lease() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    log.append(1, &begin(0)).unwrap();
    log.change(1, &leased(0, 2)).unwrap();
    let key = LeaseKey { start: 0, pop_time: 1 };
    log.change(1, &Change::Returned { key, index: 0, copy_end: 500 }).unwrap();
    log.change(1, &Change::Returned { key, index: 1, copy_end: 900 }).unwrap();
    let mut replay = Replay::new(600);
    LeaseLog::open(folder.path(), Arc::new(RealFs), 4096, &mut replay).unwrap();
    assert_eq!(leases(replay).floor(), 1);
}
