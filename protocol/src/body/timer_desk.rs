//! Looking at pending timers and taking them back: codes 540,060 to 540,062.

use std::collections::BTreeMap;

use super::desk::DeskRequest;
use crate::code::RequestCode;

bodies! {
    /// Takes back the pending timer of a handle, or those of a topic that have a key (540,060).
    #[derive(Default)]
    RecallTimers {
        /// Only says what would be taken back.
        dry_run: bool,
        /// The handle that the answer to the send gave; `key` and `topic` do not count then.
        handle: Option<String>,
        /// One word of the message's `KEYS`, or its unique key.
        key: String,
        /// The topic that the message would go to.
        topic: String,
    }

    /// What was taken back.
    #[derive(Default)]
    RecalledTimers {
        /// There are more than one request takes back: ask again.
        more: bool,
        /// The messages.
        recalled: Vec<PendingTimer>,
        /// Messages whose time came before they could be taken back.
        too_late: Vec<PendingTimer>,
    }

    /// The pending timers that are due first (540,061).
    #[derive(Default)]
    ListTimers {
        /// Only those with this word in `KEYS`, or this unique key; absent: all.
        key: Option<String>,
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

    /// Everything about one pending timer (540,062).
    #[derive(Default)]
    ShowTimer {
        /// Its place in the queue of the timer topic.
        queue_offset: i64,
    }

    /// One pending timer, whole.
    #[derive(Default)]
    ShownTimer {
        /// Bytes of its body.
        body_length: u64,
        /// When it was made, by the sender's clock, in milliseconds since the epoch.
        born_ms: i64,
        /// How often it was put back into the timer topic because its log file was to be removed.
        carried_on: u32,
        /// Where its record starts in the log.
        log_offset: i64,
        /// Its properties.
        properties: BTreeMap<String, String>,
        /// The queue that it goes to.
        queue_id: i32,
        /// With which it can be recalled.
        recall_handle: Option<String>,
        /// It was recalled and will not come.
        recalled: bool,
        /// It is no message but a recall: of this topic and unique key, joined by a plus sign.
        takes_back: Option<String>,
        /// What the list shows of it.
        timer: PendingTimer,
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

impl DeskRequest for ShowTimer {
    const CODE: RequestCode = RequestCode::TIMER_SHOW;
    type Answer = ShownTimer;
}
