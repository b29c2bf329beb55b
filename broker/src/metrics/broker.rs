//! The broker as a whole.

use super::text::{Kind, Page};
use crate::{config::Config, core::Core, remoting::Load};

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
    fronts(page, core);
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

/// What the connections to each port come to.
fn fronts(page: &mut Page, core: &Core) {
    type Read = fn(&Load) -> u64;
    let families: [(&'static str, Kind, &'static str, Read); 4] = [
        ("tenonmq_connections", Kind::Gauge, "Open connections", |load| load.connections() as u64),
        ("tenonmq_requests_held", Kind::Gauge, "Requests that wait for their reply", |load| load.held() as u64),
        ("tenonmq_stuck_bytes", Kind::Gauge, "Memory held for peers that keep us waiting", |load| {
            load.stuck_bytes() as u64
        }),
        ("tenonmq_sends_refused_total", Kind::Counter, "Sends of peers that were too far ahead", Load::refused),
    ];
    let loads = core.loads.lock().clone();
    for (name, kind, help, read) in families {
        let mut family = page.family(name, kind, help);
        loads.iter().for_each(|(port, load)| family.row(&[("port", port)], read(load)));
    }
}
