//! Messages that take effect once, however often they come.
//!
//! [`Inbox::handle`] writes the message's row and its effects in one transaction. The row is inserted *first*: its key is
//! unique, so of two consumers that have the same message one waits for the other and then finds it done. What failed is
//! recorded in a transaction of its own, with the message, and tried again by the inbox's [`Retrier`].
//!
//! ```text
//! message ─► row inserted ─► effects ─► commit ─► acknowledged
//!               │ taken         │ failed
//!               │               └─► rolled back ─► recorded (pending) ─► acknowledged ─► Retrier … exhausted
//!               └─ done: acknowledged, nothing runs
//! ```
//!
//! Invariant: a row is `done` if and only if its effects are committed, because they are one transaction.

mod acknowledge;
mod bar;
mod builder;
mod desk;
mod effects;
mod failure;
mod handle;
mod listener;
mod receive;
mod retry;

use std::{fmt, sync::Arc, time::Duration};

use sqlx::Pool;

use self::acknowledge::Acknowledge;
pub(crate) use self::acknowledge::Receipt;
pub use self::{
    builder::InboxBuilder,
    effects::Effects,
    failure::Recorded,
    handle::{HandleError, Handled},
    listener::InboxListener,
    receive::Received,
    retry::{Retrier, RunningRetrier},
};
use crate::{
    builder::Base,
    clock::Clock,
    database::{Dialect, Sql},
    fault::Faults,
    monitoring::{Counts, Tally},
    relay::Alert,
    schedule::Schedule,
    schema::Table,
    wake::Wake,
    work::WorkTable,
};

/// The inbox of one consumer group in one database. Cloning is cheap, and all clones are one inbox.
///
/// ```no_run
/// use sqlx::{Sqlite, SqlitePool, Transaction};
/// use tenonmq_client::PushConsumer;
/// use tenonmq_outbox::{Effects, Inbox, Incoming};
///
/// /// Gives the member points for a paid order.
/// struct Points;
///
/// impl Effects<Sqlite> for Points {
///     type Error = sqlx::Error;
///     async fn apply(&self, transaction: &mut Transaction<'_, Sqlite>, message: &Incoming) -> Result<(), sqlx::Error> {
///         let member = message.header("member").unwrap_or_default();
///         let add = sqlx::query("UPDATE members SET points = points + 10 WHERE id = ?").bind(member);
///         add.execute(&mut **transaction).await.map(|_| ())
///     }
/// }
///
/// # async fn example(pool: SqlitePool) -> Result<(), Box<dyn std::error::Error>> {
/// let inbox = Inbox::builder(pool, "points").build();
/// let consumer = PushConsumer::builder("127.0.0.1:9876")
///     .group("points")
///     .subscribe("paid", "*")
///     .listener(inbox.listener(Points))
///     .connect()
///     .await?;
/// let retrier = inbox.retrier(Points).start(); // what failed is tried again by the inbox's schedule
/// # consumer.shutdown().await;
/// # retrier.shutdown().await;
/// # Ok(()) }
/// ```
pub struct Inbox<D: Dialect>(pub(crate) Arc<Shared<D>>);

/// What all clones share.
pub(crate) struct Shared<D: Dialect> {
    pub(crate) pool: Pool<D>,
    pub(crate) group: String,
    pub(crate) table: WorkTable<D>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: Faults,
    pub(crate) schedule: Schedule,
    pub(crate) wake: Wake,
    pub(crate) tally: Tally,
    on_exhausted: Option<Alert>,
    time_limit: Duration,
    trusts_keys: bool,
    acknowledge: Option<Acknowledge<D>>,
    insert: Sql,
    known: Sql,
    done: Sql,
    record: Sql,
}

impl<D: Dialect> Inbox<D> {
    /// Starts building the inbox of a consumer group over a pool, whose tables [`Schema::migrate`](crate::Schema::migrate) has created.
    pub fn builder(pool: Pool<D>, group: impl Into<String>) -> InboxBuilder<D> {
        InboxBuilder::new(pool, group.into())
    }

    /// The consumer group.
    pub fn group(&self) -> &str {
        &self.0.group
    }

    /// What a push consumer calls: handles each message once, and records what fails.
    pub fn listener<E: Effects<D>>(&self, effects: E) -> InboxListener<D, E> {
        InboxListener::new(self.clone(), effects)
    }

    /// Tries again what failed; it does nothing before it is [started](Retrier::start).
    pub fn retrier<E: Effects<D>>(&self, effects: E) -> Retrier<D, E> {
        Retrier::new(self.clone(), effects)
    }

    /// What this inbox and its clones have done. A message counts as handled before its transaction commits.
    pub fn counts(&self) -> Counts {
        self.0.tally.counts()
    }

    fn new(builder: InboxBuilder<D>) -> Self {
        let InboxBuilder { base, group, schedule, time_limit, on_exhausted, trusts_keys, acknowledge } = builder;
        let Base { pool, schema, clock, faults } = base;
        let table = WorkTable::new(&schema, Table::Received, "business_key", "business_key", "AND consumer_group = ?");
        Self(Arc::new(Shared {
            pool,
            group,
            clock,
            faults,
            schedule,
            wake: Wake::default(),
            tally: Tally::default(),
            time_limit,
            on_exhausted,
            trusts_keys,
            acknowledge,
            insert: table.sql(
                "INSERT INTO {table} (consumer_group, business_key, topic, tag, digest, content, headers, status, \
                 attempts, next_attempt_at, last_error, created_at, updated_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ),
            known: table.sql(
                "SELECT id, status, attempts, digest FROM {table} WHERE consumer_group = ? AND business_key = ?{for update}",
            ),
            done: table.sql(
                "UPDATE {table} SET status = 'done', content = NULL, claimed_by = NULL, updated_at = ? WHERE id = ?",
            ),
            record: table.sql(
                "UPDATE {table} SET status = ?, attempts = ?, next_attempt_at = ?, last_error = ?, content = ?, \
                 claimed_by = NULL, updated_at = ? WHERE id = ?",
            ),
            table,
        }))
    }
}

impl<D: Dialect> Clone for Inbox<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dialect> fmt::Debug for Inbox<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("group", &self.0.group).finish_non_exhaustive()
    }
}
