//! One bit of a data directory is wrong: what does a broker do that is started over it?
//!
//! A tiny directory (see [`tiny_store`]) is copied, one bit of one file is turned over, and a broker opens the copy. Either it
//! says which file is wrong, or every message that it delivers is compared, byte for byte, with what was stored.
//! A directory that Apache wrote can take its place ([`golden`]).
//! [`Finding`] says what became of it; where a wrong message was delivered, [`fields`] says which part of the record it was.
//!
//! Nothing may panic, and nothing but the parts that Apache's format leaves unguarded may come out wrong: [`UNGUARDED`].

pub mod fields;
mod golden;
mod report;
mod truth;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tenonmq_broker::core::{Core, CoreError};

pub use self::{report::Report, truth::Truth};
use crate::tiny_store::{self, Kind};

/// A directory, what a broker delivers of it while it is whole, and its files.
pub struct Subject {
    folder: TempDir,
    origin: Origin,
    /// Whether the broker that opens it compares checksums whenever it reads.
    verified: bool,
    truth: Truth,
    files: Vec<(PathBuf, usize)>,
}

/// Who wrote a directory, and so with which settings it is opened.
#[derive(Debug, Clone, Copy)]
enum Origin {
    Tiny(Kind),
    Golden(&'static str),
}

impl Origin {
    fn open(self, root: &Path, verified: bool) -> Result<Core, CoreError> {
        match self {
            Self::Tiny(kind) => tiny_store::open(root, kind, verified),
            Self::Golden(variant) => tiny_store::open_with(golden::config(root, variant), verified),
        }
    }
}

/// One bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bit {
    /// Path below the root.
    pub file: PathBuf,
    /// Byte in the file.
    pub at: usize,
    /// Bit of the byte, 0 to 7.
    pub bit: u8,
}

/// What came of a wrong bit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// All messages are delivered as they were stored.
    Harmless,
    /// The broker does not start, and says which file it is.
    Refused,
    /// All messages are delivered as they were stored, but this is not what it was.
    Changed(&'static str),
    /// So many messages are not delivered; the others are as they were.
    Withheld(usize),
    /// A message comes out wrong in this part, or twice.
    Wrong(&'static str),
}

impl Subject {
    /// Takes a directory that was written for this.
    ///
    /// # Errors
    /// It cannot be copied.
    ///
    /// # Panics
    /// A broker cannot open it.
    pub fn new(folder: TempDir, kind: Kind, verified: bool) -> io::Result<Self> {
        Self::of(folder, Origin::Tiny(kind), verified)
    }

    /// Takes a captured directory of Apache: `clean`, `killed` or `ext`. What is delivered of it is what the listing says.
    ///
    /// # Errors
    /// It cannot be copied.
    ///
    /// # Panics
    /// A broker cannot open it, or delivers something else.
    pub fn golden(variant: &'static str, verified: bool) -> io::Result<Self> {
        let subject = Self::of(copied(&golden::data(variant))?, Origin::Golden(variant), verified)?;
        golden::assert_as_listed(&subject.truth, variant)?;
        Ok(subject)
    }

    fn of(folder: TempDir, origin: Origin, verified: bool) -> io::Result<Self> {
        let files = tiny_store::files(folder.path())?;
        let with_length = |path: PathBuf| {
            let len = used(&fs::read(folder.path().join(&path))?);
            Ok((path, len))
        };
        let files = files.into_iter().map(with_length).collect::<io::Result<_>>()?;
        let copy = copied(folder.path())?;
        let core = origin.open(copy.path(), verified).expect("a whole directory opens");
        let truth = Truth::of(&core);
        drop(core);
        Ok(Self { folder, origin, verified, truth, files })
    }

    /// All bits of all files, but for the zeros behind their ends.
    pub fn bits(&self) -> usize {
        self.files.iter().map(|(_, len)| len * 8).sum()
    }

    /// Bit number `n` of [`bits`](Self::bits), in the order of the files.
    pub fn bit(&self, mut n: usize) -> Option<Bit> {
        for (file, len) in &self.files {
            if n < len * 8 {
                return Some(Bit { file: file.clone(), at: n / 8, bit: (n % 8) as u8 });
            }
            n -= len * 8;
        }
        None
    }

    /// How many messages are delivered of the whole directory.
    pub fn messages(&self) -> usize {
        self.truth.len()
    }

    /// Turns a bit over in a copy, and opens that.
    ///
    /// # Errors
    /// The copy cannot be made.
    pub fn flip(&self, bit: &Bit) -> io::Result<Finding> {
        let copy = copied(self.folder.path())?;
        let path = copy.path().join(&bit.file);
        let mut content = fs::read(&path)?;
        if let Some(byte) = content.get_mut(bit.at) {
            *byte ^= 1 << bit.bit;
        }
        fs::write(&path, content)?;
        Ok(match self.origin.open(copy.path(), self.verified) {
            Ok(core) => self.truth.compare(&core),
            Err(_) => Finding::Refused,
        })
    }

    /// What the bit is part of, for people: the kind of file, and in the commit log the field.
    pub fn part(&self, bit: &Bit) -> String {
        let name = bit.file.to_string_lossy().into_owned();
        if let Some(base) = name.strip_prefix("commitlog/").and_then(|base| base.parse::<usize>().ok()) {
            let content = fs::read(self.folder.path().join(&bit.file)).unwrap_or_default();
            debug_assert!(base.is_multiple_of(content.len().max(1)));
            return format!("commitlog: {}", fields::at(&content, bit.at));
        }
        match name.split_once('/') {
            Some((folder @ ("consumequeue" | "batchconsumequeue" | "consumequeue_ext" | "index"), _)) => {
                folder.to_owned()
            }
            _ => name,
        }
    }
}

/// Parts of a record that Apache's format does not guard: without the checksum over all of a record, a wrong bit there is not
/// noticed by anybody, Apache's broker and clients included. The place (topic, queue and offset) is guarded by the entry of
/// the queue, but for the records that recovery enters anew.
pub const UNGUARDED: [&str; 11] = [
    "place",
    "flag",
    "sysFlag",
    "bornTimestamp",
    "bornHost",
    "storeTimestamp",
    "storeHost",
    "reconsumeTimes",
    "preparedTransactionOffset",
    "bodyCRC",
    "properties",
];

fn copied(from: &Path) -> io::Result<TempDir> {
    let copy = tempfile::tempdir_in(tiny_store::memory())?;
    tiny_store::copy(from, copy.path())?;
    Ok(copy)
}

/// Length up to the last byte that is not zero, and a few more: behind that one zero is as good as another.
fn used(content: &[u8]) -> usize {
    let last = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    content.len().min(last + 24)
}
