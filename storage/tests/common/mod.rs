//! What the tests of the store share: small stores, records, and the golden directories.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tenonmq_protocol::message::{NewRecord, body_crc, tags_code};
use tenonmq_storage::fs::{FaultyFs, Space};
use tenonmq_storage::{AppendClass, AppendError, Appended, Environment, FlushPolicy, ManualClock, Store, StoreConfig};

/// A moment in November 2026.
pub const NOW: i64 = 1_795_248_000_000;

/// A disk that is nearly empty, whatever the one of this machine holds besides.
pub fn roomy() -> FaultyFs {
    let fs = FaultyFs::lazy();
    fs.set_space(Some(Space { total: 1 << 40, available: (1 << 40) - 1 }));
    fs
}

pub struct Bench {
    pub dir: TempDir,
    pub clock: Arc<ManualClock>,
    pub fs: Arc<FaultyFs>,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { dir, clock: Arc::new(ManualClock::new(NOW)), fs: Arc::new(roomy()) }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Tiny files: 8 KiB of log, 20 entries of queue.
    pub fn config(&self) -> StoreConfig {
        small(self.root())
    }

    pub fn env(&self) -> Environment {
        Environment { fs: Arc::<FaultyFs>::clone(&self.fs), clock: Arc::<ManualClock>::clone(&self.clock) }
    }

    pub fn open(&self) -> Store {
        Store::open(self.config(), self.env()).expect("the store opens")
    }

    pub fn open_sync(&self) -> Store {
        let config = StoreConfig { flush: FlushPolicy::Sync, ..self.config() };
        Store::open(config, self.env()).expect("the store opens")
    }
}

pub fn small(root: &Path) -> StoreConfig {
    StoreConfig {
        segment_size: 8192,
        consume_queue_file_size: 400,
        batch_consume_queue_file_size: 460,
        index_slots: 50,
        index_entries: 150,
        reserve_bytes: 4096,
        ..StoreConfig::new(root)
    }
}

pub fn record<'a>(topic: &'a str, queue_id: i32, body: &'a [u8]) -> NewRecord<'a> {
    NewRecord {
        topic,
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: NOW,
        born_host: "127.0.0.1:4000".parse().expect("an address"),
        store_host: "127.0.0.1:10911".parse().expect("an address"),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: b"TAGS\x01a\x02",
        body_crc: body_crc(body),
    }
}

pub fn send(store: &Store, topic: &str, queue_id: i32, body: &[u8]) -> Result<Appended, AppendError> {
    send_as(store, topic, queue_id, body, AppendClass::Send)
}

pub fn send_as(
    store: &Store,
    topic: &str,
    queue_id: i32,
    body: &[u8],
    class: AppendClass,
) -> Result<Appended, AppendError> {
    let queue = store.queue(topic, queue_id);
    store.append(&queue, &record(topic, queue_id, body), tags_code(Some("a")), class)
}

/// Copies a directory tree, as it stands.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a listing") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// A copy of a golden data directory, and the settings it was written with.
pub fn golden(name: &str) -> (TempDir, StoreConfig) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    copy_tree(&golden_path(name).join("data"), dir.path());
    let config = StoreConfig {
        segment_size: 131_072,
        consume_queue_file_size: 1000,
        batch_consume_queue_file_size: 460,
        consume_queue_ext_file_size: 4096,
        index_slots: 50,
        index_entries: 150,
        batch_topics: ["T_bcq".to_owned()].into(),
        ..StoreConfig::new(dir.path())
    };
    (dir, config)
}

pub fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/store").join(name)
}

/// A disk that need not keep anything, and a clock that stands still.
pub fn quiet() -> Environment {
    Environment { fs: Arc::new(roomy()), clock: Arc::new(ManualClock::new(NOW)) }
}
