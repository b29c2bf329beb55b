//! How a relay learns that there is something to do.
//!
//! A row becomes visible when the caller's transaction commits, and that happens out of our sight. So there are three
//! ways, each the net of the one before: [`Wake::now`], called after the commit; [`Wake::soon`], called when the row is
//! written, after which the relay looks at short and growing intervals; and the relay's period.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::Pool;
use tokio::sync::Notify;
use tracing::debug;

use crate::database::Dialect;

/// Pause after the database failed.
pub(crate) const AFTER_TROUBLE: Duration = Duration::from_secs(1);
/// First pause after a row was written whose transaction has not committed yet; doubled up to the period.
const FIRST_LOOK_MS: i64 = 1;

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

/// The looks at short and growing intervals, while a commit is expected.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    pause_ms: i64,
}

impl Looks {
    /// The pause before the next of them; `None` when no commit is expected (any more): the period does then.
    pub(crate) fn pause_ms(&mut self, wake: &Wake, period_ms: i64) -> Option<i64> {
        if wake.take() {
            self.pause_ms = FIRST_LOOK_MS;
        }
        if self.pause_ms == 0 || self.pause_ms >= period_ms {
            self.pause_ms = 0;
            return None;
        }
        let pause_ms = self.pause_ms;
        self.pause_ms = pause_ms.saturating_mul(2);
        Some(pause_ms)
    }
}

/// Passes on what the database tells on a channel; while it tells nothing, the period is the net.
pub(crate) async fn listen<D: Dialect>(pool: Pool<D>, channel: String, wake: Wake) {
    loop {
        if let Err(error) = D::listen(&pool, &channel, &wake).await {
            debug!(%error, channel, "the database tells nothing of new rows at this moment");
        }
        tokio::time::sleep(AFTER_TROUBLE).await;
    }
}
