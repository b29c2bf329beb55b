//! Half messages on their way in: what a transactional send becomes before it is stored.
//!
//! Rules: `transactions-retry-delay.md` section 1.2.

use tenonmq_protocol::message::{Properties, SysFlag, properties::names as property};

use super::{
    carried::CARRIED,
    records::{HALF_TOPIC, QUEUE},
    state::Rules,
};

/// Property with the factor by which the time between two checks of a message grows from one to the next, whatever holds
/// for its group. Set by its producer.
pub(super) const CHECK_BACK_OFF: &str = "TENON_CHECK_BACK_OFF";

/// Where and how a half message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfPlace {
    /// The half topic.
    pub topic: &'static str,
    /// Its queue.
    pub queue_id: i32,
    /// The flags of the send without the transaction bits: so it gets an entry in the half queue.
    pub sys_flag: i32,
}

/// Whether a send is transactional: `TRAN_MSG` is true, and it is not a retried message with a delay level.
pub fn is_half(properties: &Properties<'_>, reconsume_times: i32) -> bool {
    let delayed = || properties.number::<i32>(property::DELAY).is_some_and(|level| level > 0);
    properties.is_true(property::TRAN_MSG) && !(reconsume_times > 0 && delayed())
}

/// Notes the real target in the properties and says where the message is stored instead.
pub fn convert(properties: &mut Properties<'_>, real_topic: &str, real_queue_id: i32, sys_flag: i32) -> HalfPlace {
    if let Some(key) = properties.get(property::UNIQ_KEY).filter(|key| !key.is_empty()) {
        let key = key.to_owned();
        properties.set(property::TRANSACTION_ID, key);
    }
    properties.remove(CARRIED); // only this broker may say so
    properties.set(property::REAL_TOPIC, real_topic.to_owned());
    properties.set(property::REAL_QID, queue_text(real_queue_id));
    HalfPlace { topic: HALF_TOPIC, queue_id: QUEUE, sys_flag: sys_flag & !SysFlag::TRANSACTION_MASK }
}

/// Age in milliseconds up to which a half message is not checked, and after which its producer may no longer end it
/// unasked: what the sender wished in seconds, at least `transactionTimeOut`; -1 and nonsense mean the latter.
pub(super) fn immunity_ms(wished_seconds: Option<&str>, timeout_ms: i64) -> i64 {
    let wished = wished_seconds.and_then(|seconds| seconds.trim().parse::<i64>().ok()).unwrap_or(-1);
    wished.saturating_mul(1000).max(timeout_ms)
}

/// The back-off that a message wishes, in percent; nonsense is no wish.
pub(super) fn back_off_percent(wished: Option<&str>) -> Option<u32> {
    wished.and_then(crate::config::policies::back_off_percent)
}

/// Age in milliseconds at which a half message is checked first: when its immunity ends, but so long before the log that
/// holds it may be deleted that all checks can be sent.
pub(super) fn unchecked_ms(group: &str, wished_seconds: Option<&str>, timeout_ms: i64, rules: &Rules) -> i64 {
    let all_checks = rules.of(group).all_checks_ms();
    let latest = rules.reserved_ms.saturating_sub(all_checks).max(timeout_ms);
    immunity_ms(wished_seconds, timeout_ms).min(latest)
}

fn queue_text(queue_id: i32) -> std::borrow::Cow<'static, str> {
    const SMALL: [&str; 16] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"];
    let small = usize::try_from(queue_id).ok().and_then(|id| SMALL.get(id));
    small.map_or_else(|| queue_id.to_string().into(), |text| (*text).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CheckPolicy;

    #[test]
    fn a_send_is_transactional_unless_it_is_a_delayed_retry() {
        let is = |text, times| is_half(&Properties::parse(text), times);
        assert!(is("TRAN_MSG\x01true\x02", 0));
        assert!(is("TRAN_MSG\x01TRUE\x02DELAY\x013\x02", 0));
        assert!(is("TRAN_MSG\x01true\x02DELAY\x010\x02", 1));
        assert!(!is("TRAN_MSG\x01true\x02DELAY\x013\x02", 1));
        assert!(!is("TRAN_MSG\x01false\x02", 0));
        assert!(!is("TAGS\x01a\x02", 0));
    }

    #[test]
    fn the_real_target_goes_into_the_properties_and_the_transaction_bits_go_away() {
        let mut properties = Properties::parse("TRAN_MSG\x01true\x02UNIQ_KEY\x01FD01\x02");
        let place = convert(&mut properties, "paid", 3, 0x4 | 0x1);
        assert_eq!(place, HalfPlace { topic: "RMQ_SYS_TRANS_HALF_TOPIC", queue_id: 0, sys_flag: 1 });
        assert_eq!(properties.get("REAL_TOPIC"), Some("paid"));
        assert_eq!(properties.get("REAL_QID"), Some("3"));
        assert_eq!(properties.get("__transactionId__"), Some("FD01"));
        convert(&mut properties, "paid", 4711, 0);
        assert_eq!(properties.get("REAL_QID"), Some("4711"));
    }

    #[test]
    fn immunity_is_the_longer_of_wish_and_timeout() {
        assert_eq!(immunity_ms(None, 6_000), 6_000);
        assert_eq!(immunity_ms(Some("-1"), 6_000), 6_000);
        assert_eq!(immunity_ms(Some("soon"), 6_000), 6_000);
        assert_eq!(immunity_ms(Some("2"), 6_000), 6_000);
        assert_eq!(immunity_ms(Some("3600"), 6_000), 3_600_000);
        assert_eq!(immunity_ms(Some("9223372036854775807"), 6_000), i64::MAX);
    }

    #[test]
    fn the_first_check_comes_while_there_is_time_for_all_of_them() {
        let rules = Rules { all: CheckPolicy::DEFAULT, groups: None, give_up_ms: i64::MAX, reserved_ms: 3_600_000 };
        assert_eq!(unchecked_ms("orders", None, 6_000, &rules), 6_000);
        assert_eq!(unchecked_ms("orders", Some("3149"), 6_000, &rules), 3_149_000);
        assert_eq!(unchecked_ms("orders", Some("3600"), 6_000, &rules), 3_150_000);
        assert_eq!(unchecked_ms("orders", Some("9223372036854775807"), 6_000, &rules), 3_150_000);
        assert_eq!(unchecked_ms("orders", Some("9"), 6_000, &Rules { reserved_ms: 0, ..rules }), 6_000);
    }
}
