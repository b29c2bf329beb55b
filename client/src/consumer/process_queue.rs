//! One queue while this member reads it: what was fetched and is not yet done.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tenonmq_protocol::message::queue::MessageQueue;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::received::ReceivedMessage;

/// Limits on what is fetched ahead of the application, for each queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlowLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// Messages in flight by offset.
///
/// Invariant: every offset below [`safe_offset`](Self::safe_offset) is done or was filtered out, so it may be
/// committed.
pub(crate) struct ProcessQueue {
    pub(crate) queue: Arc<MessageQueue>,
    /// Cancelled when the queue belongs to somebody else: nothing of it is committed any more.
    pub(crate) dropped: CancellationToken,
    state: Mutex<State>,
    freed: Notify,
}

/// How much of a queue is in flight; offsets are 0 when nothing is.
pub(crate) struct Cached {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

struct State {
    in_flight: BTreeMap<i64, usize>,
    bytes: usize,
    /// Where the next pull begins.
    next: i64,
}

impl ProcessQueue {
    pub(crate) fn new(queue: MessageQueue, next: i64) -> Self {
        let state = State { in_flight: BTreeMap::new(), bytes: 0, next };
        Self {
            queue: Arc::new(queue),
            dropped: CancellationToken::new(),
            state: Mutex::new(state),
            freed: Notify::new(),
        }
    }

    /// Takes fetched messages in; the next pull begins at `next`.
    pub(crate) fn add(&self, messages: &[ReceivedMessage], next: i64) {
        let mut state = self.state.lock();
        for message in messages {
            if state.in_flight.insert(message.queue_offset(), message.inner.stored_len).is_none() {
                state.bytes += message.inner.stored_len;
            }
        }
        state.next = state.next.max(next);
    }

    /// Marks one message as done and returns what may be committed now.
    pub(crate) fn finish(&self, offset: i64) -> i64 {
        let mut state = self.state.lock();
        if let Some(len) = state.in_flight.remove(&offset) {
            state.bytes -= len;
        }
        drop(state);
        self.freed.notify_one();
        self.safe_offset()
    }

    /// The lowest offset that is not done.
    pub(crate) fn safe_offset(&self) -> i64 {
        let state = self.state.lock();
        state.in_flight.first_key_value().map_or(state.next, |(offset, _)| *offset)
    }

    /// What is in flight, for operators.
    pub(crate) fn cached(&self) -> Cached {
        let state = self.state.lock();
        Cached {
            count: state.in_flight.len(),
            bytes: state.bytes,
            first: state.in_flight.first_key_value().map_or(0, |(offset, _)| *offset),
            last: state.in_flight.last_key_value().map_or(0, |(offset, _)| *offset),
        }
    }

    pub(crate) fn next(&self) -> i64 {
        self.state.lock().next
    }

    /// Waits until less than the limits is in flight.
    pub(crate) async fn room(&self, limits: FlowLimits) {
        while self.is_full(limits) {
            self.freed.notified().await;
        }
    }

    fn is_full(&self, limits: FlowLimits) -> bool {
        let state = self.state.lock();
        state.in_flight.len() >= limits.messages || state.bytes >= limits.bytes
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{received::Received, text::PropertyText};

    fn message(offset: i64, len: usize) -> ReceivedMessage {
        let host = ([127, 0, 0, 1], 1).into();
        ReceivedMessage {
            tries_here: 0,
            inner: Arc::new(Received {
                queue: Arc::new(MessageQueue::new("T", "b", 0)),
                topic: "T".into(),
                body: "x".into(),
                properties: PropertyText::default(),
                flag: 0,
                sys_flag: 0,
                queue_offset: offset,
                physical_offset: 0,
                born_timestamp: 0,
                store_timestamp: 0,
                born_host: host,
                store_host: host,
                reconsume_times: 0,
                stored_len: len,
            }),
        }
    }

    fn queue() -> ProcessQueue {
        ProcessQueue::new(MessageQueue::new("T", "b", 0), 10)
    }

    #[test]
    fn the_lowest_unfinished_message_holds_the_commit_back() {
        let queue = queue();
        queue.add(&[message(10, 1), message(11, 1), message(13, 1)], 15);
        assert_eq!(queue.finish(11), 10);
        assert_eq!(queue.finish(10), 13);
        assert_eq!(queue.finish(13), 15);
    }

    #[test]
    fn messages_that_were_filtered_out_are_passed() {
        let queue = queue();
        queue.add(&[], 20);
        assert_eq!(queue.safe_offset(), 20);
    }

    #[test]
    fn a_full_queue_waits_until_a_message_is_done() {
        let queue = queue();
        queue.add(&[message(10, 60), message(11, 50)], 12);
        let limits = FlowLimits { messages: 10, bytes: 100 };
        assert!(queue.room(limits).now_or_never().is_none());
        queue.finish(11);
        assert!(queue.room(limits).now_or_never().is_some());
    }
}
