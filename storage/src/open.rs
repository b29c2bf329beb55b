//! Opening a data directory: lock, load, recover, and only then take writes.
//!
//! Where the log is walked from depends on how the last run ended:
//!
//! | last run | start of the walk |
//! | --- | --- |
//! | clean stop | the last record that a queue knows |
//! | killed, and the machine has not restarted since | the same, with its entry written anew |
//! | machine crashed, or not known | the newest file that is older than the checkpoint |
//!
//! Entries of what is walked over are not believed after an unclean end: they are taken away first, and written anew. A
//! crash of the machine may have left half of one, or one of a record that it took.
//!
//! Killing the process loses nothing that was written to a mapping, and an entry is written in the same step as its record:
//! that is why the second case need not trust the checkpoint, and costs a few records.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::checkpoint::Checkpoint;
use crate::commit_log::{Allocator, Checks, CommitLog, RecoveryReport, ReserveFile, SegmentFiles, Start, recover};
use crate::config::StoreConfig;
use crate::consume_queue::entry::Entry;
use crate::consume_queue::load::LastRun;
use crate::consume_queue::table::QueueTable;
use crate::dispatch::Dispatcher;
use crate::error::{FileError, OpenError};
use crate::flush::Flusher;
use crate::fs::FileSystem;
use crate::index::Index;
use crate::indexing::{Indexer, Note, Opening};
use crate::lock::{AbortFile, DirectoryLock};
use crate::poison::Gate;
use crate::store::{Environment, Parts};

/// Folder of what Apache has no file for. All in it can be removed while the store is down.
const OWN_FOLDER: &str = "tenonmq";
/// Changes with every start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Opens `config.root` and recovers what is in it. No thread runs yet.
pub(crate) fn open(config: StoreConfig, env: Environment) -> Result<Parts, OpenError> {
    let started = Instant::now();
    config.check().map_err(OpenError::Config)?;
    let fs = Arc::clone(&env.fs);
    fs.create_dir_all(&config.root).map_err(FileError::of("create", &config.root))?;
    let lock = DirectoryLock::acquire(&*fs, &config.root)?;
    let abort = AbortFile::new(Arc::clone(&fs), &config.root);
    let mark = RunMark::new(Arc::clone(&fs), &config.root);
    let mut report = RecoveryReport { clean: !abort.exists(), ..RecoveryReport::default() };

    let checkpoint = Checkpoint::load(Arc::clone(&fs), &config.root)?;
    let checkpoint = Arc::new(checkpoint);
    let files = Arc::new(SegmentFiles::new(Arc::clone(&fs), config.commit_log_dirs(), config.segment_size));
    let loaded = files.load()?;
    let same_boot = mark.same_boot();
    let last_run = match (report.clean, same_boot) {
        (true, _) => LastRun::Stopped,
        (false, true) => LastRun::Killed,
        (false, false) => LastRun::Crashed,
    };
    report.machine_died = last_run == LastRun::Crashed;
    let queues = Arc::new(QueueTable::load(&config, &fs, last_run)?);
    if loaded.is_empty() {
        // Without a log the queues point to nothing.
        queues.delete_all()?;
    }
    let complete = report.clean || same_boot;
    let index = Index::open(&config, &fs, &env.clock, &checkpoint, complete)?;
    let start = match (last_entry(&queues), last_run) {
        (Some(last), LastRun::Stopped) => Start::at(&last, None),
        (Some(last), LastRun::Killed) => Start::at(&last, Some(checkpoint.min_timestamp())),
        (Some(_), LastRun::Crashed) => Start::Before(checkpoint.min_timestamp()),
        (None, _) => Start::First,
    };
    let dispatcher = Dispatcher::new(Arc::clone(&queues), config.delay_levels_ms.clone(), config.light_queues > 0);
    let checks = Checks { body: config.check_crc, record: config.verify_record_crc };
    if last_run != LastRun::Stopped {
        queues.truncate(start.offset(&loaded, checks))?;
    }
    let durable = checkpoint.min_timestamp();
    let recovered = recover(&files, loaded, start, checks, durable, &mut report, |record, offset| {
        dispatcher.dispatch(record, offset)
    })?;
    queues.truncate(recovered.end)?;
    if index.last_offset().is_some_and(|last| last >= recovered.end) {
        index.truncate(recovered.end)?;
    }
    let min = recovered.segments.first().map_or(0, |first| first.base);
    queues.correct_min(min);
    let opening = Opening { complete, min, end: recovered.end };
    checkpoint.set_confirm_offset(recovered.last_record.map_or(0, u64::cast_signed));

    abort.create()?;
    mark.set()?;
    let gate = Arc::new(Gate::default());
    let reserve =
        ReserveFile::new(config.root.join(OWN_FOLDER).join("reserve"), config.reserve_bytes, Arc::clone(&files));
    let allocator = Arc::new(Allocator::new(Arc::clone(&files), Arc::clone(&gate), reserve));
    let clock = Arc::clone(&env.clock);
    let log = CommitLog::new(&config, files, Arc::clone(&allocator), Arc::clone(&gate), clock, recovered);
    let log = Arc::new(log);
    let flusher = Flusher::new(Arc::clone(&log), Arc::clone(&checkpoint), Arc::clone(&env.clock), config.flush);
    let note = Note::new(fs, config.root.join(OWN_FOLDER).join("indexed"));
    let indexer = Indexer::new(Arc::new(index), Arc::clone(&log), note, opening, config.index_enabled);
    let indexer = Arc::new(indexer);
    report.elapsed = started.elapsed();
    announce(&config.root, &report);
    let flusher = Arc::new(flusher);
    Ok(Parts {
        config,
        env,
        log,
        queues,
        dispatcher,
        checkpoint,
        flusher,
        indexer,
        allocator,
        gate,
        abort,
        mark,
        lock,
        report,
    })
}

impl Start {
    fn at(last: &Entry, otherwise: Option<i64>) -> Self {
        Self::At { offset: last.physical_offset, record_len: last.size, otherwise }
    }
}

/// The newest entry over all queues.
fn last_entry(queues: &QueueTable) -> Option<Entry> {
    let newest = queues.all().into_iter().max_by_key(|queue| queue.max_physical_offset())?;
    let entry = newest.entry(newest.max_offset() - 1)?;
    (!entry.is_blank()).then_some(entry)
}

fn announce(root: &Path, report: &RecoveryReport) {
    tracing::info!(
        root = %root.display(),
        clean = report.clean,
        records = report.records,
        scanned_bytes = report.scanned_bytes,
        end = report.end,
        elapsed_ms = report.elapsed.as_millis() as u64,
        "the store is open"
    );
    if let Some(offset) = report.cut_at {
        tracing::warn!(offset, "a torn tail was cut off the log");
    }
}

/// Remembers on which start of the machine the store was last opened.
pub(crate) struct RunMark {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    boot_id: Option<Vec<u8>>,
}

impl RunMark {
    fn new(fs: Arc<dyn FileSystem>, root: &Path) -> Self {
        let boot_id = fs.read(Path::new(BOOT_ID)).ok().filter(|id| !id.is_empty());
        Self { fs, path: root.join(OWN_FOLDER).join("boot_id"), boot_id }
    }

    /// Whether the last run was since the machine started, so that nothing it wrote was lost.
    fn same_boot(&self) -> bool {
        self.boot_id.is_some() && self.fs.read(&self.path).ok() == self.boot_id
    }

    fn set(&self) -> Result<(), FileError> {
        let Some(boot_id) = &self.boot_id else { return Ok(()) };
        if let Some(dir) = self.path.parent() {
            self.fs.create_dir_all(dir).map_err(FileError::of("create", dir))?;
        }
        self.fs.write(&self.path, boot_id).map_err(FileError::of("write", &self.path))
    }
}
