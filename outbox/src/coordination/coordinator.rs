//! The coordinator of one database.

use std::{fmt, sync::Arc, time::Duration};

use super::{builder::CoordinatorBuilder, ending::AnyEnding};
use crate::{
    database::{Dialect, Sql},
    monitoring::{Counts, Tally},
    outbox::Outbox,
    relay::Alert,
    schedule::Schedule,
    schema::Table,
    wake::Wake,
    work::WorkTable,
};

/// Begins global transactions and sees them through. Cloning is cheap, and all clones are one; any number may run over
/// one database, in any number of processes.
///
/// It is begun in your transaction, with what you write in it. Answers come to its topic, through an inbox whose effects it is; what
/// depends on the time it does when it is [started](Self::start). Its commands leave through a relay of its outbox.
///
/// ```no_run
/// # async fn example(pool: sqlx::SqlitePool, producer: tenonmq_client::Producer) -> Result<(), Box<dyn std::error::Error>> {
/// use tenonmq_client::PushConsumer;
/// use tenonmq_outbox::{Inbox, Outbox, coordination::{Coordinator, Plan}};
///
/// let outbox = Outbox::builder(pool.clone()).build();
/// let relay = outbox.relay(producer).start();
/// let coordinator = Coordinator::builder(outbox.clone(), "order_answers").build();
/// let running = coordinator.start();
/// let inbox = Inbox::builder(pool.clone(), "orders").build();
/// let retrier = inbox.retrier(coordinator.clone()).start();
/// let consumer = PushConsumer::builder("127.0.0.1:9876").group("orders").subscribe("order_answers", "*");
/// let consumer = consumer.listener(inbox.listener(coordinator.clone())).connect().await?;
///
/// let mut transaction = pool.begin().await?;
/// sqlx::query("INSERT INTO orders (id) VALUES (42)").execute(&mut *transaction).await?;
/// let plan = Plan::tcc("order-42/reserve", "{}").branch("stock", "stock_commands").branch("account", "account_commands");
/// coordinator.begin(&mut transaction, &plan).await?;
/// transaction.commit().await?;
/// outbox.wake();
/// # Ok(()) }
/// ```
pub struct Coordinator<D: Dialect>(pub(super) Arc<Shared<D>>);

/// What all clones share.
pub(super) struct Shared<D: Dialect> {
    pub(super) outbox: Outbox<D>,
    pub(super) table: WorkTable<D>,
    /// The topic of answers.
    pub(super) answers: String,
    pub(super) schedule: Schedule,
    pub(super) period: Duration,
    pub(super) on_exhausted: Option<Alert>,
    pub(super) ending: Option<Arc<dyn AnyEnding<D>>>,
    pub(super) wake: Wake,
    pub(super) tally: Tally,
    pub(super) insert: Sql,
    pub(super) by_id: Sql,
    pub(super) by_row: Sql,
    pub(super) save: Sql,
    pub(super) set_aside: Sql,
}

impl<D: Dialect> Coordinator<D> {
    /// Starts building a coordinator that sends through `outbox` (whose database, tables and clock it shares) and is answered on
    /// the topic `answers`.
    pub fn builder(outbox: Outbox<D>, answers: impl Into<String>) -> CoordinatorBuilder<D> {
        CoordinatorBuilder::new(outbox, answers.into())
    }

    /// What this coordinator and its clones have done: transactions that ended, repeated rounds of commands, exhausted ones.
    pub fn counts(&self) -> Counts {
        self.0.tally.counts()
    }

    pub(super) fn new(builder: CoordinatorBuilder<D>) -> Self {
        const COLUMNS: &str = "id, global_id, kind, phase, reason, topic, content, branches, rounds, status, attempts, \
                               next_attempt_at, last_error";
        let CoordinatorBuilder { outbox, answers, schedule, period, on_exhausted, ending } = builder;
        let table = WorkTable::new(&outbox.0.schema, Table::Global, "global_id", "global_id", "");
        Self(Arc::new(Shared {
            answers,
            schedule,
            period,
            on_exhausted,
            ending,
            wake: Wake::default(),
            tally: Tally::default(),
            insert: table.sql(
                "INSERT INTO {table} (global_id, kind, phase, topic, content, branches, rounds, status, attempts, \
                 next_attempt_at, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, 1, 'pending', 0, ?, ?, ?)",
            ),
            by_id: table.sql(&format!("SELECT {COLUMNS} FROM {{table}} WHERE global_id = ?{{for update}}")),
            by_row: table.sql(&format!("SELECT {COLUMNS} FROM {{table}} WHERE id = ?{{for update}}")),
            save: table.sql(
                "UPDATE {table} SET phase = ?, reason = ?, branches = ?, rounds = ?, status = ?, attempts = ?, \
                 next_attempt_at = ?, last_error = ?, updated_at = ? WHERE id = ?",
            ),
            set_aside: table.sql(
                "UPDATE {table} SET status = 'exhausted', last_error = ?, updated_at = ? WHERE id = ? \
                 AND status = 'pending'",
            ),
            table,
            outbox,
        }))
    }
}

impl<D: Dialect> Clone for Coordinator<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dialect> fmt::Debug for Coordinator<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator").field("answers", &self.0.answers).finish_non_exhaustive()
    }
}
