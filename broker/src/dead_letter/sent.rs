//! Which dead letters were sent again, over all jobs.
//!
//! A letter is told by its log offset, which is never given twice in a directory, whereas queue offsets begin anew when a
//! topic is deleted. The list is as long as there are such letters in the log; those that the log no longer has are dropped
//! at start. The file has a line a batch: the group and the offsets, separated by spaces.

use std::{io, path::PathBuf, sync::Arc};

use rustc_hash::{FxHashMap, FxHashSet};
use tenonmq_storage::{
    Store,
    fs::{AppendFile, FileSystem, read_if_there, replace},
};

/// The list.
pub(super) struct SentAgain {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    by_group: FxHashMap<String, FxHashSet<u64>>,
}

impl SentAgain {
    /// Reads the file, and writes it anew without the letters that are gone. Blocking.
    pub(super) fn load(path: PathBuf, store: &Store) -> io::Result<Self> {
        let fs = Arc::clone(store.fs());
        let text = String::from_utf8(read_if_there(&*fs, &path)?.unwrap_or_default())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let oldest = store.watermarks().min;
        let mut by_group: FxHashMap<String, FxHashSet<u64>> = FxHashMap::default();
        let mut dropped = false;
        for line in text.split_inclusive('\n') {
            let mut words = line.strip_suffix('\n').unwrap_or_default().split(' '); // a line that was cut off is none
            let Some(group) = words.next().filter(|group| !group.is_empty()) else { continue };
            for offset in words.filter_map(|word| word.parse::<u64>().ok()) {
                if offset < oldest {
                    dropped = true;
                } else {
                    by_group.entry(group.to_owned()).or_default().insert(offset);
                }
            }
        }
        let sent = Self { fs, path, by_group };
        if dropped || !(text.is_empty() || text.ends_with('\n')) {
            sent.rewrite()?;
        }
        Ok(sent)
    }

    pub(super) fn contains(&self, group: &str, log_offset: u64) -> bool {
        self.by_group.get(group).is_some_and(|sent| sent.contains(&log_offset))
    }

    /// How many letters of a group were sent, of those at or behind a log offset.
    pub(super) fn count(&self, group: &str, from: u64) -> usize {
        self.by_group.get(group).map_or(0, |sent| sent.iter().filter(|at| **at >= from).count())
    }

    /// Adds letters that were sent. They count as sent even when the file cannot be written.
    pub(super) fn add(&mut self, group: &str, log_offsets: &[u64]) -> io::Result<()> {
        self.by_group.entry(group.to_owned()).or_default().extend(log_offsets);
        AppendFile::open(&self.fs, &self.path)?.append_durably(line(group, log_offsets).as_bytes())
    }

    fn rewrite(&self) -> io::Result<()> {
        let mut text = String::new();
        for (group, sent) in &self.by_group {
            let sent: Vec<u64> = sent.iter().copied().collect();
            sent.chunks(1000).for_each(|part| text.push_str(&line(group, part)));
        }
        replace(&*self.fs, &self.path, text.as_bytes())
    }
}

fn line(group: &str, log_offsets: &[u64]) -> String {
    use std::fmt::Write as _;
    let mut line = group.to_owned();
    for offset in log_offsets {
        let _ = write!(line, " {offset}"); // writing to a string never fails
    }
    line.push('\n');
    line
}
