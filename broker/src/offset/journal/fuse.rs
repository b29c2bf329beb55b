//! A kill between any two writes, for tests: once it is burnt, nothing more reaches the disk. Outside tests it is nothing.

#[cfg(test)]
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How much may still be written.
#[derive(Clone, Default)]
pub(crate) struct Fuse {
    #[cfg(test)]
    burnt: Arc<AtomicU64>,
    #[cfg(test)]
    limit: Arc<AtomicU64>,
}

impl Fuse {
    /// How many of these writes may be done.
    #[cfg(not(test))]
    #[inline]
    pub(super) fn burn(&self, writes: usize) -> usize {
        writes
    }

    #[cfg(test)]
    pub(super) fn burn(&self, writes: usize) -> usize {
        let limit = self.limit.load(Ordering::SeqCst);
        let before = self.burnt.fetch_add(writes as u64, Ordering::SeqCst);
        if limit == 0 { writes } else { limit.saturating_sub(before).min(writes as u64) as usize }
    }

    /// Whether one more thing may be done.
    pub(in crate::offset) fn holds(&self) -> bool {
        self.burn(1) == 1
    }

    /// Lets `writes` more pass.
    #[cfg(test)]
    pub(in crate::offset) fn light(&self, writes: u64) {
        self.limit.store(self.burnt.load(Ordering::SeqCst) + writes, Ordering::SeqCst);
    }

    /// Whether something was kept from the disk.
    #[cfg(test)]
    pub(in crate::offset) fn is_burnt(&self) -> bool {
        let limit = self.limit.load(Ordering::SeqCst);
        limit != 0 && self.burnt.load(Ordering::SeqCst) > limit
    }
}
