//! Databases and a message broker that agree: the patterns of reliable messaging over `sqlx` and `tenonmq-client`.
//!
//! | you want to | use |
//! |---|---|
//! | send a message if and only if a database transaction commits | [`Outbox`], [`Relay`] |
//! | the same, visible at the commit, with the broker's check answered from the database | [`Transactional`] |
//! | let a received message take effect once, however often it comes | [`Inbox`] |
//! | deliver an event to an HTTP endpoint until it answers 200 | `notification` (feature of that name) |
//! | have several services do something together, or none of them | [`coordination`]: TCC and saga |
//! | let something end by itself at a time, unless it was settled before | [`Deadlines`] |
//! | find what two systems do not agree about | [`reconciliation`] |
//! | find what another service should have done and has not, and repair it | [`compensation`] |
//! | see and be told how it goes | [`monitoring`] |
//! | create the tables, or see their SQL | [`Schema`] |
//! | say when what failed is tried again | [`Schedule`] |
//! | test what a crash does to your service | [`fault`], [`ManualClock`] |
//!
//! Every call that belongs to a change of your data takes *your* `sqlx` transaction; nothing here opens a second one behind
//! your back and calls the two atomic. The databases are SQLite, PostgreSQL, MySQL and MariaDB, each behind a feature.
//!
//! # What it is not
//!
//! No distributed transaction: the two sides agree after a while, not at one instant. No exactly-once delivery, which does
//! not exist: messages arrive at least once, and their *effects* happen once, because [`Inbox`] writes its row with them.
//!
//! # Inside
//!
//! `database` holds what the three databases do differently; everything else is written once over it. `work` is what
//! all tables have in common whose rows are tried until they are done: claims, retries, operators' decisions.
//!
//! Invariants:
//!
//! * A row is claimed by a lease, in a short transaction that ends before anything is sent: no lock is held while the
//!   network is waited for, and a process that dies leaves nothing but a lease that ends.
//! * The outcome of a try is written after the try. A crash between the two repeats the try: at least once, never less.
//! * Rows are never deleted by being done; [cleaning](Outbox::clean) does that, when asked.
//! * The idempotency key is the business's, never the broker's id, which differs between copies.

#[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "mysql")))]
compile_error!("tenonmq-outbox needs one of its features `sqlite`, `postgres`, `mysql`");

mod builder;
#[cfg(feature = "postgres-cdc")]
mod cdc;
pub mod clock;
pub mod compensation;
pub mod coordination;
mod database;
pub mod deadline;
mod error;
pub mod fault;
mod inbox;
mod message;
pub mod monitoring;
#[cfg(feature = "notification")]
pub mod notification;
mod outbox;
pub mod reconciliation;
mod relay;
mod running;
pub mod schedule;
mod schema;
mod transactional;
mod wake;
mod work;

#[cfg(feature = "postgres-cdc")]
pub use self::cdc::{ChangeRelay, ChangeSlot, ChangeSource, RunningChangeRelay, SlotReading};
pub use self::{
    clock::{Clock, ManualClock, SystemClock},
    database::Dialect,
    deadline::{Deadlines, Expiry},
    error::Error,
    inbox::{
        Effects, HandleError, Handled, Inbox, InboxBuilder, InboxListener, Received, Recorded, Retrier, RunningRetrier,
    },
    message::{Incoming, Outgoing},
    outbox::{Outbox, OutboxBuilder, Published},
    relay::{Alert, Pass, PublishError, Publisher, Relay, RunningRelay},
    schedule::Schedule,
    schema::{Schema, Table},
    transactional::{Answers, HalfPublisher, Halves, Link, Transactional, TransactionalBuilder},
    wake::Wake,
    work::{Backlog, Status, Tried},
};
