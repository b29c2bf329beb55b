//! Rows that are tried until they are done: what outbox, inbox and the others have in common.
//!
//! ```text
//!            claim                success
//! pending ──────────► (leased) ──────────► done
//!    ▲ └─────failure, pause──┘ │
//!    │                         └ last failure ─► exhausted ──give up──► dropped
//!    └────────────────────────────── rerun ──────────┘
//! ```
//!
//! A lease is `next_attempt_at` moved to the lease's end, with the holder in `claimed_by`: so one index finds what is due and
//! what a dead holder left. Invariant: whoever writes a failure still holds the lease; whoever writes a success need not,
//! because what happened has happened.

mod clean;
mod desk;
mod table;
mod wrong_clock;

pub use self::desk::{Backlog, Tried};
pub(crate) use self::{
    clean::Removal,
    table::{Claim, Failure, WorkTable, shortened},
    wrong_clock::WrongClock,
};

/// Where a row is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// To be tried, now or later.
    Pending,
    /// It succeeded.
    Done,
    /// Its last try failed; people must decide.
    Exhausted,
    /// People decided to give it up.
    Dropped,
}

impl Status {
    /// As it is in the tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Exhausted => "exhausted",
            Self::Dropped => "dropped",
        }
    }

    /// The reverse; the error says what is there instead.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let all = [Self::Pending, Self::Done, Self::Exhausted, Self::Dropped];
        all.into_iter().find(|one| one.as_str() == text).ok_or_else(|| format!("{text:?} is no status"))
    }
}
