//! One queue while this member reads it: what was fetched and is not yet done.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tenonmq_protocol::message::queue::MessageQueue;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    flow::{Budget, FlowLimits},
    lock::QueueLock,
    progress::Vitals,
};
use crate::received::ReceivedMessage;

/// Messages in flight by offset.
///
/// Invariant: every offset below [`safe_offset`](Self::safe_offset) is done or was filtered out, so it may be
/// committed.
pub(crate) struct ProcessQueue {
    pub(crate) queue: Arc<MessageQueue>,
    /// Cancelled when the queue belongs to somebody else: nothing of it is committed any more.
    pub(crate) dropped: CancellationToken,
    /// Cancelled when no further message of it shall be begun; what is being handled is still this member's.
    pub(crate) leaving: CancellationToken,
    /// Where an ordered consumer's messages go, one by one.
    pub(crate) lane: Option<mpsc::UnboundedSender<ReceivedMessage>>,
    /// Held while an ordered consumer's handler runs and its outcome is settled.
    pub(crate) handling: tokio::sync::Mutex<()>,
    /// The group's lock on the queue, as an ordered consumer knows it.
    pub(crate) lock: QueueLock,
    /// What operators want to know of it.
    pub(crate) vitals: Vitals,
    state: Mutex<State>,
    freed: Notify,
    budget: Arc<Budget>,
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
    pub(crate) fn new(
        queue: MessageQueue,
        next: i64,
        budget: Arc<Budget>,
        lane: Option<mpsc::UnboundedSender<ReceivedMessage>>,
    ) -> Self {
        let state = State { in_flight: BTreeMap::new(), bytes: 0, next };
        let dropped = CancellationToken::new();
        Self {
            queue: Arc::new(queue),
            leaving: dropped.child_token(),
            dropped,
            lane,
            handling: tokio::sync::Mutex::default(),
            lock: QueueLock::default(),
            vitals: Vitals::default(),
            state: Mutex::new(state),
            freed: Notify::new(),
            budget,
        }
    }

    /// Takes fetched messages in; the next pull begins at `next`.
    pub(crate) fn add(&self, messages: &[ReceivedMessage], next: i64) {
        let mut state = self.state.lock();
        let before = (state.in_flight.len(), state.bytes);
        for message in messages {
            if state.in_flight.insert(message.queue_offset(), message.inner.stored_len).is_none() {
                state.bytes += message.inner.stored_len;
            }
        }
        self.budget.take(state.in_flight.len() - before.0, state.bytes - before.1);
        state.next = state.next.max(next);
    }

    /// Marks one message as done and returns what may be committed now.
    pub(crate) fn finish(&self, offset: i64) -> i64 {
        let mut state = self.state.lock();
        let freed = state.in_flight.remove(&offset);
        state.bytes -= freed.unwrap_or_default();
        drop(state);
        if let Some(len) = freed {
            self.budget.give_back(1, len);
        }
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

    /// Waits until less than the limits is in flight, here and in the whole consumer.
    pub(crate) async fn room(&self, limits: FlowLimits) {
        loop {
            while self.is_full(limits) {
                self.freed.notified().await;
            }
            self.budget.room().await;
            if !self.is_full(limits) {
                return;
            }
        }
    }

    /// Whether the next pull has to wait for handlers.
    pub(crate) fn must_wait(&self, limits: FlowLimits) -> bool {
        self.is_full(limits) || self.budget.is_spent()
    }

    fn is_full(&self, limits: FlowLimits) -> bool {
        let state = self.state.lock();
        state.in_flight.len() >= limits.messages || state.bytes >= limits.bytes
    }
}

/// What is in flight of a queue that was given up counts until its last handler has ended.
impl Drop for ProcessQueue {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.budget.give_back(state.in_flight.len(), state.bytes);
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
        queue_within(Arc::new(Budget::new(FlowLimits::NONE)))
    }

    fn queue_within(budget: Arc<Budget>) -> ProcessQueue {
        ProcessQueue::new(MessageQueue::new("T", "b", 0), 10, budget, None)
    }

    #[test]
    fn a_queue_waits_for_the_others_when_the_consumer_holds_enough() {
        let budget = Arc::new(Budget::new(FlowLimits { messages: 2, bytes: 1000 }));
        let (one, two) = (queue_within(Arc::clone(&budget)), queue_within(budget));
        one.add(&[message(10, 60), message(11, 50)], 12);
        assert!(two.room(FlowLimits::NONE).now_or_never().is_none());
        one.finish(10);
        assert!(two.room(FlowLimits::NONE).now_or_never().is_some());
        two.add(&[message(10, 60)], 11);
        assert!(two.must_wait(FlowLimits::NONE));
        drop(one);
        assert!(!two.must_wait(FlowLimits::NONE));
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
