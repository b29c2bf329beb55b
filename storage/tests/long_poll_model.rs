//! Long polls: whatever the order of an append and a wait for it, the wait ends. The broker's own list of waiters over a real
//! store, with loom's atomics below both: `cargo test -p tenonmq-storage --features loom --test long_poll_model`.

#[path = "../../broker/src/core/waiters.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod waiters;

/// Stands in for the broker's filters.
mod filter {
    /// Lets everything pass.
    #[derive(Clone)]
    pub(crate) struct Filter;

    impl Filter {
        pub(crate) fn passes_entry(&self, _: i64) -> bool {
            true
        }
    }
}

#[path = "../src/models/bench.rs"]
mod bench;

use std::sync::Arc;

use loom::future::block_on;
use tenonmq_storage::fs::RealFs;
use tenonmq_storage::sync::atomic::{AtomicU32, Ordering};
use tenonmq_storage::{AppendClass, Environment, FlushPolicy, ManualClock, Queue, Store, StoreConfig};

mod models {
    use super::bench::{every_order, folder, record, spawn};
    use super::filter::Filter;
    use super::waiters::{Waiters, Watcher};
    use super::*;

    fn send(store: &Store, waiters: &Waiters, queue: &Queue) {
        let appended = store.append(queue, &record(b"body"), 0, AppendClass::Send).unwrap();
        waiters.arrived(queue, appended.queue_offset, 0);
    }

    #[test]
    fn a_held_pull_ends_with_the_message_it_waits_for() {
        every_order(|| {
            let folder = folder();
            let store = Arc::new(bench::store(folder.path(), FlushPolicy::Sync));
            let (queue, waiters) = (store.queue("T", 0), Waiters::default());
            let sender = {
                let (store, queue, waiters) = (Arc::clone(&store), Arc::clone(&queue), waiters.clone());
                spawn(move || send(&store, &waiters, &queue))
            };
            // As `pull::long_poll` does: register, look again, and only then wait.
            let arrived = waiters.register(&queue, 0, Filter);
            if queue.max_offset() == 0 {
                block_on(arrived);
                assert_eq!(queue.max_offset(), 1, "who is woken finds the message");
            } else {
                drop(arrived);
            }
            sender.join().unwrap();
            assert_eq!(queue.waiters().load(Ordering::Relaxed), 0);
            assert!(waiters.is_empty());
        });
    }

    struct Counts(AtomicU32);

    impl Watcher for Counts {
        fn arrived(&self, _: i64, _: i64) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_watcher_is_told_of_every_message_that_it_does_not_find() {
        every_order(|| {
            let folder = folder();
            let store = Arc::new(bench::store(folder.path(), FlushPolicy::Sync));
            let (queue, waiters) = (store.queue("T", 0), Waiters::default());
            let sender = {
                let (store, queue, waiters) = (Arc::clone(&store), Arc::clone(&queue), waiters.clone());
                spawn(move || send(&store, &waiters, &queue))
            };
            let told = Arc::new(Counts(AtomicU32::new(0)));
            let watch = waiters.watch(&queue, Arc::<Counts>::clone(&told));
            let found = queue.max_offset();
            sender.join().unwrap();
            assert!(found == 1 || told.0.load(Ordering::Relaxed) == 1);
            drop(watch);
            assert_eq!(queue.waiters().load(Ordering::Relaxed), 0);
        });
    }
}
