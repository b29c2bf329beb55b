//! Business transactions over several services: TCC and saga.
//!
//! A global transaction has branches, each a part of the work that one service does in its own database. The [`Coordinator`]
//! keeps it as a row, tells the branches by messages what to do, and goes by their answers:
//!
//! ```text
//! trying ──all done──► confirming ──all confirmed──► confirmed     (a saga is confirmed at once)
//!    └──one refused, or too late──► cancelling ──all undone──► cancelled
//! ```
//!
//! | | [`Plan::tcc`] | [`Plan::saga`] |
//! |---|---|---|
//! | try | reserves; all branches at once | does it; one branch after the other |
//! | confirm | uses what is reserved | there is none |
//! | cancel | gives it back; all at once | compensates; one after the other, the last first |
//!
//! What the initiator has to write at the end is an [`Ending`], in the transaction that writes the end.
//!
//! Everything else is the same for both, so there is one coordinator, one [`Barrier`], one trait [`Participant`].
//!
//! * Commands leave through the coordinator's [`Outbox`](crate::Outbox) and come in through each service's
//!   [`Inbox`](crate::Inbox); answers go the other way in the same manner. So nothing is lost, and whatever dies is resumed
//!   from the rows.
//! * The barrier is one row for each branch in the service's own database, written in the transaction of the branch's effects. It
//!   makes repeats, a cancel that overtakes its try, and a try that comes after its cancel harmless.
//! * Confirm and cancel are repeated on a [`Schedule`](crate::Schedule) until they are answered. When they never are, the row is
//!   exhausted: kept, shown, alerted, and [run again](Coordinator::rerun) by hand.
//!
//! Invariants: the phase of a global transaction is decided once, under its row's lock; branches that have tried are
//! either all confirmed or all cancelled; each of try, confirm and cancel takes effect at most once.
//!
//! A transaction keeps the branches with which it was begun: a new version of the service that plans others changes nothing for
//! those under way.

mod answer;
mod barrier;
mod begin;
mod builder;
mod command;
mod coordinator;
mod desk;
mod drive;
mod ending;
mod participant;
mod plan;
mod progress;
mod record;
mod run;

pub use self::{
    barrier::{Barrier, Entry},
    begin::Begun,
    builder::CoordinatorBuilder,
    command::{Action, BranchId, Command},
    coordinator::Coordinator,
    desk::Global,
    ending::{Ended, Ending},
    participant::{BranchError, Participant, Serving, Vote},
    plan::Plan,
    progress::{BranchState, Kind, Phase, Stage},
    run::RunningCoordinator,
};
