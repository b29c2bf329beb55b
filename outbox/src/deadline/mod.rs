//! Things that end by themselves at a time, unless they were settled before: an order that nobody pays.
//!
//! [`Deadlines::set`] writes a row in the transaction that creates the thing, and in the outbox a message that the broker
//! delivers at the millisecond. When it arrives, [`Expiry::close`] takes the thing from open to closed; if that changed
//! something, [`Expiry::expire`] writes what follows; and the row becomes `done`, all three in one transaction.
//!
//! ```text
//! set ─► row + delayed message ─► due ─► message ─► close ─► changed? ─► expire ─► done (expired)
//!         │                              (or the keeper,       └ nothing: it was settled ─► done (closed)
//!         └─ cancel ─► dropped            a while later)
//! ```
//!
//! The message is what makes it punctual, and [`Keeper`] is the net: it looks at rows whose message is overdue, writes the
//! message of deadlines that are further away than the broker keeps one, puts back what came early, and tries again what
//! failed.
//!
//! Invariants:
//!
//! * A row turns `done` by a compare-and-set in the transaction of its effects: whoever comes second undoes all.
//! * Nothing runs before the row's due time by the clock of this service, whatever the broker's clock says.
//! * Locks are taken in one order, the thing before its deadline: by the service that settles and cancels, and here.

mod builder;
mod claim;
mod desk;
mod expiry;
mod fire;
mod keeper;
mod listener;
mod set;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

pub use self::{
    builder::DeadlinesBuilder,
    expiry::Expiry,
    fire::Passed,
    keeper::{Keeper, RunningKeeper},
    listener::DeadlineListener,
    set::{Due, Set},
};
use crate::{
    clock::millis,
    database::{Dialect, Sql},
    message::Outgoing,
    monitoring::{Counts, Tally},
    outbox::Outbox,
    relay::Alert,
    schedule::Schedule,
    schema::Table,
    wake::Wake,
    work::WorkTable,
};

/// The deadlines of one kind, in one database. Cloning is cheap, and all clones are one.
///
/// ```no_run
/// use std::time::Duration;
/// use sqlx::{Sqlite, SqlitePool, Transaction};
/// use tenonmq_client::PushConsumer;
/// use tenonmq_outbox::{Deadlines, Expiry, Outbox, deadline::Deadline};
///
/// /// Cancels an order that is still unpaid, and gives its stock back.
/// struct CancelOrder;
///
/// impl Expiry<Sqlite> for CancelOrder {
///     type Error = sqlx::Error;
///     async fn close(&self, transaction: &mut Transaction<'_, Sqlite>, due: &Deadline) -> Result<u64, sqlx::Error> {
///         let cancel = sqlx::query("UPDATE orders SET state = 'cancelled' WHERE id = ? AND state = 'unpaid'");
///         Ok(cancel.bind(due.key()).execute(&mut **transaction).await?.rows_affected())
///     }
///     async fn expire(&self, transaction: &mut Transaction<'_, Sqlite>, due: &Deadline) -> Result<(), sqlx::Error> {
///         let release = sqlx::query("UPDATE stock SET held = held - 1 WHERE item = (SELECT item FROM orders WHERE id = ?)");
///         release.bind(due.key()).execute(&mut **transaction).await.map(|_| ())
///     }
/// }
///
/// # async fn example(pool: SqlitePool, outbox: Outbox<Sqlite>) -> Result<(), Box<dyn std::error::Error>> {
/// let deadlines = Deadlines::builder(&outbox, "order_timeout").build();
/// let keeper = deadlines.keeper(CancelOrder).start();
/// let consumer = PushConsumer::builder("127.0.0.1:9876")
///     .group("order_timeout")
///     .subscribe("order_timeout", "*")
///     .listener(deadlines.listener(CancelOrder))
///     .connect()
///     .await?;
///
/// let mut transaction = pool.begin().await?;
/// sqlx::query("INSERT INTO orders (id, state) VALUES ('order-42', 'unpaid')").execute(&mut *transaction).await?;
/// deadlines.set(&mut transaction, "order-42", Duration::from_secs(30 * 60), "").await?;
/// transaction.commit().await?;
/// # consumer.shutdown().await;
/// # keeper.shutdown().await;
/// # Ok(()) }
/// ```
pub struct Deadlines<D: Dialect>(pub(crate) Arc<Shared<D>>);

/// A deadline that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadline {
    pub(crate) key: String,
    pub(crate) due_ms: i64,
    pub(crate) payload: Bytes,
}

impl Deadline {
    /// The thing that ends.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// When it was to end, in ms since the Unix epoch.
    pub fn due_ms(&self) -> i64 {
        self.due_ms
    }

    /// What was given with it.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }
}

/// What all clones share.
pub(crate) struct Shared<D: Dialect> {
    /// Pool, clock and faults are the outbox's.
    pub(crate) outbox: Outbox<D>,
    pub(crate) topic: String,
    pub(crate) table: WorkTable<D>,
    pub(crate) tally: Tally,
    wake: Wake,
    schedule: Schedule,
    time_limit: Duration,
    /// How long after the due time the keeper looks itself; none: there are no messages, and it does so at the due time.
    grace: Option<Duration>,
    horizon: Duration,
    on_exhausted: Option<Alert>,
    insert: Sql,
    known: Sql,
    extend: Sql,
    cancel: Sql,
    pass: Sql,
    announce: Sql,
    put_back: Sql,
    amend: Sql,
}

impl<D: Dialect> Deadlines<D> {
    /// Starts building the deadlines of one kind, whose messages go through `outbox` to `topic`. They live in the outbox's
    /// database and schema, which must be the database of the things that end.
    pub fn builder(outbox: &Outbox<D>, topic: impl Into<String>) -> DeadlinesBuilder<D> {
        DeadlinesBuilder::new(outbox.clone(), topic.into())
    }

    /// Their kind, and the topic of their messages.
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// What a push consumer of [`topic`](Self::topic) calls. A [keeper](Self::keeper) must run beside it.
    pub fn listener<E: Expiry<D>>(&self, expiry: E) -> DeadlineListener<D, E> {
        DeadlineListener::new(self.clone(), expiry)
    }

    /// The net; it does nothing before it is [started](Keeper::start).
    pub fn keeper<E: Expiry<D>>(&self, expiry: E) -> Keeper<D, E> {
        Keeper::new(self.clone(), expiry)
    }

    /// What these and their clones have done: deadlines that passed, tries that failed, messages that came once more.
    pub fn counts(&self) -> Counts {
        self.0.tally.counts()
    }

    fn new(builder: DeadlinesBuilder<D>) -> Self {
        let DeadlinesBuilder { outbox, topic, schedule, time_limit, grace, horizon, on_exhausted } = builder;
        let schema = &outbox.0.schema;
        let table = WorkTable::new(schema, Table::Deadline, "business_key", "claimed_by", "AND topic = ?");
        Self(Arc::new(Shared {
            topic,
            tally: Tally::default(),
            wake: Wake::default(),
            schedule,
            time_limit,
            grace,
            horizon,
            on_exhausted,
            insert: table.sql(
                "INSERT INTO {table} (topic, business_key, due_at, content, announced_at, status, attempts, \
                 next_attempt_at, created_at, updated_at) VALUES (?, ?, ?, ?, ?, 'pending', 0, ?, ?, ?)",
            ),
            known: table.sql(
                "SELECT id, attempts, claimed_by, status, next_attempt_at, due_at, announced_at, content FROM {table} \
                 WHERE topic = ? AND business_key = ?{for update}",
            ),
            extend: table.sql(
                "UPDATE {table} SET due_at = ?, announced_at = ?, next_attempt_at = ?, attempts = 0, \
                 claimed_by = NULL, updated_at = ? WHERE id = ?",
            ),
            cancel: table.sql(
                "UPDATE {table} SET status = 'dropped', last_error = ?, claimed_by = NULL, updated_at = ? \
                 WHERE topic = ? AND business_key = ? AND status IN ('pending', 'exhausted')",
            ),
            pass: table.sql(
                "UPDATE {table} SET status = 'done', outcome = ?, claimed_by = NULL, updated_at = ? \
                 WHERE id = ? AND status = 'pending' AND due_at = ?",
            ),
            announce: table.sql(
                "UPDATE {table} SET announced_at = ?, next_attempt_at = ?, claimed_by = NULL, updated_at = ? \
                 WHERE id = ? AND status = 'pending' AND due_at = ?",
            ),
            put_back: table.sql(
                "UPDATE {table} SET next_attempt_at = due_at, updated_at = ? \
                 WHERE id = ? AND next_attempt_at > due_at AND claimed_by IS NULL",
            ),
            amend: table.sql(
                "UPDATE {table} SET next_attempt_at = ? WHERE status = 'pending' AND topic = ? \
                 AND next_attempt_at > ? AND next_attempt_at > due_at + ?",
            ),
            table,
            outbox,
        }))
    }

    fn now_ms(&self) -> i64 {
        self.0.outbox.0.clock.now_ms()
    }

    /// The message of a deadline: named by the thing and the time, since the time may be moved.
    fn message(&self, deadline: &Deadline) -> Outgoing {
        let Deadline { key, due_ms, payload } = deadline;
        // the broker wants a body
        let content = if payload.is_empty() { Bytes::copy_from_slice(key.as_bytes()) } else { payload.clone() };
        Outgoing::new(self.topic(), format!("{key}/{due_ms}"), content).deliver_at_ms(*due_ms)
    }

    /// Whether the message of a deadline can be written now, as far as the broker's reach goes.
    fn is_near(&self, due_ms: i64) -> bool {
        due_ms <= self.now_ms().saturating_add(millis(self.0.horizon))
    }

    /// When the keeper looks at a deadline next.
    fn look_ms(&self, due_ms: i64, is_announced: bool) -> i64 {
        match self.0.grace {
            None => due_ms,
            Some(grace) if is_announced => due_ms.saturating_add(millis(grace)),
            Some(_) => due_ms.saturating_sub(millis(self.0.horizon)),
        }
    }
}

impl<D: Dialect> Clone for Deadlines<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dialect> fmt::Debug for Deadlines<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadlines").field("topic", &self.0.topic).finish_non_exhaustive()
    }
}
