//! Stopping consumption for a while: of a queue, a topic, or all.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tenonmq_protocol::message::queue::MessageQueue;
use tokio::sync::Notify;

/// What is paused. A topic's name and a queue convert into one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All that the consumer reads.
    Consumer,
    /// All queues of a topic. Retried messages come from the group's retry topic, `%RETRY%group`.
    Topic(String),
    /// One queue.
    Queue(MessageQueue),
}

impl From<&str> for Scope {
    fn from(topic: &str) -> Self {
        Self::Topic(topic.to_owned())
    }
}

impl From<&MessageQueue> for Scope {
    fn from(queue: &MessageQueue) -> Self {
        Self::Queue(queue.clone())
    }
}

/// What is paused now.
#[derive(Default)]
pub(crate) struct Pauses {
    scopes: Mutex<BTreeSet<Scope>>,
    /// How many there are: nearly always none, so that nobody takes the lock.
    count: AtomicUsize,
    lifted: Notify,
}

impl Pauses {
    pub(crate) fn add(&self, scope: Scope) {
        let mut scopes = self.scopes.lock();
        scopes.insert(scope);
        self.count.store(scopes.len(), Ordering::Release);
    }

    pub(crate) fn lift(&self, scope: &Scope) {
        let mut scopes = self.scopes.lock();
        scopes.remove(scope);
        self.count.store(scopes.len(), Ordering::Release);
        drop(scopes);
        self.lifted.notify_waiters();
    }

    pub(crate) fn list(&self) -> Vec<Scope> {
        self.scopes.lock().iter().cloned().collect()
    }

    pub(crate) fn holds(&self, queue: &MessageQueue) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.scopes.lock().iter().any(|scope| match scope {
                Scope::Consumer => true,
                Scope::Topic(topic) => *topic == queue.topic,
                Scope::Queue(paused) => paused == queue,
            })
    }

    /// Waits until nothing holds the queue.
    pub(crate) async fn lifted(&self, queue: &MessageQueue) {
        loop {
            let lifted = self.lifted.notified();
            tokio::pin!(lifted);
            lifted.as_mut().enable();
            if !self.holds(queue) {
                return;
            }
            lifted.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_queue_is_held_as_long_as_anything_that_contains_it_is_paused() {
        let pauses = Pauses::default();
        let (one, two) = (MessageQueue::new("T", "b", 1), MessageQueue::new("T", "b", 2));
        pauses.add((&one).into());
        assert!(pauses.holds(&one) && !pauses.holds(&two));
        pauses.add("T".into());
        assert!(pauses.holds(&two));
        pauses.lift(&"T".into());
        assert!(pauses.lifted(&two).now_or_never().is_some());
        assert!(pauses.lifted(&one).now_or_never().is_none());
        pauses.lift(&(&one).into());
        assert!(pauses.lifted(&one).now_or_never().is_some());
    }
}
