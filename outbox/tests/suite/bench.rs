//! A database with tables of its own, a clock that stands, and a broker that is told what to do.

use std::{
    collections::{BTreeMap, HashSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sqlx::{Pool, Transaction};
use tenonmq_outbox::{
    Dialect, Effects, Inbox, InboxBuilder, Incoming, ManualClock, Outbox, OutboxBuilder, Outgoing, PublishError,
    Publisher, Relay, Schedule, Schema, Table, fault::Faults,
};
use tokio::sync::{Notify, watch};

/// When the tests begin: any time will do.
pub const START_MS: i64 = 1_700_000_000_000;
pub const SECOND: Duration = Duration::from_secs(1);
/// Longer than any lease here.
pub const LEASE_END: Duration = Duration::from_secs(60);

/// A database whose statements tests may write themselves.
pub trait TestDatabase: Dialect {
    /// Counts the statements over `{table}` that wait for a row's lock; `None` where there are no such locks.
    const LOCK_WAITS: Option<&'static str>;

    fn run(connection: &mut Self::Connection, sql: String) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
    fn number(connection: &mut Self::Connection, sql: String) -> impl Future<Output = Result<i64, sqlx::Error>> + Send;
}

/// Writes [`TestDatabase`] for a driver.
#[macro_export]
macro_rules! test_database {
    ($database:ty, $lock_waits:expr) => {
        impl $crate::suite::bench::TestDatabase for $database {
            const LOCK_WAITS: Option<&'static str> = $lock_waits;

            async fn run(connection: &mut Self::Connection, sql: String) -> Result<u64, sqlx::Error> {
                let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await?;
                Ok(done.rows_affected())
            }

            async fn number(connection: &mut Self::Connection, sql: String) -> Result<i64, sqlx::Error> {
                sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(connection).await
            }
        }
    };
}

/// Counts the statements of PostgreSQL that wait for a lock on a table.
pub const WAITING_ON_POSTGRES: Option<&str> =
    Some("SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{table}%'");

// the tests of change streams name this database, whichever test program they are compiled in
#[cfg(feature = "postgres-cdc")]
test_database!(sqlx::Postgres, WAITING_ON_POSTGRES);

pub struct Bench<D: Dialect> {
    pub pool: Pool<D>,
    pub schema: Schema,
    pub clock: ManualClock,
    pub faults: Faults,
    pub broker: FakeBroker,
    /// A table of the service's own.
    pub effects: String,
    /// Keeps what the database needs.
    _keep: Option<tempfile::TempDir>,
}

impl<D: TestDatabase> Bench<D> {
    pub async fn over(pool: Pool<D>, keep: Option<tempfile::TempDir>) -> Self {
        let prefix = format!("t{:012x}_", rand::random::<u64>() >> 16);
        let schema = Schema::default().prefix(&prefix).unwrap();
        schema.migrate(&pool).await.unwrap();
        let (clock, faults, broker) = (ManualClock::at(START_MS), Faults::default(), FakeBroker::default());
        let effects = format!("{prefix}effects");
        let bench = Self { pool, schema, clock, faults, broker, effects, _keep: keep };
        bench.run(format!("CREATE TABLE {} (business_key VARCHAR(200) NOT NULL)", bench.effects)).await;
        bench
    }

    pub async fn run(&self, sql: String) -> u64 {
        D::run(&mut *self.pool.acquire().await.unwrap(), sql).await.unwrap()
    }

    pub async fn number(&self, sql: String) -> i64 {
        D::number(&mut *self.pool.acquire().await.unwrap(), sql).await.unwrap()
    }

    /// Waits until the transactions of whatever died are undone: that happens beside the test, and claims pass over rows
    /// that are still locked.
    pub async fn bury(&self) {
        for table in [
            Table::Published,
            Table::Received,
            Table::Notification,
            Table::Global,
            Table::Deadline,
            Table::Compensation,
        ] {
            let table = self.schema.name(table);
            self.run(format!("UPDATE {table} SET attempts = attempts")).await;
        }
    }

    /// Until so many statements over the outbox wait for a row's lock.
    pub async fn lock_waits(&self, count: i64) {
        let Some(sql) = D::LOCK_WAITS else { return };
        let sql = sql.replace("{table}", &self.published());
        let waiting = async {
            while self.number(sql.clone()).await < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("nothing waits for a lock");
    }

    pub fn published(&self) -> String {
        self.schema.name(Table::Published)
    }

    pub fn received(&self) -> String {
        self.schema.name(Table::Received)
    }

    pub fn notifications(&self) -> String {
        self.schema.name(Table::Notification)
    }

    pub fn outbox_builder(&self) -> OutboxBuilder<D> {
        let builder = Outbox::builder(self.pool.clone()).schema(self.schema.clone());
        builder.clock(self.clock.clone()).faults(self.faults.clone())
    }

    /// An instance of the service: each call is another process as far as the database can tell.
    pub fn outbox(&self) -> Outbox<D> {
        self.outbox_builder().build()
    }

    pub fn relay(&self) -> Relay<D, FakeBroker> {
        self.outbox().relay(self.broker.clone()).schedule(each_minute(3))
    }

    pub fn inbox_builder(&self) -> InboxBuilder<D> {
        let builder = Inbox::builder(self.pool.clone(), "points").schema(self.schema.clone());
        builder.clock(self.clock.clone()).faults(self.faults.clone()).schedule(each_minute(3))
    }

    pub fn inbox(&self) -> Inbox<D> {
        self.inbox_builder().build()
    }

    /// Effects that write the message's key into the service's table.
    pub fn note_down(&self) -> NoteDown {
        NoteDown { table: self.effects.clone(), failing: Arc::default() }
    }

    /// How often a message took effect.
    pub async fn times(&self, key: &str) -> i64 {
        self.number(format!("SELECT COUNT(*) FROM {} WHERE business_key = '{key}'", self.effects)).await
    }

    /// Publishes in a transaction of its own.
    pub async fn publish(&self, message: &Outgoing) {
        let mut transaction = self.pool.begin().await.unwrap();
        self.outbox().publish(&mut transaction, message).await.unwrap();
        transaction.commit().await.unwrap();
    }
}

/// So many tries, a minute apart.
pub fn each_minute(tries: u32) -> Schedule {
    Schedule::listed([Duration::from_secs(60)], tries)
}

/// A message about an event, whose content is its id.
pub fn event(id: &str) -> Outgoing {
    Outgoing::new("paid", id, id.to_owned())
}

/// The same as it arrives.
pub fn arrived(message: &Outgoing) -> Incoming {
    Incoming::new(message.topic(), message.business_id(), message.content().clone())
}

/// Writes the message's key down; fails first for messages that it is told to.
#[derive(Debug, Clone)]
pub struct NoteDown {
    table: String,
    failing: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl NoteDown {
    /// Fails that message so many times, after having written.
    pub fn fail(&self, key: &str, times: u32) {
        self.failing.lock().insert(key.to_owned(), times);
    }
}

impl<D: TestDatabase> Effects<D> for NoteDown {
    type Error = String;

    async fn apply(&self, transaction: &mut Transaction<'_, D>, message: &Incoming) -> Result<(), String> {
        let key = message.business_key();
        let sql = format!("INSERT INTO {} (business_key) VALUES ('{key}')", self.table);
        D::run(&mut **transaction, sql).await.map_err(|error| error.to_string())?;
        match self.failing.lock().get_mut(key) {
            Some(left) if *left > 0 => {
                *left -= 1;
                Err(format!("no stock for {key}"))
            }
            _ => Ok(()),
        }
    }
}

/// Stores what it is sent, unless told otherwise. Clones are one.
#[derive(Debug, Clone)]
pub struct FakeBroker {
    told: Arc<Mutex<Told>>,
    stored: watch::Sender<Vec<Outgoing>>,
    asked: watch::Sender<usize>,
    healed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Told {
    failures: BTreeMap<String, PublishError>,
    hanging: HashSet<String>,
}

impl Default for FakeBroker {
    fn default() -> Self {
        Self {
            told: Arc::default(),
            stored: watch::Sender::new(Vec::new()),
            asked: watch::Sender::new(0),
            healed: Arc::default(),
        }
    }
}

impl FakeBroker {
    pub fn ids(&self) -> Vec<String> {
        self.messages().iter().map(|message| message.business_id().to_owned()).collect()
    }

    pub fn messages(&self) -> Vec<Outgoing> {
        self.stored.borrow().clone()
    }

    /// Until so many messages are stored.
    pub async fn has(&self, count: usize) {
        self.stored.subscribe().wait_for(|stored| stored.len() >= count).await.unwrap();
    }

    /// Until it was asked to store something so many times, whether it has answered or not.
    pub async fn was_asked(&self, times: usize) {
        self.asked.subscribe().wait_for(|asked| *asked >= times).await.unwrap();
    }

    /// Refuses that message until [`heal`](Self::heal).
    pub fn fail(&self, id: &str, error: PublishError) {
        self.told.lock().failures.insert(id.to_owned(), error);
    }

    /// Never answers for that message, until [`heal`](Self::heal).
    pub fn hang(&self, id: &str) {
        self.told.lock().hanging.insert(id.to_owned());
    }

    /// Answers for what it was to be silent about.
    pub fn answer(&self) {
        self.told.lock().hanging.clear();
        self.healed.notify_waiters();
    }

    /// Loses all messages.
    pub fn forget(&self) {
        self.heal();
        self.stored.send_replace(Vec::new());
    }

    pub fn heal(&self) {
        *self.told.lock() = Told::default();
        self.healed.notify_waiters();
    }
}

impl Publisher for FakeBroker {
    async fn publish(&self, message: &Outgoing) -> Result<String, PublishError> {
        let id = message.business_id();
        self.asked.send_modify(|asked| *asked += 1);
        loop {
            let healed = self.healed.notified();
            if !self.told.lock().hanging.contains(id) {
                break;
            }
            healed.await;
        }
        if let Some(error) = self.told.lock().failures.get(id) {
            return Err(error.clone());
        }
        self.stored.send_modify(|stored| stored.push(message.clone()));
        Ok(format!("M-{id}"))
    }
}
