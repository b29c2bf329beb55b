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

    /// Moves a group and says why (540,013).
    #[derive(Default)]
    ResetGroup {
        /// The group.
        group: String,
        /// Only this queue; absent: all.
        queue_id: Option<i32>,
        /// Why; goes into the history.
        reason: String,
        /// `time`, `offset`, `min` or `max`.
        to: String,
        /// The topic.
        topic: String,
        /// With `time` milliseconds since the epoch, with `offset` the offset; nothing otherwise.
        value: Option<i64>,
    }

    /// A group was moved.
    #[derive(Default)]
    ResetOutcome {
        /// Its number in the history, by which it can be undone.
        id: u64,
        /// What it meant.
        moved: ResetPreview,
    }

    /// Moves of offsets other than forward (540,010), newest first.
    #[derive(Default)]
    ListMoves {
        /// Only those with smaller numbers: the last one of the page before.
        before: Option<u64>,
        /// Only of this group.
        group: Option<String>,
        /// At most as many, and at most 1000; absent: 100.
        limit: Option<u32>,
        /// Only of this topic.
        topic: Option<String>,
    }

    /// A page of the history.
    #[derive(Default)]
    MoveList {
        /// Commits of older values since the broker started.
        backward_commits: u64,
        /// The page.
        moves: Vec<OffsetMove>,
    }

    /// A recorded move.
    #[derive(Default)]
    OffsetMove {
        /// `commit`, `reset`, `clone`, `delete-group`, `delete-topic` or `undo`.
        action: String,
        /// Who asked for it: client id and address, as far as known.
        by: String,
        /// The group; empty in an entry that counts what was not recorded one by one.
        group: String,
        /// Its number.
        id: u64,
        /// Queues that it concerns.
        queues: Vec<OffsetStep>,
        /// Why, as it was told.
        reason: String,
        /// When, in milliseconds.
        time: i64,
        /// How many moves this entry stands for.
        times: u64,
        /// The topic.
        topic: String,
        /// The entry that it takes back.
        undoes: Option<u64>,
    }

    /// A move in one queue.
    #[derive(Default)]
    OffsetStep {
        /// Offset before; absent: none.
        from: Option<i64>,
        /// The queue.
        queue_id: i32,
        /// Offset after; absent: none.
        to: Option<i64>,
    }

    /// Takes a recorded move back (540,011).
    #[derive(Default)]
    UndoMove {
        /// Also when the group has moved on since.
        force: bool,
        /// The entry's number.
        id: u64,
        /// Why; goes into the history.
        reason: String,
    }

    /// Who reads the queues of a topic for a group, and why some lie idle (540,014).
    #[derive(Default)]
    ListOwners {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
    }

    /// The queues of a topic as a group reads them.
    #[derive(Default)]
    OwnerList {
        /// Members of the group that are connected.
        members: Vec<OwnerMember>,
        /// The queues.
        queues: Vec<QueueOwner>,
    }

    /// A member of a group.
    #[derive(Default)]
    OwnerMember {
        /// Its address.
        address: String,
        /// The name that it gave itself.
        client_id: String,
    }

    /// One queue and who reads it.
    #[derive(Default)]
    QueueOwner {
        /// Where the group stands; absent when it has no offset there.
        committed: Option<i64>,
        /// Why nobody reads it now; absent when somebody does.
        idle: Option<String>,
        /// Messages between the committed offset and the end.
        lag: i64,
        /// When it was last pulled, in milliseconds; absent when it was not since the broker started.
        last_pull: Option<i64>,
        /// Where the queue ends.
        max: i64,
        /// Client id of the reader, as far as known.
        owner: Option<String>,
        /// How the owner is known: `lock` or `pull`.
        owner_by: String,
        /// The queue.
        queue_id: i32,
    }
}

impl DeskRequest for PreviewReset {
    const CODE: RequestCode = RequestCode::OFFSET_PREVIEW;
    type Answer = ResetPreview;
}

impl DeskRequest for ResetGroup {
    const CODE: RequestCode = RequestCode::OFFSET_RESET;
    type Answer = ResetOutcome;
}

impl DeskRequest for ListMoves {
    const CODE: RequestCode = RequestCode::OFFSET_HISTORY;
    type Answer = MoveList;
}

impl DeskRequest for UndoMove {
    const CODE: RequestCode = RequestCode::OFFSET_UNDO;
    type Answer = OffsetMove;
}

impl DeskRequest for ListOwners {
    const CODE: RequestCode = RequestCode::QUEUE_OWNERS;
    type Answer = OwnerList;
}
