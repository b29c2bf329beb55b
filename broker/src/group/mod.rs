//! Consumer and producer groups: heartbeats, members, and who may consume which queue in order.
//!
//! The tables themselves are [`crate::core::groups`], [`crate::core::clients`] and [`queue_lock`]; here are the rules by
//! which clients change them, and the tasks that keep them in order.

pub mod heartbeat;
pub mod members;
pub mod queue_lock;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::core::Core;

/// Looks for silent clients and expired locks every ten seconds.
pub async fn keep_alive(core: Arc<Core>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = core.clock.sleep(heartbeat::SCAN_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        heartbeat::drop_silent(&core);
        core.locks.drop_expired(core.clock.now_ms());
    }
}

/// Writes `subscriptionGroup.json` behind every change, and once more at the end.
pub async fn keep_saved(core: Arc<Core>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = core.groups.changed() => {}
            () = stop.cancelled() => {}
        }
        let core = Arc::clone(&core);
        match tokio::task::spawn_blocking(move || core.groups.save()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "subscription groups not saved; the next change tries again"),
            Err(error) => tracing::error!(%error, "saving subscription groups ended early"),
        }
    }
}
