//! Whether the store takes writes, and if not, exactly why.
//!
//! Reasons come and go independently: a failed flush stays until restart, a full disk ends by itself. One atomic
//! word answers the append path; the texts are behind a lock that only refusals take.

use crate::error::Unwritable;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, Ordering};

const POISONED: u8 = 1;
const CLOSED: u8 = 2;
const DISK_FULL: u8 = 4;
const DISK_RATIO: u8 = 8;

/// What an append is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendClass {
    /// New work. Refused when the disk is full.
    Send,
    /// Settles work that is open: commit, rollback, op records, offsets. May use the reserve.
    Settle,
}

/// The reasons not to write.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed_by: AtomicU8,
    reasons: Mutex<Reasons>,
}

#[derive(Debug, Default)]
struct Reasons {
    poisoned: Option<String>,
    disk_full: Option<Unwritable>,
    disk_ratio: Option<Unwritable>,
    /// A send was refused for the full disk: so is every one until there is room, however small.
    short: bool,
}

impl Gate {
    /// Refuses all writes until restart: a flush failed, so what the disk holds is unknown.
    pub(crate) fn poison(&self, why: &str) {
        let mut reasons = self.reasons.lock();
        if reasons.poisoned.is_none() {
            tracing::error!(why, "the store is poisoned and takes no more writes");
            reasons.poisoned = Some(why.to_owned());
        }
        self.closed_by.fetch_or(POISONED, Ordering::SeqCst);
    }

    /// Refuses all writes: the store is shut down.
    pub(crate) fn close(&self) {
        self.closed_by.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// The next file cannot be made (`Some`), or can again (`None`).
    pub(crate) fn set_disk_full(&self, why: Option<Unwritable>) {
        let mut reasons = self.reasons.lock();
        reasons.short &= why.is_some();
        Self::set(&self.closed_by, DISK_FULL, &mut reasons.disk_full, why);
    }

    /// While the disk is full, refuses sends even if the current file has room.
    pub(crate) fn refuse_sends(&self) {
        let mut reasons = self.reasons.lock();
        reasons.short = reasons.disk_full.is_some();
    }

    /// The partition is fuller than allowed (`Some`), or no longer (`None`).
    pub(crate) fn set_disk_ratio(&self, why: Option<Unwritable>) {
        let mut reasons = self.reasons.lock();
        Self::set(&self.closed_by, DISK_RATIO, &mut reasons.disk_ratio, why);
    }

    fn set(closed_by: &AtomicU8, bit: u8, place: &mut Option<Unwritable>, why: Option<Unwritable>) {
        match (&why, &place) {
            (Some(why), None) => tracing::error!(%why, "writes are refused"),
            (None, Some(_)) => tracing::info!("there is room again, writes are accepted"),
            _ => {}
        }
        if why.is_some() {
            closed_by.fetch_or(bit, Ordering::SeqCst);
        } else {
            closed_by.fetch_and(!bit, Ordering::SeqCst);
        }
        *place = why;
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.closed_by.load(Ordering::SeqCst) & POISONED != 0
    }

    /// Whether waiting for this store to get anywhere makes no sense.
    pub(crate) fn is_shut(&self) -> bool {
        self.closed_by.load(Ordering::SeqCst) & (POISONED | CLOSED) != 0
    }

    /// Whether an append of `class` may go on. `short` says that only the reserve of the log is left.
    #[inline]
    pub(crate) fn check(&self, class: AppendClass, short: impl FnOnce() -> bool) -> Result<(), Unwritable> {
        match self.closed_by.load(Ordering::Acquire) {
            0 => Ok(()),
            closed_by => self.refuse(closed_by, class, short),
        }
    }

    #[cold]
    fn refuse(&self, closed_by: u8, class: AppendClass, short: impl FnOnce() -> bool) -> Result<(), Unwritable> {
        let mut reasons = self.reasons.lock();
        if closed_by & POISONED != 0 {
            return Err(Unwritable::Poisoned(reasons.poisoned.clone().unwrap_or_default()));
        }
        if closed_by & CLOSED != 0 {
            return Err(Unwritable::Closed);
        }
        if class == AppendClass::Settle {
            return Ok(());
        }
        if let Some(ratio) = &reasons.disk_ratio {
            return Err(ratio.clone());
        }
        let Some(full) = reasons.disk_full.clone() else { return Ok(()) };
        reasons.short = reasons.short || short();
        if reasons.short { Err(full) } else { Ok(()) }
    }
}
