//! Finding what has no counterpart, and repairing it.
//!
//! A message was sent and another service never acknowledged it; an order has no row in the stock's database. A
//! [`Compensation`] looks for such things page by page, and writes what lacks its counterpart into `msg_compensation`: a [`Gap`].
//! Gaps are repaired by a [`Repair`] until the counterpart is there:
//!
//! ```text
//!          found             counterpart there
//! (scan) ────────► pending ───────────────────────► done
//!                  ▲ │  └─ no counterpart after the last repair ─► exhausted ─ people: rerun, give up
//!                  │ └─ repair, pause ─┐                              └─ counterpart there ─► done
//!                  └───────────────────┘
//! ```
//!
//! | what | is given by |
//! |---|---|
//! | what should have a counterpart: [`Expectation`] | a query of yours; [`Unacknowledged`]: messages of an outbox |
//! | what has one: [`Counterparts`] | a query of yours; the other service's [`Inbox`](crate::Inbox); [`Acknowledgements`] that it sends |
//! | what is done: [`Repair`] | [`Resend`], [`MakeUp`], [`FailureEvent`], or your own |
//!
//! Invariants:
//!
//! * How far the scan has come and what it found are written together, and only by the one who moved it on. A page is never
//!   read twice but after a failure, and what a scan costs does not grow with what it has seen.
//! * A repair is made under a lease, so two scanners do not make it at once; and each is keyed by the business key, so that a
//!   crash after it, which repeats it, changes nothing.

mod acknowledgements;
mod builder;
mod claim;
mod desk;
mod failure_event;
mod guard;
mod make_up;
mod mend;
mod outcome;
mod repair;
mod resend;
mod scan;
mod scanner;
mod source;
mod unacknowledged;

use std::{fmt, sync::Arc};

use sqlx::Pool;

use self::builder::Settings;
pub use self::{
    acknowledgements::{AcknowledgedBy, Acknowledgements},
    builder::CompensationBuilder,
    desk::Gap,
    failure_event::FailureEvent,
    make_up::MakeUp,
    repair::{Missing, Repair, Repaired, Then},
    resend::Resend,
    scanner::{Pass, RunningScanner, Scanner},
    source::{Batch, BoxError, Counterparts, Expectation, Item, Moment, Page, Standing},
    unacknowledged::Unacknowledged,
};
use crate::{
    builder::Base,
    clock::Clock,
    database::Dialect,
    fault::Faults,
    monitoring::{Counts, Tally},
    schema::{Schema, Table},
    wake::Wake,
    work::WorkTable,
};

/// One kind of thing that is looked for, with a name under which its findings are kept. Cloning is cheap, and all clones are one.
///
/// ```no_run
/// # use sqlx::{Sqlite, SqlitePool};
/// # use tenonmq_outbox::{Inbox, Outbox};
/// use tenonmq_outbox::compensation::{Compensation, Item, MakeUp, Page, Resend, Unacknowledged};
///
/// # async fn example(pool: SqlitePool, outbox: Outbox<Sqlite>, stock: Inbox<Sqlite>) -> Result<(), Box<dyn std::error::Error>> {
/// // messages that were sent, and that the stock service has not handled
/// let scanner = Compensation::builder(pool.clone(), "unstocked")
///     .build()
///     .scanner(Unacknowledged::of(&outbox).topic("order_created"), stock, Resend::from(&outbox))
///     .start();
///
/// // the same with two queries
/// let orders = move |page: Page| {
///     let pool = pool.clone();
///     async move {
///         let rows: Vec<(i64,)> = sqlx::query_as("SELECT id FROM orders WHERE id > ? AND created_at < ? ORDER BY id LIMIT ?")
///             .bind(page.after_number())
///             .bind(page.before_ms)
///             .bind(page.limit)
///             .fetch_all(&pool)
///             .await?;
///         let items: Vec<Item> = rows.into_iter().map(|(id,)| Item::new(id, format!("order-{id}"))).collect();
///         Ok::<_, sqlx::Error>(items)
///     }
/// };
/// # scanner.shutdown().await;
/// # Ok(()) }
/// ```
pub struct Compensation<D: Dialect>(Arc<Shared<D>>);

struct Shared<D: Dialect> {
    pool: Pool<D>,
    name: String,
    schema: Schema,
    table: WorkTable<D>,
    clock: Arc<dyn Clock>,
    faults: Faults,
    settings: Settings,
    tally: Tally,
    wake: Wake,
}

impl<D: Dialect> Compensation<D> {
    /// Starts building one over the pool in which its findings are kept, whose tables
    /// [`Schema::migrate`] has created. The name is part of their key.
    pub fn builder(pool: Pool<D>, name: impl Into<String>) -> CompensationBuilder<D> {
        CompensationBuilder::new(pool, name.into())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What looks for things and repairs them; it does nothing before it is [started](Scanner::start).
    pub fn scanner<S: Expectation, C: Counterparts, R: Repair>(
        &self,
        expectation: S,
        counterparts: C,
        repair: R,
    ) -> Scanner<D, S, C, R> {
        Scanner::new(self.clone(), expectation, counterparts, repair)
    }

    /// What this compensation and its clones have done: gaps that were closed after a repair, repairs that failed, gaps that
    /// were exhausted.
    pub fn counts(&self) -> Counts {
        self.0.tally.counts()
    }

    fn new(builder: CompensationBuilder<D>) -> Self {
        let CompensationBuilder { base, name, settings } = builder;
        let Base { pool, schema, clock, faults } = base;
        let table = WorkTable::new(&schema, Table::Compensation, "business_key", "business_key", "AND name = ?");
        let (tally, wake) = (Tally::default(), Wake::default());
        Self(Arc::new(Shared { pool, name, schema, table, clock, faults, settings, tally, wake }))
    }
}

impl<D: Dialect> Clone for Compensation<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dialect> fmt::Debug for Compensation<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compensation").field("name", &self.0.name).finish_non_exhaustive()
    }
}
