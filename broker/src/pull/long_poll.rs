//! Holding a pull until there is something for it.

use std::{sync::Arc, time::Duration};

use tenonmq_protocol::code::ResponseCode;

use super::{Answer, Read};
use crate::core::Core;

/// Answers `read` as soon as a message for it arrives, and at the latest after `hold`.
///
/// A message that arrived between the first look and this call is seen: the wait is registered first.
pub async fn hold(core: Arc<Core>, read: Read, hold: Duration) -> Answer {
    let deadline = core.clock.sleep(hold);
    let mut deadline = std::pin::pin!(deadline);
    loop {
        let arrived = core.waiters.register(&read.queue, read.from, read.filter.clone());
        let answer = read.answer(&core);
        if answer.code != ResponseCode::PULL_NOT_FOUND {
            return answer;
        }
        tokio::select! {
            () = arrived => {}
            () = &mut deadline => return read.answer(&core),
        }
    }
}
