//! Settings and counters of the process (25, 26, 28, 907).

use std::collections::BTreeMap;

use tenonmq_protocol::{
    VERSION,
    body::{ColdReads, DataVersion, HaRuntimeInfo, KvTable, json},
    code::ResponseCode,
};

use crate::{
    config::{ConfigError, LiveConfig},
    core::{Core, names, stats::Counts},
    error::Refusal,
};

/// Name of the release that we stand in for.
const VERSION_NAME: &str = "V5_3_3";

/// The settings as properties text, with the version of the table.
pub fn settings(core: &Core) -> (DataVersion, String) {
    let counter = i64::try_from(core.config.changes()).unwrap_or(i64::MAX);
    let version = DataVersion { counter, state_version: 0, timestamp: core.started_ms };
    (version, LiveConfig::text_of(&core.config.get_all()))
}

/// The version of [`settings`] as its header field holds it.
pub fn version_text(version: &DataVersion) -> String {
    String::from_utf8(json::to_vec(version)).unwrap_or_default()
}

/// Changes settings, given as properties text.
///
/// # Errors
/// 16 for keys that must not be changed from outside, 29 for values that make no sense; nothing is changed then.
pub fn update(core: &Core, body: &[u8]) -> Result<(), Refusal> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, "the body is not UTF-8 text"));
    };
    match core.config.apply(text) {
        Ok(changed) => {
            for change in changed {
                tracing::info!(key = change.key, from = change.from, to = change.to, "setting changed");
            }
            Ok(())
        }
        Err(error @ ConfigError::Refused { .. }) => Err(Refusal::new(ResponseCode::NO_PERMISSION, error.to_string())),
        Err(error) => Err(Refusal::invalid(error.to_string())),
    }
}

/// Counters by name (`remoting.md` section 9.1). Thread pools that we do not have show empty queues.
pub fn runtime(core: &Core) -> KvTable {
    let mut table = BTreeMap::new();
    let mut put = |key: &str, value: String| {
        table.insert(key.to_owned(), value);
    };
    let store = core.store.stats();
    let now = core.stats.counts(store.appended_records);
    let mornings = core.stats.mornings();
    let rates = |of: fn(&Counts) -> u64| core.stats.rates(of);
    put("brokerVersion", VERSION.to_string());
    put("brokerVersionDesc", VERSION_NAME.to_owned());
    put("brokerActive", "true".to_owned());
    put("bootTimestamp", core.started_ms.to_string());
    put("runtime", uptime(core.clock.now_ms() - core.started_ms));
    put("putTps", rates(|counts| counts.put));
    put("getFoundTps", rates(|counts| counts.found));
    put("getMissTps", rates(|counts| counts.missed));
    put("getTotalTps", rates(|counts| counts.found + counts.missed));
    put("getTransferredTps", rates(|counts| counts.transferred));
    put("msgPutTotalTodayNow", now.put.to_string());
    put("msgPutTotalTodayMorning", mornings.today.put.to_string());
    put("msgPutTotalYesterdayMorning", mornings.yesterday.put.to_string());
    put("msgGetTotalTodayNow", now.transferred.to_string());
    put("msgGetTotalTodayMorning", mornings.today.transferred.to_string());
    put("msgGetTotalYesterdayMorning", mornings.yesterday.transferred.to_string());
    put("putMessageTimesTotal", store.appended_records.to_string());
    put("putMessageFailedTimes", store.refused_appends.to_string());
    put("putMessageSizeTotal", store.appended_bytes.to_string());
    let average = store.appended_bytes as f64 / store.appended_records.max(1) as f64;
    put("putMessageAverageSize", format!("{average:?}"));
    let times = &core.stats.put_times;
    put("putMessageEntireTimeMax", times.max_ms().to_string());
    put("putMessageDistributeTime", times.distribution());
    put("putLatency99", times.percentile(0.99));
    put("putLatency999", times.percentile(0.999));
    put("commitLogMinOffset", store.watermarks.min.to_string());
    put("commitLogMaxOffset", store.watermarks.appended.to_string());
    put("dispatchBehindBytes", store.watermarks.appended.saturating_sub(store.indexed).to_string());
    put("remainHowManyDataToFlush", readable(store.watermarks.appended.saturating_sub(store.watermarks.flushed)));
    put("remainTransientStoreBufferNumbs", i32::MAX.to_string()); // there is no such pool, so it never runs out
    put("dispatchMaxBuffer", "0".to_owned());
    put("earliestMessageTimeStamp", core.store.earliest_log_time().unwrap_or(-1).to_string());
    put("startAcceptSendRequestTimeStamp", core.config.load().messages.accept_from_ms.to_string());
    put("pageCacheLockTimeMills", "0".to_owned());
    let timers = core.timers.progress(core.clock.now_ms());
    put("timerReadBehind", timers.behind_seconds.to_string());
    put("timerOffsetBehind", timers.behind_messages.to_string());
    put("timerCongestNum", timers.pending.to_string());
    put("timerEnqueueTps", format!("{:?}", timers.taken_in));
    put("timerDequeueTps", format!("{:?}", timers.delivered));
    let settings = core.config.get_all();
    for pool in ["send", "pull", "litePull", "query", "ack"] {
        put(&format!("{pool}ThreadPoolQueueSize"), "0".to_owned());
        let capacity = format!("{pool}ThreadPoolQueueCapacity");
        put(&capacity, configured(&settings, &capacity));
        put(&format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), "0".to_owned());
    }
    put("EndTransactionQueueSize", core.transactions.pending().to_string());
    put("EndTransactionThreadPoolQueueCapacity", configured(&settings, "endTransactionPoolQueueCapacity"));
    for (level, offset) in core.delays.body(core.clock.now_ms()).offset_table {
        let max = core.store.find_queue(names::SCHEDULE_TOPIC, level - 1).map_or(0, |queue| queue.max_offset());
        put(&format!("scheduleMessageOffset_{level}"), format!("{offset},{max}"));
    }
    disk(core, &mut put);
    KvTable { table }
}

/// The state of replication (907): that of a broker without slaves.
pub fn replication(core: &Core) -> HaRuntimeInfo {
    let end = core.store.watermarks().appended;
    HaRuntimeInfo {
        master: core.identity.get().broker_id == 0,
        master_commit_log_max_offset: i64::try_from(end).unwrap_or(i64::MAX),
        ..HaRuntimeInfo::default()
    }
}

/// How reading of old messages is limited (2003): it is not, so there is nothing to tell but the settings.
pub fn cold_reads(core: &Core) -> ColdReads {
    let settings = core.config.get_all();
    let number = |key: &str| settings.get(key).and_then(|value| value.parse().ok()).unwrap_or_default();
    ColdReads {
        cg_cold_read_threshold: number("cgColdReadThreshold"),
        global_cold_read_threshold: number("globalColdReadThreshold"),
        ..ColdReads::default()
    }
}

fn disk(core: &Core, put: &mut impl FnMut(&str, String)) {
    let root = core.store.root();
    let Ok(space) = rustix::fs::statvfs(root) else { return };
    let total = space.f_blocks.saturating_mul(space.f_frsize);
    let free = space.f_bfree.saturating_mul(space.f_frsize);
    let usable = space.f_bavail.saturating_mul(space.f_frsize); // without what only the superuser may fill
    let used = total.saturating_sub(free);
    let ratio = used as f64 / used.saturating_add(usable).max(1) as f64;
    let ratio = (ratio * 100.0).round() / 100.0;
    let path = root.join("commitlog");
    put("commitLogDiskRatio", format!("{ratio:?}"));
    put(&format!("commitLogDiskRatio_{}", path.display()), format!("{ratio:?}"));
    put("consumeQueueDiskRatio", format!("{ratio:?}"));
    put("commitLogDirCapacity", format!("Total : {}, Free : {}.", readable(total), readable(free)));
}

/// A setting as it is now; tools divide by some of them, so an unknown one is not 0.
fn configured(settings: &BTreeMap<String, String>, key: &str) -> String {
    settings.get(key).cloned().unwrap_or_else(|| "100000".to_owned())
}

/// Bytes as Apache spells them: `12 B`, `1.5 KiB`, `211.5 GiB`.
fn readable(bytes: u64) -> String {
    let mut scaled = bytes as f64;
    let mut unit = "";
    for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
        if scaled < 1024.0 {
            break;
        }
        (scaled, unit) = (scaled / 1024.0, next);
    }
    if unit.is_empty() { format!("{bytes} B") } else { format!("{scaled:.1} {unit}B") }
}

/// Time since the start, as Apache spells it.
fn uptime(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_days_hours_minutes_and_seconds() {
        assert_eq!(uptime(90_061_999), "[ 1 days, 1 hours, 1 minutes, 1 seconds ]");
    }
}
