//! [`Progress`]: a mark that is reached wakes who waits for it, and a wait that is in vain ends.

use loom::future::block_on;
use loom::sync::Arc;

use super::bench::{every_order, spawn};
use crate::poison::Gate;
use crate::sync::Mutex;
use crate::watermark::{Mark, Progress};

#[test]
fn who_waits_for_a_flush_is_woken_by_it() {
    every_order(|| {
        let progress = Arc::new(Progress::default());
        let flusher = {
            let progress = Arc::clone(&progress);
            spawn(move || progress.flushed_to(10))
        };
        assert!(block_on(progress.reached(Mark::Flushed, 10, || false, || ())));
        flusher.join().unwrap();
    });
}

#[test]
fn one_flush_wakes_all_that_it_is_enough_for() {
    every_order(|| {
        let progress = Arc::new(Progress::default());
        let waits = |end| {
            let progress = Arc::clone(&progress);
            spawn(move || assert!(block_on(progress.reached(Mark::Flushed, end, || false, || ()))))
        };
        let waiting = [waits(5), waits(10)];
        progress.flushed_to(10);
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn who_waits_for_an_append_is_woken_by_it() {
    for mark in [Mark::Appended, Mark::Confirmed] {
        every_order(move || {
            let log = Arc::new((Progress::default(), Mutex::new(())));
            let sender = {
                let log = Arc::clone(&log);
                spawn(move || {
                    let _append = log.1.lock();
                    log.0.advance(10, 10);
                })
            };
            assert!(block_on(log.0.reached(mark, 10, || false, || drop(log.1.lock()))));
            sender.join().unwrap();
        });
    }
}

#[test]
fn who_waits_on_a_store_that_is_poisoned_is_told() {
    every_order(|| {
        let store = Arc::new((Progress::default(), Gate::default()));
        let flusher = {
            let store = Arc::clone(&store);
            spawn(move || {
                store.1.poison("a test");
                store.0.give_up();
            })
        };
        assert!(!block_on(store.0.reached(Mark::Flushed, 10, || store.1.is_shut(), || ())));
        flusher.join().unwrap();
    });
}

#[test]
fn who_waits_under_an_old_permit_is_told() {
    every_order(|| {
        let progress = Arc::new(Progress::default());
        let role = {
            let progress = Arc::clone(&progress);
            spawn(move || progress.set_epoch(1))
        };
        assert!(!block_on(progress.reached(Mark::Flushed, 10, || progress.epoch() != 0, || ())));
        role.join().unwrap();
    });
}
