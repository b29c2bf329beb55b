//! When a send is durable, and what happens when it cannot be.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::{Bench, send, send_as};
use tenonmq_storage::fs::{Op, Space};
use tenonmq_storage::{
    AppendClass, AppendError, Durability, FetchLimits, FetchStatus, Permit, Role, Store, StoreConfig, Unwritable,
};

const SOON: Duration = Duration::from_secs(5);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

#[test]
fn a_synchronous_send_is_answered_when_its_bytes_are_on_disk() {
    let bench = Bench::new();
    let store = bench.open_sync();
    runtime().block_on(async {
        for n in 0..40_u8 {
            let appended = send(&store, "T", 0, &[n; 300]).expect("an append");
            assert_eq!(store.durable(appended.ticket, SOON).await, Durability::Ok);
            assert!(store.watermarks().flushed >= appended.ticket.end);
        }
    });
    assert!(store.stats().flushes > 0);
}

#[test]
fn one_flush_serves_all_that_wait() {
    let bench = Bench::new();
    let store = bench.open_sync();
    let tickets: Vec<_> = (0..20_u8).map(|n| send(&store, "T", 0, &[n; 100]).expect("an append").ticket).collect();
    let waiting: Vec<_> = tickets.iter().map(|ticket| store.durable(*ticket, SOON)).collect();
    runtime().block_on(async {
        for wait in waiting {
            assert_eq!(wait.await, Durability::Ok);
        }
    });
    assert!(store.stats().flushes < 20, "{} flushes", store.stats().flushes);
}

#[test]
fn an_asynchronous_send_does_not_wait() {
    let bench = Bench::new();
    let store = bench.open();
    let appended = send(&store, "T", 0, b"quick").expect("an append");
    assert_eq!(runtime().block_on(store.durable(appended.ticket, Duration::ZERO)), Durability::Ok);
}

#[test]
fn a_failed_flush_poisons_the_store_and_says_so_to_all_that_wait() {
    let bench = Bench::new();
    let store = bench.open_sync();
    let acknowledged = send(&store, "T", 0, b"safe").expect("an append");
    assert_eq!(runtime().block_on(store.durable(acknowledged.ticket, SOON)), Durability::Ok);
    bench.fs.fail(Op::Sync, ErrorKind::Other);
    let lost = send(&store, "T", 0, b"unknown").expect("an append");
    assert_eq!(runtime().block_on(store.durable(lost.ticket, SOON)), Durability::Poisoned);
    let refused = send_as(&store, "T", 0, b"no more", AppendClass::Settle);
    let Err(AppendError::Unwritable(Unwritable::Poisoned(why))) = refused else { panic!("{refused:?}") };
    assert!(why.contains("commitlog") && why.contains("injected fault"), "{why}");
    bench.fs.heal(Op::Sync);
    assert!(store.writable().is_err(), "only a restart clears it");
    store.shutdown().expect("a stop");
    drop(store);
    let store = bench.open();
    assert!(!store.recovery().clean);
    assert_eq!(store.queue("T", 0).max_offset(), 2);
    send(&store, "T", 0, b"again").expect("an append");
}

#[test]
fn a_sync_that_takes_long_holds_up_only_who_waits_for_it() {
    let bench = Bench::new();
    let store = bench.open_sync();
    let before = send(&store, "T", 0, b"before").expect("an append");
    runtime().block_on(store.durable(before.ticket, SOON));
    bench.fs.syncs().close();
    let waits = send(&store, "T", 0, b"waits").expect("an append");
    let waiting = store.durable(waits.ticket, SOON * 10);
    bench.fs.syncs().until_somebody_waits();
    let sent: Vec<_> = (0..10_u8).map(|n| send_as(&store, "T", 1, &[n; 100], AppendClass::Settle).is_ok()).collect();
    let read = store.read(waits.physical_offset).is_some();
    let flushed = store.watermarks().flushed;
    bench.fs.syncs().open(); // before anything can panic: the stop of a store waits for its flush
    assert_eq!(sent, [true; 10]);
    assert!(read && flushed < waits.ticket.end);
    assert_eq!(runtime().block_on(waiting), Durability::Ok);
}

#[test]
fn an_idle_store_writes_nothing() {
    let bench = Bench::new();
    let store = bench.open();
    send(&store, "paid", 0, b"order 42").unwrap();
    while store.stats().indexed < store.watermarks().appended {
        std::thread::yield_now();
    }
    store.flush().unwrap();
    let pass_a_minute = || {
        for _ in 0..60 {
            bench.clock.advance(1000);
            store.maintain();
        }
        [Op::Write, Op::Create, Op::Rename, Op::Sync].map(|op| bench.fs.calls(op))
    };
    let settled = pass_a_minute();
    assert_eq!(pass_a_minute(), settled);
}

#[test]
fn a_wait_ends_when_the_master_changes() {
    let bench = Bench::new();
    let store = bench.open_sync();
    let ticket = send(&store, "T", 0, b"one").expect("an append").ticket;
    let beyond = tenonmq_storage::Ticket { end: ticket.end + 1, ..ticket };
    let waiting = store.durable(beyond, SOON);
    let runtime = runtime();
    let changed = async { store.set_permit(Permit { role: Role::Slave, epoch: 1 }) };
    let (durability, ()) = runtime.block_on(async { tokio::join!(waiting, changed) });
    assert_eq!(durability, Durability::NotMaster);
}

#[test]
fn a_wait_ends_after_its_time() {
    let bench = Bench::new();
    let store = bench.open_sync();
    let ticket = send(&store, "T", 0, b"one").expect("an append").ticket;
    let beyond = tenonmq_storage::Ticket { end: ticket.end + 1, ..ticket };
    let waited = runtime().block_on(store.durable(beyond, Duration::from_millis(1)));
    assert_eq!(waited, Durability::FlushTimeout);
}

/// Sends until one is refused.
fn fill(store: &Store) -> (usize, Unwritable) {
    for n in 0..1000 {
        match send(store, "T", 0, &[1; 300]) {
            Ok(_) => {}
            Err(AppendError::Unwritable(why)) => return (n, why),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("never refused");
}

#[test]
fn a_full_disk_refuses_sends_with_the_reason_settles_from_the_reserve_and_recovers_by_itself() {
    let bench = Bench::new();
    let config = StoreConfig { consume_queue_file_size: 20_000, ..bench.config() };
    let store = Store::open(config, bench.env()).expect("the store opens");
    send(&store, "T", 0, b"first").expect("an append");
    bench.fs.fail(Op::Preallocate, ErrorKind::StorageFull);
    let (sent, why) = fill(&store);
    assert!(sent > 10, "the current file is used up to its reserve");
    let Unwritable::DiskFull { path, needed, available } = &why else { panic!("{why:?}") };
    assert!(path.ends_with("commitlog/00000000000000008192"), "{path:?}");
    assert_eq!(*needed, 8192);
    assert!(*available > 0);
    assert_eq!(store.writable(), Err(why));
    send_as(&store, "T", 0, b"commit", AppendClass::Settle).expect("settled from the reserve");
    assert!(!bench.root().join("tenonmq/reserve").exists(), "given up");

    bench.fs.heal(Op::Preallocate);
    wait_until_sent(&store, "T");
    store.writable().expect("writable again");
}

#[test]
fn a_disk_beyond_its_ratio_refuses_sends_until_it_is_below() {
    let bench = Bench::new();
    let store = bench.open();
    bench.fs.set_space(Some(Space { total: 1000, available: 50 }));
    bench.clock.advance(10_000);
    store.maintain();
    let refused = send(&store, "T", 0, b"no");
    let Err(AppendError::Unwritable(why)) = refused else { panic!("{refused:?}") };
    assert!(why.to_string().contains("95 %") && why.to_string().contains("90 %"), "{why}");
    send_as(&store, "T", 0, b"op", AppendClass::Settle).expect("settling goes on");
    bench.fs.set_space(None);
    bench.clock.advance(10_000);
    store.maintain();
    send(&store, "T", 0, b"yes").expect("an append");
}

#[test]
fn a_queue_file_that_cannot_be_made_refuses_the_record_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let store = bench.open();
    send(&store, "T", 0, b"first").expect("an append");
    let before = store.watermarks().appended;
    bench.fs.fail(Op::Preallocate, ErrorKind::StorageFull);
    let refused = send(&store, "New", 0, b"no");
    assert!(matches!(refused, Err(AppendError::Unwritable(Unwritable::DiskFull { .. }))), "{refused:?}");
    assert_eq!(store.watermarks().appended, before);
    assert!(send(&store, "T", 0, b"no").is_err(), "no send, while what is left is for settling");
    send_as(&store, "T", 0, b"op", AppendClass::Settle).expect("settling goes on");
    bench.fs.heal(Op::Preallocate);
    wait_until_sent(&store, "New");
    assert_eq!(store.queue("New", 0).max_offset(), 1);
}

fn wait_until_sent(store: &Store, topic: &str) {
    let begun = std::time::Instant::now();
    while send(store, topic, 0, &[2; 300]).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never recovered");
        std::thread::yield_now();
    }
}

#[test]
fn a_store_that_is_shut_down_says_so() {
    let bench = Bench::new();
    let store = bench.open();
    let sent = send(&store, "T", 0, b"one").expect("an append");
    store.shutdown().expect("a clean stop");
    store.shutdown().expect("again is fine");
    assert_eq!(send(&store, "T", 0, b"two"), Err(AppendError::Unwritable(Unwritable::Closed)));
    assert!(store.read(sent.physical_offset).is_some(), "reading goes on");
}

#[test]
fn a_failed_flush_of_a_queue_poisons_the_store_too() {
    let bench = Bench::new();
    let store = bench.open();
    send(&store, "T", 0, b"one").expect("an append");
    store.flush().expect("a flush");
    bench.fs.fail(Op::Sync, ErrorKind::Other);
    bench.clock.advance(60_000);
    store.maintain();
    assert!(matches!(store.writable(), Err(Unwritable::Poisoned(_))));
}

#[test]
fn a_record_that_cannot_be_written_is_refused_with_the_file_and_leaves_no_trace() {
    let bench = Bench::new();
    let store = bench.open();
    send(&store, "T", 0, b"before").expect("an append");
    let end = store.watermarks().appended;
    bench.fs.fail(Op::WriteReserved, ErrorKind::Other);
    let refused = send(&store, "T", 0, &[7; 900]);
    let Err(AppendError::Unwritable(Unwritable::Io(why))) = refused else { panic!("{refused:?}") };
    assert!(why.contains("commitlog") && why.contains("injected fault"), "{why}");
    assert_eq!((store.watermarks().appended, store.queue("T", 0).max_offset()), (end, 1));
    bench.fs.heal(Op::WriteReserved);
    let after = send(&store, "T", 0, b"after").expect("an append");
    assert_eq!((after.physical_offset, after.queue_offset), (end, 1));
    store.shutdown().expect("a stop");
    drop(store);
    std::fs::write(bench.root().join("abort"), b"1").expect("as after a kill");
    let store = bench.open();
    assert_eq!(store.queue("T", 0).max_offset(), 2, "half a record behind the end is no record");
}

#[test]
fn messages_whose_queue_file_cannot_be_opened_for_a_while_are_not_passed_over() {
    let bench = Bench::new();
    let store = bench.open();
    for n in 0..45_u8 {
        send(&store, "T", 0, &[n; 10]).expect("an append"); // 20 entries in a file
    }
    store.shutdown().expect("a stop");
    drop(store);
    let store = bench.open();
    let queue = store.queue("T", 0);
    bench.fs.fail(Op::Open, ErrorKind::Other);
    let limits = FetchLimits::new(32, 1 << 20);
    for from in [0, 7, 20] {
        let fetched = store.fetch(&queue, from, limits, |_| true);
        assert_eq!((fetched.status, fetched.next_begin), (FetchStatus::FoundNull, from));
        assert_eq!(queue.behind_gap(from), None);
        let error = queue.judge_gap(from).expect_err("the disk does not give it").to_string();
        assert!(error.contains("consumequeue"), "{error}");
    }
    bench.fs.heal(Op::Open);
    assert_eq!((queue.behind_gap(0), queue.judge_gap(0).ok()), (None, Some(0)), "it can be read now");
    let fetched = store.fetch(&queue, 0, limits, |_| true);
    assert_eq!((fetched.status, fetched.count), (FetchStatus::Found, 32));
}
