//! [`Flusher`](crate::flush::Flusher) and [`Allocator`](crate::commit_log::Allocator): who asks their threads is served.

use std::path::Path;
use std::sync::Arc;

use loom::future::block_on;

use super::bench::{every_order, folder, record, spawn, store};
use crate::commit_log::{Allocator, ReserveFile, SegmentFiles};
use crate::fs::RealFs;
use crate::poison::Gate;
use crate::watermark::Mark;
use crate::{AppendClass, FlushPolicy};

/// Group commit: the flush thread sleeps until somebody asks. In the model it never wakes by itself.
#[test]
fn who_asks_for_a_flush_gets_it() {
    every_order(|| {
        let folder = folder();
        let store = store(folder.path(), FlushPolicy::Sync);
        let queue = store.queue("T", 0);
        let end = store.append(&queue, &record(b"body"), 0, AppendClass::Send).unwrap().ticket.end;
        let parts = store.parts();
        let (flusher, log) = (Arc::clone(&parts.flusher), Arc::clone(&parts.log));
        let flushing = {
            let flusher = Arc::clone(&flusher);
            spawn(move || flusher.run())
        };
        flusher.ask(end);
        assert!(block_on(log.reached(Mark::Flushed, end, || false)));
        flusher.stop();
        flushing.join().unwrap();
    });
}

/// The helper thread makes a segment for who waits for it, and a stop ends both.
/// Makes segments of 4 KiB there.
fn allocator_in(folder: &Path) -> Allocator {
    let files = Arc::new(SegmentFiles::new(Arc::new(RealFs), vec![folder.to_owned()], 4096));
    let reserve = ReserveFile::new(folder.join("reserve"), 0, Arc::clone(&files));
    Allocator::new(files, Arc::new(Gate::default()), reserve)
}

#[test]
fn who_waits_for_a_segment_gets_it() {
    every_order(|| {
        let folder = folder();
        let allocator = Arc::new(allocator_in(folder.path()));
        let helper = {
            let allocator = Arc::clone(&allocator);
            spawn(move || allocator.run())
        };
        allocator.want(0);
        allocator.wait_for(0).unwrap();
        assert!(allocator.take(0).is_some());
        allocator.stop();
        helper.join().unwrap();
    });
}

/// Two wait for it, and one of them takes it.
#[test]
fn a_segment_that_was_taken_is_not_made_again() {
    every_order(|| {
        let folder = folder();
        let allocator = allocator_in(folder.path());
        allocator.work_in_place();
        allocator.want(0);
        allocator.wait_for(0).unwrap();
        assert!(allocator.take(0).is_some());
        allocator.wait_for(0).unwrap();
        assert!(!allocator.is_ready(0));
    });
}

#[test]
fn a_stop_ends_the_wait_for_a_segment() {
    every_order(|| {
        let folder = folder();
        let allocator = Arc::new(allocator_in(folder.path()));
        allocator.want(0);
        let waiting = {
            let allocator = Arc::clone(&allocator);
            spawn(move || assert!(allocator.wait_for(0).is_err()))
        };
        allocator.stop();
        waiting.join().unwrap();
    });
}
