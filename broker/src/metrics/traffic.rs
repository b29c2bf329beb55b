//! Messages in and out, by topic and group.

use std::{collections::BTreeMap, sync::Arc};

use tenonmq_storage::SIZE_CLASSES;

use super::{
    is_system_group,
    text::{Kind, Page},
    word,
};
use crate::{
    admin::attributes::MESSAGE_TYPE,
    core::{Core, names, stats::readers::Reading},
};

/// [`SIZE_CLASSES`] as Apache writes them.
const SIZE_BOUNDS: [&str; SIZE_CLASSES.len()] = ["1024.0", "4096.0", "524288.0", "1048576.0", "2097152.0", "4194304.0"];

pub(super) fn add(page: &mut Page, core: &Core) {
    stored(page, core);
    given(page, core);
}

struct Stored {
    topic: Arc<str>,
    kind: &'static str,
    messages: u64,
    bytes: u64,
    sizes: [u64; SIZE_CLASSES.len() + 1],
}

fn stored(page: &mut Page, core: &Core) {
    let mut all: Vec<Stored> = core.store.traffic().into_iter().filter_map(|topic| of_topic(core, topic)).collect();
    all.sort_unstable_by(|one, other| one.topic.cmp(&other.topic)); // so that a limit leaves out the same ones each time
    let mut family = page.family("rocketmq_messages_in_total", Kind::Counter, "Messages stored");
    all.iter().for_each(|stored| family.row(&stored.labels(), stored.messages));
    drop(family);
    let mut family = page.family("rocketmq_throughput_in_total", Kind::Counter, "Bytes stored");
    all.iter().for_each(|stored| family.row(&stored.labels(), stored.bytes));
    drop(family);
    let mut family = page.family("rocketmq_message_size", Kind::Histogram, "Size of messages as stored, in bytes");
    for stored in &all {
        family.histogram(&stored.labels(), &SIZE_BOUNDS, &stored.sizes, stored.bytes);
    }
}

/// `None` for topics that Apache does not count: those with the broker's own records, and dead letters.
fn of_topic(core: &Core, (topic, [messages, bytes]): (Arc<str>, [u64; 2])) -> Option<Stored> {
    let own = [names::OP_TOPIC, names::CHECK_MAX_TIME_TOPIC];
    if own.contains(&&*topic) || topic.starts_with(names::DLQ_PREFIX) {
        return None;
    }
    let config = core.topics.get(&topic)?;
    let declared = config.config.attributes.get(MESSAGE_TYPE);
    let kind = kind_of(&topic, declared.map(String::as_str));
    let mut sizes = [0; SIZE_CLASSES.len() + 1];
    for queue in core.store.topic_queues(&topic) {
        sizes.iter_mut().zip(queue.sizes()).for_each(|(all, more)| *all += more);
    }
    Some(Stored { topic, kind, messages, bytes, sizes })
}

/// The kind of a topic's messages. Retries arrive by a delay.
fn kind_of(topic: &str, declared: Option<&str>) -> &'static str {
    match topic {
        names::HALF_TOPIC => "transaction",
        names::SCHEDULE_TOPIC | names::TIMER_TOPIC => "delay",
        topic if topic.starts_with(names::RETRY_PREFIX) => "delay",
        _ => match declared {
            Some("TRANSACTION") => "transaction",
            Some("FIFO") => "fifo",
            Some("DELAY") => "delay",
            _ => "normal",
        },
    }
}

impl Stored {
    fn labels(&self) -> [(&'static str, &str); 3] {
        let is_system = word(names::is_system_topic(&self.topic));
        [("topic", &self.topic), ("message_type", self.kind), ("is_system", is_system)]
    }
}

/// By topic and group: messages, bytes, dead letters.
type Given = BTreeMap<(String, String), [u64; 3]>;

fn given(page: &mut Page, core: &Core) {
    let mut all = Given::new();
    core.stats.readers.for_each(|topic, group, reader| {
        let totals = [Reading::Messages, Reading::Bytes, Reading::DeadLetters].map(|what| reader.total(what));
        all.insert((topic.to_owned(), group.to_owned()), totals);
    });
    let out = [
        ("rocketmq_messages_out_total", "Messages given to consumers"),
        ("rocketmq_throughput_out_total", "Bytes given to consumers"),
        ("rocketmq_send_to_dlq_messages_total", "Messages that a group gave up"),
    ];
    for (at, (name, help)) in out.into_iter().enumerate() {
        let mut family = page.family(name, Kind::Counter, help);
        for ((topic, group), totals) in &all {
            let is_again = [names::RETRY_PREFIX, names::DLQ_PREFIX].iter().any(|prefix| topic.starts_with(prefix));
            let count = totals.get(at).copied().unwrap_or(0);
            if count > 0 && (at == 2 || !is_again) {
                let is_system = word(names::is_system_topic(topic) || is_system_group(group));
                family.row(&[("topic", topic), ("consumer_group", group), ("is_system", is_system)], count);
            }
        }
    }
}
