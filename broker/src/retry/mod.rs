//! Messages that a consumer could not process: given to its group again later, and to the dead letters in the end.
//!
//! [`send_back`] is the way of concurrent consumers, [`dead_letter`] what becomes of a message that is given up, by it or
//! by a consumer that sends to its retry topic itself. `policy` says how often and how late, `copy` makes the record,
//! `repeats` knows what was sent back a moment ago.
//! Rules: `transactions-retry-delay.md` section 2, contents of the records: `store.md` section 13.

mod copy;
pub mod dead_letter;
mod policy;
mod repeats;
pub mod send_back;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod thread_tests;

use std::cell::RefCell;

use tenonmq_protocol::code::ResponseCode;

pub use repeats::Repeats;

use crate::error::{Refusal, SEE_FAQ};

fn no_such_group(group: &str) -> Refusal {
    let remark = format!("subscription group not exist, {group} {SEE_FAQ}");
    Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
}

/// What `look` makes of a topic's name that consists of a prefix and the group; without allocating.
fn with_name<T>(prefix: &str, group: &str, look: impl FnOnce(&str) -> T) -> T {
    thread_local! {
        static NAME: RefCell<String> = const { RefCell::new(String::new()) };
    }
    let mut name = NAME.take();
    name.clear();
    name.push_str(prefix);
    name.push_str(group);
    let seen = look(&name);
    NAME.set(name);
    seen
}
