//! How often a message is tried again, and how long it waits before.
//!
//! *How often*: what the producer wrote on the message, or else what the consumer says in its request, or else what the
//! group's configuration says. Apache has no number on the message; its clients that say nothing say 16, so that the
//! group's `retryMaxTimes` counts only for those older than 3.4.9 and for the ones that leave the field out.
//!
//! *How long*: the delay level that the consumer asks for; or else the group's retry policy; or else level 3 and one more
//! for each retry. Apache 5.3.3 keeps the policy at the broker but follows it only in its proxy, towards gRPC clients; an
//! administrator who sets one with `updateSubGroup` expects it to hold, so it does for every client here.

use tenonmq_protocol::{
    body::SubscriptionGroupConfig,
    message::properties::{find, names as property},
};

use crate::delay::{Delays, Waiting};

/// From this version on a consumer says itself how often a message is retried (`V3_4_9`).
const SAYS_MAX_RECONSUME_TIMES: i32 = 121;
/// The level of the first retry when nobody says otherwise.
const FIRST_LEVEL: i32 = 3;

/// How often a message is given to its group again.
pub(super) fn max_retries(of_group: i32, said: Option<i32>, version: i32, properties: &str) -> i32 {
    let on_message = || find(properties, property::MAX_RETRIES)?.parse().ok().filter(|max: &i32| *max >= 0);
    let by_consumer = || said.filter(|_| version >= SAYS_MAX_RECONSUME_TIMES);
    on_message().or_else(by_consumer).unwrap_or(of_group)
}

/// How long a message waits for its next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// A delay level, from 1.
    Level(i32),
    /// Milliseconds, by the policy of the group.
    Millis(i64),
}

impl Pause {
    /// The pause before the next try of a message that was tried again `retries` times. `asked` is the consumer's delay
    /// level, 0 when it leaves the choice to the broker.
    pub(super) fn of(group: &SubscriptionGroupConfig, asked: i32, retries: i32) -> Self {
        if asked > 0 {
            return Self::Level(asked);
        }
        let policy = group.group_retry_policy.pause_ms(retries);
        policy.map_or_else(|| Self::Level(FIRST_LEVEL.saturating_add(retries.max(0))), Self::Millis)
    }

    /// Where the message waits. A time that is no level takes the next longer one: never early.
    pub(super) fn waiting(self, delays: &Delays) -> Option<Waiting<'_>> {
        match self {
            Self::Level(level) => delays.waiting(level),
            Self::Millis(ms) => delays.at_least(ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use tenonmq_protocol::body::{CustomizedRetryPolicy, GroupRetryPolicy};

    use super::*;

    #[test]
    fn the_number_on_the_message_comes_first_then_the_consumers_then_the_groups() {
        let on_message = "TAGS\u{1}a\u{2}TENON_MAX_RETRIES\u{1}3\u{2}";
        assert_eq!(max_retries(16, Some(5), 479, on_message), 3);
        assert_eq!(max_retries(16, Some(5), 479, ""), 5);
        assert_eq!(max_retries(16, Some(5), 120, ""), 16);
        assert_eq!(max_retries(16, None, 479, ""), 16);
        for nonsense in ["-1", "many", "99999999999"] {
            let text = format!("TENON_MAX_RETRIES\u{1}{nonsense}\u{2}");
            assert_eq!(max_retries(16, Some(5), 479, &text), 5);
        }
    }

    #[test]
    fn the_consumers_level_comes_first_then_the_policy_then_three_and_more() {
        let mut group = SubscriptionGroupConfig::default();
        assert_eq!(Pause::of(&group, 7, 2), Pause::Level(7));
        assert_eq!(Pause::of(&group, 0, 2), Pause::Level(5));
        assert_eq!(Pause::of(&group, 0, i32::MAX), Pause::Level(i32::MAX));
        let customized_retry_policy = Some(CustomizedRetryPolicy { next: vec![1, 2, 300, 400] });
        group.group_retry_policy = GroupRetryPolicy { customized_retry_policy, ..GroupRetryPolicy::default() };
        assert_eq!(Pause::of(&group, 7, 2), Pause::Level(7));
        assert_eq!([0, 1, 9].map(|n| Pause::of(&group, 0, n)), [300, 400, 400].map(Pause::Millis));
    }
}
