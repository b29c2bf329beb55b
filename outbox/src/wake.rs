//! How a relay learns that there is something to do.
//!
//! A row becomes visible when the caller's transaction commits, and that happens out of our sight. So there are three
//! ways, each the net of the one before: [`Wake::now`], called after the commit; [`Wake::soon`], called when the row is
//! written, after which the relay looks at short and growing intervals; and the relay's period.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

/// Wakes the relay, or the retrier, of one outbox or inbox in this process. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    called: Notify,
    expects: AtomicBool,
}

impl Wake {
    /// Something is there.
    pub fn now(&self) {
        self.soon();
    }

    /// Something will be there when a transaction commits that has not committed yet.
    pub(crate) fn soon(&self) {
        self.0.expects.store(true, Ordering::Release);
        self.0.called.notify_one();
    }

    /// Waits for either.
    pub(crate) async fn called(&self) {
        self.0.called.notified().await;
    }

    /// Whether it was called since this was asked last.
    pub(crate) fn take(&self) -> bool {
        self.0.expects.swap(false, Ordering::AcqRel)
    }
}
