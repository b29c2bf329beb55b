//! How much may be fetched ahead of the application: by each queue, and by the consumer.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Limits on what is fetched and not done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlowLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl FlowLimits {
    pub(crate) const NONE: Self = Self { messages: usize::MAX, bytes: usize::MAX };
}

/// What all queues of a consumer hold together.
pub(crate) struct Budget {
    limits: FlowLimits,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    freed: Notify,
}

impl Budget {
    pub(crate) fn new(limits: FlowLimits) -> Self {
        Self { limits, messages: AtomicUsize::new(0), bytes: AtomicUsize::new(0), freed: Notify::new() }
    }

    pub(crate) fn take(&self, messages: usize, bytes: usize) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, messages: usize, bytes: usize) {
        self.messages.fetch_sub(messages, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.freed.notify_waiters();
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.messages.load(Ordering::Relaxed) >= self.limits.messages
            || self.bytes.load(Ordering::Relaxed) >= self.limits.bytes
    }

    /// Waits until less than the limits is held. Every queue may then pull once, so that the limits are exceeded by at
    /// most one pull of each.
    pub(crate) async fn room(&self) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if !self.is_spent() {
                return;
            }
            freed.await;
        }
    }
}
