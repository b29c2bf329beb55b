//! One redrive job in memory.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tenonmq_protocol::body::dead_letter_desk::{RedriveJob, RedriveState};

use super::journal::Journal;

/// A job. `work` is held during a turn, `shown` never across I/O; taken in this order.
pub(super) struct Job {
    pub(super) work: Mutex<Work>,
    /// How far it is, as the last turn left it. `wanted` never changes.
    pub(super) shown: Mutex<RedriveJob>,
}

/// What a turn needs.
pub(super) struct Work {
    pub(super) journal: Journal,
    /// The next turn is not before this time.
    pub(super) due_ms: i64,
    /// Copies that a former run sent and did not note, by log offset of the letter. `None`: not looked for yet.
    pub(super) recognised: Option<Recognised>,
}

/// Where copies went, by the log offset of their letters.
pub(super) type Recognised = FxHashMap<u64, Copied>;

/// Where a copy went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) topic: String,
    pub(super) queue_id: i32,
    pub(super) id: String,
}

impl Job {
    pub(super) fn new(journal: Journal, shown: RedriveJob, recognised: Option<Recognised>) -> Self {
        let work = Mutex::new(Work { journal, due_ms: 0, recognised });
        Self { work, shown: Mutex::new(shown) }
    }

    pub(super) fn is_ended(&self) -> bool {
        is_ended(self.shown.lock().state)
    }

    pub(super) fn is_running(&self) -> bool {
        self.shown.lock().state == RedriveState::Running
    }
}

/// Whether a job in this state never goes on.
pub(super) fn is_ended(state: RedriveState) -> bool {
    matches!(state, RedriveState::Done | RedriveState::Cancelled)
}
