//! Taking the log back to an offset.

mod common;

use common::{Bench, send};
use tenonmq_storage::CutError;

#[test]
fn what_is_cut_off_is_gone_and_does_not_come_back() {
    let bench = Bench::new();
    let store = bench.open();
    let offsets: Vec<_> =
        (0..100_u8).map(|n| send(&store, "T", 0, &[n; 300]).expect("an append").physical_offset).collect();
    store.cut(offsets[30]).expect("a cut");
    assert_eq!(store.watermarks().appended, offsets[30]);
    assert_eq!(store.queue("T", 0).max_offset(), 30);
    assert!(store.read(offsets[30]).is_none() && store.read(offsets[29]).is_some());
    let again = send(&store, "T", 0, &[200; 300]).expect("an append");
    assert_eq!((again.physical_offset, again.queue_offset), (offsets[30], 30));
    drop(store);
    std::fs::write(bench.root().join("tenonmq/boot_id"), "another start of the machine").expect("a write");
    let store = bench.open();
    assert_eq!(store.queue("T", 0).max_offset(), 31);
    for _ in 0..100 {
        send(&store, "T", 0, &[201; 300]).expect("an append");
    }
    assert_eq!(store.queue("T", 0).max_offset(), 131);
}

#[test]
fn what_readers_hold_stays_as_it_was() {
    let bench = Bench::new();
    let store = bench.open();
    let offsets: Vec<_> =
        (0..100_u8).map(|n| send(&store, "T", 0, &[n; 300]).expect("an append").physical_offset).collect();
    let held: Vec<_> = offsets.iter().map(|&offset| store.read(offset).expect("a record")).collect();
    let before: Vec<_> = held.iter().map(|bytes| bytes.to_vec()).collect();
    store.cut(offsets[10]).expect("a cut");
    for _ in 0..90 {
        send(&store, "T", 0, &[255; 300]).expect("an append");
    }
    assert!(held.iter().zip(&before).all(|(bytes, before)| bytes == before));
    assert_eq!(store.queue("T", 0).max_offset(), 100);
    drop(store);
    assert_eq!(bench.open().queue("T", 0).max_offset(), 100);
}

#[test]
fn a_log_can_be_cut_to_nothing_and_not_beyond_its_ends() {
    let bench = Bench::new();
    let store = bench.open();
    send(&store, "T", 0, b"one").expect("an append");
    let end = store.watermarks().appended;
    assert!(matches!(store.cut(end + 1), Err(CutError::Outside { .. })));
    store.cut(end).expect("nothing to cut");
    store.cut(0).expect("a cut");
    assert_eq!(store.queue("T", 0).max_offset(), 0);
    assert_eq!(send(&store, "T", 0, b"one").expect("an append").queue_offset, 0);
}
