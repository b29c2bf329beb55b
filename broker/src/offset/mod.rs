//! How far each consumer group has come in each queue.
//!
//! [`table`] holds the offsets, [`save`] keeps them in Apache's file, [`journal`] what was committed since, [`query`] answers what clients ask about offsets and
//! the ends of queues. Rules: `transactions-retry-delay.md` section 6.

pub mod journal;
#[cfg(test)]
mod journal_tests;
pub mod query;
mod queues;
pub mod save;
pub mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::watch;

pub use table::{Commit, Offsets, StoredOffset};

use crate::{core::Core, group::stopped};

/// Saves the table every `flushConsumerOffsetInterval`, and once more at the end.
pub async fn keep_saved(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let mut last = false;
    while !last {
        last = tokio::select! {
            () = core.clock.sleep(core.config.load().offsets.flush_interval) => false,
            () = stopped(&mut stop) => true,
        };
        let core = Arc::clone(&core);
        let saved = tokio::task::spawn_blocking(move || core.offsets.save(core.clock.now_ms())).await;
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "consumer offsets not saved; the next period tries again"),
            Err(error) => tracing::error!(%error, "saving consumer offsets ended early"),
        }
    }
}
