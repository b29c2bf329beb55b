//! The data directory, and messages that wait in it for their time.

use super::text::{Kind, Labels, Page};
use crate::core::Core;

/// Apache's labels of everything that the store has.
const LOCAL: Labels<'static> = &[("storage_type", "local"), ("storage_medium", "disk")];

pub(super) fn add(page: &mut Page, core: &Core) {
    let mut gauge = |name, help, value: i64| page.family(name, Kind::Gauge, help).row(LOCAL, value);
    let stats = core.store.stats();
    let marks = stats.watermarks;
    if let Some(used) = used_bytes(core) {
        gauge("rocketmq_storage_size_bytes", "Space in use on the disk of the data directory", used);
    }
    let unflushed = marks.appended.saturating_sub(marks.flushed);
    gauge("rocketmq_storage_flush_behind_bytes", "Stored and not yet flushed", unflushed.cast_signed());
    let unseen = marks.appended.saturating_sub(marks.confirmed);
    gauge("rocketmq_storage_dispatch_behind_bytes", "Stored and not yet seen by consumers", unseen.cast_signed());
    let now = core.clock.now_ms();
    if let Some(oldest) = core.store.earliest_log_time() {
        let age = (now - oldest).max(0);
        gauge("rocketmq_storage_message_reserve_time_milliseconds", "Age of the oldest message stored", age);
    }
    let timers = core.timers.progress(now);
    gauge("rocketmq_timer_enqueue_lag", "Timer messages not yet taken in", timers.behind_messages);
    let late_ms = timers.behind_seconds.saturating_mul(1000);
    gauge("rocketmq_timer_dequeue_latency_milliseconds", "How late the earliest timer is", late_ms);
    waiting(page, core);
    let own = [
        (
            "tenonmq_store_refused_appends_total",
            Kind::Counter,
            "Messages that the store refused",
            stats.refused_appends,
        ),
        ("tenonmq_store_flushes_total", Kind::Counter, "Flushes of the log", stats.flushes),
        ("tenonmq_store_last_flush_microseconds", Kind::Gauge, "Time of the last flush", stats.last_flush_us),
    ];
    for (name, kind, help, value) in own {
        page.single(name, kind, help, value);
    }
    let leases = core.pops.open_leases();
    page.single("rocketmq_pop_checkpoint_buffer_size", Kind::Gauge, "Leases of popped messages", leases);
}

fn waiting(page: &mut Page, core: &Core) {
    let counts = core.timers.counts().timing_count;
    let mut family = page.family("rocketmq_timing_messages", Kind::Gauge, "Timer messages that wait, by real topic");
    for (topic, count) in &counts {
        let labels: Vec<_> = LOCAL.iter().copied().chain([("topic", topic.as_str())]).collect();
        family.row(&labels, count.count);
    }
}

fn used_bytes(core: &Core) -> Option<i64> {
    let space = rustix::fs::statvfs(core.store.root()).ok()?;
    i64::try_from(space.f_blocks.saturating_sub(space.f_bfree).saturating_mul(space.f_frsize)).ok()
}
