//! A data directory of some tens of kilobytes with one of everything in it, for tests that damage every byte.
//!
//! A real broker writes it, for real clients: ordinary messages, a batch, delays by level and by time, transactions that are
//! committed, rolled back and open, a message that was sent back, offsets of a group, and leases of another.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;
use tenonmq_broker::{
    config::LiveConfig,
    core::{
        Core, CoreError,
        clock::Clock,
        identity::{Identity, Who},
    },
    lifecycle::Running,
};
use tenonmq_client::{Check, ConsumeOutcome, LocalState, Message, Producer, SimpleConsumer, TransactionProducer};
use tenonmq_storage::StoreConfig;

use crate::client_suite::support::{self, until};

/// What of the broker's settings makes the difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kind {
    /// Every record carries the checksum over all of it, and is judged by it (`enabledAppendPropCRC`,
    /// `forceVerifyPropCRC`).
    pub record_crc: bool,
    /// The broker was killed, not stopped.
    pub killed: bool,
}

/// Where files cost no disk.
pub fn memory() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() }
}

/// The settings of the broker that wrote the directory, and of the one that is to open it.
pub fn config(root: &Path, kind: Kind) -> Arc<LiveConfig> {
    let root = root.display().to_string();
    let record_crc = kind.record_crc.to_string();
    let settings = [
        ("storePathRootDir", &*root),
        ("listenPort", "0"),
        ("namesrvListenPort", "0"),
        ("bindAddress", "127.0.0.1"),
        ("brokerIP1", "127.0.0.1"),
        ("mappedFileSizeCommitLog", "16384"),
        ("mappedFileSizeConsumeQueue", "400"),
        ("maxHashSlotNum", "20"),
        ("maxIndexNum", "60"),
        ("defaultTopicQueueNums", "1"),
        ("enabledAppendPropCRC", &*record_crc),
        ("forceVerifyPropCRC", &*record_crc),
    ];
    LiveConfig::embedded(settings).expect("the settings are allowed")
}

/// Writes the directory.
///
/// # Panics
/// When the broker or a client fails.
pub fn write(kind: Kind) -> TempDir {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir_in(memory()).expect("a directory");
    let copied = tempfile::tempdir_in(memory()).expect("a directory");
    runtime.block_on(async {
        let running = Running::start(config(folder.path(), kind), Clock::system()).await.expect("the broker starts");
        let name_server = running.addresses().name_server.expect("a name server").to_string();
        fill(&name_server).await;
        if kind.killed {
            copy(folder.path(), copied.path()).expect("a copy");
        }
        running.shutdown().await;
    });
    if kind.killed { copied } else { folder }
}

async fn fill(name_server: &str) {
    let producer = Producer::builder(name_server).group("PG").connect().await.expect("a producer");
    for n in 0..6 {
        let message = Message::new("plain", format!("plain {n}")).tag("even").key(format!("k{n}")).property("n", "1");
        producer.send(message).await.expect("sent");
    }
    let batch = (0..3).map(|n| Message::new("batch", format!("batched {n}"))).collect();
    producer.send_batch(batch).await.expect("sent");
    producer.send(Message::new("later", "by level").delay_level(18)).await.expect("sent");
    producer.send(Message::new("later", "by time").delay(std::time::Duration::from_secs(3600))).await.expect("sent");
    transactions(name_server).await;
    consumed(name_server).await;
    leased(name_server).await;
    producer.shutdown().await;
}

async fn transactions(name_server: &str) {
    let producer = TransactionProducer::builder(name_server)
        .group("TG")
        .listener(async |_: Check| LocalState::Unknown)
        .connect()
        .await
        .expect("a producer");
    for (body, verdict) in [("paid", Some(true)), ("undone", Some(false)), ("open", None)] {
        let prepared = producer.prepare(Message::new("orders", body).key(body)).await.expect("prepared");
        match verdict {
            Some(true) => prepared.commit().await.expect("committed"),
            Some(false) => prepared.rollback().await.expect("rolled back"),
            None => {}
        }
    }
}

/// A group reads `plain` and sends one message back.
async fn consumed(name_server: &str) {
    let (into, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let listener = move |message: tenonmq_client::ReceivedMessage| {
        let again = message.body() == "plain 3" && message.topic() == "plain";
        let _ = into.send(());
        std::future::ready(if again { ConsumeOutcome::Retry } else { ConsumeOutcome::Done })
    };
    let consumer = support::consumer(name_server, "CG", "plain", "*").listener(listener);
    let consumer = consumer.connect().await.expect("a consumer");
    let mut count = 0;
    until("six messages are consumed", async || {
        while seen.try_recv().is_ok() {
            count += 1;
        }
        count >= 6
    })
    .await;
    consumer.shutdown().await;
}

/// A group takes the batch for an hour and is done with one message of it.
async fn leased(name_server: &str) {
    let builder = SimpleConsumer::builder(name_server).group("LG").subscribe("batch", "*").consume_from_earliest();
    let consumer = builder.connect().await.expect("a consumer");
    let mut taken = Vec::new();
    until("the batch is taken", async || {
        taken.extend(consumer.receive(3, std::time::Duration::from_secs(3600)).await.expect("messages"));
        taken.len() == 3
    })
    .await;
    consumer.ack(&taken[1]).await.expect("an acknowledgement");
    consumer.shutdown().await;
}

/// Opens the directory as a broker does at its start; `verified` compares records with their checksums whenever they are
/// read.
///
/// # Errors
/// The broker would not start.
pub fn open(root: &Path, kind: Kind, verified: bool) -> Result<Core, CoreError> {
    open_with(config(root, kind), verified)
}

/// As [`open`], with other settings.
///
/// # Errors
/// The broker would not start.
pub fn open_with(config: Arc<LiveConfig>, verified: bool) -> Result<Core, CoreError> {
    let store = StoreConfig { verify_reads: verified, reserve_bytes: 0, ..config.load().store.clone() };
    let address = ([127, 0, 0, 1], 10911).into();
    let who =
        Who { cluster: "DefaultCluster".into(), broker: "broker-a".into(), broker_id: 0, address, ha_address: address };
    Core::open(config, store, Clock::system(), Identity::new(who))
}

/// The files that hold something, by their paths below the root, sorted; those that only say that a broker runs are not
/// among them.
///
/// # Errors
/// A folder cannot be read.
pub fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.metadata()?);
            if kind.is_dir() {
                folders.push(path);
            } else if kind.len() > 0 && !["lock", "reserve", "boot_id"].iter().any(|name| path.ends_with(name)) {
                files.extend(path.strip_prefix(root).map(Path::to_owned));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Copies a directory, but for the space set aside.
///
/// # Errors
/// A file cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_name() != "reserve" {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
