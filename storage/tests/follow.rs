//! One store follows another, byte for byte.

mod common;

use common::{Bench, send};
use tenonmq_storage::{FollowError, Permit, Role, Store};

fn slave(bench: &Bench) -> Store {
    let store = bench.open();
    store.set_permit(Permit { role: Role::Slave, epoch: 1 });
    store
}

fn log_files(bench: &Bench) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(bench.root().join("commitlog"))
        .expect("a listing")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a file")).collect()
}

#[test]
fn a_follower_has_the_same_log_and_the_same_queues_whatever_the_pieces() {
    let (master_bench, slave_bench) = (Bench::new(), Bench::new());
    let (master, slave) = (master_bench.open(), slave(&slave_bench));
    for n in 0..120_u8 {
        send(&master, "T", i32::from(n % 3), &vec![n; usize::from(n) * 3]).expect("an append");
    }
    let mut reader = master.replica_reader(0);
    let mut size = 1;
    while let Some(piece) = reader.next(size) {
        let from = reader.position() - piece.len() as u64;
        let end = slave.follow(from, &piece).expect("taken over");
        assert_eq!(end, reader.position());
        assert!(slave.watermarks().confirmed <= end);
        size = size * 7 % 1021 + 1;
    }
    assert_eq!(slave.watermarks().confirmed, master.watermarks().confirmed);
    for id in 0..3 {
        let (theirs, ours) = (master.queue("T", id), slave.queue("T", id));
        assert_eq!(ours.max_offset(), theirs.max_offset());
        assert!((0..ours.max_offset()).all(|i| ours.entry(i) == theirs.entry(i)));
    }
    master.shutdown().expect("a clean stop");
    slave.shutdown().expect("a clean stop");
    assert!(log_files(&master_bench) == log_files(&slave_bench));
}

#[test]
fn a_follower_says_what_does_not_continue_its_log() {
    let (master_bench, slave_bench) = (Bench::new(), Bench::new());
    let (master, slave) = (master_bench.open(), slave(&slave_bench));
    send(&master, "T", 0, &[1; 300]).expect("an append");
    let piece = master.replica_reader(0).next(1 << 20).expect("a record");
    assert!(matches!(master.follow(piece.len() as u64, &piece), Err(FollowError::NotSlave)));
    slave.follow(0, &piece[..100]).expect("taken over");
    assert!(matches!(slave.follow(0, &piece), Err(FollowError::Gap { offset: 0, end: 100 })));
    assert!(matches!(slave.follow(100, &[0; 9000]), Err(FollowError::CrossesFile { .. })));
    assert_eq!(slave.watermarks().confirmed, 0);
}

#[test]
fn a_follower_that_becomes_master_drops_the_record_it_has_in_part() {
    let (master_bench, slave_bench) = (Bench::new(), Bench::new());
    let (master, slave) = (master_bench.open(), slave(&slave_bench));
    let first = send(&master, "T", 0, &[1; 300]).expect("an append");
    send(&master, "T", 0, &[2; 300]).expect("an append");
    let piece = master.replica_reader(0).next(1 << 20).expect("records");
    slave.follow(0, &piece[..piece.len() - 1]).expect("taken over");
    slave.set_permit(Permit { role: Role::Master, epoch: 2 });
    assert_eq!(slave.watermarks().appended, first.ticket.end);
    let own = send(&slave, "T", 0, &[3; 300]).expect("an append");
    assert_eq!((own.physical_offset, own.queue_offset), (first.ticket.end, 1));
}

#[test]
fn a_follower_may_start_in_the_middle_of_the_masters_log() {
    let (master_bench, slave_bench) = (Bench::new(), Bench::new());
    let (master, slave) = (master_bench.open(), slave(&slave_bench));
    for n in 0..60_u8 {
        send(&master, "T", 0, &[n; 300]).expect("an append");
    }
    let mut reader = master.replica_reader(16_384);
    while let Some(piece) = reader.next(1000) {
        slave.follow(reader.position() - piece.len() as u64, &piece).expect("taken over");
    }
    assert_eq!(slave.watermarks().min, 16_384);
    let queue = slave.queue("T", 0);
    assert!(queue.min_offset() > 0);
    assert_eq!(queue.max_offset(), 60);
    drop((queue, slave));
    let slave = slave_bench.open();
    assert_eq!((slave.watermarks().min, slave.queue("T", 0).max_offset()), (16_384, 60));
}
