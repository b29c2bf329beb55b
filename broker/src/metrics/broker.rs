//! The broker as a whole.

use super::text::{Kind, Page};
use crate::{config::Config, core::Core};

/// Apache's thread pools, each of which has a queue there. Here frames are served in place, so that nothing queues.
const PROCESSORS: [&str; 12] = [
    "send",
    "async_put",
    "pull",
    "ack",
    "query_message",
    "client_manager",
    "heartbeat",
    "lite_pull",
    "transaction",
    "consumer_manager",
    "admin",
    "reply",
];

pub(super) fn add(page: &mut Page, core: &Core, config: &Config) {
    let mut waiting = page.family("rocketmq_processor_watermark", Kind::Gauge, "Requests that wait for a thread");
    for processor in PROCESSORS {
        waiting.row(&[("processor", processor)], 0);
    }
    drop(waiting);
    let permission = config.identity.permission;
    page.single("rocketmq_broker_permission", Kind::Gauge, "Broker permission: 4 read, 2 write", permission);
    page.single("rocketmq_topic_number", Kind::Gauge, "Topics", core.topics.all().len());
    page.single("rocketmq_consumer_group_number", Kind::Gauge, "Subscription groups", core.groups.len());
    let mut build = page.family("tenonmq_build_info", Kind::Gauge, "Version of the program");
    build.row(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    drop(build);
    let up_ms = core.clock.now_ms().saturating_sub(core.started_ms).max(0);
    page.single("tenonmq_uptime_seconds", Kind::Gauge, "Time since the start", up_ms / 1000);
}
