//! Which call of all fails: the n-th, and perhaps every one after it.

use std::io;

use super::Op;

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// One call of any kind fails with an input/output error.
    OneError,
    /// One call of any kind fails for want of space: thin volumes and quotas say so at a sync too.
    OneFull,
    /// Calls that take space fail for want of it from then on; others work.
    Full,
    /// Every call fails with an input/output error from then on.
    Dead,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OneError, Self::OneFull, Self::Full, Self::Dead];

    /// Whether it ends with the first call that it meets.
    fn is_once(self) -> bool {
        matches!(self, Self::OneError | Self::OneFull)
    }

    fn kind(self) -> io::ErrorKind {
        match self {
            Self::OneError | Self::Dead => io::ErrorKind::Other,
            Self::OneFull | Self::Full => io::ErrorKind::StorageFull,
        }
    }

    fn meets(self, op: Op) -> bool {
        self != Self::Full || op.takes_space()
    }
}

/// Trouble from the call with this number on, counted over all calls from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// Number of the first call that fails.
    pub at: u64,
    /// How.
    pub trouble: Trouble,
}

impl Strike {
    /// What the call with this number answers instead of being done.
    pub(super) fn answer(self, number: u64, op: Op) -> Option<io::ErrorKind> {
        let is_time = if self.trouble.is_once() { number == self.at } else { number >= self.at };
        (is_time && self.trouble.meets(op)).then(|| self.trouble.kind())
    }
}
