//! What a job was told, what became of each letter, and how far it is: one JSON object a line, only appended.
//!
//! The first line is the job. Behind each batch of results comes a line with the progress. What lies behind the last one of
//! those is the rest of a batch that a crash cut off; it is dropped, and found again in the log.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tenonmq_protocol::body::dead_letter_desk::{RedriveJob, RedriveResult, StartRedrive};
use tenonmq_storage::fs::{AppendFile, FileReader, FileSystem};

use super::job::{Job, is_ended};

/// Progress is looked for in so many bytes at the end before the whole file is read.
const TAIL: u64 = 256 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    /// What was wanted, and the job as it began.
    Job(Box<Noted>),
    /// What became of a letter.
    Result(RedriveResult),
    /// How far the job is; `wanted` is empty.
    Progress(Box<Noted>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Noted {
    job: RedriveJob,
    /// Copies that lie before this log offset are noted.
    log_end: u64,
}

/// The file of one job.
pub(super) struct Journal {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    /// Lines that could not be written yet.
    unwritten: Vec<u8>,
    /// Copies that lie before this log offset are noted.
    pub(super) log_end: u64,
}

impl Journal {
    /// The file of a job that begins.
    pub(super) fn create(fs: &Arc<dyn FileSystem>, folder: &Path, job: &RedriveJob, log_end: u64) -> io::Result<Self> {
        fs.create_dir_all(folder)?;
        let path = folder.join(format!("{}.jsonl", job.id));
        let mut journal = Self { fs: Arc::clone(fs), path, unwritten: Vec::new(), log_end };
        journal.push(&Line::Job(Box::new(Noted { job: job.clone(), log_end })));
        journal.write()?;
        fs.sync_dir(folder)?;
        Ok(journal)
    }

    /// Adds results and the progress behind them. What could not be written is tried again with the next ones.
    pub(super) fn note(&mut self, results: &[RedriveResult], job: &RedriveJob, log_end: u64) -> io::Result<()> {
        for result in results {
            self.push(&Line::Result(result.clone()));
        }
        let job = RedriveJob { wanted: StartRedrive::default(), ..job.clone() };
        self.push(&Line::Progress(Box::new(Noted { job, log_end })));
        self.write()?;
        self.log_end = log_end;
        Ok(())
    }

    /// Removes the file.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.fs.remove_file(&self.path)
    }

    /// Results from a place in the file on, at most `count`, and the place behind them; `None` at the end.
    pub(super) fn results(
        &self,
        from: u64,
        count: usize,
        accepts: impl Fn(&RedriveResult) -> bool,
    ) -> io::Result<(Vec<RedriveResult>, Option<u64>)> {
        /// Bytes that one page looks at.
        const MOST: u64 = 8 << 20;
        let file = FileReader::open(&*self.fs, &self.path)?;
        let end = file.file_len()?;
        let mut at = from.min(end);
        let (first, mut found) = (at, Vec::new());
        let mut lines = BufReader::new(file.from(at));
        let mut line = Vec::new();
        while found.len() < count && at - first < MOST {
            line.clear();
            let read = lines.read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok((found, None));
            }
            at += read as u64;
            if let Ok(Line::Result(result)) = serde_json::from_slice(&line)
                && accepts(&result)
            {
                found.push(result);
            }
        }
        Ok((found, (at < end).then_some(at)))
    }

    fn push(&mut self, line: &Line) {
        // writing to memory what has only text, numbers and lists in it cannot fail
        if serde_json::to_writer(&mut self.unwritten, line).is_ok() {
            self.unwritten.push(b'\n');
        }
    }

    fn write(&mut self) -> io::Result<()> {
        AppendFile::open(&self.fs, &self.path)?.append_durably(&self.unwritten)?;
        self.unwritten.clear();
        Ok(())
    }
}

/// The jobs in a folder, by their numbers. One whose file makes no sense is left out.
pub(super) fn load_all(fs: &Arc<dyn FileSystem>, folder: &Path) -> io::Result<BTreeMap<i64, Arc<Job>>> {
    let mut jobs = BTreeMap::new();
    for entry in fs.list(folder)? {
        let path = folder.join(entry.name);
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        match load(fs, &path) {
            Ok((journal, job)) => {
                let recognised = is_ended(job.state).then(Default::default);
                jobs.insert(job.id, Arc::new(Job::new(journal, job, recognised)));
            }
            Err(error) => tracing::error!(path = %path.display(), %error, "a redrive job cannot be read"),
        }
    }
    Ok(jobs)
}

fn load(fs: &Arc<dyn FileSystem>, path: &Path) -> io::Result<(Journal, RedriveJob)> {
    let mut first = Vec::new();
    BufReader::new(FileReader::open(&**fs, path)?).read_until(b'\n', &mut first)?;
    let Line::Job(begun) = serde_json::from_slice(&first)? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is no job"));
    };
    let (last, end) = match last_progress(&**fs, path, TAIL)? {
        None => last_progress(&**fs, path, u64::MAX)?,
        found => found,
    }
    .unwrap_or_else(|| (Noted { job: begun.job.clone(), log_end: begun.log_end }, first.len() as u64));
    AppendFile::open(fs, path)?.cut(end)?;
    let journal = Journal { fs: Arc::clone(fs), path: path.to_owned(), unwritten: Vec::new(), log_end: last.log_end };
    Ok((journal, RedriveJob { wanted: begun.job.wanted, ..last.job }))
}

/// The last line with progress among the last `max` bytes, and where it ends.
fn last_progress(fs: &dyn FileSystem, path: &Path, max: u64) -> io::Result<Option<(Noted, u64)>> {
    let file = FileReader::open(fs, path)?;
    let mut at = file.file_len()?.saturating_sub(max);
    let mut lines = BufReader::new(file.from(at));
    let (mut line, mut found) = (Vec::new(), None);
    while lines.read_until(b'\n', &mut line)? > 0 {
        at += line.len() as u64;
        if line.ends_with(b"\n")
            && let Ok(Line::Progress(noted)) = serde_json::from_slice(&line)
        {
            found = Some((*noted, at));
        }
        line.clear();
    }
    Ok(found)
}
