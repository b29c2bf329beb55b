//! Messages that a consumer could not process: given to its group again later, and to the dead letters in the end.
//!
//! [`send_back`] is the way of concurrent consumers, [`dead_letter`] what becomes of a message that is given up, by it or
//! by a consumer that sends to its retry topic itself. Rules: `transactions-retry-delay.md` section 2, contents of the
//! records: `store.md` section 13.

pub mod dead_letter;
pub mod send_back;
#[cfg(test)]
mod tests;

use tenonmq_protocol::code::ResponseCode;

use crate::error::{Refusal, SEE_FAQ};

/// From this version on a consumer says itself how often a message is retried (`V3_4_9`).
const SAYS_MAX_RECONSUME_TIMES: i32 = 121;

/// How often a message is given to the group again: as often as the consumer says, or else the group's configuration.
fn max_retries(of_group: i32, said: Option<i32>, version: i32) -> i32 {
    said.filter(|_| version >= SAYS_MAX_RECONSUME_TIMES).unwrap_or(of_group)
}

fn no_such_group(group: &str) -> Refusal {
    let remark = format!("subscription group not exist, {group} {SEE_FAQ}");
    Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
}
