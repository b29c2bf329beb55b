//! The captured directories of Apache as subjects.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use tenonmq_broker::config::LiveConfig;
use tenonmq_protocol::message::RecordView;

use super::Truth;

fn root(variant: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store")).join(variant)
}

/// The directory that was captured.
pub(super) fn data(variant: &str) -> PathBuf {
    root(variant).join("data")
}

/// The settings that it was written with, over a copy.
pub(super) fn config(copy: &Path, variant: &str) -> Arc<LiveConfig> {
    let copy = copy.display().to_string();
    let ext = (variant == "ext").to_string();
    let settings = [
        ("storePathRootDir", &*copy),
        ("mappedFileSizeCommitLog", "131072"),
        ("mappedFileSizeConsumeQueue", "1000"),
        ("mapperFileSizeBatchConsumeQueue", "460"),
        ("mappedFileSizeConsumeQueueExt", "4096"),
        ("enableConsumeQueueExt", &*ext),
        ("enabledAppendPropCRC", &*ext),
        ("forceVerifyPropCRC", &*ext),
        ("maxHashSlotNum", "50"),
        ("maxIndexNum", "150"),
    ];
    LiveConfig::embedded(settings).expect("the settings are allowed")
}

/// Every message of a queue in the listing is delivered, with the bytes that the log had.
pub(super) fn assert_as_listed(truth: &Truth, variant: &str) -> io::Result<()> {
    let mut files: Vec<_> = fs::read_dir(data(variant).join("commitlog"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.sort();
    let log = files.into_iter().map(fs::read).collect::<io::Result<Vec<_>>>()?.concat();
    for line in fs::read_to_string(root(variant).join("expected/consumequeue.jsonl"))?.lines() {
        let line: Value = serde_json::from_str(line)?;
        let number = |name: &str| line[name].as_i64().unwrap_or_default();
        let (topic, queue_id) = (line["topic"].as_str().unwrap_or_default(), number("queueId") as i32);
        let start = number("physicalOffset") as usize;
        let listed = log.get(start..start + number("size") as usize).unwrap_or_default();
        let delivered = RecordView::parse(listed).ok().and_then(|record| truth.delivered(topic, queue_id, &record));
        assert_eq!(delivered, Some(listed), "{line}");
    }
    Ok(())
}
