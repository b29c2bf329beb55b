//! The flagship call: a half message and an outbox row in one step.
//!
//! [`Transactional::publish`] stores a half message at the broker and writes the outbox row and the half message's own row
//! ([`Table::Half`](crate::Table::Half)) in the caller's transaction. After the commit the relay commits the half message. A
//! check of the broker is answered from the row, by any instance of the service. Whenever the broker cannot be
//! reached, the message goes out like any other of the outbox.
//!
//! ```text
//!                     the caller's transaction
//!  (no row) ──────────────────────────────────► held ──CAS──► deciding ──the broker's word──► done
//!     │                                           │              │
//!     │ a check finds no row                      │ broker away  │ the broker had it rolled back
//!     ▼                                           ▼              ▼
//!    void ◄── one unique key: who comes first ─► relayed ◄───────┘
//! ```
//!
//! | state | who makes the message visible | what a check is answered |
//! |---|---|---|
//! | `held`, `deciding`, `done` | the half message, and nobody else | commit (and `held` becomes `deciding` first) |
//! | `relayed`, `void` with an outbox row | the relay, as an ordinary message | rollback |
//! | `void` without one | nobody: the transaction was rolled back | rollback |
//! | (no row) | not decided yet | `void` is written first; if that is not possible, *unknown* |
//!
//! Invariants:
//!
//! * **One path.** The half message is committed only in state `deciding`, the ordinary message is sent only in `relayed`
//!   and `void`, and no row is ever in both: `held` is left by compare-and-set, and `deciding` for `relayed` only
//!   when the broker says that the half message was rolled back.
//! * **No rollback by guess.** A check that finds no row writes one with the same unique key before it says *rollback*. While
//!   the caller's transaction is open with its row, that waits or fails, and the answer is *unknown*. If
//!   the caller is slower than the check, its half message is lost and its message is not: the row is `void`, so the relay
//!   sends it. So no clock and no longest transaction is assumed.
//! * A query that fails is an error of the check, which the client answers *unknown*.
//!
//! What remains is what any outbox has: a send whose answer got lost is repeated, and receivers recognise the copy by the
//! business id. And a message whose commit was under way when its broker died waits until that broker is back: only it
//! knows whether the message is visible already.

mod answer;
mod builder;
mod halves;
mod link;
mod publish;
mod publisher;
mod table;

use std::{fmt, sync::Arc};

use tenonmq_client::LocalState;

pub(crate) use self::publish::{HALF_HEADER, half_of};
pub use self::{answer::Answers, builder::TransactionalBuilder, halves::Halves, link::Link, publisher::HalfPublisher};
use self::{publish::Pause, table::HalfTable};
use crate::{database::Dialect, error::Error, monitoring::Counts, outbox::Outbox, relay::Relay, work::Backlog};

/// Publishes through half messages what a database transaction commits. Cloning is cheap, and all clones are one.
///
/// ```no_run
/// # async fn example(pool: sqlx::SqlitePool) -> Result<(), Box<dyn std::error::Error>> {
/// use tenonmq_outbox::{Outbox, Outgoing, Schema, Transactional};
/// Schema::default().migrate(&pool).await?;
/// let outbox = Outbox::builder(pool.clone()).build();
/// let transactional = Transactional::builder(outbox, "127.0.0.1:9876").group("orders").connect().await?;
/// let relay = transactional.relay().start(); // in every instance of the service
///
/// let mut transaction = pool.begin().await?;
/// sqlx::query("UPDATE orders SET state = 'paid' WHERE id = 42").execute(&mut *transaction).await?;
/// transactional.publish(&mut transaction, &Outgoing::new("paid", "order-42/paid", "{}")).await?;
/// transaction.commit().await?;
/// transactional.wake(); // visible now; without this line some milliseconds later
///
/// relay.shutdown().await;
/// # Ok(()) }
/// ```
///
/// Nothing else is to be written: no listener, no check. If the transaction is rolled back, nothing becomes visible. If it
/// commits, the message does, whatever dies in between, and by one path only.
pub struct Transactional<D: Dialect, H = Link<D>>(Arc<Shared<D, H>>);

struct Shared<D: Dialect, H> {
    outbox: Outbox<D>,
    halves: Arc<H>,
    answers: Answers<D>,
    table: Arc<HalfTable<D>>,
    pause: Pause,
    /// Whether half messages may carry a delivery time.
    delays: bool,
}

impl<D: Dialect, H: Halves> Transactional<D, H> {
    /// The relay: it commits half messages after their transactions, and sends what has none. Start it in at least one
    /// instance; all rows of the outbox are its work, those of [`Outbox::publish`] too.
    pub fn relay(&self) -> Relay<D, HalfPublisher<D, H>> {
        let Shared { outbox, halves, table, .. } = &*self.0;
        outbox.relay(HalfPublisher::new(outbox.clone(), Arc::clone(halves), Arc::clone(table)))
    }

    /// Has the relays of this process look at once. Call it after the commit.
    pub fn wake(&self) {
        self.0.outbox.wake();
    }

    /// What became of the transaction that a half message was stored for: the answer to its check. The connected client
    /// asks this itself; it is here for those who receive checks by other means.
    ///
    /// # Errors
    /// As any query; answer *unknown* then.
    pub async fn answer_check(&self, half_id: &str) -> Result<LocalState, Error> {
        self.0.answers.answer(half_id).await
    }

    /// The outbox that holds the rows.
    pub fn outbox(&self) -> &Outbox<D> {
        &self.0.outbox
    }

    /// Has the relay send a message whose half message its broker cannot commit any more, because the broker's data is lost
    /// or the half message too old. For people who know that: if the commit did arrive, the message becomes visible twice.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no such row, or its commit was never under way, so that the relay decides by itself;
    /// [`Error::Database`].
    pub async fn hand_over(&self, topic: &str, business_id: &str) -> Result<(), Error> {
        let Shared { outbox, table, .. } = &*self.0;
        let row = outbox.find(topic, business_id).await?.map_or(0, |found| found.row);
        table.hand_over(row, outbox.0.clock.now_ms()).await?;
        outbox.rerun(row).await
    }

    /// Half messages that are held or being decided, of all instances of the service; exhausted are those that the relay
    /// does not try any more. Counts the outbox's pending rows, so it costs more the more there are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn undecided(&self) -> Result<Backlog, Error> {
        self.0.table.backlog(self.0.outbox.0.clock.now_ms()).await
    }

    /// What this instance did: *done* are half messages that it committed, *failed* those that its relay sends as ordinary
    /// messages in their stead.
    pub fn counts(&self) -> Counts {
        self.0.table.tally.counts()
    }

    /// Removes rows of half messages that were decided before `before_ms`, in small chunks. Returns how many rows. A check
    /// that comes later is answered *rollback*, which is right: what was to become visible is.
    ///
    /// # Errors
    /// [`Error::Database`]; the chunks before are removed then.
    pub async fn clean(&self, before_ms: i64) -> Result<u64, Error> {
        self.0.table.clean(before_ms).await
    }
}

impl<D: Dialect> Transactional<D> {
    /// Has the brokers of a topic ask this instance too, although it has published nothing yet: for one that only answers
    /// checks, or that starts after another one died. Before it is connected, this is kept in mind.
    ///
    /// # Errors
    /// The client's.
    pub async fn watch(&self, topic: &str) -> Result<(), tenonmq_client::Error> {
        self.0.halves.watch(topic).await
    }

    /// Stops answering checks and closes the connections. Shut the relay down before.
    pub async fn shutdown(&self) {
        self.0.halves.shutdown().await;
    }
}

impl<D: Dialect, H> Clone for Transactional<D, H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dialect, H> fmt::Debug for Transactional<D, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactional").field("outbox", &self.0.outbox).finish_non_exhaustive()
    }
}
