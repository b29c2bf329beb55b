//! Keys and values by namespace, kept in upstream's `kvConfig.json`.
//!
//! Invariant: what a reader sees has been written to the file, or the writer was told that it could not be.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tenonmq_storage::fs::{FileSystem, RealFs};
use tenonmq_storage::{ConfigFile, ContentError, FileError};

/// The namespace with the order configuration of topics.
pub const ORDER_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

/// Most bytes of keys and values together: the whole file is rewritten with each change.
pub const MAX_BYTES: usize = 4 << 20;

type Table = BTreeMap<String, BTreeMap<String, String>>;

/// Upstream `KVConfigSerializeWrapper`.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct File {
    config_table: Table,
}

/// The table and the file behind it.
pub struct Kv {
    file: ConfigFile,
    table: RwLock<Table>,
    /// Held from a change until it is in the file, so that changes reach the file in their order.
    writing: parking_lot::Mutex<()>,
}

impl Kv {
    /// Reads the file; none yet means an empty table.
    ///
    /// # Errors
    /// The file exists, and neither it nor its `.bak` can be read.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        Self::open_on(Arc::new(RealFs), path)
    }

    /// The same, on another disk: for tests that break it.
    ///
    /// # Errors
    /// As [`open`](Self::open). What the disk does not give is not replaced by its backup.
    pub fn open_on(disk: Arc<dyn FileSystem>, path: PathBuf) -> io::Result<Self> {
        let file = ConfigFile::at(disk, path);
        let stored = file.load_with(|bytes| serde_json::from_slice::<File>(bytes)).map_err(|error| match error {
            ContentError::File(error) => named(error),
            ContentError::Refused(error) => io::Error::other(format!("{}: {error}", file.path().display())),
        })?;
        let table = RwLock::new(stored.unwrap_or_default().config_table);
        Ok(Self { file, table, writing: parking_lot::Mutex::new(()) })
    }

    /// One value (code 101).
    #[must_use]
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.table.read().get(namespace)?.get(key).cloned()
    }

    /// All values of a namespace (code 219); `None` while it has never had one.
    #[must_use]
    pub fn list(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.table.read().get(namespace).cloned()
    }

    /// Sets a value (code 100) and writes the file.
    ///
    /// # Errors
    /// The file cannot be written, or holds [`MAX_BYTES`] already; the table is as before.
    pub fn put(&self, namespace: &str, key: &str, value: &str) -> io::Result<()> {
        self.change(|table| {
            table.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        })
    }

    /// Removes a value (code 102) and writes the file. A namespace stays when it becomes empty.
    ///
    /// # Errors
    /// The file cannot be written; the table is as before.
    pub fn delete(&self, namespace: &str, key: &str) -> io::Result<()> {
        self.change(|table| {
            if let Some(values) = table.get_mut(namespace) {
                values.remove(key);
            }
        })
    }

    fn change(&self, edit: impl FnOnce(&mut Table)) -> io::Result<()> {
        let _writing = self.writing.lock();
        let mut table = self.table.read().clone();
        edit(&mut table);
        if size(&table) > MAX_BYTES.max(size(&self.table.read())) {
            return Err(io::Error::other(format!("keys and values may not exceed {MAX_BYTES} bytes")));
        }
        let file = File { config_table: table };
        let content = serde_json::to_vec_pretty(&file).map_err(io::Error::other)?;
        self.file.save(&content).map_err(named)?;
        *self.table.write() = file.config_table;
        Ok(())
    }
}

fn size(table: &Table) -> usize {
    let of = |(key, value): (&String, &String)| key.len() + value.len();
    table.iter().map(|(namespace, values)| namespace.len() + values.iter().map(of).sum::<usize>()).sum()
}

/// The error with the file that it is about.
fn named(error: FileError) -> io::Error {
    io::Error::new(error.source.kind(), format!("{error}: {}", error.source))
}

impl std::fmt::Debug for Kv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kv").field("file", &self.file.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tenonmq_storage::fs::{FaultyFs, Strike, Trouble};

    use super::*;

    #[test]
    fn values_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("namesrv/kvConfig.json");
        let kv = Kv::open(path.clone()).unwrap();
        assert_eq!(kv.list("n"), None);
        kv.put("n", "k", "v").unwrap();
        kv.put("n", "l", "w").unwrap();
        kv.delete("n", "l").unwrap();
        kv.delete("other", "k").unwrap();
        drop(kv);
        let kv = Kv::open(path.clone()).unwrap();
        assert_eq!(kv.get("n", "k").as_deref(), Some("v"));
        assert_eq!(kv.list("n").unwrap().len(), 1);
        kv.delete("n", "k").unwrap();
        assert_eq!(kv.list("n"), Some(BTreeMap::new()), "a namespace stays when it becomes empty");
    }

    #[test]
    fn a_file_written_by_upstream_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvConfig.json");
        std::fs::write(&path, "{\n\t\"configTable\":{\"ORDER_TOPIC_CONFIG\":{\n\t\t\"W\":\"a:3\"\n\t}}\n}").unwrap();
        let kv = Kv::open(path).unwrap();
        assert_eq!(kv.get(ORDER_NAMESPACE, "W").as_deref(), Some("a:3"));
    }

    #[test]
    fn a_torn_file_gives_way_to_its_backup_and_is_an_error_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvConfig.json");
        std::fs::write(&path, "{\"configTa").unwrap();
        assert!(Kv::open(path.clone()).is_err());
        std::fs::write(folder.path().join("kvConfig.json.bak"), "{\"configTable\":{\"n\":{\"k\":\"v\"}}}").unwrap();
        assert_eq!(Kv::open(path).unwrap().get("n", "k").as_deref(), Some("v"));
    }

    #[test]
    fn a_value_that_cannot_be_written_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let kv = Kv::open(folder.path().join("file/kvConfig.json"));
        let Ok(kv) = kv else {
            return; // a path below a file is refused at once
        };
        assert!(kv.put("n", "k", "v").is_err());
        assert_eq!(kv.get("n", "k"), None);
    }

    #[test]
    fn whatever_call_fails_a_value_is_there_or_refused_and_none_that_was_kept_is_lost() {
        for (at, trouble) in (0..20).flat_map(|at| Trouble::ALL.map(|trouble| (at, trouble))) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("kvConfig.json");
            let fs = Arc::new(FaultyFs::lazy());
            let kv = Kv::open_on(fs.clone(), path.clone()).unwrap();
            kv.put("n", "old", "1").unwrap();
            fs.strike(Some(Strike { at: fs.total_calls() + at, trouble }));
            let put = kv.put("n", "new", "2");
            assert_eq!(kv.get("n", "new").is_some(), put.is_ok());
            if let Err(error) = put {
                assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
            }
            fs.strike(Some(Strike { at: fs.total_calls(), trouble: Trouble::OneError }));
            let error = Kv::open_on(fs.clone(), path.clone()).err().unwrap().to_string();
            assert!(error.contains("kvConfig.json"), "{error}");
            let opened = Kv::open(path).unwrap();
            assert_eq!(opened.get("n", "old").as_deref(), Some("1"));
            assert!(kv.get("n", "new").is_none() || opened.get("n", "new").is_some(), "{at} {trouble:?}");
        }
    }

    #[test]
    fn a_full_table_takes_no_more_but_can_be_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let kv = Kv::open(folder.path().join("kvConfig.json")).unwrap();
        kv.put("n", "k", &"v".repeat(MAX_BYTES - 2)).unwrap();
        assert!(kv.put("n", "l", "w").unwrap_err().to_string().contains("may not exceed"));
        assert_eq!(kv.get("n", "l"), None);
        kv.delete("n", "k").unwrap();
        kv.put("n", "l", "w").unwrap();
    }
}
