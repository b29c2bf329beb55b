//! A long log that takes hardly any space: valid files of full length, whose bodies are holes.
//!
//! It is what a broker leaves behind that stopped in order: log, one queue, checkpoint. A hole reads as zeros, so each
//! record is whole and its checksum right. The queue is the last one of the benchmark's topic, which no workload uses.
//! To make it the directory of a broker that died, put a file `abort` into it.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    os::unix::fs::FileExt,
    path::Path,
};

use tenonmq_protocol::message::{
    UniqueKeyGenerator,
    record::{Assigned, BLANK_LEN, NewRecord, body_crc, encode_blank},
};
use tenonmq_storage::Entry;

use crate::workload::now_ms;

const FILE: u64 = 1 << 30;
/// Zeros of each body: 256 records in a file, with room for its end.
const BODY: usize = (4 << 20) - 4096;
const TOPIC: &str = "BenchmarkTest";
const QUEUE: i32 = 1023;
/// Entries of a queue file.
const ENTRIES: u64 = 300_000;
/// The log was written in that time, in milliseconds.
const WRITTEN_IN: i64 = 3_600_000;
/// Bytes of a record before its body.
const HEAD: usize = 88;

/// Writes `gib` files and what belongs to them.
pub(super) fn write(store: &Path, gib: u64) -> io::Result<()> {
    let folder = store.join("commitlog");
    if folder.exists() {
        return Err(io::Error::other(format!("{} exists already", folder.display())));
    }
    fs::create_dir_all(&folder)?;
    let mut writer = LogWriter::new(gib)?;
    let mut queue = QueueFile::new(store)?;
    for number in 0..gib {
        let base = number * FILE;
        let file = File::create_new(folder.join(format!("{base:020}")))?;
        file.set_len(FILE)?;
        writer.fill(&file, base, &mut queue)?;
        file.sync_all()?;
    }
    queue.close()?;
    checkpoint(store, writer.now)
}

struct LogWriter {
    /// CRC of a body.
    crc: u32,
    keys: UniqueKeyGenerator,
    /// When the next record is stored, and how much later the one behind it.
    now: i64,
    step: i64,
}

impl LogWriter {
    fn new(gib: u64) -> io::Result<Self> {
        let per_file = FILE / BODY as u64;
        let records = i64::try_from(gib * per_file).map_err(io::Error::other)?;
        Ok(Self {
            crc: body_crc(&vec![0; BODY]),
            keys: UniqueKeyGenerator::new([127, 0, 0, 1].into(), std::process::id(), 0),
            now: now_ms() - WRITTEN_IN,
            step: WRITTEN_IN / records.max(1),
        })
    }

    fn fill(&mut self, file: &File, base: u64, queue: &mut QueueFile) -> io::Result<()> {
        let mut at = 0;
        loop {
            let (record, len) = self.record(base + at, queue.next);
            if at + len + BLANK_LEN as u64 > FILE {
                let mut blank = [0; BLANK_LEN];
                encode_blank(&mut blank, (FILE - at) as u32);
                return file.write_all_at(&blank, at);
            }
            file.write_all_at(&record[..HEAD], at)?;
            file.write_all_at(&record[HEAD..], at + (HEAD + BODY) as u64)?;
            queue.add(Entry { physical_offset: base + at, size: len as u32, tags_code: 0 })?;
            at += len;
        }
    }

    /// A record without its body, and its length with it.
    fn record(&mut self, physical_offset: u64, queue_offset: u64) -> (Vec<u8>, u64) {
        self.now += self.step;
        let properties = format!("UNIQ_KEY\u{1}{}\u{2}WAIT\u{1}true\u{2}", self.keys.next(self.now).as_str());
        let host = SocketAddr::from(([127, 0, 0, 1], 10911));
        let new = NewRecord {
            topic: TOPIC,
            queue_id: QUEUE,
            flag: 0,
            sys_flag: 0,
            born_timestamp: self.now,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &[],
            properties: properties.as_bytes(),
            body_crc: self.crc,
        };
        let mut record = vec![0; new.encoded_len()];
        let assigned = Assigned {
            queue_offset: queue_offset.cast_signed(),
            physical_offset: physical_offset.cast_signed(),
            store_timestamp: self.now,
        };
        new.encode(&mut record, assigned);
        let len = record.len() + BODY;
        record[..4].copy_from_slice(&(len as u32).to_be_bytes());
        record[HEAD - 4..HEAD].copy_from_slice(&(BODY as u32).to_be_bytes());
        (record, len as u64)
    }
}

/// The files of the queue, one after the other.
struct QueueFile {
    folder: std::path::PathBuf,
    file: File,
    next: u64,
}

impl QueueFile {
    fn new(store: &Path) -> io::Result<Self> {
        let folder = store.join("consumequeue").join(TOPIC).join(QUEUE.to_string());
        fs::create_dir_all(&folder)?;
        Ok(Self { file: queue_file(&folder, 0)?, folder, next: 0 })
    }

    fn add(&mut self, entry: Entry) -> io::Result<()> {
        let at = self.next % ENTRIES;
        if at == 0 && self.next > 0 {
            let full = std::mem::replace(&mut self.file, queue_file(&self.folder, self.next)?);
            full.sync_all()?;
        }
        self.file.write_all_at(&entry.to_bytes(), at * Entry::LEN as u64)?;
        self.next += 1;
        Ok(())
    }

    fn close(self) -> io::Result<()> {
        self.file.sync_all()
    }
}

fn queue_file(folder: &Path, first: u64) -> io::Result<File> {
    let file = File::create_new(folder.join(format!("{:020}", first * Entry::LEN as u64)))?;
    file.set_len(ENTRIES * Entry::LEN as u64)?;
    Ok(file)
}

/// Everything was on disk when the last record was.
fn checkpoint(store: &Path, now: i64) -> io::Result<()> {
    let mut bytes = vec![0; 4096];
    for field in bytes.chunks_exact_mut(8).take(3) {
        field.copy_from_slice(&now.to_be_bytes());
    }
    fs::write(store.join("checkpoint"), bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use tenonmq_benches::Embedded;
    use tenonmq_storage::{FetchLimits, FetchStatus};

    #[test]
    fn a_broker_opens_the_long_log_and_reads_its_first_and_its_last_message() {
        let dir = tempfile::tempdir().unwrap();
        super::write(dir.path(), 1).unwrap();
        let blocks = |name: &str| std::fs::metadata(dir.path().join("commitlog").join(name)).unwrap().blocks();
        assert!(blocks("00000000000000000000") * 512 < 8 << 20, "bodies take no space");
        let broker = Embedded::start(dir.path(), &[("mappedFileSizeCommitLog", "1073741824")]);
        let core = broker.core();
        let queue = core.store.queue(super::TOPIC, super::QUEUE);
        assert_eq!(queue.max_offset(), 256);
        for offset in [0, 255] {
            let found = core.store.fetch(&queue, offset, FetchLimits::new(1, u32::MAX), |_| true);
            assert_eq!((found.status, found.next_begin), (FetchStatus::Found, offset + 1));
        }
        broker.stop();
    }
}
