//! What was delivered already, on disk: `<root>/tenonmq/timers`.
//!
//! Each line is a [`Mark`] and where the log ended when it was true. A line counts only when the log still reaches that
//! far: what was delivered behind that end may be gone from the log, and then it is pending again. The last line that
//! counts is the state; deliveries behind it are found in the log itself (see `resume`). Lines are written without
//! syncing, so what a crash of the machine can take is the newest of them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tenonmq_storage::{
    FileError, Store,
    fs::{self, AppendFile, FileSystem, read_if_there},
};

use super::index::{Key, Mark};

const LINE: usize = 56;
const MAGIC: u32 = 0x544D_5231; // "TMR1"
/// Lines after which the file begins anew.
const LINES: u64 = 20_000;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) mark: Mark,
    /// Everything before this place is done.
    pub(super) floor: i64,
    /// End of the log when it was written.
    pub(super) log_end: u64,
}

/// The file.
pub(super) struct Journal {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    file: Option<AppendFile>,
    lines: u64,
    last: Option<Line>,
    /// A line that lies before everything that a crash of the machine can take from the log.
    safe: Option<Line>,
    /// Becomes `safe` when the log is flushed so far.
    candidate: Option<Line>,
}

impl Journal {
    /// Opens the file; the last line that counts in a log that ends at `log_end`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn open(store: &Store, log_end: u64) -> Result<(Self, Option<Line>), FileError> {
        Self::at(store.fs(), &store.root().join("tenonmq").join("timers"), log_end)
    }

    fn at(fs: &Arc<dyn FileSystem>, path: &Path, log_end: u64) -> Result<(Self, Option<Line>), FileError> {
        let bytes = read_if_there(&**fs, path).map_err(FileError::of("read", path))?.unwrap_or_default();
        let lines: Vec<Line> = bytes.chunks_exact(LINE).map_while(decode).collect();
        let last = lines.iter().rfind(|line| line.log_end <= log_end).copied();
        if lines.iter().any(|line| line.log_end > log_end) {
            replace(fs, path, last.as_slice())?; // before the log grows so far again
        }
        let (fs, path) = (Arc::clone(fs), path.to_owned());
        let journal = Self { fs, path, file: None, lines: 0, last: None, safe: last, candidate: None };
        Ok((journal, last))
    }

    /// The last line that was written by this process.
    pub(super) fn last(&self) -> Option<&Line> {
        self.last.as_ref()
    }

    /// Adds a line. The first one of a process begins the file anew, so that lines that did not count cannot count
    /// again when the log has grown.
    ///
    /// # Errors
    /// The file cannot be written; the state on disk is an older one then.
    pub(super) fn write(&mut self, line: Line, flushed: u64) -> Result<(), FileError> {
        if let Some(candidate) = self.candidate.filter(|candidate| candidate.log_end <= flushed) {
            self.safe = Some(candidate);
            self.candidate = None;
        }
        self.candidate.get_or_insert(line);
        match &mut self.file {
            Some(file) if self.lines < LINES => {
                file.append(&encode(&line)).map_err(FileError::of("append to", &self.path))?;
                self.lines += 1;
            }
            _ => self.begin(line)?,
        }
        self.last = Some(line);
        Ok(())
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The disk refused.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        match &self.file {
            Some(file) => file.sync().map_err(FileError::of("sync", &self.path)),
            None => Ok(()),
        }
    }

    fn begin(&mut self, line: Line) -> Result<(), FileError> {
        if let Some(folder) = self.path.parent() {
            self.fs.create_dir_all(folder).map_err(FileError::of("create", folder))?;
        }
        let lines: Vec<Line> = self.safe.into_iter().chain([line]).collect();
        self.file = Some(replace(&self.fs, &self.path, &lines)?);
        self.lines = lines.len() as u64;
        Ok(())
    }

    /// Forgets everything: the log may be cut and grow again by what another broker writes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn clear(&mut self) -> Result<(), FileError> {
        (self.last, self.safe, self.candidate, self.file) = (None, None, None, None);
        if self.fs.exists(&self.path) { replace(&self.fs, &self.path, &[]).map(drop) } else { Ok(()) }
    }
}

/// A new file with these lines, durable, in place of the old one. So is its name: the old one could come back with lines
/// that speak of a log which a crash of the machine took, and would count in the log that has grown since.
fn replace(disk: &Arc<dyn FileSystem>, path: &Path, lines: &[Line]) -> Result<AppendFile, FileError> {
    let content: Vec<u8> = lines.iter().flat_map(encode).collect();
    fs::replace(&**disk, path, &content)
        .and_then(|()| AppendFile::open(disk, path))
        .map_err(FileError::of("write", path))
}

fn encode(line: &Line) -> [u8; LINE] {
    let mut bytes = [0; LINE];
    let mark = &line.mark;
    let fields = [mark.through.due_ms, mark.through.at, mark.frontier, line.floor, line.log_end.cast_signed()];
    for (place, field) in bytes.as_chunks_mut::<8>().0.iter_mut().skip(1).zip(fields) {
        *place = field.to_be_bytes();
    }
    let crc = crc32fast::hash(&bytes[8..]);
    bytes[..4].copy_from_slice(&MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Line> {
    let (words, _) = bytes.as_chunks::<8>();
    let [head, due_ms, at, frontier, floor, log_end, _] = words else { return None };
    let crc = crc32fast::hash(bytes.get(8..)?);
    if *head != (u64::from(MAGIC) << 32 | u64::from(crc)).to_be_bytes() {
        return None;
    }
    let [due_ms, at, frontier, floor] = [due_ms, at, frontier, floor].map(|word| i64::from_be_bytes(*word));
    let mark = Mark { through: Key { due_ms, at }, frontier };
    Some(Line { mark, floor, log_end: u64::from_be_bytes(*log_end) })
}

#[cfg(test)]
mod tests {
    use tenonmq_storage::fs::{FaultyFs, Op, RealFs};

    use super::*;

    fn real() -> Arc<dyn FileSystem> {
        Arc::new(RealFs)
    }

    fn line(n: i64) -> Line {
        let mark = Mark { through: Key { due_ms: n, at: n }, frontier: n };
        Line { mark, floor: n / 2, log_end: n.unsigned_abs() * 100 }
    }

    fn reopened(path: &Path, log_end: u64) -> Option<Line> {
        Journal::at(&real(), path, log_end).unwrap().1
    }

    #[test]
    fn the_last_line_that_the_log_reaches_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenonmq").join("timers");
        let (mut journal, none) = Journal::at(&real(), &path, 0).unwrap();
        assert_eq!(none, None);
        (1..=5).for_each(|n| journal.write(line(n), 0).unwrap());
        assert_eq!(reopened(&path, 1_000), Some(line(5)));
        assert_eq!(reopened(&path, 399), Some(line(3)));
        assert_eq!(reopened(&path, 99), None);
    }

    #[test]
    fn a_torn_line_and_what_is_behind_it_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timers");
        let (mut journal, _) = Journal::at(&real(), &path, 0).unwrap();
        (1..=3).for_each(|n| journal.write(line(n), 0).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[LINE + 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(reopened(&path, 1_000), Some(line(1)));
        std::fs::write(&path, &bytes[..LINE + 7]).unwrap();
        assert_eq!(reopened(&path, 1_000), Some(line(1)));
    }

    #[test]
    fn a_line_that_did_not_count_does_not_come_back_when_the_log_has_grown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timers");
        let (mut journal, _) = Journal::at(&real(), &path, 0).unwrap();
        journal.write(line(2), 0).unwrap();
        journal.write(line(9), 0).unwrap();
        let (mut journal, found) = Journal::at(&real(), &path, 300).unwrap();
        assert_eq!(found, Some(line(2)));
        assert_eq!(reopened(&path, 5_000), Some(line(2)), "although nothing was written yet");
        journal.write(line(3), 0).unwrap();
        assert_eq!(reopened(&path, 5_000), Some(line(3)));
    }

    #[test]
    fn lines_that_do_not_count_are_gone_from_the_disk_before_the_log_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timers");
        let faulty = Arc::new(FaultyFs::new());
        let fs: Arc<dyn FileSystem> = Arc::<FaultyFs>::clone(&faulty);
        let (mut journal, _) = Journal::at(&fs, &path, 0).unwrap();
        (1..=9).for_each(|n| journal.write(line(n), 0).unwrap());
        let synced = faulty.calls(Op::SyncDir);
        Journal::at(&fs, &path, 300).unwrap();
        assert_eq!(faulty.calls(Op::SyncDir), synced + 1, "else a crash of the machine could bring the old file back");
        Journal::at(&fs, &path, 300).unwrap();
        assert_eq!(faulty.calls(Op::SyncDir), synced + 1);
    }

    #[test]
    fn a_file_that_begins_anew_keeps_a_line_before_what_is_flushed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timers");
        let (mut journal, _) = Journal::at(&real(), &path, 0).unwrap();
        journal.write(line(1), 0).unwrap();
        (2..30_000).for_each(|n| journal.write(line(n), 150).unwrap());
        assert!(std::fs::metadata(&path).unwrap().len() < 2 * LINES * LINE as u64);
        assert_eq!(reopened(&path, u64::MAX >> 1), Some(line(29_999)));
        assert_eq!(reopened(&path, 150), Some(line(1)));
    }
}
