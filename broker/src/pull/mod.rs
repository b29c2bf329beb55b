//! Giving messages to consumers that ask with an offset.
//!
//! [`admit()`] decides whether a consumer may read a queue and through which filter; [`Read::answer`] reads. A pull that finds
//! nothing new is held ([`long_poll`]) until a message for it arrives or its time is up, and is then answered once more.
//! Rules: `remoting.md` section 5.3, `transactions-retry-delay.md` section 8.

mod admit;
pub mod long_poll;

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use tenonmq_protocol::{
    code::ResponseCode,
    header::{PullFlags, PullMessage},
};
use tenonmq_storage::{DiskLimits, FetchLimits, FetchStatus, Fetched, Queue};

pub use admit::{Forbidden, Refused, admit};

use crate::{
    config::{Config, Pull},
    core::Core,
    filter::{self, Filter},
};

/// Status of a read that found nothing to its filter.
const NO_MATCHED: &str = "NO_MATCHED_MESSAGE";

/// One read of a queue, owned, so that it can be repeated after a wait.
#[derive(Clone)]
pub struct Read {
    /// The queue.
    pub queue: Arc<Queue>,
    /// Next offset wanted.
    pub from: i64,
    /// Messages wanted at most.
    pub max_count: i32,
    /// Body bytes wanted at most; a hint of the client.
    pub max_bytes: i32,
    /// What passes.
    pub filter: Filter,
    /// Whether the filter is the one that the group registered, and not one that the request carried.
    pub(super) is_registered: bool,
    /// Flags told to the client.
    pub topic_sys_flag: i32,
    /// Flags told to the client.
    pub group_sys_flag: i32,
}

/// What a pull is answered.
pub struct Answer {
    /// Response code.
    pub code: ResponseCode,
    /// Name of the status, as the remark.
    pub status: &'static str,
    /// Where to pull next.
    pub next_begin: i64,
    /// First offset of the queue.
    pub min: i64,
    /// Offset of the next message to come.
    pub max: i64,
    /// Flags told to the client.
    pub topic_sys_flag: i32,
    /// Flags told to the client.
    pub group_sys_flag: i32,
    /// Stored records, by reference to the log.
    pub records: SmallVec<[Bytes; 4]>,
    /// Number of messages in `records`.
    pub count: u32,
}

impl Answer {
    /// Bytes of the records.
    pub fn size(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

impl Read {
    /// Goes by what the group wants now: a subscription that changed while the pull was held would otherwise pass over
    /// messages for good that are wanted by now.
    fn refresh(&mut self, core: &Core, group: &str) {
        if self.is_registered
            && let Some(filter) = admit::current_filter(core, group, self.queue.topic())
        {
            self.filter = filter;
        }
    }

    /// Reads the queue now.
    pub fn answer(&self, core: &Core) -> Answer {
        let config = core.config.load();
        let limits = limits(core, &config.pull, self.max_count, self.max_bytes);
        let fetched = filter::fetch(core, &self.queue, self.from, limits, &self.filter);
        self.to_answer(fetched)
    }

    fn to_answer(&self, fetched: Fetched) -> Answer {
        let (code, status) = code_of(fetched.status, self.from);
        Answer {
            code,
            status,
            next_begin: fetched.next_begin,
            min: fetched.min,
            max: fetched.max,
            topic_sys_flag: self.topic_sys_flag,
            group_sys_flag: self.group_sys_flag,
            records: fetched.records,
            count: fetched.count,
        }
    }

    /// The answer to a pull of a queue whose offset was reset meanwhile: go on at `offset`.
    pub fn reset_to(&self, offset: i64) -> Answer {
        Answer {
            code: ResponseCode::PULL_OFFSET_MOVED,
            status: "OFFSET_RESET",
            next_begin: offset,
            min: self.queue.min_offset(),
            max: self.queue.max_offset(),
            topic_sys_flag: self.topic_sys_flag,
            group_sys_flag: self.group_sys_flag,
            records: SmallVec::new(),
            count: 0,
        }
    }
}

pub(crate) fn limits(core: &Core, config: &Pull, max_count: i32, max_bytes: i32) -> FetchLimits {
    FetchLimits {
        max_count: u32::try_from(max_count).unwrap_or(0),
        max_bytes: if max_bytes > 0 { max_bytes.unsigned_abs() } else { u32::MAX },
        memory_count: config.max_count,
        memory_bytes: config.max_bytes,
        disk: Some(DiskLimits {
            behind_bytes: core.memory_hint_bytes,
            count: config.max_count_on_disk,
            bytes: config.max_bytes_on_disk,
        }),
    }
}

fn code_of(status: FetchStatus, asked: i64) -> (ResponseCode, &'static str) {
    let nothing_there = if asked == 0 { ResponseCode::PULL_NOT_FOUND } else { ResponseCode::PULL_OFFSET_MOVED };
    match status {
        FetchStatus::Found => (ResponseCode::SUCCESS, "FOUND"),
        FetchStatus::NoMatched => (ResponseCode::PULL_RETRY_IMMEDIATELY, NO_MATCHED),
        FetchStatus::Removing => (ResponseCode::PULL_RETRY_IMMEDIATELY, "MESSAGE_WAS_REMOVING"),
        FetchStatus::OffsetOverflowOne => (ResponseCode::PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE"),
        FetchStatus::OffsetOverflowBadly => (ResponseCode::PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY"),
        FetchStatus::OffsetTooSmall => (ResponseCode::PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL"),
        FetchStatus::NoMessage => (nothing_there, "NO_MESSAGE_IN_QUEUE"),
        FetchStatus::FoundNull => (ResponseCode::PULL_NOT_FOUND, "OFFSET_FOUND_NULL"),
    }
}

/// How long a pull that finds nothing may be held.
pub fn hold_time(config: &Config, request: &PullMessage<'_>) -> Option<std::time::Duration> {
    if !PullFlags(request.sys_flag).has(PullFlags::SUSPEND) {
        return None;
    }
    let asked = std::time::Duration::from_millis(u64::try_from(request.suspend_timeout_millis).unwrap_or(0));
    Some(if config.polling.long { asked } else { config.polling.short })
}
