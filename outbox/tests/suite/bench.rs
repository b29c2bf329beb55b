//! A database with tables of its own, a clock that stands, and a broker that is told what to do.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sqlx::Pool;
use tenonmq_outbox::{
    Dialect, ManualClock, Outbox, Outgoing, PublishError, Publisher, Relay, Schedule, Schema, fault::Faults,
};

/// When the tests begin: any time will do.
pub const START_MS: i64 = 1_700_000_000_000;
pub const SECOND: Duration = Duration::from_secs(1);

pub struct Bench<D: Dialect> {
    pub pool: Pool<D>,
    pub schema: Schema,
    pub clock: ManualClock,
    pub faults: Faults,
    pub broker: FakeBroker,
    /// Keeps what the database needs.
    pub _keep: Option<tempfile::TempDir>,
}

impl<D: Dialect> Bench<D> {
    pub async fn over(pool: Pool<D>, schema: Schema, keep: Option<tempfile::TempDir>) -> Self {
        schema.migrate(&pool).await.unwrap();
        let (clock, faults, broker) = (ManualClock::at(START_MS), Faults::default(), FakeBroker::default());
        Self { pool, schema, clock, faults, broker, _keep: keep }
    }

    /// An instance of the service: each call is another process as far as the database can tell.
    pub fn outbox(&self) -> Outbox<D> {
        let builder = Outbox::builder(self.pool.clone()).schema(self.schema.clone());
        builder.clock(self.clock.clone()).faults(self.faults.clone()).build()
    }

    pub fn relay(&self) -> Relay<D, FakeBroker> {
        let pauses = Schedule::listed([Duration::from_secs(60)], 3);
        self.outbox().relay(self.broker.clone()).schedule(pauses)
    }

    /// Publishes in a transaction of its own.
    pub async fn publish(&self, message: &Outgoing) {
        let mut transaction = self.pool.begin().await.unwrap();
        self.outbox().publish(&mut transaction, message).await.unwrap();
        transaction.commit().await.unwrap();
    }
}

/// A message about an event, whose content is its id.
pub fn event(id: &str) -> Outgoing {
    Outgoing::new("paid", id, id.to_owned())
}

/// Stores what it is sent, unless told otherwise. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct FakeBroker(Arc<Mutex<Stored>>);

#[derive(Debug, Default)]
struct Stored {
    messages: Vec<Outgoing>,
    failures: BTreeMap<String, PublishError>,
    slow: HashMap<String, Duration>,
}

impl FakeBroker {
    pub fn ids(&self) -> Vec<String> {
        self.0.lock().messages.iter().map(|message| message.business_id().to_owned()).collect()
    }

    pub fn messages(&self) -> Vec<Outgoing> {
        self.0.lock().messages.clone()
    }

    /// Refuses that message until [`heal`](Self::heal).
    pub fn fail(&self, id: &str, error: PublishError) {
        self.0.lock().failures.insert(id.to_owned(), error);
    }

    pub fn heal(&self) {
        let mut stored = self.0.lock();
        stored.failures.clear();
        stored.slow.clear();
    }

    /// Never answers for that message.
    pub fn hang(&self, id: &str) {
        self.0.lock().slow.insert(id.to_owned(), Duration::from_secs(3600));
    }
}

impl Publisher for FakeBroker {
    async fn publish(&self, message: &Outgoing) -> Result<String, PublishError> {
        let slow = self.0.lock().slow.get(message.business_id()).copied();
        if let Some(slow) = slow {
            tokio::time::sleep(slow).await;
        }
        let mut stored = self.0.lock();
        if let Some(error) = stored.failures.get(message.business_id()) {
            return Err(error.clone());
        }
        stored.messages.push(message.clone());
        Ok(format!("M{}", stored.messages.len()))
    }
}
