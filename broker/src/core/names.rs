//! Names with a meaning: system topics and groups, prefixes, and what a name may look like.
//!
//! Rules: `transactions-retry-delay.md` sections 5.2 and 5.3.

/// Template for topics that senders create.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Undecided transactional messages.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Which half messages are decided.
pub const OP_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages that nobody decided in time.
pub const CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Group whose offsets say how far the half and op topics are done.
pub const TRANSACTION_GROUP: &str = "CID_RMQ_SYS_TRANS";
/// Messages waiting for a delay level.
pub use tenonmq_storage::dispatch::SCHEDULE_TOPIC;
/// Messages waiting for a time of their own.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// For the clients' self test.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// For load generators.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Offsets that were moved, by old brokers.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Message trace.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Prefix of the topic from which a group is given failed messages again.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of the topic with the messages that a group gave up.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Prefix of topics that only brokers use.
pub const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
/// Prefix of groups that only brokers use.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

/// Longest topic name that a sender or administrator may use, in characters.
pub const TOPIC_MAX: usize = 127;
/// Longest group name, in characters.
pub const GROUP_MAX: usize = 255;

/// Topics that no producer may send to.
const NOT_FOR_PRODUCERS: [&str; 6] =
    [HALF_TOPIC, OP_TOPIC, SCHEDULE_TOPIC, CHECK_MAX_TIME_TOPIC, SELF_TEST_TOPIC, OFFSET_MOVED_EVENT];

/// Topics that only the broker creates, besides those with the system prefix.
const SYSTEM_TOPICS: [&str; 10] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    HALF_TOPIC,
    TRACE_TOPIC,
    OP_TOPIC,
    CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
    "CHECKPOINT_TOPIC",
];

/// The retry topic of a group.
pub fn retry_topic(group: &str) -> String {
    [RETRY_PREFIX, group].concat()
}

/// The dead-letter topic of a group.
pub fn dlq_topic(group: &str) -> String {
    [DLQ_PREFIX, group].concat()
}

/// The topic that answers to requests are kept in.
pub fn reply_topic(cluster: &str) -> String {
    [cluster, "_REPLY_TOPIC"].concat()
}

/// The topic of pop check points and acknowledgements.
pub fn revive_topic(cluster: &str) -> String {
    [SYSTEM_TOPIC_PREFIX, "REVIVE_LOG_", cluster].concat()
}

/// The topic whose route lists the members of a broker group.
pub fn sync_broker_member_topic(broker: &str) -> String {
    [SYSTEM_TOPIC_PREFIX, "SYNC_BROKER_MEMBER_", broker].concat()
}

/// Whether a topic belongs to the broker.
pub fn is_system_topic(topic: &str) -> bool {
    topic.starts_with(SYSTEM_TOPIC_PREFIX) || SYSTEM_TOPICS.contains(&topic)
}

/// Whether producers must not send to a topic.
pub fn is_closed_to_producers(topic: &str) -> bool {
    NOT_FOR_PRODUCERS.contains(&topic)
}

/// The first character that a topic or group name must not have.
pub fn illegal_character(name: &str) -> Option<char> {
    name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '_' | '-')))
}

/// What is wrong with a topic name, in Apache's words, or `None`.
pub fn topic_error(topic: &str) -> Option<String> {
    if topic.trim().is_empty() {
        return Some("The specified topic is blank.".into());
    }
    if illegal_character(topic).is_some() {
        return Some(format!(
            "The specified topic[{topic}] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
        ));
    }
    if topic.chars().count() > TOPIC_MAX {
        return Some(format!("The specified topic is longer than topic max length {TOPIC_MAX}."));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_name_has_letters_digits_and_four_signs_and_at_most_127_characters() {
        assert_eq!(topic_error("%RETRY%a|b_c-9"), None);
        assert!(topic_error(" ").is_some_and(|text| text.contains("blank")));
        assert!(topic_error("a b").is_some_and(|text| text.contains("illegal characters")));
        assert!(topic_error("é").is_some_and(|text| text.contains("illegal characters")));
        assert_eq!(topic_error(&"a".repeat(127)), None);
        assert!(topic_error(&"a".repeat(128)).is_some_and(|text| text.contains("longer than")));
    }
}
