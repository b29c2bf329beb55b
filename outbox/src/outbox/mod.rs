//! Messages that are written where the business data is, and sent from there.
//!
//! [`Outbox::publish`] writes a row in the caller's transaction: it is there if and only if the transaction commits. A
//! [`Relay`] claims rows ([`claim`]), sends them, and writes down what became of them ([`outcome`]).

mod builder;
mod claim;
mod desk;
mod outcome;
mod publish;

use std::{fmt, sync::Arc};

use sqlx::Pool;

pub use self::{builder::OutboxBuilder, publish::Published};
pub(crate) use self::{
    claim::{BEHIND_ANOTHER_MS, Claimed, Claims},
    outcome::{Outcome, Settled},
};
use crate::{
    builder::Base,
    clock::Clock,
    database::{Dialect, Sql},
    fault::Faults,
    monitoring::{Counts, Tally},
    relay::{Publisher, Relay},
    schema::{Schema, Table},
    wake::Wake,
    work::WorkTable,
};

/// The outbox of one database. Cloning is cheap, and all clones are one outbox.
///
/// ```no_run
/// # async fn example(pool: sqlx::SqlitePool, producer: tenonmq_client::Producer) -> Result<(), tenonmq_outbox::Error> {
/// use tenonmq_outbox::{Outbox, Outgoing, Schema};
/// Schema::default().migrate(&pool).await?;
/// let outbox = Outbox::builder(pool.clone()).build();
/// let relay = outbox.relay(producer).start(); // in every instance of the service, or in one
///
/// let mut transaction = pool.begin().await?;
/// sqlx::query("UPDATE orders SET state = 'paid' WHERE id = 42").execute(&mut *transaction).await?;
/// outbox.publish(&mut transaction, &Outgoing::new("paid", "order-42/paid", "{}")).await?;
/// transaction.commit().await?;
/// outbox.wake(); // sent now; without this line some milliseconds later
///
/// relay.shutdown().await;
/// # Ok(()) }
/// ```
pub struct Outbox<D: Dialect>(pub(crate) Arc<Shared<D>>);

/// What all clones share.
pub(crate) struct Shared<D: Dialect> {
    pub(crate) pool: Pool<D>,
    pub(crate) table: WorkTable<D>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: Faults,
    pub(crate) wake: Wake,
    pub(crate) tally: Tally,
    /// On which PostgreSQL tells other processes of new rows; `None` when it shall not.
    pub(crate) channel: Option<String>,
    pub(crate) largest: usize,
    pub(crate) schema: Schema,
    insert: Sql,
    known: Sql,
}

impl<D: Dialect> Outbox<D> {
    /// Starts building an outbox over a pool, whose tables [`Schema::migrate`] has created.
    pub fn builder(pool: Pool<D>) -> OutboxBuilder<D> {
        OutboxBuilder::new(pool)
    }

    /// Has the relays of this process look at once. Call it after the commit.
    pub fn wake(&self) {
        self.0.wake.now();
    }

    /// A handle that does what [`wake`](Self::wake) does.
    pub fn waker(&self) -> Wake {
        self.0.wake.clone()
    }

    /// A relay that sends through `publisher`; it does nothing before it is [started](Relay::start).
    pub fn relay<P: Publisher>(&self, publisher: P) -> Relay<D, P> {
        Relay::new(self.clone(), publisher)
    }

    /// What the relays of this outbox and its clones have done.
    pub fn counts(&self) -> Counts {
        self.0.tally.counts()
    }

    fn new(builder: OutboxBuilder<D>) -> Self {
        let OutboxBuilder { base, largest, notify } = builder;
        let Base { pool, schema, clock, faults } = base;
        let columns = "order_key, LENGTH(content) + 0 * id"; // PostgreSQL's length is no BIGINT, this sum is
        Self(Arc::new(Shared {
            pool,
            table: WorkTable::new(&schema, Table::Published, "business_id", columns, ""),
            clock,
            faults,
            wake: Wake::default(),
            tally: Tally::default(),
            channel: notify.then(|| schema.channel(Table::Published)),
            largest,
            schema: schema.clone(),
            insert: schema.sql::<D>(
                "INSERT INTO {published} (business_id, topic, tag, order_key, content, headers, deliver_at, status, \
                 attempts, next_attempt_at, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', 0, ?, ?, ?)",
            ),
            known: schema.sql::<D>("SELECT id, content FROM {published} WHERE topic = ? AND business_id = ?{for update}"),
        }))
    }
}

impl<D: Dialect> Clone for Outbox<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dialect> fmt::Debug for Outbox<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("table", &self.0.table.name()).finish_non_exhaustive()
    }
}
