//! Looking at pending timers and taking them back: codes 540,060 and 540,061.

use super::desk::DeskRequest;
use crate::code::RequestCode;

bodies! {
    /// Takes back every pending timer of a topic that has a business key (540,060).
    #[derive(Default)]
    RecallTimers {
        /// Only says what would be taken back.
        dry_run: bool,
        /// One word of the message's `KEYS`.
        key: String,
        /// The topic that the message would go to.
        topic: String,
    }

    /// What was taken back.
    #[derive(Default)]
    RecalledTimers {
        /// The messages.
        recalled: Vec<PendingTimer>,
    }

    /// The pending timers that are due first (540,061).
    #[derive(Default)]
    ListTimers {
        /// How many at most; absent: 100, the most is 1000.
        max: Option<u32>,
        /// Only those of this topic; absent: all.
        topic: Option<String>,
    }

    /// Pending timers.
    #[derive(Default)]
    TimerList {
        /// All that wait, whatever their topic.
        pending: u64,
        /// The first ones, in the order of their times.
        timers: Vec<PendingTimer>,
    }

    /// One pending timer.
    #[derive(Default)]
    PendingTimer {
        /// When it is due, in milliseconds since the epoch.
        due_ms: i64,
        /// Its business keys.
        keys: Option<String>,
        /// Its place in the queue of the timer topic.
        queue_offset: i64,
        /// When it was stored, in milliseconds since the epoch.
        stored_ms: i64,
        /// The topic that it goes to.
        topic: String,
        /// Its unique key.
        unique_key: Option<String>,
    }
}

impl DeskRequest for RecallTimers {
    const CODE: RequestCode = RequestCode::TIMER_RECALL;
    type Answer = RecalledTimers;
}

impl DeskRequest for ListTimers {
    const CODE: RequestCode = RequestCode::TIMER_LIST;
    type Answer = TimerList;
}
