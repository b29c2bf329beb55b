//! What a model knows of mapped memory, which loom cannot see by itself.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use loom::sync::atomic::{AtomicU32, Ordering};

/// Sees plain bytes written and read: a read that is not ordered behind the write fails the model.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// One for each write, by where it began: 1 for who sees it.
    writes: Mutex<BTreeMap<usize, Arc<AtomicU32>>>,
}

impl Witness {
    /// The bytes of `range` are about to be written.
    pub(crate) fn written(&self, range: Range<usize>) {
        let write = Arc::new(AtomicU32::new(0));
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).insert(range.start, Arc::clone(&write));
        write.store(1, Ordering::Relaxed);
    }

    /// The bytes of `range` are about to be read.
    pub(crate) fn read(&self, range: Range<usize>) {
        let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<_> = writes.range(range).map(|(_, write)| Arc::clone(write)).collect();
        drop(writes); // the model may go on with another thread at a load
        found
            .iter()
            .for_each(|write| assert_eq!(write.load(Ordering::Relaxed), 1, "bytes are read before they are seen"));
    }
}

/// The atomic cells of a mapped file as loom's, so that old values are shown where the memory may show them.
#[derive(Debug)]
pub(crate) struct Cells(Vec<AtomicU32>);

impl Cells {
    /// Cells of `width` bytes, 2 or 4.
    pub(crate) fn new(content: &[u8], width: usize) -> Self {
        Self(content.chunks_exact(width).map(|cell| AtomicU32::new(number(cell))).collect())
    }

    /// Copies from the cell number `first` on.
    pub(crate) fn read(&self, first: usize, out: &mut [u8], width: usize) {
        for (cell, out) in self.0.iter().skip(first).zip(out.chunks_exact_mut(width)) {
            out.copy_from_slice(&cell.load(Ordering::Relaxed).to_ne_bytes()[..width]);
        }
    }

    /// Copies to the cell number `first` and those behind.
    pub(crate) fn write(&self, first: usize, data: &[u8], width: usize) {
        for (cell, data) in self.0.iter().skip(first).zip(data.chunks_exact(width)) {
            cell.store(number(data), Ordering::Relaxed);
        }
    }
}

fn number(cell: &[u8]) -> u32 {
    let mut word = [0; 4];
    word.iter_mut().zip(cell).for_each(|(to, from)| *to = *from);
    u32::from_ne_bytes(word)
}
