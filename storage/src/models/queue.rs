//! [`Queue`](crate::Queue): every offset below the end has its entry, also across the border of two files.

use super::bench::{every_order, folder, spawn};
use crate::consume_queue::entry::Entry;
use crate::consume_queue::load::LastRun;
use crate::consume_queue::table::QueueTable;
use crate::fs::{FileSystem, RealFs};
use crate::{Dispatch, StoreConfig};

fn nth(n: i64) -> Dispatch {
    let entry = Entry { physical_offset: n as u64 * 100, size: 100, tags_code: n };
    Dispatch { entry, queue_offset: n, batch_size: 1, store_timestamp: n }
}

/// Every offset that can be seen has its entry, while `writes` appends two to `present`.
fn seen_while_growing(present: i64, file_entries: u64) {
    every_order(move || {
        let folder = folder();
        let mut config = StoreConfig::new(folder.path());
        config.consume_queue_file_size = 20 * file_entries;
        let fs: std::sync::Arc<dyn FileSystem> = std::sync::Arc::new(RealFs);
        let table = QueueTable::load(&config, &fs, LastRun::Stopped).unwrap();
        let queue = table.get("T", 0);
        for n in 0..present {
            queue.dispatch(&nth(n)).unwrap();
        }
        let reader = {
            let queue = std::sync::Arc::clone(&queue);
            spawn(move || {
                let max = queue.max_offset();
                let seen: Vec<_> = queue.entries(0).map(|at| (at.queue_offset, at.entry)).collect();
                assert!(seen.len() as i64 >= max, "{seen:?} of {max}");
                seen.iter().zip(0..).for_each(|(at, n)| assert_eq!(*at, (n, nth(n).entry)));
                assert!(queue.max_offset() >= max);
            })
        };
        for n in present..present + 2 {
            let room = queue.reserve(1).unwrap();
            queue.dispatch_reserved(&room, &nth(n)).unwrap();
        }
        reader.join().unwrap();
    });
}

#[test]
fn every_offset_below_the_end_has_its_entry() {
    seen_while_growing(1, 10);
}

#[test]
fn every_offset_has_its_entry_where_a_new_file_begins() {
    seen_while_growing(1, 2);
}
