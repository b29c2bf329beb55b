//! What the broker adds to the properties of a message, and what it does not accept from outside.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::LazyLock,
};

use tenonmq_protocol::body::TopicFilterType;
use tenonmq_protocol::message::{Properties, SysFlag, UniqueKey, UniqueKeyGenerator, properties::names as property};

use crate::{
    config::Config,
    core::{identity::Who, topics::Topic},
};

static UNIQUE_KEYS: LazyLock<UniqueKeyGenerator> = LazyLock::new(|| {
    let random = rand::random();
    UniqueKeyGenerator::new(IpAddr::V4(Ipv4Addr::LOCALHOST), std::process::id(), random)
});

/// The client's id of a message: the one it came with, or one that we made.
#[derive(Debug, Clone, Copy)]
pub enum MessageKey<'a> {
    /// UNIQ_KEY as sent.
    Given(&'a str),
    /// Made here for a sender that gave none.
    Made(UniqueKey),
}

impl<'a> MessageKey<'a> {
    /// The key in a property text, which is parsed already, or a new one.
    pub(super) fn of(text: &'a str, parsed: &Properties<'_>, now_ms: impl FnOnce() -> i64) -> Self {
        let given = parsed.value_in(text, property::UNIQ_KEY);
        given.map_or_else(|| Self::Made(UNIQUE_KEYS.next(now_ms())), Self::Given)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Given(text) => text,
            Self::Made(key) => key.as_str(),
        }
    }
}

/// Removes what only brokers may set, and adds region, trace switch, cluster, and `key` if it was made here. A batch has
/// no `key`: its messages carry their own.
pub(super) fn complete<'a>(
    properties: &mut Properties<'a>,
    config: &'a Config,
    who: &'a Who,
    key: Option<&'a MessageKey<'_>>,
) {
    properties.remove(property::POP_CK);
    trace(properties, config);
    if let Some(MessageKey::Made(key)) = key {
        properties.set(property::UNIQ_KEY, key.as_str());
    }
    properties.set(property::CLUSTER, who.cluster.as_str());
}

/// Tells whoever gets the message about the broker's region and whether to trace.
pub(super) fn trace<'a>(properties: &mut Properties<'a>, config: &'a Config) {
    properties.set(property::MSG_REGION, config.identity.region.as_str());
    properties.set(property::TRACE_ON, if config.messages.trace_on { "true" } else { "false" });
}

/// Flag that the messages of a topic carry for its filter type.
pub(super) fn topic_flag(topic: &Topic) -> i32 {
    if topic.config.topic_filter_type == TopicFilterType::MultiTag { SysFlag::MULTI_TAGS } else { 0 }
}
