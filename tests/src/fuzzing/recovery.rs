//! A data directory whose files were changed: a broker opens it and reads it through, or says which file is wrong.
//!
//! The input is a list of edits to a tiny directory that a broker wrote: [`Edit`].

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use tenonmq_protocol::message::RecordView;
use tenonmq_storage::FetchLimits;

use crate::tiny_store::{self, Kind};

/// Most edits of one input.
const EDITS: usize = 16;
/// A file grows to this length at most, in bytes.
const MOST: usize = 64 << 10;

/// One change of one file: `file(u8) action(u8) position(u16) length(u8) bytes`.
struct Edit<'a> {
    file: usize,
    action: u8,
    position: usize,
    bytes: &'a [u8],
}

impl<'a> Edit<'a> {
    fn read(input: &mut &'a [u8]) -> Option<Self> {
        let ([file, action, high, low, len], rest) = input.split_first_chunk::<5>()?;
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        *input = rest;
        let position = usize::from(u16::from_be_bytes([*high, *low]));
        Some(Self { file: usize::from(*file), action: *action, position, bytes })
    }

    fn apply(&self, content: &mut Vec<u8>) {
        let at = if content.is_empty() { 0 } else { self.position % content.len() };
        match self.action % 5 {
            0 => content.iter_mut().skip(at).zip(self.bytes).for_each(|(byte, new)| *byte = *new),
            1 => content.iter_mut().skip(at).zip(self.bytes).for_each(|(byte, new)| *byte ^= *new),
            2 => content.truncate(at),
            3 => content.extend_from_slice(self.bytes),
            _ => *content = self.bytes.to_vec(),
        }
        content.truncate(MOST);
    }
}

/// Files of the directory that inputs are edits of, in the order of their numbers.
struct Base {
    folder: tempfile::TempDir,
    files: Vec<PathBuf>,
}

static BASES: [OnceLock<Base>; 2] = [const { OnceLock::new() }; 2];

fn base(killed: bool) -> &'static Base {
    BASES[usize::from(killed)].get_or_init(|| {
        let folder = tiny_store::write(Kind { killed, record_crc: false });
        let files = tiny_store::files(folder.path()).expect("a listing");
        Base { folder, files }
    })
}

/// The first byte says whether the broker that wrote the directory was killed, and whether the one that opens it verifies what
/// it reads; the rest is edits.
pub(super) fn recovery(bytes: &[u8]) {
    let Some((first, mut rest)) = bytes.split_first() else { return };
    let base = base(first & 1 == 1);
    let copy = tempfile::tempdir_in(tiny_store::memory()).expect("a directory");
    tiny_store::copy(base.folder.path(), copy.path()).expect("a copy");
    for _ in 0..EDITS {
        let Some(edit) = Edit::read(&mut rest) else { break };
        let path = copy.path().join(&base.files[edit.file % base.files.len()]);
        let mut content = fs::read(&path).expect("a file");
        edit.apply(&mut content);
        fs::write(&path, content).expect("a write");
    }
    open_and_read(copy.path(), first & 2 == 2);
}

/// What opens can be read to the end of every queue, and closes. Every answer of a broker that verifies can be read by a client.
fn open_and_read(root: &Path, verified: bool) {
    let core = match tiny_store::open(root, Kind::default(), verified) {
        Ok(core) => Arc::new(core),
        Err(error) => return assert!(names_a_file(&error), "{error:?}"),
    };
    let store = &core.store;
    for (topic, ids) in store.topics_with_queues() {
        for id in ids {
            let queue = store.queue(&topic, id);
            let mut from = queue.min_offset();
            while from < queue.max_offset() {
                let fetched = store.fetch(&queue, from, FetchLimits::new(32, 1 << 20), |_| true);
                assert!(fetched.next_begin > from, "{:?} at {from} of {topic}", fetched.status);
                for bytes in &fetched.records {
                    let readable = RecordView::iter_all(bytes).all(|record| record.is_ok());
                    assert!(readable || !verified, "{topic} {id} at {from}");
                }
                from = fetched.next_begin;
            }
        }
    }
    for key in ["plain k0", "plain k1", "orders paid"] {
        let (topic, key) = key.split_once(' ').expect("two words");
        let _ = store.query_by_key(topic, key, 32, 0, i64::MAX);
    }
    let _ = store.shutdown();
}

fn names_a_file(error: &dyn std::error::Error) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if ["/", ".json", "offset", "record"].iter().any(|part| text.contains(part)) {
            return true;
        }
        cause = error.source();
    }
    false
}
