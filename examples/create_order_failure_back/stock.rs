//! The stock service: deducts, or says that it cannot.

use std::{collections::HashSet, error::Error, path::Path, sync::Arc, time::Duration};

use serde_json::Value;
use sqlx::{Sqlite, SqlitePool, Transaction};
use tenonmq_client::{ConsumeFrom, ConsumeOutcome, MessageListener, Producer, PushConsumer, ReceivedMessage};
use tenonmq_examples::database;
use tenonmq_outbox::{
    Effects, Inbox, InboxListener, Incoming, Outbox, Outgoing, Received, RunningRelay, RunningRetrier,
    fault::{Faults, Point},
};
use tokio::sync::Mutex;

use crate::{CREATE_ORDER, SUB_INVENTORY_FAIL, fate::Fate, orders::schedule};

/// The service and its database.
pub(crate) struct Stock {
    pool: SqlitePool,
    pub(crate) inbox: Inbox<Sqlite>,
    outbox: Outbox<Sqlite>,
    leaks: Arc<Leaks>,
    consumer: PushConsumer,
    retrier: RunningRetrier,
    relay: RunningRelay,
}

/// What an order does here. On shortage the failure is published in the same transaction.
#[derive(Clone)]
pub(crate) struct Deduct(Outbox<Sqlite>);

impl Effects<Sqlite> for Deduct {
    type Error = Box<dyn Error + Send + Sync>;

    async fn apply(&self, transaction: &mut Transaction<'_, Sqlite>, message: &Incoming) -> Result<(), Self::Error> {
        let created: Value = serde_json::from_slice(message.content())?;
        let order = created["order"].as_i64().ok_or("no order")?;
        let quantity = created["quantity"].as_i64().ok_or("no quantity")?;
        let take = sqlx::query("UPDATE stock SET pieces = pieces - ?1 WHERE pieces >= ?1").bind(quantity);
        if take.execute(&mut **transaction).await?.rows_affected() == 0 {
            let failed = Outgoing::new(SUB_INVENTORY_FAIL, format!("order-{order}/short"), message.content().clone());
            self.0.publish(transaction, &failed).await?;
            return Ok(());
        }
        let line = sqlx::query("INSERT INTO deduction (order_id, pieces) VALUES (?, ?)").bind(order).bind(quantity);
        line.execute(&mut **transaction).await?;
        Ok(())
    }
}

/// Messages that this service loses: acknowledged, and nothing done.
#[derive(Default)]
struct Leaks {
    once: Mutex<HashSet<u32>>,
    kept: Mutex<Vec<Incoming>>,
}

/// The inbox's listener, with leaks.
struct Leaky(InboxListener<Sqlite, Deduct>, Arc<Leaks>);

impl MessageListener for Leaky {
    async fn consume(&self, message: ReceivedMessage) -> ConsumeOutcome {
        let created: Value = serde_json::from_slice(message.body()).unwrap_or_default();
        let order = created["order"].as_u64().and_then(|order| u32::try_from(order).ok()).unwrap_or(0);
        match Fate::of(order) {
            Fate::LostOnce if self.1.once.lock().await.insert(order) => ConsumeOutcome::Done,
            Fate::LostAlways => {
                self.1.kept.lock().await.push(Incoming::from(&message));
                ConsumeOutcome::Done
            }
            _ => self.0.consume(message).await,
        }
    }
}

impl Stock {
    /// Opens the database with so many pieces, and starts; it dies once within a transaction, and its relay once before it
    /// writes down what it has sent.
    pub(crate) async fn start(name_server: &str, path: &Path, pieces: u32) -> Result<Self, Box<dyn Error>> {
        let pool = database(path).await?;
        sqlx::query("CREATE TABLE stock (pieces INTEGER NOT NULL)").execute(&pool).await?;
        sqlx::query("CREATE TABLE deduction (order_id INTEGER NOT NULL, pieces INTEGER NOT NULL)")
            .execute(&pool)
            .await?;
        sqlx::query("INSERT INTO stock (pieces) VALUES (?)").bind(pieces).execute(&pool).await?;
        let (of_inbox, of_relay) = (Faults::default(), Faults::default());
        of_inbox.crash_at_nth(Point::EffectsWritten, 5);
        of_relay.crash_at_nth(Point::Sent, 2);
        let outbox = Outbox::builder(pool.clone()).faults(of_relay).build();
        let producer = Producer::builder(name_server).group("stock").connect().await?;
        let relay = outbox.relay(producer).schedule(schedule());
        let relay = relay.send_limit(Duration::from_secs(1)).lease(Duration::from_secs(2)).start();
        let inbox = Inbox::builder(pool.clone(), "stock").faults(of_inbox).schedule(schedule()).build();
        let (deduct, leaks) = (Deduct(outbox.clone()), Arc::new(Leaks::default()));
        let consumer = PushConsumer::builder(name_server)
            .group("stock")
            .subscribe(CREATE_ORDER, "*")
            .consume_from(ConsumeFrom::Earliest)
            .listener(Leaky(inbox.listener(deduct.clone()), Arc::clone(&leaks)))
            .connect()
            .await?;
        let retrier = inbox.retrier(deduct).start();
        Ok(Self { pool, inbox, outbox, leaks, consumer, retrier, relay })
    }

    /// What a message does, for those who make it up.
    pub(crate) fn effects(&self) -> Deduct {
        Deduct(self.outbox.clone())
    }

    /// How often an order was deducted, and how much in all.
    pub(crate) async fn deducted(&self, order: u32) -> sqlx::Result<(i64, i64)> {
        let sum = "SELECT COUNT(*), COALESCE(SUM(pieces), 0) FROM deduction WHERE order_id = ?";
        sqlx::query_as(sum).bind(order).fetch_one(&self.pool).await
    }

    /// Pieces that are left.
    pub(crate) async fn left(&self) -> sqlx::Result<i64> {
        sqlx::query_scalar("SELECT pieces FROM stock").fetch_one(&self.pool).await
    }

    /// Messages that are not handled or not sent yet, or will not be.
    pub(crate) async fn under_way(&self) -> Result<u64, tenonmq_outbox::Error> {
        let (inbox, outbox) = (self.inbox.backlog().await?, self.outbox.backlog().await?);
        Ok(inbox.pending + inbox.exhausted + outbox.pending + outbox.exhausted)
    }

    /// Brings one copy of each message that was always lost, when its sender has long been told that it failed. Returns how
    /// many there are, and how many of them had no effect.
    pub(crate) async fn bring_late_copies(&self) -> Result<(usize, usize), tenonmq_outbox::Error> {
        let kept = self.leaks.kept.lock().await;
        let mut known = HashSet::new();
        let (mut late, mut refused) = (0, 0);
        for message in kept.iter().filter(|message| known.insert(message.business_key().to_owned())) {
            late += 1;
            refused += usize::from(self.inbox.receive(message, &self.effects()).await? == Received::GivenUp);
        }
        Ok((late, refused))
    }

    pub(crate) async fn shutdown(self) {
        self.consumer.shutdown().await;
        self.retrier.shutdown().await;
        self.relay.shutdown().await;
    }
}
