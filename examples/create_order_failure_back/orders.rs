//! The order service: creates orders, hears of failures, and looks after orders that nobody answered.

use std::{
    collections::HashSet,
    error::Error,
    path::Path,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use sqlx::{Sqlite, SqlitePool, Transaction};
use tenonmq_client::{ConsumeFrom, Producer, PushConsumer};
use tenonmq_examples::database;
use tenonmq_outbox::{
    Effects, Inbox, Incoming, Outbox, Outgoing, PublishError, Publisher, RunningRelay, RunningRetrier, Schedule,
    compensation::{
        Compensation, CompensationBuilder, FailureEvent, Item, MakeUp, Page, Repair, Resend, RunningScanner,
        Unacknowledged,
    },
    fault::{Faults, Point},
};
use tokio::sync::Mutex;

use crate::{
    CREATE_ORDER, SUB_INVENTORY_FAIL,
    fate::{Fate, key, quantity},
    stock::Stock,
};

/// When what failed is tried again, here and in the stock service.
pub(crate) fn schedule() -> Schedule {
    Schedule::exponential(Duration::from_millis(200), Duration::from_secs(2))
}

/// The service and its database.
pub(crate) struct Orders {
    pool: SqlitePool,
    outbox: Outbox<Sqlite>,
    inbox: Inbox<Sqlite>,
    relay: RunningRelay,
    consumer: PushConsumer,
    retrier: RunningRetrier,
    /// Messages without an answer, and orders without a message.
    pub(crate) compensations: Vec<Compensation<Sqlite>>,
    scanners: Vec<RunningScanner>,
}

/// An order whose stock could not be had turns *failed*.
struct TurnFailed;

impl Effects<Sqlite> for TurnFailed {
    type Error = Box<dyn Error + Send + Sync>;

    async fn apply(&self, transaction: &mut Transaction<'_, Sqlite>, message: &Incoming) -> Result<(), Self::Error> {
        let failed: Value = serde_json::from_slice(message.content())?;
        let order = failed["order"].as_i64().ok_or("no order")?;
        let turn = sqlx::query("UPDATE orders SET state = 'failed' WHERE id = ?").bind(order);
        turn.execute(&mut **transaction).await?;
        Ok(())
    }
}

/// A broker that refuses some messages the first time, for good as far as the relay can tell.
struct Moody(Producer, Mutex<HashSet<String>>);

impl Publisher for Moody {
    async fn publish(&self, message: &Outgoing) -> Result<String, PublishError> {
        let created: Value = serde_json::from_slice(message.content()).unwrap_or_default();
        let order = created["order"].as_u64().and_then(|order| u32::try_from(order).ok()).unwrap_or(0);
        let id = message.business_id();
        if Fate::of(order) == Fate::Refused && id == key(order) && self.1.lock().await.insert(id.to_owned()) {
            return Err(PublishError::lasting("a fault that was injected"));
        }
        self.0.publish(message).await
    }
}

impl Orders {
    pub(crate) async fn start(name_server: &str, path: &Path, stock: &Stock) -> Result<Self, Box<dyn Error>> {
        let pool = database(path).await?;
        sqlx::query(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, quantity INTEGER, state TEXT, channel TEXT, at INTEGER)",
        )
        .execute(&pool)
        .await?;
        let outbox = Outbox::builder(pool.clone()).build();
        let producer = Producer::builder(name_server).group("orders").connect().await?;
        let relay = outbox.relay(Moody(producer, Mutex::default())).schedule(schedule()).start();
        let faults = Faults::default();
        faults.crash_at_nth(Point::EffectsKept, 2); // handled, and the broker does not know
        let inbox = Inbox::builder(pool.clone(), "orders").faults(faults).schedule(schedule()).build();
        let consumer = PushConsumer::builder(name_server)
            .group("orders")
            .subscribe(SUB_INVENTORY_FAIL, "*")
            .consume_from(ConsumeFrom::Earliest)
            .listener(inbox.listener(TurnFailed))
            .connect()
            .await?;
        let retrier = inbox.retrier(TurnFailed).start();
        let unanswered = compensation(&pool, "unanswered").build();
        let from_till = compensation(&pool, "from_till").build();
        let scanners = vec![watch_messages(&unanswered, &outbox, stock), watch_till(&from_till, &pool, stock)];
        let compensations = vec![unanswered, from_till];
        Ok(Self { pool, outbox, inbox, relay, consumer, retrier, compensations, scanners })
    }

    /// Creates an order under its fate, and publishes that in the same transaction, unless it comes from the till.
    pub(crate) async fn create(&self, order: u32) -> Result<(), Box<dyn Error>> {
        let is_from_till = Fate::of(order) == Fate::FromTill;
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("INSERT INTO orders (id, quantity, state, channel, at) VALUES (?, ?, 'created', ?, ?)")
            .bind(order)
            .bind(quantity(order))
            .bind(if is_from_till { "till" } else { "shop" })
            .bind(i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?)
            .execute(&mut *transaction)
            .await?;
        if !is_from_till {
            let created = Outgoing::new(CREATE_ORDER, key(order), content(order, quantity(order)));
            self.outbox.publish(&mut transaction, &created).await?;
        }
        transaction.commit().await?;
        self.outbox.wake();
        Ok(())
    }

    /// `created` or `failed`.
    pub(crate) async fn state(&self, order: u32) -> sqlx::Result<String> {
        sqlx::query_scalar("SELECT state FROM orders WHERE id = ?").bind(order).fetch_one(&self.pool).await
    }

    /// Messages and gaps that are not done yet, or will not be.
    pub(crate) async fn under_way(&self) -> Result<u64, tenonmq_outbox::Error> {
        let mut backlogs = vec![self.outbox.backlog().await?, self.inbox.backlog().await?];
        for compensation in &self.compensations {
            backlogs.push(compensation.backlog().await?);
        }
        Ok(backlogs.iter().map(|backlog| backlog.pending + backlog.exhausted).sum())
    }

    pub(crate) async fn shutdown(self) {
        for scanner in self.scanners {
            scanner.shutdown().await;
        }
        self.consumer.shutdown().await;
        self.retrier.shutdown().await;
        self.relay.shutdown().await;
    }
}

fn content(order: u32, quantity: u32) -> String {
    json!({"order": order, "quantity": quantity}).to_string()
}

/// With times for an example; each dies once when it has made a repair and not written it down.
fn compensation(pool: &SqlitePool, name: &str) -> CompensationBuilder<Sqlite> {
    let faults = Faults::default();
    faults.crash_at(Point::GapRepaired);
    Compensation::builder(pool.clone(), name)
        .age(Duration::from_secs(1))
        .period(Duration::from_millis(300))
        .schedule(Schedule::listed([Duration::from_secs(1)], 8))
        .time_limit(Duration::from_secs(1))
        .faults(faults)
}

/// Messages that the stock service has not handled are sent again, twice; then the order fails.
fn watch_messages(unanswered: &Compensation<Sqlite>, outbox: &Outbox<Sqlite>, stock: &Stock) -> RunningScanner {
    let messages = Unacknowledged::of(outbox).topic(CREATE_ORDER).given_up_too();
    let fail = FailureEvent::to(SUB_INVENTORY_FAIL, outbox)
        .content(|missing| missing.message.content().clone())
        .barring(&stock.inbox);
    let repair = Resend::from(outbox).given_up_too().then_after(2, fail);
    unanswered.scanner(messages, stock.inbox.clone(), repair).start()
}

/// Orders of the till have no message: their stock is made up.
fn watch_till(from_till: &Compensation<Sqlite>, pool: &SqlitePool, stock: &Stock) -> RunningScanner {
    let pool = pool.clone();
    let orders = move |page: Page| {
        let pool = pool.clone();
        async move {
            let query =
                "SELECT id, quantity FROM orders WHERE id > ? AND channel = 'till' AND at < ? ORDER BY id LIMIT ?";
            let rows: Vec<(u32, u32)> = sqlx::query_as(query)
                .bind(if page.after.is_empty() { -1 } else { page.after_number() })
                .bind(page.before_ms)
                .bind(page.limit)
                .fetch_all(&pool)
                .await?;
            let item = |(id, quantity)| Item::new(id, key(id)).message(CREATE_ORDER, content(id, quantity));
            Ok::<_, sqlx::Error>(rows.into_iter().map(item).collect())
        }
    };
    from_till.scanner(orders, stock.inbox.clone(), MakeUp::through(&stock.inbox, stock.effects())).start()
}
