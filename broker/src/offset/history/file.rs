//! The history on disk: one JSON object a line, never rewritten, in two files.
//!
//! When `<root>/tenonmq/offset-history.jsonl` reaches its limit it becomes `offset-history.1.jsonl`, whose content is then
//! gone. A line that a crash tore is closed by a line break at the next start, and left out when reading.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use tenonmq_protocol::body::offset_desk::OffsetMove;

/// Lines in files.
pub(super) struct Lines {
    path: PathBuf,
    limit: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<File>,
    len: u64,
    last_id: u64,
}

impl Lines {
    /// The history in a folder. Of what an earlier run wrote, only the last number is kept in memory.
    pub(super) fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let lines = Self { path: folder.join("offset-history.jsonl"), limit, state: Mutex::default() };
        let last_id = lines.newest_first(|_| true).next().map_or(0, |entry| entry.id);
        let torn = read(&lines.path)?.last().is_some_and(|last| *last != b'\n');
        let mut state = lines.state.lock();
        state.last_id = last_id;
        if torn {
            lines.append(&mut state, b"\n")?;
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
        if state.file.is_some() && state.len + line.len() as u64 > self.limit {
            state.file = None;
            std::fs::rename(&self.path, self.older())?;
        }
        if state.file.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            state.len = file.metadata()?.len();
            state.file = Some(file);
        }
        if let Some(file) = &mut state.file {
            file.write_all(line)?;
            state.len += line.len() as u64;
        }
        Ok(())
    }

    /// Entries that `wanted` lets pass, newest first. Reads the files.
    pub(super) fn newest_first(&self, wanted: impl Fn(&OffsetMove) -> bool) -> impl Iterator<Item = OffsetMove> {
        [self.path.clone(), self.older()].into_iter().flat_map(move |path| {
            let content = read(&path).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "the history of offsets cannot be read");
                Vec::new()
            });
            let lines = content.split(|byte| *byte == b'\n').rev();
            lines.filter_map(|line| serde_json::from_slice(line).ok()).filter(&wanted).collect::<Vec<OffsetMove>>()
        })
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("1.jsonl")
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        content => content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(group: &str) -> OffsetMove {
        OffsetMove { group: group.into(), topic: "t".into(), action: "reset".into(), ..OffsetMove::default() }
    }

    #[test]
    fn entries_are_numbered_and_found_newest_first_also_after_a_restart_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let lines = Lines::open(folder.path(), 1 << 20).unwrap();
        assert_eq!((lines.write(entry("a")).id, lines.write(entry("b")).id), (1, 2));
        drop(lines);
        let path = folder.path().join("offset-history.jsonl");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"id\":3,\"gro");
        std::fs::write(&path, bytes).unwrap();
        let lines = Lines::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(lines.write(entry("a")).id, 3);
        let found: Vec<_> = lines.newest_first(|entry| entry.group == "a").map(|entry| entry.id).collect();
        assert_eq!(found, [3, 1]);
    }

    #[test]
    fn the_files_stay_within_twice_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let lines = Lines::open(folder.path(), 2000).unwrap();
        (0..100).for_each(|_| _ = lines.write(entry("a")));
        let sizes: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size <= 2000), "{sizes:?}");
        assert_eq!(lines.newest_first(|_| true).next().unwrap().id, 100);
    }
}
