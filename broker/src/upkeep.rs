//! What the broker does by the clock: asks about half messages, saves offsets, drops silent clients, takes samples.
//!
//! All of it starts with the role and ends with it, and holds nothing that is not in the log or the tables.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{
    core::Core,
    group::heartbeat,
    offset,
    transaction,
};

/// Between two looks for clients without heartbeats.
const CLIENT_SCAN: Duration = Duration::from_secs(10);
const SAMPLE: Duration = Duration::from_secs(1);

/// Runs until `stop`; offsets are saved once more at the end.
pub async fn run(core: Arc<Core>, stop: CancellationToken) {
    tokio::join!(
        transaction::keep_checking(Arc::clone(&core), stop.clone()),
        offset::keep_saved(Arc::clone(&core), stop.clone()),
        periodically(&core, &stop, CLIENT_SCAN, |core| {
            heartbeat::drop_silent(core);
            core.locks.drop_expired(core.clock.now_ms());
        }),
        periodically(&core, &stop, SAMPLE, sample),
    );
}

/// The last savings of a clean stop: after the last request, before the store is closed. Blocking.
pub fn finish(core: &Core) {
    transaction::save_finally(core);
    if let Err(error) = core.offsets.save(core.clock.now_ms()) {
        error!(%error, "consumer offsets not saved");
    }
}

async fn periodically(core: &Arc<Core>, stop: &CancellationToken, period: Duration, work: impl Fn(&Core)) {
    while stop.run_until_cancelled(core.clock.sleep(period)).await.is_some() {
        work(core);
    }
}

fn sample(core: &Core) {
    let now_ms = core.clock.now_ms();
    let now = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    let utc_offset_s = jiff::tz::TimeZone::system().to_offset(now).seconds();
    core.stats.sample(now_ms, i64::from(utc_offset_s) * 1000, core.store.stats().appended_records);
}
