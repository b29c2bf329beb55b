//! Consumer and producer groups: heartbeats, members, and who may consume which queue in order.
//!
//! The tables themselves are [`crate::core::groups`], [`crate::core::clients`] and [`queue_lock`]; here are the rules by
//! which clients change them, and the tasks that keep them in order.

pub mod assignment;
pub mod conflicts;
#[cfg(test)]
mod conflicts_tests;
pub mod heartbeat;
pub mod members;
pub mod queue_lock;
pub mod request_mode;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::core::Core;

/// Looks for silent clients and expired locks every ten seconds.
pub async fn keep_alive(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = core.clock.sleep(heartbeat::SCAN_INTERVAL) => {}
            () = stopped(&mut stop) => return,
        }
        heartbeat::drop_silent(&core);
        core.locks.drop_expired(core.clock.now_ms());
    }
}

/// Time until a file that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Writes `subscriptionGroup.json` behind every change, and once more at the end.
pub async fn keep_saved(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let (mut last, mut failed) = (false, false);
    while !last {
        last = tokio::select! {
            () = core.groups.changed() => false,
            () = core.clock.sleep(RETRY), if failed => false,
            () = stopped(&mut stop) => true,
        };
        let core = Arc::clone(&core);
        let saved = tokio::task::spawn_blocking(move || core.groups.save()).await;
        failed = !matches!(saved, Ok(Ok(())));
        match saved {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "subscription groups not saved; trying again"),
            Err(error) => tracing::error!(%error, "saving subscription groups ended early"),
        }
    }
}

/// Resolves when the broker stops.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // an error says that nobody is left who could tell
}
