//! What an append does, and what a fetch then sees.

mod common;

use common::{Bench, NOW, record, send};
use tenonmq_protocol::message::{RecordView, SysFlag, TransactionType, properties};
use tenonmq_storage::{
    AppendClass, AppendError, Boundary, FetchLimits, FetchStatus, Permit, Role, StoreConfig, Unwritable,
};

const ALL: fn(&tenonmq_storage::Entry) -> bool = |_| true;

#[test]
fn a_record_can_be_fetched_when_its_append_returns() {
    let bench = Bench::new();
    let store = bench.open();
    let first = send(&store, "T", 0, b"one").expect("an append");
    let second = send(&store, "T", 0, b"two").expect("an append");
    assert_eq!((first.physical_offset, first.queue_offset, first.store_timestamp), (0, 0, NOW));
    assert_eq!((second.physical_offset, second.queue_offset), (u64::from(first.size), 1));
    let queue = store.queue("T", 0);
    let fetched = store.fetch(&queue, 0, FetchLimits::new(32, 1 << 20), ALL);
    assert_eq!((fetched.status, fetched.next_begin, fetched.count), (FetchStatus::Found, 2, 2));
    assert_eq!(fetched.records.len(), 1, "neighbours are one slice");
    let bodies: Vec<_> =
        RecordView::iter_all(&fetched.records[0]).map(|record| record.expect("a record").body().to_vec()).collect();
    assert_eq!(bodies, [b"one", b"two"]);
}

#[test]
fn a_fetch_says_what_apache_says() {
    let bench = Bench::new();
    let store = bench.open();
    let queue = store.queue("T", 0);
    let limits = FetchLimits::new(32, 1 << 20);
    let status = |from| {
        let fetched = store.fetch(&queue, from, limits, ALL);
        (fetched.status, fetched.next_begin)
    };
    assert_eq!(status(5), (FetchStatus::NoMessage, 0));
    send(&store, "T", 0, b"one").expect("an append");
    assert_eq!(status(1), (FetchStatus::OffsetOverflowOne, 1));
    assert_eq!(status(2), (FetchStatus::OffsetOverflowBadly, 1));
    assert_eq!(status(-1), (FetchStatus::OffsetTooSmall, 0));
    let none = store.fetch(&queue, 0, limits, |_| false);
    assert_eq!((none.status, none.next_begin), (FetchStatus::NoMatched, 1));
    let filtered = store.fetch_filtered(&queue, 0, limits, ALL, |_, _| false);
    assert_eq!((filtered.status, filtered.next_begin), (FetchStatus::NoMatched, 1));
}

#[test]
fn a_fetch_returns_one_record_at_least_and_no_more_than_asked() {
    let bench = Bench::new();
    let store = bench.open();
    for n in 0..10_u8 {
        send(&store, "T", 0, &[n; 100]).expect("an append");
    }
    let queue = store.queue("T", 0);
    let count = |max_count, max_bytes| store.fetch(&queue, 0, FetchLimits::new(max_count, max_bytes), ALL).count;
    assert_eq!(count(1, 1 << 20), 1);
    assert_eq!(count(7, 1 << 20), 7);
    assert_eq!(count(32, 1), 1);
    assert_eq!(count(32, 450), 2);
    let limits = FetchLimits { memory_count: 3, ..FetchLimits::new(32, 1 << 20) };
    assert_eq!(store.fetch(&queue, 0, limits, ALL).count, 3);
}

#[test]
fn the_log_goes_on_in_the_next_file_and_a_fetch_crosses_it() {
    let bench = Bench::new();
    let store = bench.open();
    for n in 0..100_u8 {
        send(&store, "T", 0, &[n; 300]).expect("an append");
    }
    assert!(store.stats().segments > 4);
    let queue = store.queue("T", 0);
    let fetched = store.fetch(&queue, 0, FetchLimits::new(100, 1 << 20), ALL);
    assert_eq!(fetched.count, 100);
    let mut n = 0;
    for slice in &fetched.records {
        for record in RecordView::iter_all(slice) {
            assert_eq!(record.expect("a record").body(), [n; 300]);
            n += 1;
        }
    }
    assert_eq!(n, 100);
}

#[test]
fn a_batch_lies_in_one_file_or_nowhere() {
    let bench = Bench::new();
    let store = bench.open();
    let queue = store.queue("T", 0);
    let body = [7; 1000];
    let item = (&*queue, record("T", 0, &body), 0);
    send(&store, "T", 0, &[0; 3000]).expect("an append");
    let placed = store.append_all(&[item, item, item, item, item], AppendClass::Send).expect("a batch");
    assert_eq!(placed.iter().map(|one| one.queue_offset).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(placed[0].physical_offset, 8192);
    assert!(placed.windows(2).all(|pair| pair[0].ticket.end == pair[1].physical_offset));
    let too_many = vec![item; 9];
    assert!(matches!(store.append_all(&too_many, AppendClass::Send), Err(AppendError::TooLarge { .. })));
    assert_eq!(queue.max_offset(), 6);
    assert_eq!(store.append_all(&[], AppendClass::Send), Err(AppendError::Empty));
}

#[test]
fn prepared_and_rollback_records_are_in_no_queue() {
    let bench = Bench::new();
    let store = bench.open();
    let queue = store.queue("T", 0);
    for (kind, entries) in [
        (TransactionType::Prepared, 0),
        (TransactionType::Rollback, 0),
        (TransactionType::Commit, 1),
        (TransactionType::None, 2),
    ] {
        let mut record = record("T", 0, b"body");
        record.sys_flag = SysFlag(0).with_transaction(kind).0;
        let appended = store.append(&queue, &record, 0, AppendClass::Send).expect("an append");
        assert_eq!(queue.max_offset(), entries, "{kind:?}");
        assert!(store.read(appended.physical_offset).is_some());
    }
}

#[test]
fn what_can_never_be_stored_is_refused_before_the_lock() {
    let bench = Bench::new();
    let store = bench.open();
    let queue = store.queue("T", 0);
    let properties = vec![b'a'; 32_768];
    let long = tenonmq_protocol::message::NewRecord { properties: &properties, ..record("T", 0, b"") };
    let refused = store.append(&queue, &long, 0, AppendClass::Send);
    assert_eq!(refused, Err(AppendError::PropertiesTooLarge { len: 32_768 }));
    let body = vec![0; 9000];
    let refused = store.append(&queue, &record("T", 0, &body), 0, AppendClass::Send);
    assert!(matches!(refused, Err(AppendError::TooLarge { limit: 8184, .. })));
    assert_eq!(store.watermarks().appended, 0);
    assert_eq!(store.stats().refused_appends, 2);
}

#[test]
fn store_times_never_go_back() {
    let bench = Bench::new();
    let store = bench.open();
    send(&store, "T", 0, b"one").expect("an append");
    bench.clock.set(NOW - 5000);
    assert_eq!(send(&store, "T", 0, b"two").expect("an append").store_timestamp, NOW);
    drop(store);
    let store = bench.open();
    assert_eq!(send(&store, "T", 0, b"three").expect("an append").store_timestamp, NOW);
}

#[test]
fn messages_are_found_by_the_time_they_were_stored() {
    let bench = Bench::new();
    let store = bench.open();
    for _ in 0..50 {
        send(&store, "T", 0, &[0; 200]).expect("an append");
        bench.clock.advance(10);
    }
    let queue = store.queue("T", 0);
    assert_eq!(store.offset_by_time(&queue, NOW + 100, Boundary::Lower), 10);
    assert_eq!(store.offset_by_time(&queue, NOW + 101, Boundary::Lower), 11);
    assert_eq!(store.offset_by_time(&queue, NOW + 101, Boundary::Upper), 10);
    assert_eq!(store.offset_by_time(&queue, NOW + 10_000, Boundary::Lower), 50);
    assert_eq!(store.message_time(&queue, 3), Some(NOW + 30));
    assert_eq!(store.earliest_message_time(&queue), Some(NOW));
    assert_eq!(store.earliest_log_time(), Some(NOW));
}

#[test]
fn a_slave_takes_no_appends() {
    let bench = Bench::new();
    let store = bench.open();
    store.set_permit(Permit { role: Role::Slave, epoch: 1 });
    assert_eq!(send(&store, "T", 0, b"no"), Err(AppendError::Unwritable(Unwritable::NotMaster)));
    assert_eq!(store.writable(), Err(Unwritable::NotMaster));
    store.set_permit(Permit { role: Role::Master, epoch: 2 });
    assert_eq!(send(&store, "T", 0, b"yes").expect("an append").ticket.epoch, 2);
}

#[test]
fn an_entry_of_the_schedule_topic_holds_the_time_of_delivery() {
    let bench = Bench::new();
    let store = bench.open();
    let queue = store.queue("SCHEDULE_TOPIC_XXXX", 2);
    let mut delayed = record("SCHEDULE_TOPIC_XXXX", 2, b"later");
    delayed.properties = b"DELAY\x013\x02";
    store.append(&queue, &delayed, 10_000, AppendClass::Send).expect("an append");
    assert_eq!(queue.entry(0).map(|entry| entry.tags_code), Some(NOW + 10_000));
    drop((queue, store));
    std::fs::remove_dir_all(bench.root().join("consumequeue")).expect("removal");
    let store = bench.open();
    let queue = store.queue("SCHEDULE_TOPIC_XXXX", 2);
    assert_eq!(queue.entry(0).map(|entry| entry.tags_code), Some(NOW + 10_000), "rebuilt by recovery");
}

#[test]
fn an_inner_batch_is_one_record_that_takes_as_many_offsets_as_it_has_messages() {
    let bench = Bench::new();
    let config = StoreConfig { batch_topics: ["B".to_owned()].into(), ..bench.config() };
    let store = tenonmq_storage::Store::open(config.clone(), bench.env()).expect("the store opens");
    let queue = store.queue("B", 0);
    store.append(&queue, &record("B", 0, b"single"), 0, AppendClass::Send).expect("an append");
    let batch = store.append_inner_batch(&queue, &record("B", 0, b"three of them"), 3, AppendClass::Send);
    let batch = batch.expect("a batch");
    assert_eq!((batch.queue_offset, queue.max_offset()), (1, 4));
    let bytes = store.read(batch.physical_offset).expect("the record");
    let text = RecordView::parse(&bytes).expect("a record").properties_text().to_owned();
    assert_eq!(properties::find(&text, "INNER_BASE"), Some("1"));
    assert_eq!(properties::find(&text, "INNER_NUM"), Some("3"));
    let fetched = store.fetch(&queue, 2, FetchLimits::new(32, 1 << 20), ALL);
    assert_eq!((fetched.status, fetched.next_begin, fetched.count), (FetchStatus::Found, 4, 3));
    drop((queue, store));
    std::fs::remove_dir_all(bench.root().join("batchconsumequeue")).expect("removal");
    let store = tenonmq_storage::Store::open(config, bench.env()).expect("the store opens");
    assert_eq!(store.queue("B", 0).max_offset(), 4, "rebuilt by recovery");
}

#[test]
fn a_log_reader_sees_every_byte_once_and_holds_back_removal() {
    let bench = Bench::new();
    let store = bench.open();
    for n in 0..60_u8 {
        send(&store, "T", 0, &[n; 300]).expect("an append");
    }
    let mut reader = store.log_reader(0);
    let mut seen = 0;
    bench.fs.set_space(Some(tenonmq_storage::fs::Space { total: 100, available: 12 }));
    store.flush().expect("a flush");
    store.trigger_clean();
    store.maintain();
    assert_eq!(store.watermarks().min, 0, "held by the reader");
    while let Some(chunk) = reader.next(1000) {
        seen += chunk.len() as u64;
    }
    assert_eq!(seen, store.watermarks().confirmed);
    store.trigger_clean();
    store.maintain();
    assert!(store.watermarks().min > 0);
}

#[test]
fn many_senders_and_a_reader_see_every_message_once_and_in_order() {
    const SENDERS: u32 = 4;
    const EACH: u32 = 500;
    let bench = Bench::new();
    let store = bench.open();
    let queue = store.queue("T", 0);
    std::thread::scope(|scope| {
        let sender = |sender: u32| {
            let store = &store;
            scope.spawn(move || {
                for n in 0..EACH {
                    let body = [sender.to_be_bytes(), n.to_be_bytes()].concat();
                    send(store, "T", 0, &body).expect("an append");
                }
            })
        };
        let senders: Vec<_> = (0..SENDERS).map(sender).collect();
        let (mut next, mut expected) = (0, [0; SENDERS as usize]);
        while next < i64::from(SENDERS * EACH) {
            let is_all = senders.iter().all(std::thread::ScopedJoinHandle::is_finished);
            let fetched = store.fetch(&queue, next, FetchLimits::new(32, 1 << 20), ALL);
            assert!(!is_all || fetched.count > 0, "nothing comes behind {next}: {:?}", fetched.status);
            for slice in &fetched.records {
                for record in RecordView::iter_all(slice) {
                    let record = record.expect("a record");
                    assert_eq!(record.queue_offset(), next);
                    let (sender, n) = record.body().split_first_chunk().expect("two numbers");
                    let n = u32::from_be_bytes(*n.first_chunk().expect("a number"));
                    let expected = &mut expected[u32::from_be_bytes(*sender) as usize];
                    assert_eq!(n, *expected);
                    *expected += 1;
                    next += 1;
                }
            }
            assert_eq!(fetched.next_begin.max(next), next);
        }
    });
    assert_eq!(store.stats().appended_records, u64::from(SENDERS * EACH));
}
