//! Moving groups with a look before and a way back: codes 540,010 to 540,014.

use super::desk::DeskRequest;
use crate::code::RequestCode;

bodies! {
    /// What moving a group would mean, without doing it (540,012).
    #[derive(Default)]
    PreviewReset {
        /// The group.
        group: String,
        /// Only this queue; absent: all.
        queue_id: Option<i32>,
        /// `time`, `offset`, `min` or `max`.
        to: String,
        /// The topic.
        topic: String,
        /// With `time` milliseconds since the epoch, with `offset` the offset; nothing otherwise.
        value: Option<i64>,
    }

    /// What moving a group means, queue by queue.
    #[derive(Default)]
    ResetPreview {
        /// Queues that it concerns.
        queues: Vec<QueueMove>,
        /// Messages that come again, over all queues.
        repeats: i64,
        /// Messages that are passed over, over all queues.
        skips: i64,
    }

    /// What moving a group means for one queue.
    #[derive(Default)]
    QueueMove {
        /// Where the group stands; absent when it has no offset there.
        committed: Option<i64>,
        /// Where the queue ends.
        max: i64,
        /// Where the queue begins.
        min: i64,
        /// The queue.
        queue_id: i32,
        /// Messages that come again.
        repeats: i64,
        /// Messages that are passed over.
        skips: i64,
        /// Where the group would go on.
        target: i64,
    }
}

impl DeskRequest for PreviewReset {
    const CODE: RequestCode = RequestCode::OFFSET_PREVIEW;
    type Answer = ResetPreview;
}
