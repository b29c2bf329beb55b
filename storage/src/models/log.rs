//! [`MappedLog`](crate::mmap::MappedLog) and the commit log: what is seen is whole.

use loom::sync::Arc;
use tenonmq_protocol::message::RecordView;

use super::bench::{every_order, folder, record, spawn, store};
use crate::fs::{FileSystem, OpenMode, RealFs};
use crate::mmap::LogWriter;
use crate::{AppendClass, FetchLimits, FetchStatus, FlushPolicy, Gathering};

#[test]
fn what_is_published_is_written() {
    every_order(|| {
        let folder = folder();
        let path = folder.path().join("log");
        let file = RealFs.open(&path, OpenMode::CreateNew).unwrap();
        file.set_len(64).unwrap();
        let mut writer = LogWriter::map(file, path, 64).unwrap();
        let log = std::sync::Arc::clone(writer.log());
        let reader = spawn(move || {
            if let Some(bytes) = log.read(0..5) {
                assert_eq!(bytes, b"hello");
            }
            if let Some(bytes) = log.read(0..10) {
                assert_eq!(bytes, b"helloworld");
            }
        });
        for word in [b"hello", b"world"] {
            writer.room(5).unwrap().copy_from_slice(word);
            writer.publish(5);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_message_that_a_queue_shows_can_be_read() {
    every_order(|| {
        let folder = folder();
        let store = Arc::new(store(folder.path(), FlushPolicy::Sync));
        let queue = store.queue("T", 0);
        store.append(&queue, &record(b"first"), 0, AppendClass::Send).unwrap();
        let reader = {
            let (store, queue) = (Arc::clone(&store), std::sync::Arc::clone(&queue));
            spawn(move || {
                let max = queue.max_offset();
                let fetched = store.fetch(&queue, 0, FetchLimits::new(32, 1 << 20), |_| true);
                assert_eq!(fetched.status, FetchStatus::Found);
                assert!(fetched.next_begin >= max, "{} of {max}", fetched.next_begin);
                for records in &fetched.records {
                    RecordView::iter_all(records).for_each(|record| assert!(record.unwrap().verify_crc().is_ok()));
                }
            })
        };
        store.append(&queue, &record(b"second"), 0, AppendClass::Send).unwrap();
        assert_eq!(queue.max_offset(), 2);
        reader.join().unwrap();
    });
}

#[test]
fn a_gathered_message_that_a_queue_shows_can_be_read() {
    every_order(|| {
        let folder = folder();
        let store = Arc::new(store(folder.path(), FlushPolicy::Sync));
        let queue = store.queue("T", 0);
        let reader = {
            let (store, queue) = (Arc::clone(&store), std::sync::Arc::clone(&queue));
            spawn(move || {
                let max = queue.max_offset();
                let fetched = store.fetch(&queue, 0, FetchLimits::new(32, 1 << 20), |_| true);
                assert!(fetched.next_begin >= max, "{} of {max}", fetched.next_begin);
                assert_eq!(fetched.count > 0, fetched.next_begin > 0);
            })
        };
        let gathers = Gathering::begin();
        store.append(&queue, &record(b"first"), 0, AppendClass::Send).unwrap();
        drop(gathers);
        store.write_out().unwrap();
        reader.join().unwrap();
        assert_eq!(store.watermarks().confirmed, store.watermarks().appended);
    });
}

/// The second record does not fit in the file of the first.
#[test]
fn a_message_in_the_next_file_of_the_log_can_be_read() {
    every_order(|| {
        let folder = folder();
        let store = Arc::new(store(folder.path(), FlushPolicy::Sync));
        let queue = store.queue("T", 0);
        store.append(&queue, &record(&[1; 3000]), 0, AppendClass::Send).unwrap();
        let reader = {
            let (store, queue) = (Arc::clone(&store), std::sync::Arc::clone(&queue));
            spawn(move || {
                for offset in 0..queue.max_offset() {
                    let entry = queue.entry(offset).unwrap();
                    let record = store.read(entry.physical_offset).expect("what a queue shows is in the log");
                    assert_eq!(record.len(), entry.size as usize);
                }
            })
        };
        store.append(&queue, &record(&[2; 3000]), 0, AppendClass::Send).unwrap();
        reader.join().unwrap();
    });
}
