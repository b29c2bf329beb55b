//! What happens to a queue besides reading and writing: flushing, cutting, forgetting old entries, deletion.

use std::sync::atomic::Ordering;

use super::Queue;
use super::entry::BatchEntry;
use super::file::QueueKind;
use crate::error::FileError;

/// Bytes of a page, the unit in which a flush counts.
const PAGE: u64 = 4096;

impl Queue {
    /// Makes the entries durable if at least `least_pages` pages of 4096 bytes wait for it (0: any). Returns whether all are durable now.
    pub fn flush(&self, least_pages: u32) -> Result<bool, FileError> {
        let len = self.kind().entry_len();
        let from = self.flushed_entry.load(Ordering::Acquire);
        let to = self.end_entry.load(Ordering::Acquire);
        if to <= from {
            return Ok(true);
        }
        if (to - from) * len < u64::from(least_pages) * PAGE {
            return Ok(false);
        }
        if let Some(ext) = self.ext.get() {
            ext.sync()?;
        }
        self.files.sync(from * len, to * len)?;
        // A cut in between has put it lower; then what was synced is gone, and the rest is new.
        let _ = self.flushed_entry.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        Ok(true)
    }

    /// Takes the queue back to a point of the log: entries of records at `physical` or behind it are zeroed, and files that
    /// hold nothing else are removed. Call with the append lock held, or before the store is open. Returns whether anything
    /// was cut; the cut is durable after `sync_end`.
    pub fn truncate(&self, physical: u64) -> Result<bool, FileError> {
        let old_end = self.end_entry.load(Ordering::Acquire);
        let first_kept = self.files.first_start().unwrap_or(0) / self.kind().entry_len();
        let new_end = self.first_entry_at(first_kept, physical);
        if new_end >= old_end {
            return Ok(false);
        }
        let last = new_end.checked_sub(1).filter(|&last| last >= first_kept).and_then(|last| self.read_entry(last));
        let start_offset = match self.kind() {
            QueueKind::Simple => new_end as i64,
            QueueKind::Batch => self.read_entry(new_end).map_or(0, |at| at.queue_offset),
        };
        let max_offset = last.map_or(start_offset, |at| at.end_offset());
        self.max_offset.store(max_offset, Ordering::Release);
        self.end_entry.store(new_end, Ordering::Release);
        let max_physical = last.filter(|at| !at.entry.is_blank()).map_or(0, |at| at.entry.end());
        self.max_physical.store(max_physical, Ordering::Release);
        self.flushed_entry.fetch_min(new_end, Ordering::AcqRel);
        if self.first_entry.load(Ordering::Acquire) >= new_end {
            self.first_entry.store(new_end, Ordering::Release);
            self.first_physical.store(physical, Ordering::Release);
            self.min_offset.store(max_offset, Ordering::Release);
        }
        if let Some(ext) = self.ext.get() {
            ext.forget_end();
        }
        self.clear(new_end, old_end)?;
        self.drop_empty_files(new_end)?;
        Ok(true)
    }

    /// Makes the file that holds the end durable, whatever was flushed before.
    pub(super) fn sync_end(&self) -> Result<(), FileError> {
        let position = self.end_entry.load(Ordering::Acquire) * self.kind().entry_len();
        self.files.sync(position, position + 1)
    }

    /// Notes that there are entries which are not on disk.
    pub(super) fn note_dirty(&self) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.shared.mark_dirty(self.this.clone());
        }
    }

    /// Zeroes entries that are no longer part of the queue, so that no later start takes them for valid ones.
    fn clear(&self, from: u64, to: u64) -> Result<(), FileError> {
        let len = self.kind().entry_len();
        for number in from..to {
            let position = number * len;
            let Some((file, fresh)) = self.files.open(position)? else { continue };
            if fresh {
                self.shared.opened(self);
            }
            self.files.reserve(&file, position, len)?;
            let zeros = [0; BatchEntry::LEN];
            // Reserved just now, so written.
            let _ = file.cells.write(file.offset_of(position), &zeros[..len as usize]);
        }
        Ok(())
    }

    /// Removes files behind the end. A queue that lost everything starts anew, unless it has older history to continue.
    fn drop_empty_files(&self, end: u64) -> Result<(), FileError> {
        let position = end * self.kind().entry_len();
        let first = self.files.first_start().unwrap_or(0);
        let from = if position > first || position == 0 { position } else { position + 1 };
        let removed = self.files.remove_from(from)?;
        self.shared.closed(removed.mapped);
        Ok(())
    }

    /// Forgets entries of records before `physical`, the first byte that the log still has. Files stay:
    /// see [`delete_before`](Self::delete_before).
    pub fn correct_min(&self, physical: u64) {
        if self.first_physical.load(Ordering::Acquire) >= physical {
            return;
        }
        let end = self.end_entry.load(Ordering::Acquire);
        let files_start = self.files.first_start().unwrap_or(0) / self.kind().entry_len();
        let first = self.first_entry_at(self.first_entry.load(Ordering::Acquire).max(files_start), physical);
        let found = (first < end).then(|| self.read_entry(first)).flatten();
        let (min_offset, first_physical) = match found {
            Some(at) => (at.queue_offset, at.entry.physical_offset),
            None => (self.max_offset(), physical),
        };
        self.first_entry.store(first, Ordering::Release);
        self.first_physical.store(first_physical, Ordering::Release);
        self.min_offset.fetch_max(min_offset, Ordering::AcqRel);
    }

    /// Puts the start of a queue that begins with blanks at its first message.
    pub(super) fn skip_blanks(&self) {
        let first = self.first_entry_at(self.first_entry.load(Ordering::Acquire), 0);
        if let Some(at) = self.read_entry(first) {
            self.first_entry.store(first, Ordering::Release);
            self.first_physical.store(at.entry.physical_offset, Ordering::Release);
            self.min_offset.store(at.queue_offset, Ordering::Release);
        }
    }

    /// Forgets entries of records before `physical` and removes the files that held only such; the last file always stays.
    /// Returns the number of files removed.
    pub fn delete_before(&self, physical: u64) -> Result<usize, FileError> {
        self.correct_min(physical);
        let removed = self.files.remove_before(self.first_entry.load(Ordering::Acquire) * self.kind().entry_len())?;
        self.shared.closed(removed.mapped);
        if removed.files > 0
            && let Some(address) =
                self.read_entry(self.first_entry.load(Ordering::Acquire)).and_then(|at| at.entry.ext_address())
        {
            self.ext().remove_before(address)?;
        }
        Ok(removed.files)
    }

    /// Marks the queue as deleted and removes its files. Handles that others keep see an empty queue and take no entries.
    pub(super) fn destroy(&self) -> Result<(), FileError> {
        self.deleted.store(true, Ordering::Release);
        self.max_offset.store(0, Ordering::Release);
        self.min_offset.store(0, Ordering::Release);
        self.end_entry.store(0, Ordering::Release);
        let removed = self.files.remove_from(0)?;
        self.shared.closed(removed.mapped);
        if let Some(ext) = self.ext.get() {
            ext.forget_end();
        }
        Ok(())
    }

    /// Closes all mappings and files that nobody else holds, and returns how many mappings were open.
    pub(super) fn close(&self) -> usize {
        if let Some(ext) = self.ext.get() {
            ext.close();
        }
        self.files.close()
    }
}
