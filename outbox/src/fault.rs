//! The test kit: places where a process may die, and the means to make it die there.
//!
//! Every pattern passes its [`Point`]s in the order of its work. With the feature `test-kit`, `Faults::crash_at` makes the
//! work end there as if the process had died: nothing after the point runs, open transactions are not committed, leases are
//! not given back. What is in the database then is what a restart finds. Without the feature a point is no code at all.

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident,)*) => {
        /// A place between two steps that a crash can separate.
        ///
        /// [`Point::ALL`] lists them, so that a test can go through every one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        impl Point {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$point),*];
        }
    };
}

points! {
    /// Outbox: the row is written; the caller's transaction is not committed.
    PublishWritten,
    /// Relay: rows are leased; the lease is not committed.
    ClaimWritten,
    /// Relay: the lease is committed; nothing is sent.
    Claimed,
    /// Relay: the broker has the message; the row does not know.
    Sent,
    /// Relay: the outcome is written; it is not committed.
    OutcomeWritten,
    /// Relay: the outcome is committed.
    OutcomeKept,
    /// Inbox: the message's row is written; the effects are not.
    ReceiptWritten,
    /// Inbox: row and effects are written; they are not committed.
    EffectsWritten,
    /// Inbox: row and effects are committed; the broker does not know.
    EffectsKept,
    /// Inbox: handling failed; the failure is not recorded.
    HandlingFailed,
    /// Inbox: the failure is recorded; the broker does not know.
    FailureKept,
    /// Inbox: a failed message is leased for its next try.
    RetryClaimed,
    /// Outbox and inbox: a chunk of old rows is removed, not committed.
    CleaningWritten,
    /// Half messages: the broker has one; the caller's transaction tells nothing of it.
    HalfStored,
    /// Half messages: outbox row and half message's row are written; the caller's transaction is not committed.
    HalfWritten,
    /// Half messages: it is decided that the broker shall be told *commit*; it is not told.
    HalfDeciding,
    /// Half messages: the broker has committed it; the row does not know.
    HalfCommitted,
    /// Half messages: it is given up in favour of the relay; nothing is sent.
    HalfTakenOver,
    /// Half messages: a check gives one up that no row tells of; that is not committed.
    HalfVoidWritten,
    /// Half messages: that is committed; the check is not answered.
    HalfVoid,
    /// Notification: the task is written; the caller's transaction is not committed.
    NotificationWritten,
    /// Notification: tasks are leased; the lease is not committed.
    NotificationClaimWritten,
    /// Notification: the lease is committed; nobody is called.
    NotificationClaimed,
    /// Notification: the endpoint has answered; the task does not know.
    NotificationAnswered,
    /// Notification: the outcome is written; it is not committed.
    NotificationOutcomeWritten,
    /// Notification: the outcome is committed.
    NotificationOutcomeKept,
    /// Notification: a decision of people is written; it is not committed.
    NotificationDecisionWritten,
    /// Coordination: a global transaction and its first commands are written; the caller's transaction is not committed.
    GlobalWritten,
    /// Coordination: a branch's barrier row is written; its effects are not.
    BranchEntered,
    /// Coordination: a branch's effects and its answer are written; they are not committed.
    BranchWritten,
    /// Coordination: an answer, and the commands that follow from it, are written; they are not committed.
    AnswerWritten,
    /// Coordination: what follows from the time is written; it is not committed.
    RoundWritten,
    /// Coordination: what follows from the time is committed.
    RoundKept,
    /// Change relay: publication and slot are there; the table was not looked at since.
    SlotKept,
    /// Change relay: the stream has told of rows; none is leased.
    ChangeTold,
    /// Change relay: the rows are leased and being sent; their position in the stream is not confirmed.
    ChangeLeased,
    /// Deadlines: the row and its message are written; the caller's transaction is not committed.
    DeadlineWritten,
    /// Deadlines: a row is leased; the lease is not committed.
    DeadlineClaimWritten,
    /// Deadlines: the lease is committed; nothing is run.
    DeadlineClaimed,
    /// Deadlines: the message of a deadline that was far away is written; it is not committed.
    DeadlineAnnounced,
    /// Deadlines: the thing is closed; what follows from it is not written.
    DeadlineClosed,
    /// Deadlines: all is written; it is not committed.
    DeadlinePassedWritten,
    /// Deadlines: all is committed; the broker does not know.
    DeadlinePassed,
    /// Deadlines: it failed; the failure is not recorded.
    DeadlineFailed,
    /// Reconciliation: repair messages are written; they are not committed.
    RepairsWritten,
    /// Reconciliation: they are committed; the report is not finished.
    RepairsKept,
    /// Compensation: what a page lacks is written, with how far the scan has come; it is not committed.
    GapsWritten,
    /// Compensation: that is committed.
    GapsKept,
    /// Compensation: gaps are leased; the lease is not committed.
    GapClaimWritten,
    /// Compensation: the lease is committed; nothing is repaired.
    GapClaimed,
    /// Compensation: an outbox row is to be sent again; that is not committed.
    ResendWritten,
    /// Compensation: the inbox of the other side is barred for the message; nobody is told.
    GapBarred,
    /// Compensation: the repair is made; the gap does not know.
    GapRepaired,
    /// Compensation: the outcome is written; it is not committed.
    GapOutcomeWritten,
    /// Compensation: the outcome is committed.
    GapOutcomeKept,
    /// Compensation: what another service has acknowledged is written; it is not committed.
    AcknowledgementWritten,
}

impl Point {
    /// Those that a change relay passes.
    pub const OF_CHANGE_RELAY: &'static [Self] = &[
        Self::SlotKept,
        Self::ChangeTold,
        Self::ClaimWritten,
        Self::Claimed,
        Self::ChangeLeased,
        Self::Sent,
        Self::OutcomeWritten,
        Self::OutcomeKept,
    ];

    /// Those of outbox, relay and inbox: the first of [`ALL`](Self::ALL).
    pub const OF_OUTBOX_AND_INBOX: &'static [Self] = Self::ALL.split_at(Self::CleaningWritten as usize + 1).0;

    /// Those of TCC and saga beyond outbox, relay and inbox.
    pub const OF_COORDINATION: &'static [Self] = &[
        Self::GlobalWritten,
        Self::BranchEntered,
        Self::BranchWritten,
        Self::AnswerWritten,
        Self::RoundWritten,
        Self::RoundKept,
    ];

    /// Those of deadlines, in the order of their work.
    pub const OF_DEADLINES: &'static [Self] = &[
        Self::DeadlineWritten,
        Self::DeadlineClaimWritten,
        Self::DeadlineClaimed,
        Self::DeadlineAnnounced,
        Self::DeadlineClosed,
        Self::DeadlinePassedWritten,
        Self::DeadlinePassed,
        Self::DeadlineFailed,
    ];

    /// Those of compensation.
    pub const OF_COMPENSATION: &'static [Self] = &[
        Self::GapsWritten,
        Self::GapsKept,
        Self::GapClaimWritten,
        Self::GapClaimed,
        Self::ResendWritten,
        Self::GapBarred,
        Self::GapRepaired,
        Self::GapOutcomeWritten,
        Self::GapOutcomeKept,
        Self::AcknowledgementWritten,
    ];
}

/// Which points are to crash. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    #[cfg(feature = "test-kit")]
    armed: std::sync::Arc<parking_lot::Mutex<Armed>>,
}

#[cfg(feature = "test-kit")]
#[derive(Debug, Default)]
struct Armed {
    /// The point, and how often it is still passed unharmed.
    crash: Option<(Point, u32)>,
    passed: std::collections::HashMap<Point, u32>,
    /// The point at which a publisher (or effects) died, until the relay (or inbox) around has died of it too.
    within: Option<Point>,
}

#[cfg(feature = "test-kit")]
impl Faults {
    /// Makes the work that comes to `point` next end there, once.
    pub fn crash_at(&self, point: Point) {
        self.crash_at_nth(point, 1);
    }

    /// Makes the work that comes to `point` for the `nth` time from now (from 1) end there, once.
    pub fn crash_at_nth(&self, point: Point, nth: u32) {
        self.armed.lock().crash = Some((point, nth.saturating_sub(1)));
    }

    /// Nothing crashes any more.
    pub fn disarm(&self) {
        let mut armed = self.armed.lock();
        (armed.crash, armed.within) = (None, None);
    }

    /// Whether a crash is still to come.
    pub fn is_armed(&self) -> bool {
        self.armed.lock().crash.is_some()
    }

    /// How often work came to that point.
    pub fn passed(&self, point: Point) -> u32 {
        self.armed.lock().passed.get(&point).copied().unwrap_or(0)
    }

    pub(crate) fn pass(&self, point: Point) -> Result<(), crate::Error> {
        let mut armed = self.armed.lock();
        *armed.passed.entry(point).or_default() += 1;
        match &mut armed.crash {
            Some((at, 0)) if *at == point => {
                armed.crash = None;
                Err(crate::Error::Crashed(point))
            }
            Some((at, left)) if *at == point => {
                *left -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(feature = "test-kit")]
impl Faults {
    /// As [`pass`](Self::pass), for those who can tell the relay only that a message was not sent.
    pub(crate) fn pass_within(&self, point: Point) -> Result<(), crate::Error> {
        let passed = self.pass(point);
        if passed.is_err() {
            self.armed.lock().within = Some(point);
        }
        passed
    }

    /// Takes note of a death that is told only as a text: for effects that an inbox runs.
    pub(crate) fn note(&self, error: &crate::Error) {
        if let crate::Error::Crashed(point) = error {
            self.armed.lock().within = Some(*point);
        }
    }

    /// Dies of what a publisher, or effects, died of.
    pub(crate) fn survive(&self) -> Result<(), crate::Error> {
        match self.armed.lock().within.take() {
            Some(point) => Err(crate::Error::Crashed(point)),
            None => Ok(()),
        }
    }
}

#[cfg(not(feature = "test-kit"))]
impl Faults {
    #[inline(always)]
    pub(crate) fn pass_within(&self, _: Point) -> Result<(), crate::Error> {
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn note(&self, _: &crate::Error) {}

    #[inline(always)]
    pub(crate) fn survive(&self) -> Result<(), crate::Error> {
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn pass(&self, _: Point) -> Result<(), crate::Error> {
        Ok(())
    }
}

#[cfg(all(test, feature = "test-kit"))]
mod tests {
    use super::*;

    #[test]
    fn an_armed_point_crashes_once_and_others_do_not() {
        let faults = Faults::default();
        faults.crash_at_nth(Point::Sent, 2);
        assert!(faults.pass(Point::Claimed).is_ok());
        assert!(faults.pass(Point::Sent).is_ok());
        assert!(matches!(faults.pass(Point::Sent), Err(crate::Error::Crashed(Point::Sent))));
        assert!(faults.pass(Point::Sent).is_ok());
        assert_eq!((faults.passed(Point::Sent), faults.is_armed()), (3, false));
    }
}
