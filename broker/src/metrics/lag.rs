//! How far connected groups are behind.
//!
//! By Apache's rules, with one difference: what lies between offsets is counted, whatever the group's filter makes of it
//! (Apache estimates by samples, unless `estimateAccumulation` is off).

use std::sync::Arc;

use tenonmq_protocol::body::ConsumeType;
use tenonmq_storage::Queue;

use super::{
    is_system_group,
    text::{Kind, Page},
    word,
};
use crate::{
    core::{Core, clients::ConsumerGroup, names},
    pop::table::PopTopic,
};

/// One group in one topic, or in its retry topic of popped messages.
struct Behind {
    group: Arc<str>,
    topic: Arc<str>,
    is_retry: bool,
    sum: Sum,
}

#[derive(Default)]
struct Sum {
    /// Not consumed.
    lag: i64,
    /// Given to a consumer and not consumed.
    in_flight: i64,
    /// Not given to any consumer.
    ready: i64,
    /// Store time of the oldest that is not consumed.
    oldest_unconsumed: Option<i64>,
    /// Store time of the oldest that was not given to any consumer.
    oldest_ready: Option<i64>,
}

pub(super) fn add(page: &mut Page, core: &Core, max_rows: usize) {
    let mut all = Vec::new();
    for group in core.clients.consumer_groups() {
        if all.len() >= max_rows {
            break; // looking further would cost, and show nothing more
        }
        of_group(core, &group, &mut all);
    }
    let now = core.clock.now_ms();
    let age = |since: Option<i64>| since.map_or(0, |since| (now - since).max(0));
    let mut family = |name, help, value: &dyn Fn(&Sum) -> i64| {
        let mut family = page.family(name, Kind::Gauge, help);
        for behind in &all {
            let labels = [
                ("consumer_group", &*behind.group),
                ("topic", &*behind.topic),
                ("is_retry", word(behind.is_retry)),
                ("is_system", word(names::is_system_topic(&behind.topic) || is_system_group(&behind.group))),
            ];
            family.row(&labels, value(&behind.sum));
        }
    };
    family("rocketmq_consumer_lag_messages", "Messages not consumed", &|sum| sum.lag);
    family("rocketmq_consumer_lag_latency_milliseconds", "Age of the oldest message not consumed", &|sum| {
        age(sum.oldest_unconsumed)
    });
    family("rocketmq_consumer_inflight_messages", "Messages given to consumers and not consumed", &|sum| sum.in_flight);
    family("rocketmq_consumer_queueing_latency_milliseconds", "Age of the oldest message not given out", &|sum| {
        age(sum.oldest_ready)
    });
    family("rocketmq_consumer_ready_messages", "Messages not given out", &|sum| sum.ready);
}

fn of_group(core: &Core, group: &ConsumerGroup, all: &mut Vec<Behind>) {
    let view = group.view();
    let pops = view.consume_type == ConsumeType::Pop;
    for subscription in view.subscriptions() {
        let topic: Arc<str> = subscription.data.topic.as_str().into();
        if topic.starts_with(names::RETRY_PREFIX) {
            continue;
        }
        let Some(config) = core.topics.get(&topic) else { continue };
        let queues = config.config.write_queue_nums;
        let mut add = |is_retry, sum| {
            all.push(Behind { group: Arc::clone(group.name()), topic: Arc::clone(&topic), is_retry, sum });
        };
        if !pops {
            add(false, pulled(core, group.name(), &topic, queues));
            continue;
        }
        let leased = core.pops.table.find(group.name(), &topic);
        add(false, popped(core, group.name(), &topic, queues, leased.as_deref()));
        let mut again = Sum::default();
        for retry in leased.iter().flat_map(|of| &of.retry).filter(|name| !name.is_empty()) {
            let Some(config) = core.topics.get(retry) else { continue };
            let leased = core.pops.table.find(group.name(), retry);
            again.add(popped(core, group.name(), retry, config.config.write_queue_nums, leased.as_deref()));
        }
        add(true, again);
    }
}

fn pulled(core: &Core, group: &str, topic: &str, queues: i32) -> Sum {
    let mut sum = Sum::default();
    for queue_id in 0..queues {
        let Some(queue) = core.store.find_queue(topic, queue_id) else { continue };
        let end = queue.max_offset();
        let committed = core.offsets.get(group, topic, queue_id);
        let given = core.offsets.pulled(group, topic, queue_id);
        let in_flight = given.map_or(0, |given| given - committed.unwrap_or(given));
        sum.add_queue(core, &queue, committed.unwrap_or(end), given.unwrap_or(end), in_flight.max(0));
    }
    sum
}

fn popped(core: &Core, group: &str, topic: &str, queues: i32, leased: Option<&PopTopic>) -> Sum {
    let mut sum = Sum::default();
    for queue_id in 0..queues {
        let Some(queue) = core.store.find_queue(topic, queue_id) else { continue };
        let stored = || core.offsets.get(group, topic, queue_id).unwrap_or_else(|| queue.max_offset());
        let (next, open) = match leased.and_then(|of| of.queue(queue_id)) {
            Some(leases) => {
                let state = leases.state.lock();
                let held = state.order.as_ref().map_or(0, |order| order.open().count());
                (state.leases.next().max(stored()), (state.leases.pending() + held) as i64)
            }
            None => (stored(), 0),
        };
        sum.add_queue(core, &queue, next - open, next, open);
    }
    sum
}

impl Sum {
    fn add_queue(&mut self, core: &Core, queue: &Queue, consumed: i64, given: i64, in_flight: i64) {
        let end = queue.max_offset();
        let time_of = |offset: i64| {
            let offset = offset.max(queue.min_offset());
            (offset < end).then(|| core.store.message_time(queue, offset)).flatten()
        };
        self.add(Self {
            lag: (end - consumed).max(0),
            in_flight,
            ready: (end - given).max(0),
            oldest_unconsumed: time_of(consumed),
            oldest_ready: time_of(given),
        });
    }

    fn add(&mut self, other: Self) {
        let older = |one: Option<i64>, other: Option<i64>| one.into_iter().chain(other).min();
        self.lag += other.lag;
        self.in_flight += other.in_flight;
        self.ready += other.ready;
        self.oldest_unconsumed = older(self.oldest_unconsumed, other.oldest_unconsumed);
        self.oldest_ready = older(self.oldest_ready, other.oldest_ready);
    }
}
