//! Every commit between two savings of `consumerOffset.json`, so that killing the process loses none.
//!
//! ```text
//! <root>/tenonmq/offset-journal/00000007.names.0   header with stamps, then: slot 3 is (group, topic, queue) …
//!                               00000007.slots.0   slot 3: offset
//! ```
//!
//! A commit writes its queue's slot in a mapped file: 16 bytes, no system call, nothing synced. Mapped pages survive the
//! process; what survives the machine is `consumerOffset.json`, at most one period old. A queue gets its slot, and a line in
//! the list of names, at its first commit. Deletions and reset marks are lines of the list as well.
//!
//! **Start.** The table is `consumerOffset.json`, then every epoch in order: its list, then the values of its slots. A
//! value in the journal is always at least as new as the file's, *if the file is ours*: the header holds stamps (length and
//! CRC) of the last few contents that were written. A file with another content was written by somebody else, such as an
//! Apache broker that had the directory in between. Its offsets are then newer, and the journal is dropped as a whole:
//! what it held beyond the last saving is delivered again, as it was by that broker.
//!
//! **Bounds.** An epoch grows with the queues that were ever seen in it. One with much that is forgotten is replaced when
//! the table is saved: a fresh epoch begins under all locks of the table, the table is written, and then the old epoch is
//! removed; until then both count.
//!
//! Invariant: whatever is on disk at any moment, a start yields for each queue the last offset that was answered, or one
//! whose commit was under way.

mod area;
mod epoch;
mod fuse;
mod record;
mod slot;

use std::{io, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tenonmq_storage::{FileError, fs::FileSystem};

use self::{
    epoch::Past,
    record::{Kind, Record},
};
pub(super) use self::{
    epoch::{Epoch, Name, Place, stamp_of},
    fuse::Fuse,
    slot::Slot,
};

/// Name of the folder below `<root>/tenonmq`.
pub const FOLDER: &str = "offset-journal";
/// The stamp of a missing `consumerOffset.json`.
pub(super) const NO_FILE: u64 = 0;

/// The journal of one data directory.
pub(super) struct Journal {
    fs: Arc<dyn FileSystem>,
    folder: PathBuf,
    current: Mutex<Arc<Epoch>>,
    /// Epochs that count until the table is saved.
    older: Mutex<Vec<Place>>,
    stamps: Mutex<Stamps>,
    fuse: Fuse,
}

/// What `consumerOffset.json` and its backup are known by.
struct Stamps {
    before: u64,
    saved: u64,
    next: u64,
}

impl Stamps {
    /// The contents that a start may find now.
    fn possible(&self) -> [u64; 2] {
        [self.before, self.saved]
    }
}

/// One thing that an earlier run knew beyond `consumerOffset.json`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// The group has nothing in the topic.
    Forget { group: &'a str, topic: &'a str },
    /// A reset mark, or that there is none.
    Mark { group: &'a str, topic: &'a str, queue_id: i32, offset: Option<i64> },
    /// The offset.
    Offset { group: &'a str, topic: &'a str, queue_id: i32, offset: i64 },
}

impl Journal {
    /// Opens the journal, and tells `apply` what earlier runs knew beyond the `consumerOffset.json` of that stamp. Marks
    /// that are in force afterwards are to be told to the first epoch with [`Epoch::mark`] before [`begin`](Self::begin).
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub(super) fn open(
        fs: &Arc<dyn FileSystem>,
        folder: PathBuf,
        stamp: u64,
        fuse: Fuse,
        apply: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self, FileError> {
        fs.create_dir_all(&folder).map_err(FileError::of("create", &folder))?;
        let failed = |error| FileError::of("read", &folder)(error);
        let (past, last) = read_all(&**fs, &folder).map_err(failed)?;
        let ours = past.last().is_none_or(|newest| newest.follows(stamp));
        if !ours {
            tracing::warn!("consumerOffset.json was written by another program; its offsets count, not the journal's");
            // Before the new epoch, which follows that file: these do not.
            past.iter().try_for_each(|epoch| epoch.place.remove(&**fs)).map_err(FileError::of("clear", &folder))?;
        }
        let counting = if ours { past } else { Vec::new() };
        counting.iter().for_each(|epoch| replay(epoch, apply));
        let place = Place::new(&folder, last + 1);
        let epoch = Epoch::create(fs, place, rand::random(), &fuse).map_err(FileError::of("create", &folder))?;
        Ok(Self {
            fs: Arc::clone(fs),
            folder,
            current: Mutex::new(Arc::new(epoch)),
            older: Mutex::new(counting.into_iter().map(|epoch| epoch.place).collect()),
            stamps: Mutex::new(Stamps { before: stamp, saved: stamp, next: stamp }),
            fuse,
        })
    }

    /// The first epoch counts from now on.
    pub(super) fn begin(&self) {
        self.current.lock().publish(self.stamps.lock().possible());
    }

    /// The epoch that takes commits.
    pub(super) fn current(&self) -> Arc<Epoch> {
        Arc::clone(&self.current.lock())
    }

    /// Whether the table should go over to a fresh epoch.
    pub(super) fn is_worn(&self) -> bool {
        self.current.lock().is_worn()
    }

    /// Goes over to a fresh epoch: `switch` gets it while nobody commits, tells it the reset marks in force, and calls
    /// what it is given once all cells have forgotten their slots.
    pub(super) fn renew(&self, switch: impl FnOnce(&Arc<Epoch>, &dyn Fn())) -> io::Result<()> {
        let number = self.current.lock().place.number + 1;
        let fresh = Epoch::create(&self.fs, Place::new(&self.folder, number), rand::random(), &self.fuse)?;
        let fresh = Arc::new(fresh);
        switch(&fresh, &|| {
            fresh.publish(self.stamps.lock().possible());
            let old = std::mem::replace(&mut *self.current.lock(), Arc::clone(&fresh));
            self.older.lock().push(old.place.clone());
        });
        Ok(())
    }

    /// Epochs that a saving which begins now makes superfluous.
    pub(super) fn superseded(&self) -> Vec<Place> {
        self.older.lock().clone()
    }

    /// Epochs that wait for a saving.
    pub(super) fn waiting(&self) -> usize {
        self.older.lock().len()
    }

    /// Notes what `consumerOffset.json` is about to hold.
    pub(super) fn saving(&self, stamp: u64) {
        let mut stamps = self.stamps.lock();
        stamps.next = stamp;
        self.current.lock().stamp(stamp, stamps.possible());
    }

    /// Notes what `consumerOffset.json` holds: what it was about to, or, when that failed, what was found.
    pub(super) fn saved(&self, found: Option<u64>) {
        let mut stamps = self.stamps.lock();
        let now = found.unwrap_or(stamps.next);
        if now != stamps.saved {
            let before = if stamps.saved == NO_FILE { now } else { stamps.saved };
            *stamps = Stamps { before, saved: now, next: now };
            if before == now {
                self.current.lock().unstamp(NO_FILE); // whoever removes the file from now on wants a new beginning
            }
        }
    }

    /// The table is saved, or these hold nothing that the file does not: removes them.
    pub(super) fn remove(&self, superseded: &[Place]) {
        for place in superseded {
            if !self.fuse.holds() {
                return;
            }
            if let Err(error) = place.remove(&*self.fs) {
                tracing::warn!(%error, epoch = place.number, "an old epoch of the offset journal is still there");
            }
            self.older.lock().retain(|kept| kept.number != place.number);
        }
    }

    /// Whether the disk is still within reach; false only in tests of crashes.
    pub(super) fn is_alive(&self) -> bool {
        self.fuse.holds()
    }
}

/// Valid epochs in order, and the highest number of any. What is no valid epoch is removed.
fn read_all(fs: &dyn FileSystem, folder: &std::path::Path) -> io::Result<(Vec<Past>, u64)> {
    let number = |name: &str| name.split('.').next().and_then(|stem| stem.parse::<u64>().ok());
    let mut numbers: Vec<u64> = fs.list(folder)?.iter().filter_map(|entry| number(&entry.name)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let last = numbers.last().copied().unwrap_or(0);
    let mut found = Vec::new();
    for number in numbers {
        let place = Place::new(folder, number);
        match Past::read(fs, place.clone())? {
            Some(past) => found.push(past),
            None => place.remove(fs)?,
        }
    }
    Ok((found, last))
}

/// Tells what one epoch knows, deletions and marks as they came, and then the offsets.
fn replay(epoch: &Past, apply: &mut dyn FnMut(Event<'_>)) {
    type Queue = (i32, u32, u64);
    let mut slots: FxHashMap<(&str, &str), Vec<Queue>> = FxHashMap::default();
    for record in epoch.records() {
        let Record { group, topic, queue_id, slot, number, kind } = record;
        match kind {
            Kind::Assign => slots.entry((group, topic)).or_default().push((queue_id, slot, number)),
            Kind::Forget => {
                slots.remove(&(group, topic));
                apply(Event::Forget { group, topic });
            }
            Kind::Mark => apply(Event::Mark { group, topic, queue_id, offset: Some(number.cast_signed()) }),
            Kind::Unmark => apply(Event::Mark { group, topic, queue_id, offset: None }),
            Kind::Skip => {}
        }
    }
    for ((group, topic), queues) in slots {
        for (queue_id, slot, key) in queues {
            if let Some(offset) = epoch.value(slot, key) {
                apply(Event::Offset { group, topic, queue_id, offset });
            }
        }
    }
}
