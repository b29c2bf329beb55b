//! The captured data directories of Apache RocketMQ 5.3.3, for tests.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tenonmq_protocol::message::LogItem;

use crate::config::StoreConfig;

/// All variants.
pub(crate) const VARIANTS: [&str; 3] = ["clean", "ext", "killed"];
/// Length of a commit-log file in all of them.
const SEGMENT: usize = 131_072;

/// One captured directory.
pub(crate) struct Golden {
    root: PathBuf,
    /// All commit-log files in a row.
    pub(crate) log: Vec<u8>,
}

impl Golden {
    pub(crate) fn open(variant: &str) -> Self {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store")).join(variant);
        let mut files: Vec<_> = fs::read_dir(root.join("data/commitlog")).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        let log = files.iter().flat_map(|path| fs::read(path).unwrap()).collect();
        Self { root, log }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Lines of `expected/<name>.jsonl`.
    pub(crate) fn expected(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.root.join("expected").join(name).with_extension("jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Records with their log offsets, in log order.
    pub(crate) fn records(&self) -> Vec<(u64, tenonmq_protocol::message::RecordView<'_>)> {
        let mut records = Vec::new();
        let mut at = 0;
        while at < self.log.len() {
            let end = at - at % SEGMENT + SEGMENT;
            match LogItem::parse(&self.log[at..end]).unwrap() {
                LogItem::Record(record) => {
                    records.push((at as u64, record));
                    at += record.len();
                }
                LogItem::Blank { .. } => at = end,
                LogItem::End => break,
            }
        }
        records
    }

    /// The settings it was written with, over another directory.
    pub(crate) fn config(&self, root: &Path) -> StoreConfig {
        let mut config = StoreConfig::new(root);
        config.segment_size = SEGMENT as u64;
        config.consume_queue_file_size = 1000;
        config.batch_consume_queue_file_size = 460;
        config.consume_queue_ext_file_size = 4096;
        config.consume_queue_ext = self.root.ends_with("ext");
        config.index_slots = 50;
        config.index_entries = 150;
        config.batch_topics.insert("T_bcq".to_owned());
        config
    }

    /// A copy of the data directory that a test may change.
    pub(crate) fn copy(&self) -> tempfile::TempDir {
        let target = tempfile::tempdir().unwrap();
        copy_tree(&self.data(), target.path());
        target
    }
}

/// Relative paths and contents of all files below `root`, sorted.
pub(crate) fn files_below(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
