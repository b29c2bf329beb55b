//! What models need: every order of what they start, and a tiny store. The model of the long polls shares it.

use std::path::Path;
use std::sync::Arc;

use loom::thread::{Builder, JoinHandle};
use tenonmq_protocol::message::{NewRecord, body_crc};

use super::{Environment, FlushPolicy, ManualClock, RealFs, Store, StoreConfig};

/// Stack of each thread in words: opening a store needs more than loom gives.
const STACK: usize = 1 << 16;

/// Tries every order of what `run` starts. Each is preempted twice at most, unless `LOOM_MAX_PREEMPTIONS` says more.
pub(crate) fn every_order(run: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(2));
    model.max_branches = 100_000;
    let run = Arc::new(run);
    model.check(move || {
        let run = Arc::clone(&run);
        spawn(move || run()).join().unwrap();
    });
}

/// A thread of the model.
pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    Builder::new().stack_size(STACK).spawn(work).unwrap()
}

/// An empty folder where files cost no disk.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// A store of tiny files without threads of its own.
pub(crate) fn store(root: &Path, flush: FlushPolicy) -> Store {
    let config = StoreConfig {
        segment_size: 4096,
        consume_queue_file_size: 40,
        index_slots: 2,
        index_entries: 4,
        reserve_bytes: 0,
        flush,
        ..StoreConfig::new(root)
    };
    let env = Environment { fs: Arc::new(RealFs), clock: Arc::new(ManualClock::new(1_795_248_000_000)) };
    Store::open_in_place(config, env).unwrap()
}

/// A message to queue 0 of the topic `T`.
pub(crate) fn record(body: &[u8]) -> NewRecord<'_> {
    NewRecord {
        topic: "T",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: ([127, 0, 0, 1], 1).into(),
        store_host: ([127, 0, 0, 1], 2).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: b"",
        body_crc: body_crc(body),
    }
}
