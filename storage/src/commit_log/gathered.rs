//! Records that have their place and are not written yet.
//!
//! What comes in one read of a connection goes to the file in one write: a thread [gathers](Gathering) while it serves those
//! requests, and [`write_out`](CommitLog::write_out) follows before any of them is answered. Until then the records are in
//! memory behind the written end of the log. Their queue entries show already, so whoever asks for a record that is not
//! written has it written first ([`reach`](CommitLog::reach)).
//!
//! Invariant: nothing that depends on a gathered record leaves the process, to a client or to another file, before it is
//! written. A process that is killed takes with it only what nobody was told of.
//!
//! A write that fails leaves the records where they are: the next one tries again, and until one succeeds nothing is
//! appended. Readers who know their place get a copy.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use bytes::Bytes;

use super::{CommitLog, Tail};
use crate::error::{FileError, Unwritable};

/// Gathered bytes are written once there are so many.
const MOST: usize = 64 << 10;
/// Memory for records is given back above this many bytes.
const KEEP: usize = 1 << 20;

thread_local! {
    static GATHERS: Cell<bool> = const { Cell::new(false) };
}

/// While this lives, what this thread appends may stay in memory until [`Store::write_out`](crate::Store::write_out).
///
/// For a caller that gives no answer and changes no file because of these records before it has called that.
#[derive(Debug)]
pub struct Gathering {
    before: bool,
    /// Of one thread.
    _not_send: PhantomData<*const ()>,
}

impl Gathering {
    /// From now on.
    #[must_use]
    pub fn begin() -> Self {
        Self { before: GATHERS.replace(true), _not_send: PhantomData }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        GATHERS.set(self.before);
    }
}

/// Whether this thread gathers.
pub(super) fn gathers() -> bool {
    GATHERS.get()
}

impl Tail {
    /// Whether so many more bytes are too many, or what is there could not be written.
    pub(super) fn is_full_with(&self, len: usize) -> bool {
        self.is_stuck || !self.gathered.is_empty() && self.gathered.len() + len > MOST
    }

    /// Room for so many bytes behind the end.
    pub(super) fn room(&mut self, len: usize) -> &mut [u8] {
        let start = self.gathered.len();
        self.gathered.resize(start + len, 0);
        &mut self.gathered[start..]
    }

    /// Where `len` bytes at the log offset `offset` are among what is gathered.
    fn place(&self, offset: u64, len: usize) -> Option<Range<usize>> {
        let start = usize::try_from(offset.checked_sub(self.end - self.gathered.len() as u64)?).ok()?;
        let end = start.checked_add(len)?;
        (end <= self.gathered.len()).then_some(start..end)
    }
}

impl CommitLog {
    /// Takes the last `len` bytes of what is gathered into the log.
    pub(super) fn gather(&self, tail: &mut Tail, len: usize) {
        self.grow(tail, len);
        tail.dispatched = tail.end;
        self.progress.gathered(tail.end);
    }

    /// Writes `len` bytes that are all that is gathered, and lets readers see them. After an error they are forgotten.
    pub(super) fn write_and_publish(&self, tail: &mut Tail, len: usize) -> Result<(), Unwritable> {
        if let Err(error) = self.write_all_gathered(tail) {
            tail.gathered.clear();
            return Err(unwritable(&error));
        }
        self.grow(tail, len);
        tail.dispatched = tail.end;
        self.progress.advance(tail.end, tail.end);
        Ok(())
    }

    /// Writes what is gathered, and lets readers see it.
    pub(super) fn write_gathered(&self, tail: &mut Tail) -> Result<(), Unwritable> {
        self.try_to_write_gathered(tail).map_err(|error| unwritable(&error))
    }

    pub(super) fn try_to_write_gathered(&self, tail: &mut Tail) -> Result<(), FileError> {
        if tail.gathered.is_empty() {
            return Ok(());
        }
        let written = self.write_all_gathered(tail);
        if let Err(error) = &written
            && !tail.is_stuck
        {
            tracing::error!(%error, source = %error.source, "records that have their place cannot be written; tried again");
        }
        tail.is_stuck = written.is_err();
        written?;
        self.progress.advance(tail.end, tail.dispatched);
        Ok(())
    }

    fn write_all_gathered(&self, tail: &mut Tail) -> Result<(), FileError> {
        let Some(writer) = tail.writer.as_mut() else { return Ok(()) };
        let outcome = writer.write(self.files.fs(), &tail.gathered);
        outcome.map_err(FileError::of("write to", writer.log().path()))?;
        writer.publish(tail.gathered.len());
        if tail.gathered.capacity() > KEEP {
            tail.gathered = Vec::new();
        } else {
            tail.gathered.clear();
        }
        Ok(())
    }

    /// Writes everything that is gathered, whoever did it. Costs nothing when nothing is.
    pub(crate) fn write_out(&self) -> Result<(), FileError> {
        if self.progress.is_written() { Ok(()) } else { self.try_to_write_gathered(&mut self.tail.lock()) }
    }

    /// Whether readers may see the log up to `end`; what is gathered before it is written first.
    pub(crate) fn reach(&self, end: u64) -> bool {
        let is_confirmed = || end <= self.progress.confirmed();
        // Under the lock: whoever writes it just now has not told readers yet.
        let is_written = || self.try_to_write_gathered(&mut self.tail.lock()).is_ok();
        is_confirmed() || (end <= self.progress.end() && is_written() && is_confirmed())
    }

    /// A copy of `len` bytes that could not be written yet.
    #[cold]
    pub(super) fn copy_of_gathered(&self, offset: u64, len: usize) -> Option<Bytes> {
        let tail = self.tail.lock();
        tail.gathered.get(tail.place(offset, len)?).map(Bytes::copy_from_slice)
    }

    /// A copy of the rest of what could not be written yet, from `offset` on.
    #[cold]
    pub(super) fn rest_of_gathered(&self, offset: u64) -> Option<Bytes> {
        let tail = self.tail.lock();
        let len = usize::try_from(tail.end.checked_sub(offset)?).ok()?;
        tail.gathered.get(tail.place(offset, len)?).map(Bytes::copy_from_slice)
    }
}

fn unwritable(error: &FileError) -> Unwritable {
    Unwritable::Io(format!("{error}: {}", error.source))
}
