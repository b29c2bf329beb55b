//! Records that are gathered: they have their place at once, and go to the file together.

mod common;

use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use common::{Bench, record, send};
use tenonmq_protocol::message::{NewRecord, RecordView};
use tenonmq_storage::fs::Op;
use tenonmq_storage::{
    AppendClass, AppendError, FetchLimits, FetchStatus, FlushPolicy, Gathering, Store, StoreConfig, Unwritable,
};

/// Sends while gathering.
fn gather(store: &Store, bodies: &[&[u8]]) {
    let _gathers = Gathering::begin();
    for body in bodies {
        send(store, "T", 0, body).expect("an append");
    }
}

fn bodies(store: &Store) -> Vec<Vec<u8>> {
    let queue = store.queue("T", 0);
    let fetched = store.fetch(&queue, 0, FetchLimits::new(1000, 1 << 20), |_| true);
    let records = fetched.records.iter().flat_map(|slice| RecordView::iter_all(slice));
    records.map(|record| record.expect("a record").body().to_vec()).collect()
}

#[test]
fn gathered_records_are_written_together() {
    let bench = Bench::new();
    let store = bench.open();
    gather(&store, &[b"one", b"two", b"three"]);
    assert_eq!(bench.fs.calls(Op::WriteReserved), 0);
    assert_eq!(store.queue("T", 0).max_offset(), 3);
    store.write_out().expect("a write");
    assert_eq!(bench.fs.calls(Op::WriteReserved), 1);
    store.write_out().expect("nothing to write");
    assert_eq!(bench.fs.calls(Op::WriteReserved), 1);
    assert_eq!(bodies(&store), [&b"one"[..], b"two", b"three"]);
}

#[test]
fn whoever_asks_for_a_gathered_record_has_it_written() {
    let bench = Bench::new();
    let store = bench.open();
    let queue = store.queue("T", 0);
    let looks: [&dyn Fn() -> bool; 4] = [
        &|| store.fetch(&queue, queue.max_offset() - 1, FetchLimits::new(1, 1 << 20), |_| true).count == 1,
        &|| queue.entry(queue.max_offset() - 1).is_some_and(|entry| store.read_entry(&entry).is_some()),
        &|| queue.entry(queue.max_offset() - 1).is_some_and(|entry| store.read(entry.physical_offset).is_some()),
        &|| store.watermarks().confirmed == store.watermarks().appended,
    ];
    for (before, look) in (0..).zip(looks) {
        gather(&store, &[b"paid"]);
        assert_eq!(bench.fs.calls(Op::WriteReserved), before);
        assert!(look(), "look {before}");
        assert_eq!(bench.fs.calls(Op::WriteReserved), before + 1);
    }
}

#[test]
fn a_fetch_of_older_records_leaves_what_is_gathered_as_it_is() {
    let bench = Bench::new();
    let store = bench.open();
    send(&store, "T", 0, b"old").expect("an append");
    let before = bench.fs.calls(Op::WriteReserved);
    gather(&store, &[b"new"]);
    let queue = store.queue("T", 0);
    let count = |most| store.fetch(&queue, 0, FetchLimits::new(most, 1 << 20), |_| true).count;
    assert_eq!((count(1), bench.fs.calls(Op::WriteReserved)), (1, before));
    assert_eq!((count(2), bench.fs.calls(Op::WriteReserved)), (2, before + 1));
}

#[test]
fn a_reader_that_follows_the_log_sees_nothing_that_is_not_written() {
    let bench = Bench::new();
    let store = bench.open();
    let mut reader = store.log_reader(0);
    gather(&store, &[b"paid"]);
    assert!(reader.next(1 << 20).is_none());
    store.write_out().expect("a write");
    assert!(reader.next(1 << 20).is_some());
}

#[test]
fn keys_of_gathered_records_are_found_once_they_are_indexed() {
    let bench = Bench::new();
    let store = bench.open();
    let queue = store.queue("T", 0);
    let gathers = Gathering::begin();
    let paid = NewRecord { properties: b"UNIQ_KEY\x01FD0001\x02", ..record("T", 0, b"paid") };
    store.append(&queue, &paid, 0, AppendClass::Send).expect("an append");
    drop(gathers);
    assert!(store.index_now(1 << 20));
    assert_eq!(store.query_by_key("T", "FD0001", 32, 0, i64::MAX).records.len(), 1);
    bench.fs.fail(Op::WriteReserved, ErrorKind::StorageFull);
    gather(&store, &[b"cannot be written"]);
    assert!(!store.index_now(1 << 20), "not all that is in the log can be found");
}

#[test]
fn a_process_that_is_killed_takes_gathered_records_with_it_and_no_others() {
    let bench = Bench::new();
    let store = bench.open();
    gather(&store, &[b"answered"]);
    store.write_out().expect("a write");
    gather(&store, &[b"not answered"]);
    drop(store);
    let store = bench.open();
    assert_eq!(bodies(&store), [b"answered"]);
    assert_eq!(send(&store, "T", 0, b"next").expect("an append").queue_offset, 1);
    assert_eq!(bodies(&store), [&b"answered"[..], b"next"]);
}

#[test]
fn an_ordinary_append_writes_what_was_gathered_before_it() {
    let bench = Bench::new();
    let store = bench.open();
    gather(&store, &[b"one"]);
    send(&store, "T", 0, b"two").expect("an append");
    drop(store);
    assert_eq!(bodies(&bench.open()), [b"one", b"two"]);
}

#[test]
fn a_clean_stop_writes_what_was_gathered() {
    let bench = Bench::new();
    let store = bench.open();
    gather(&store, &[b"one"]);
    store.shutdown().expect("a clean stop");
    drop(store);
    assert_eq!(bodies(&bench.open()), [b"one"]);
}

#[test]
fn a_flush_writes_what_was_gathered() {
    let bench = Bench::new();
    let store = bench.open_sync();
    gather(&store, &[b"one"]);
    let ticket = store.ticket();
    store.flush().expect("a flush");
    assert_eq!(store.watermarks().flushed, ticket.end);
}

#[test]
fn gathered_records_go_on_in_the_next_file() {
    let bench = Bench::new();
    let store = bench.open();
    let all: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; 300]).collect();
    gather(&store, &all.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert!(store.stats().segments > 4);
    assert_eq!(bodies(&store), all);
}

#[test]
fn what_is_gathered_does_not_grow_without_bound() {
    let bench = Bench::new();
    let config = StoreConfig { segment_size: 16 << 20, ..bench.config() };
    let store = Store::open(config, bench.env()).expect("the store opens");
    gather(&store, &[&[7; 4000][..]; 100]);
    let (writes, max) = (bench.fs.calls(Op::WriteReserved), 100 * 4096 / (64 << 10));
    assert!((max - 1..=max + 1).contains(&writes), "{writes}");
}

#[test]
fn records_that_cannot_be_written_stay_readable_and_are_written_when_that_is_possible() {
    let bench = Bench::new();
    let store = bench.open();
    gather(&store, &[b"one", b"two"]);
    bench.fs.fail(Op::WriteReserved, ErrorKind::StorageFull);
    let error = store.write_out().expect_err("a failing write");
    assert_eq!(error.source.kind(), ErrorKind::StorageFull);

    let refused =
        |outcome| matches!(outcome, Err(AppendError::Unwritable(Unwritable::Io(why))) if why.contains("write"));
    assert!(refused(send(&store, "T", 0, b"refused")));
    let gathers = Gathering::begin();
    assert!(refused(send(&store, "T", 0, b"refused")));
    drop(gathers);
    assert!(store.flush().is_err());

    let queue = store.queue("T", 0);
    let fetched = store.fetch(&queue, 0, FetchLimits::new(32, 1 << 20), |_| true);
    assert_eq!((fetched.status, fetched.next_begin), (FetchStatus::OffsetOverflowOne, 0), "not passed over");
    let entry = queue.entry(1).expect("the entry shows");
    for record in [store.read_entry(&entry), store.read(entry.physical_offset)] {
        assert_eq!(RecordView::parse(&record.expect("a copy")).expect("a record").body(), b"two");
    }

    bench.fs.heal(Op::WriteReserved);
    assert_eq!(send(&store, "T", 0, b"three").expect("an append").queue_offset, 2);
    assert_eq!(bodies(&store), [&b"one"[..], b"two", b"three"]);
    store.shutdown().expect("a clean stop");
    drop(store);
    assert_eq!(bodies(&bench.open()), [&b"one"[..], b"two", b"three"]);
}

#[test]
fn a_synchronous_flush_of_what_cannot_be_written_is_tried_again() {
    let bench = Bench::new();
    let config = StoreConfig { flush: FlushPolicy::Sync, ..bench.config() };
    let store = Store::open_in_place(config, bench.env()).expect("the store opens");
    gather(&store, &[b"one"]);
    bench.fs.fail(Op::WriteReserved, ErrorKind::Other);
    assert!(store.flush().is_err());
    bench.fs.heal(Op::WriteReserved);
    store.flush().expect("the store is not poisoned");
    assert_eq!(bodies(&store), [b"one"]);
}

#[test]
fn many_senders_that_gather_and_readers_see_every_message_once_and_in_order() {
    const SENDERS: u32 = 4;
    const EACH: u32 = 300;
    let bench = Bench::new();
    let store = &bench.open();
    std::thread::scope(|scope| {
        let sender = |sender: u32| {
            scope.spawn(move || {
                for n in (0..EACH).step_by(5) {
                    let bodies: Vec<_> = (n..n + 5).map(|n| [sender.to_be_bytes(), n.to_be_bytes()].concat()).collect();
                    gather(store, &bodies.iter().map(Vec::as_slice).collect::<Vec<_>>());
                    let end = store.watermarks().appended;
                    store.write_out().expect("a write");
                    assert!(store.watermarks().confirmed >= end, "what may be answered can be read");
                }
            })
        };
        let senders: Vec<_> = (0..SENDERS).map(sender).collect();
        let (going_on, ended) = channel::<()>();
        let follower = scope.spawn(move || follow(store, &ended));
        let (queue, mut next, mut expected) = (store.queue("T", 0), 0, [0; SENDERS as usize]);
        while next < i64::from(SENDERS * EACH) {
            let is_all = senders.iter().all(std::thread::ScopedJoinHandle::is_finished);
            let fetched = store.fetch(&queue, next, FetchLimits::new(32, 1 << 20), |_| true);
            assert!(!is_all || fetched.count > 0, "nothing comes behind {next}: {:?}", fetched.status);
            for record in fetched.records.iter().flat_map(|slice| RecordView::iter_all(slice)) {
                let record = record.expect("a record");
                assert_eq!(record.queue_offset(), next);
                let number = |part: &[u8]| part.first_chunk().map(|part| u32::from_be_bytes(*part)).expect("a number");
                let (sender, n) = record.body().split_at(4);
                let expected = &mut expected[number(sender) as usize];
                assert_eq!(number(n), *expected);
                (*expected, next) = (*expected + 1, next + 1);
            }
        }
        drop(going_on);
        let followed = follower.join().expect("the follower ends");
        assert_eq!(followed.len() as u64, store.watermarks().confirmed);
        let (_, at_once) = channel();
        assert!(followed == follow(store, &at_once), "what could be read does not change");
    });
}

/// What the log says from its beginning on, until whoever holds the other end lets go and nothing is left.
fn follow(store: &Store, ended: &Receiver<()>) -> Vec<u8> {
    let (mut reader, mut followed) = (store.log_reader(0), Vec::new());
    loop {
        let is_last = ended.try_recv() == Err(TryRecvError::Disconnected);
        while let Some(piece) = reader.next(4096) {
            followed.extend_from_slice(&piece);
        }
        if is_last {
            return followed;
        }
    }
}
