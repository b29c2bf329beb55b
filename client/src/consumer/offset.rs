//! How far a group has come in each queue.
//!
//! The table is what this process knows; it is saved to the broker (clustering) or to a local file (broadcasting, where
//! every member reads everything and progress is its own).
//!
//! Invariant: savings of one queue follow each other, and so do writings of the file; each takes the offset when its
//! turn has come. A broker serves requests on several threads, so of two commits under way the older could win.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use tenonmq_protocol::message::queue::MessageQueue;
use tracing::warn;

use super::queries;
use crate::{error::Error, session::Session};

/// Where the offsets of a broadcasting consumer live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BroadcastOffsets {
    /// Nowhere: each start begins where [`ConsumeFrom`](crate::ConsumeFrom) says.
    InMemory,
    /// In a JSON file of this process's own, replaced atomically.
    File(PathBuf),
}

/// Offsets by queue.
pub(crate) struct OffsetStore {
    group: String,
    place: Place,
    table: Mutex<FxHashMap<MessageQueue, Progress>>,
}

enum Place {
    Brokers { session: Arc<Session>, turns: Mutex<FxHashMap<MessageQueue, Turn>> },
    Local { place: BroadcastOffsets, turn: Turn },
}

/// Held by whoever saves.
type Turn = Arc<tokio::sync::Mutex<()>>;

#[derive(Clone, Copy)]
struct Progress {
    offset: i64,
    /// Whether the saved offset is another one.
    unsaved: bool,
}

#[derive(Serialize, Deserialize)]
struct FileEntry {
    #[serde(flatten)]
    queue: MessageQueue,
    offset: i64,
}

impl OffsetStore {
    /// Offsets kept by the brokers.
    pub(crate) fn remote(session: Arc<Session>, group: &str) -> Self {
        Self {
            group: group.to_owned(),
            place: Place::Brokers { session, turns: Mutex::default() },
            table: Mutex::default(),
        }
    }

    /// Offsets kept here; reads the file if there is one.
    pub(crate) async fn local(group: &str, place: BroadcastOffsets) -> Result<Self, Error> {
        let table = match &place {
            BroadcastOffsets::InMemory => FxHashMap::default(),
            BroadcastOffsets::File(path) => read_file(path).await?,
        };
        let place = Place::Local { place, turn: Turn::default() };
        Ok(Self { group: group.to_owned(), place, table: Mutex::new(table) })
    }

    /// The offset known in this process.
    pub(crate) fn get(&self, queue: &MessageQueue) -> Option<i64> {
        self.table.lock().get(queue).map(|progress| progress.offset)
    }

    /// The group's saved offset; `None` when it never consumed the queue.
    pub(crate) async fn load(&self, queue: &MessageQueue) -> Result<Option<i64>, Error> {
        match &self.place {
            Place::Local { .. } => Ok(self.get(queue)),
            Place::Brokers { session, .. } => {
                let offset = queries::consumer_offset(session, &self.group, queue).await?;
                if let Some(offset) = offset {
                    self.table.lock().insert(queue.clone(), Progress { offset, unsaved: false });
                }
                Ok(offset)
            }
        }
    }

    /// Notes progress; never goes back.
    pub(crate) fn advance(&self, queue: &MessageQueue, offset: i64) {
        let mut table = self.table.lock();
        match table.get_mut(queue) {
            Some(progress) if progress.offset >= offset => {}
            Some(progress) => *progress = Progress { offset, unsaved: true },
            None => drop(table.insert(queue.clone(), Progress { offset, unsaved: true })),
        }
    }

    /// Sets the offset, backwards too.
    pub(crate) fn set(&self, queue: &MessageQueue, offset: i64) {
        self.table.lock().insert(queue.clone(), Progress { offset, unsaved: true });
    }

    /// Forgets a queue that another member owns now. Local progress is kept.
    pub(crate) fn forget(&self, queue: &MessageQueue) {
        if matches!(self.place, Place::Brokers { .. }) {
            self.table.lock().remove(queue);
        }
    }

    /// Saves one queue and waits until it is saved.
    pub(crate) async fn save_one(&self, queue: &MessageQueue) -> Result<(), Error> {
        let (session, turns) = match &self.place {
            Place::Local { place, turn } => return self.write_file(place, turn).await,
            Place::Brokers { session, turns } => (session, turns),
        };
        let turn = Arc::clone(turns.lock().entry(queue.clone()).or_default());
        let _my_turn = turn.lock().await;
        let progress = self.table.lock().get(queue).copied();
        let Some(Progress { offset, unsaved: true }) = progress else { return Ok(()) };
        queries::commit_offset(session, &self.group, queue, offset).await?;
        self.saved(queue, offset);
        Ok(())
    }

    /// Saves all that changed and waits until it is saved.
    pub(crate) async fn save(&self) {
        if let Place::Local { place, turn } = &self.place {
            if let Err(error) = self.write_file(place, turn).await {
                warn!(group = self.group, %error, "offsets are not saved");
            }
            return;
        }
        let unsaved: Vec<MessageQueue> = {
            let table = self.table.lock();
            table.iter().filter(|(_, progress)| progress.unsaved).map(|(queue, _)| queue.clone()).collect()
        };
        let saves = unsaved.iter().map(|queue| async move {
            if let Err(error) = self.save_one(queue).await {
                warn!(group = self.group, topic = queue.topic, queue = queue.queue_id, %error, "offset is not saved");
            }
        });
        futures_util::future::join_all(saves).await;
    }

    fn saved(&self, queue: &MessageQueue, offset: i64) {
        if let Some(progress) = self.table.lock().get_mut(queue) {
            progress.unsaved &= progress.offset != offset;
        }
    }

    async fn write_file(&self, place: &BroadcastOffsets, turn: &Turn) -> Result<(), Error> {
        let BroadcastOffsets::File(path) = place else { return Ok(()) };
        let _my_turn = turn.lock().await;
        let offsets = {
            let table = self.table.lock();
            if !table.values().any(|progress| progress.unsaved) {
                return Ok(());
            }
            let offsets = table.iter().map(|(queue, progress)| (queue.clone(), progress.offset));
            offsets.collect::<BTreeMap<_, _>>()
        };
        replace_file(path, &offsets).await?;
        offsets.iter().for_each(|(queue, offset)| self.saved(queue, *offset));
        Ok(())
    }
}

async fn replace_file(path: &Path, offsets: &BTreeMap<MessageQueue, i64>) -> Result<(), Error> {
    let entries: Vec<_> = offsets.iter().map(|(queue, &offset)| FileEntry { queue: queue.clone(), offset }).collect();
    let json = serde_json::to_vec_pretty(&entries).map_err(|e| failed("write", path, e.into()))?;
    let beside = path.with_extension("tmp");
    tokio::fs::write(&beside, json).await.map_err(|e| failed("write", &beside, e))?;
    tokio::fs::rename(&beside, path).await.map_err(|e| failed("replace", path, e))
}

async fn read_file(path: &PathBuf) -> Result<FxHashMap<MessageQueue, Progress>, Error> {
    let bytes = match tokio::fs::read(path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(FxHashMap::default()),
        Err(error) => return Err(failed("read", path, error)),
    };
    let entries: Vec<FileEntry> = serde_json::from_slice(&bytes).map_err(|e| failed("read", path, e.into()))?;
    Ok(entries.into_iter().map(|e| (e.queue, Progress { offset: e.offset, unsaved: false })).collect())
}

fn failed(op: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::File { op, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue::new("T", "b", id)
    }

    #[tokio::test]
    async fn progress_goes_back_only_when_it_is_set() {
        let store = OffsetStore::local("G", BroadcastOffsets::InMemory).await.unwrap();
        store.advance(&queue(0), 7);
        store.advance(&queue(0), 5);
        assert_eq!(store.get(&queue(0)), Some(7));
        store.set(&queue(0), 5);
        assert_eq!(store.get(&queue(0)), Some(5));
        assert_eq!(store.load(&queue(1)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_file_keeps_the_offsets_of_a_broadcasting_member() {
        let folder = tempfile::tempdir().unwrap();
        let place = BroadcastOffsets::File(folder.path().join("offsets.json"));
        let first = OffsetStore::local("G", place.clone()).await.unwrap();
        first.advance(&queue(0), 3);
        first.advance(&queue(1), 4);
        first.forget(&queue(0));
        first.save().await;
        let second = OffsetStore::local("G", place).await.unwrap();
        assert_eq!((second.get(&queue(0)), second.get(&queue(1))), (Some(3), Some(4)));
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_written_with_the_next_saving() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later").join("offsets.json");
        let store = OffsetStore::local("G", BroadcastOffsets::File(path.clone())).await.unwrap();
        store.advance(&queue(0), 3);
        assert!(store.save_one(&queue(0)).await.is_err());
        std::fs::create_dir(folder.path().join("later")).unwrap();
        store.save().await;
        let read = OffsetStore::local("G", BroadcastOffsets::File(path)).await.unwrap();
        assert_eq!(read.get(&queue(0)), Some(3));
    }

    #[tokio::test]
    async fn a_damaged_file_is_an_error_and_not_a_new_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offsets.json");
        std::fs::write(&path, "[{").unwrap();
        let opened = OffsetStore::local("G", BroadcastOffsets::File(path)).await;
        assert!(matches!(opened, Err(Error::File { op: "read", .. })));
    }
}
