//! The page of metrics, as Prometheus reads it.
//!
//! Names, labels and bounds of `rocketmq_*` are those of Apache 5.3.3's Prometheus exporter, so that boards made for it show
//! this broker too. `tenonmq_*` is what Apache does not have. Nothing is counted for the page alone where something counts
//! already: a page is made of the counters that the store, `core::stats` and `transaction` keep anyway, and of looking at
//! what is there now. So a request costs the broker no more for being watched.
//!
//! Differences that a reader may notice: sample names stand in `# TYPE` as they are (Apache leaves the unit out there),
//! there are no time stamps, and messages are counted where they are stored, with the kind of their topic: a committed
//! message counts in its real topic too, and a topic without a declared type counts as `normal`.

mod broker;
mod clients;
mod lag;
mod storage;
mod text;
mod traffic;
mod transactions;

use self::text::Page;
use crate::{
    config::Config,
    core::{Core, names},
};

/// What the page is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page at this moment. Looks at every topic, group and connection, so it is made beside the network threads.
pub fn page(core: &Core) -> String {
    let config = core.config.load();
    let mut page = Page::new(common_labels(core, &config), config.metrics.max_rows);
    broker::add(&mut page, core, &config);
    traffic::add(&mut page, core);
    clients::add(&mut page, core);
    lag::add(&mut page, core, config.metrics.max_rows);
    transactions::add(&mut page, core);
    storage::add(&mut page, core);
    page.finish()
}

/// Who we are, as Apache says it, and what `metricsLabel` adds.
fn common_labels(core: &Core, config: &Config) -> Vec<(String, String)> {
    let who = core.identity.get();
    let mut labels = vec![
        ("node_type".to_owned(), "broker".to_owned()),
        ("cluster".to_owned(), who.cluster.clone()),
        ("node_id".to_owned(), who.broker.clone()),
    ];
    labels.extend(config.metrics.labels.iter().cloned());
    labels
}

/// `true` or `false` as a label.
fn word(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}

/// Whether only brokers use the group.
fn is_system_group(group: &str) -> bool {
    let prefix = names::SYSTEM_GROUP_PREFIX.as_bytes();
    group.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests;
