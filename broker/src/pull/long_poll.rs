//! Holding a pull until there is something for it.

use std::{sync::Arc, time::Duration};

use tenonmq_protocol::code::ResponseCode;

use super::{Answer, NO_MATCHED, Read};
use crate::core::Core;

/// Answers `read` as soon as a message for it arrives, and at the latest after `hold`.
///
/// A message that arrived between the first look and this call is seen: the wait is registered first.
///
/// Messages that the filter does not let pass move the wait on, so that they are not looked at again; the answer at the end
/// of the time then says where to go on, as the one that Apache gives after looking at them all.
///
/// A reset of the group's offset ends the wait ([`Core::wake_for_reset`]): with Apache it takes effect at the next pull.
pub async fn hold(core: Arc<Core>, group: &str, mut read: Read, hold: Duration) -> Answer {
    let asked = read.from;
    let deadline = core.clock.sleep(hold);
    let mut deadline = std::pin::pin!(deadline);
    loop {
        let arrived = core.waiters.register(&read.queue, read.from, read.filter.clone());
        if let Some(offset) = core.offsets.take_reset(group, read.queue.topic(), read.queue.queue_id()) {
            return read.reset_to(offset);
        }
        read.refresh(&core, group);
        let answer = read.answer(&core);
        match answer.status {
            NO_MATCHED if answer.next_begin > read.from => {
                read.from = answer.next_begin;
                continue;
            }
            _ if answer.code != ResponseCode::PULL_NOT_FOUND => return answer,
            _ => {}
        }
        tokio::select! {
            () = arrived => {}
            () = &mut deadline => {
                read.refresh(&core, group);
                return last_word(read.answer(&core), read.from > asked);
            }
        }
    }
}

fn last_word(answer: Answer, has_passed_over_some: bool) -> Answer {
    if has_passed_over_some && answer.code == ResponseCode::PULL_NOT_FOUND {
        return Answer { code: ResponseCode::PULL_RETRY_IMMEDIATELY, status: NO_MATCHED, ..answer };
    }
    answer
}
