//! Group commit without a broker: how many records a second a file takes when each must be on disk before its sender
//! goes on.
//!
//! Sender threads stand for many logical senders each. A record is appended to what waits; one thread writes all that
//! waits and calls `fdatasync`, again and again; then those senders append their next record. The files are
//! preallocated and as long as a log's, and follow one another. What a broker with synchronous flush cannot beat is
//! this, on the same directory.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use parking_lot::{Condvar, Mutex};
use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use serde_json::json;

use crate::report;

/// What is asked for.
#[derive(Args, Clone)]
pub(crate) struct Plan {
    /// Directory for the files: on the disk that the broker's store is on.
    #[arg(long)]
    dir: PathBuf,
    /// Threads of senders. 0: no threads, every write has one record of each sender.
    #[arg(long, default_value_t = 8)]
    threads: usize,
    /// Senders of each thread (of the whole run, without threads).
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    /// Body bytes of each message; the record has some hundred more.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Bytes of each file.
    #[arg(long, default_value_t = 1 << 30)]
    file_size: u64,
    /// Seconds before measuring.
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    /// Seconds of measuring.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Records of one thread that were appended together.
struct Appended {
    thread: usize,
    count: usize,
    at: Instant,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    records: Vec<Appended>,
    /// Senders of each thread whose record is on disk.
    free: Vec<usize>,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    work: Condvar,
    done: Condvar,
}

/// What was counted while it was measured.
struct Tally {
    records: u64,
    syncs: u64,
    latency: Histogram<u64>,
}

/// Measures, prints, and removes its files.
pub(crate) fn run(plan: &Plan) -> io::Result<()> {
    let folder = tempfile::tempdir_in(&plan.dir)?;
    let record = super::record(plan.size);
    let (tally, elapsed) =
        if plan.threads == 0 { alone(plan, &record, folder.path()) } else { shared(plan, &record, folder.path()) }?;
    let rate = tally.records as f64 / elapsed.as_secs_f64();
    let text = format!(
        "fdatasync: {} threads x {} senders, records of {} bytes\n  rate      {rate:>12.0} records/s ({:.0} syncs/s, {:.0} records each)\n  latency   {:>12.3} ms p50  {:.3} p99  {:.3} max\n",
        plan.threads,
        plan.in_flight,
        record.len(),
        tally.syncs as f64 / elapsed.as_secs_f64(),
        tally.records as f64 / tally.syncs.max(1) as f64,
        tally.latency.value_at_quantile(0.5) as f64 / 1000.0,
        tally.latency.value_at_quantile(0.99) as f64 / 1000.0,
        tally.latency.max() as f64 / 1000.0,
    );
    let figures = json!({
        "workload": "baseline-fdatasync",
        "parameters": {
            "threads": plan.threads, "in_flight": plan.in_flight, "size": plan.size, "record_bytes": record.len(),
            "file_size": plan.file_size,
        },
        "seconds": elapsed.as_secs_f64(),
        "operations": tally.records,
        "rate": rate,
        "syncs": tally.syncs,
        "latency_us": report::latencies(&tally.latency),
    });
    report::print(plan.json, &text, figures);
    Ok(())
}

/// One thread that writes a record of each sender at once.
fn alone(plan: &Plan, record: &[u8], folder: &Path) -> io::Result<(Tally, Duration)> {
    let mut files = Files::new(folder, plan.file_size)?;
    let group = record.repeat(plan.in_flight.max(1));
    let begin = Instant::now() + Duration::from_secs(plan.warm_up);
    let end = begin + Duration::from_secs(plan.seconds.max(1));
    let mut tally = Tally::new()?;
    loop {
        let at = Instant::now();
        if at >= end {
            return Ok((tally, begin.elapsed()));
        }
        files.append_durably(&group)?;
        if at >= begin {
            tally.count(plan.in_flight.max(1), at);
            tally.syncs += 1;
        }
    }
}

/// Threads of senders, and this one that writes.
fn shared(plan: &Plan, record: &[u8], folder: &Path) -> io::Result<(Tally, Duration)> {
    let mut files = Files::new(folder, plan.file_size)?;
    let shared = Arc::new(Shared::default());
    shared.waiting.lock().free = vec![plan.in_flight.max(1); plan.threads];
    thread::scope(|scope| {
        for thread in 0..plan.threads {
            let shared = Arc::clone(&shared);
            scope.spawn(move || shared.send(thread, record));
        }
        let written = shared.write(plan, &mut files);
        shared.waiting.lock().stop = true;
        shared.done.notify_all();
        written
    })
}

impl Shared {
    fn send(&self, thread: usize, record: &[u8]) {
        let mut waiting = self.waiting.lock();
        loop {
            while !waiting.stop && waiting.free[thread] == 0 {
                self.done.wait(&mut waiting);
            }
            if waiting.stop {
                return;
            }
            let count = std::mem::take(&mut waiting.free[thread]);
            for _ in 0..count {
                waiting.bytes.extend_from_slice(record);
            }
            waiting.records.push(Appended { thread, count, at: Instant::now() });
            self.work.notify_one();
        }
    }

    fn write(&self, plan: &Plan, files: &mut Files) -> io::Result<(Tally, Duration)> {
        let begin = Instant::now() + Duration::from_secs(plan.warm_up);
        let end = begin + Duration::from_secs(plan.seconds.max(1));
        let mut tally = Tally::new()?;
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.records.is_empty() {
                self.work.wait(&mut waiting);
            }
            std::mem::swap(&mut waiting.bytes, &mut bytes);
            std::mem::swap(&mut waiting.records, &mut records);
            drop(waiting);
            files.append_durably(&bytes)?;
            bytes.clear();
            let now = Instant::now();
            if now >= end {
                return Ok((tally, begin.elapsed()));
            }
            tally.syncs += u64::from(now >= begin);
            let mut waiting = self.waiting.lock();
            for appended in records.drain(..) {
                waiting.free[appended.thread] += appended.count;
                if now >= begin {
                    tally.count(appended.count, appended.at);
                }
            }
            drop(waiting);
            self.done.notify_all();
        }
    }
}

impl Tally {
    fn new() -> io::Result<Self> {
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other)?;
        Ok(Self { records: 0, syncs: 0, latency })
    }

    fn count(&mut self, records: usize, since: Instant) {
        self.records += records as u64;
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let most = self.latency.high();
        // What is longer than the histogram counts as its longest.
        let _ = self.latency.record_n(micros.clamp(1, most), records as u64);
    }
}

/// Preallocated files, one behind the other; only the last one is kept.
struct Files {
    folder: PathBuf,
    size: u64,
    number: u64,
    current: File,
    at: u64,
}

impl Files {
    fn new(folder: &Path, size: u64) -> io::Result<Self> {
        Ok(Self { folder: folder.to_owned(), size, number: 0, current: preallocated(folder, 0, size)?, at: 0 })
    }

    fn append_durably(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.at + bytes.len() as u64 > self.size {
            let next = preallocated(&self.folder, self.number + 1, self.size)?;
            fs::remove_file(path(&self.folder, self.number))?;
            self.number += 1;
            (self.current, self.at) = (next, 0);
        }
        self.current.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(fdatasync(&self.current)?)
    }
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}"))
}

fn preallocated(folder: &Path, number: u64, size: u64) -> io::Result<File> {
    let file = File::create_new(path(folder, number))?;
    fallocate(&file, FallocateFlags::empty(), 0, size)?;
    file.sync_all()?;
    Ok(file)
}
