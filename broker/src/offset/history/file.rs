//! The history on disk: one JSON object a line, never rewritten, in two files.
//!
//! When `<root>/tenonmq/offset-history.jsonl` reaches its limit it becomes `offset-history.1.jsonl`, whose content is then
//! gone. A line that a crash tore is closed by a line break at the next start, and left out when reading.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tenonmq_protocol::body::offset_desk::OffsetMove;
use tenonmq_storage::{
    FileError,
    fs::{AppendFile, FileSystem, read_if_there},
};

/// Lines in files.
pub(super) struct Lines {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    limit: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<AppendFile>,
    last_id: u64,
}

impl Lines {
    /// The history in a folder. Of what an earlier run wrote, only the last number is kept in memory.
    pub(super) fn open(fs: Arc<dyn FileSystem>, folder: &Path, limit: u64) -> Result<Self, FileError> {
        fs.create_dir_all(folder).map_err(FileError::of("create", folder))?;
        let lines = Self { fs, path: folder.join("offset-history.jsonl"), limit, state: Mutex::default() };
        let mut state = lines.state.lock();
        for path in [lines.older(), lines.path.clone()] {
            let content = lines.read(&path).map_err(FileError::of("read", &path))?;
            state.last_id = entries_newest_first(&content).next().map_or(state.last_id, |entry| entry.id);
            if path == lines.path && content.last().is_some_and(|last| *last != b'\n') {
                lines.append(&mut state, b"\n").map_err(FileError::of("append to", &path))?;
            }
        }
        drop(state);
        Ok(lines)
    }

    /// Numbers the entry and writes it; the number. One that cannot be written is in the log instead.
    pub(super) fn write(&self, mut entry: OffsetMove) -> OffsetMove {
        let mut state = self.state.lock();
        state.last_id += 1;
        entry.id = state.last_id;
        let done = serde_json::to_vec(&entry).map_err(io::Error::other).and_then(|mut line| {
            line.push(b'\n');
            self.append(&mut state, &line)
        });
        if let Err(error) = done {
            tracing::error!(path = %self.path.display(), %error, ?entry, "a move of offsets is not in the history");
        }
        entry
    }

    fn append(&self, state: &mut State, line: &[u8]) -> io::Result<()> {
        if state.file.as_ref().is_some_and(|file| file.len() + line.len() as u64 > self.limit) {
            state.file = None;
            self.fs.rename(&self.path, &self.older())?;
        }
        let file = match &mut state.file {
            Some(file) => file,
            none => none.insert(AppendFile::open(&self.fs, &self.path)?),
        };
        file.append(line)
    }

    /// Entries that `wanted` lets pass, newest first. Reads the files.
    pub(super) fn newest_first(&self, wanted: impl Fn(&OffsetMove) -> bool) -> impl Iterator<Item = OffsetMove> {
        [self.path.clone(), self.older()].into_iter().flat_map(move |path| {
            let content = self.read(&path).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "the history of offsets cannot be read");
                Vec::new()
            });
            entries_newest_first(&content).filter(&wanted).collect::<Vec<_>>()
        })
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("1.jsonl")
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(read_if_there(&*self.fs, path)?.unwrap_or_default())
    }
}

fn entries_newest_first(content: &[u8]) -> impl Iterator<Item = OffsetMove> {
    content.split(|byte| *byte == b'\n').rev().filter_map(|line| serde_json::from_slice(line).ok())
}

#[cfg(test)]
mod tests {
    use tenonmq_storage::fs::{Fault, FaultyFs, Op, RealFs};

    use super::*;

    fn entry(group: &str) -> OffsetMove {
        OffsetMove { group: group.into(), topic: "t".into(), action: "reset".into(), ..OffsetMove::default() }
    }

    #[test]
    fn entries_are_numbered_and_found_newest_first_also_after_a_restart_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let lines = Lines::open(Arc::new(RealFs), folder.path(), 1 << 20).unwrap();
        assert_eq!((lines.write(entry("a")).id, lines.write(entry("b")).id), (1, 2));
        drop(lines);
        let path = folder.path().join("offset-history.jsonl");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"id\":3,\"gro");
        std::fs::write(&path, bytes).unwrap();
        let lines = Lines::open(Arc::new(RealFs), folder.path(), 1 << 20).unwrap();
        assert_eq!(lines.write(entry("a")).id, 3);
        let found: Vec<_> = lines.newest_first(|entry| entry.group == "a").map(|entry| entry.id).collect();
        assert_eq!(found, [3, 1]);
    }

    #[test]
    fn a_history_that_the_disk_does_not_give_is_named_and_its_numbers_are_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let fs = Arc::new(FaultyFs::new());
        let open = || Lines::open(fs.clone(), folder.path(), 1 << 20);
        open().unwrap().write(entry("a"));
        for (after, name) in [(0, "offset-history.1.jsonl"), (1, "offset-history.jsonl")] {
            fs.fail_with(Op::Read, Fault { after, times: 1, kind: io::ErrorKind::Other });
            let error = open().err().unwrap().to_string();
            assert!(error.starts_with("cannot read ") && error.ends_with(name), "{error}");
        }
        assert_eq!(open().unwrap().write(entry("a")).id, 2);
    }

    #[test]
    fn the_files_stay_within_twice_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let lines = Lines::open(Arc::new(RealFs), folder.path(), 2000).unwrap();
        (0..100).for_each(|_| _ = lines.write(entry("a")));
        let sizes: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size <= 2000), "{sizes:?}");
        assert_eq!(lines.newest_first(|_| true).next().unwrap().id, 100);
    }
}
