//! Best-effort notification: an event is delivered to somebody's HTTP endpoint until it answers 200.
//!
//! [`Notifier::notify`] writes a task in the caller's transaction: it is there if and only if the transaction commits. A
//! [`Courier`] claims tasks, POSTs them, and writes down each try. A strategy for each business type says when it tries
//! again and when it gives up; what is given up is kept, shown, and re-sent or dropped by people, whose decision is
//! kept too.
//!
//! # What the receiver gets
//!
//! A POST of the body with the headers `X-Business-Type` and `X-Business-ID`, by which it recognises copies (they come:
//! an answer can be lost), `X-Attempt` (from 1) and `X-Signature` ([`Signed`]). Only the status 200 says that it has it; a
//! redirect is not followed, and an answer that breaks off is none.
//!
//! # What holds
//!
//! * Each target (host and port) is claimed for on its own, as far as its limit of concurrent calls allows: one that is
//!   slow or hangs holds up nobody else, and its tasks wait in the table, not in memory.
//! * A target that fails again and again is left alone for a while (its circuit is open): its tasks are not claimed then,
//!   so they use up no tries. Afterwards one call is made to see.
//! * An endpoint that answers 429 or 503 with `Retry-After` gets the pause that it asks for, up to a
//!   [limit](Courier::longest_wait).
//! * What is connected to is an address that was checked ([`Reach`]).
//! * No answer is read beyond a small limit, and no call outlasts its time.

mod address;
#[cfg(feature = "notification-api")]
pub mod api;
mod builder;
mod circuit;
mod claim;
mod connect;
mod courier;
mod deliver;
mod desk;
mod log;
mod notice;
mod notify;
mod outcome;
mod retry_after;
mod run;
mod settings;
mod signature;
#[cfg(feature = "notification-tls")]
mod tls;

use std::{fmt, sync::Arc, time::Duration};

use sqlx::Pool;

pub(crate) use self::deliver::Caller;
#[cfg(feature = "notification-tls")]
pub use self::tls::NoAuthority;
pub use self::{
    address::{Network, NotANetwork, Reach},
    builder::NotifierBuilder,
    circuit::CircuitSettings,
    connect::{Resolver, SystemResolver},
    courier::{Courier, Delivered},
    desk::{Decision, Task},
    log::{Event, LogEntry},
    notice::Notification,
    notify::Noted,
    run::RunningCourier,
    settings::ExhaustedAlert,
    signature::{DerivedKeys, Key, Keys, SignatureFault, Signed},
};
use crate::{
    builder::Base,
    clock::Clock,
    database::{Dialect, Sql},
    fault::Faults,
    monitoring::{Counts, Tally},
    schema::{Schema, Table},
    wake::Wake,
    work::WorkTable,
};
/// The TLS library of [`Courier::tls`], in the version that it takes.
#[cfg(feature = "notification-tls")]
pub use tokio_rustls::rustls;

/// Notifications that are written in one database. Cloning is cheap, and all clones are one notifier.
///
/// ```no_run
/// # async fn example(pool: sqlx::SqlitePool) -> Result<(), tenonmq_outbox::Error> {
/// use tenonmq_outbox::{Schedule, Schema, notification::{DerivedKeys, Key, Notification, Notifier}};
/// Schema::default().migrate(&pool).await?;
/// let notifier = Notifier::builder(pool.clone(), DerivedKeys(Key::new("32 random bytes"))).build();
/// let courier = notifier.courier().strategy("paid", Schedule::growing()).start(); // in every instance, or in one
///
/// let mut transaction = pool.begin().await?;
/// sqlx::query("UPDATE orders SET state = 'paid' WHERE id = 42").execute(&mut *transaction).await?;
/// let notification = Notification::to("merchant-7", "http://merchant.example/paid");
/// let notification = notification.about("paid", "order-42/paid").json(r#"{"order":42}"#);
/// notifier.notify(&mut transaction, &notification).await?;
/// transaction.commit().await?;
/// notifier.wake(); // delivered now; without this line some milliseconds later
///
/// courier.shutdown().await;
/// # Ok(()) }
/// ```
pub struct Notifier<D: Dialect>(Arc<Shared<D>>);

/// What all clones share.
struct Shared<D: Dialect> {
    pool: Pool<D>,
    schema: Schema,
    table: WorkTable<D>,
    keys: Arc<dyn Keys>,
    clock: Arc<dyn Clock>,
    faults: Faults,
    reach: Reach,
    wake: Wake,
    tally: Tally,
    channel: String,
    largest: usize,
    #[cfg_attr(not(feature = "notification-api"), expect(dead_code, reason = "the query interface's"))]
    settling: Duration,
    #[cfg_attr(not(feature = "notification-api"), expect(dead_code, reason = "the query interface's"))]
    tolerance: Duration,
    insert: Sql,
    known: Sql,
}

impl<D: Dialect> Notifier<D> {
    /// Starts building a notifier over a pool, whose tables [`Schema::migrate`] has created, with the receivers' keys.
    pub fn builder(pool: Pool<D>, keys: impl Keys) -> NotifierBuilder<D> {
        NotifierBuilder::new(pool, keys)
    }

    /// Has the couriers of this process look at once. Call it after the commit.
    pub fn wake(&self) {
        self.0.wake.now();
    }

    /// What the couriers of this notifier and its clones have done.
    pub fn counts(&self) -> Counts {
        self.0.tally.counts()
    }

    fn new(builder: NotifierBuilder<D>) -> Self {
        let NotifierBuilder { base, keys, reach, largest, settling, tolerance } = builder;
        let Base { pool, schema, clock, faults } = base;
        let insert = schema.sql::<D>(
            "INSERT INTO {notification} (receiver, business_type, business_id, url, target, content_type, content, \
             status, attempts, next_attempt_at, created_at, updated_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', 0, ?, ?, ?)",
        );
        let known = schema.sql::<D>(
            "SELECT id, url, content_type, content FROM {notification} \
             WHERE receiver = ? AND business_type = ? AND business_id = ?{for update}",
        );
        let table = WorkTable::new(&schema, Table::Notification, "business_id", "claimed_by", "AND target = ?");
        let channel = schema.channel(Table::Notification);
        let wake = Wake::default();
        Self(Arc::new(Shared {
            pool,
            schema,
            table,
            keys,
            clock,
            faults,
            reach,
            wake,
            tally: Tally::default(),
            channel,
            largest,
            settling,
            tolerance,
            insert,
            known,
        }))
    }
}

impl<D: Dialect> Clone for Notifier<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dialect> fmt::Debug for Notifier<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("table", &self.0.table.name()).finish_non_exhaustive()
    }
}
