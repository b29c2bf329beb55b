//! The services that follow a paid order: stock, points and warehouse.

use std::{error::Error, path::Path, time::Duration};

use serde_json::Value;
use sqlx::{Sqlite, SqlitePool, Transaction};
use tenonmq_client::{ConsumeFrom, PushConsumer};
use tenonmq_examples::database;
use tenonmq_outbox::{
    Effects, Inbox, Incoming, RunningRetrier, Schedule,
    fault::{Faults, Point},
};

use crate::TOPIC;

/// One service. All three have the same shape: what an order did is a line in a table of its own.
pub(crate) struct Follower {
    pub(crate) name: &'static str,
    pool: SqlitePool,
    inbox: Inbox<Sqlite>,
    consumer: PushConsumer,
    retrier: RunningRetrier,
}

/// The three.
pub(crate) struct Followers {
    pub(crate) all: [Follower; 3],
}

/// What a paid order does in a service: a line with the number of the message's `field`, or with 1.
#[derive(Clone, Copy)]
struct Line {
    field: Option<&'static str>,
    /// The first try of each order that this divides fails.
    fails_each: i64,
}

impl Effects<Sqlite> for Line {
    type Error = Box<dyn Error + Send + Sync>;

    async fn apply(&self, transaction: &mut Transaction<'_, Sqlite>, message: &Incoming) -> Result<(), Self::Error> {
        let paid: Value = serde_json::from_slice(message.content())?;
        let order = paid["order"].as_i64().ok_or("no order")?;
        let amount = self.field.map_or(Some(1), |field| paid[field].as_i64()).ok_or("no amount")?;
        sqlx::query("INSERT INTO line (order_id, amount) VALUES (?, ?)")
            .bind(order)
            .bind(amount)
            .execute(&mut **transaction)
            .await?;
        sqlx::query("UPDATE total SET amount = amount + ?").bind(amount).execute(&mut **transaction).await?;
        let tries: i64 = sqlx::query_scalar("SELECT attempts FROM msg_received WHERE business_key = ?")
            .bind(message.business_key())
            .fetch_optional(&mut **transaction)
            .await?
            .unwrap_or(0);
        if order % self.fails_each == 0 && tries == 0 {
            return Err("a fault that was injected".into()); // the line goes with the transaction
        }
        Ok(())
    }
}

impl Followers {
    /// Opens their databases and starts their consumers, each of which will die once at a point of its own.
    pub(crate) async fn start(name_server: &str, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let start = async |name, line, dies_at, nth| {
            let pool = database(&folder.join(format!("{name}.db"))).await?;
            Follower::start(name_server, name, pool, line, (dies_at, nth)).await
        };
        let stock = Line { field: Some("quantity"), fails_each: 6 };
        let points = Line { field: Some("amount"), fails_each: 9 };
        let warehouse = Line { field: None, fails_each: 8 };
        Ok(Self {
            all: [
                start("stock", stock, Point::EffectsWritten, 5).await?,
                start("points", points, Point::EffectsKept, 7).await?,
                start("warehouse", warehouse, Point::ReceiptWritten, 3).await?,
            ],
        })
    }

    pub(crate) async fn shutdown(self) {
        for follower in self.all {
            follower.consumer.shutdown().await;
            follower.retrier.shutdown().await;
        }
    }
}

impl Follower {
    async fn start(
        name_server: &str,
        name: &'static str,
        pool: SqlitePool,
        line: Line,
        (dies_at, nth): (Point, u32),
    ) -> Result<Self, Box<dyn Error>> {
        for table in [
            "CREATE TABLE line (order_id INTEGER NOT NULL, amount INTEGER NOT NULL)",
            "CREATE TABLE total (amount INTEGER NOT NULL)",
            "INSERT INTO total (amount) VALUES (0)",
        ] {
            sqlx::query(table).execute(&pool).await?;
        }
        let faults = Faults::default();
        faults.crash_at_nth(dies_at, nth);
        let schedule = Schedule::exponential(Duration::from_millis(300), Duration::from_secs(3));
        let inbox = Inbox::builder(pool.clone(), name).faults(faults).schedule(schedule).build();
        let consumer = PushConsumer::builder(name_server)
            .group(name)
            .subscribe(TOPIC, "*")
            .consume_from(ConsumeFrom::Earliest)
            .listener(inbox.listener(line))
            .connect()
            .await?;
        let retrier = inbox.retrier(line).start();
        Ok(Self { name, pool, inbox, consumer, retrier })
    }

    /// How often an order took effect, and the sum of that.
    pub(crate) async fn effects(&self, order: u32) -> sqlx::Result<(i64, i64)> {
        let sum = sqlx::query_as("SELECT COUNT(*), COALESCE(SUM(amount), 0) FROM line WHERE order_id = ?").bind(order);
        sum.fetch_one(&self.pool).await
    }

    /// What all orders did together.
    pub(crate) async fn total(&self) -> sqlx::Result<i64> {
        sqlx::query_scalar("SELECT amount FROM total").fetch_one(&self.pool).await
    }

    /// Messages that are not handled yet, or will not be.
    pub(crate) async fn unhandled(&self) -> Result<u64, tenonmq_outbox::Error> {
        let backlog = self.inbox.backlog().await?;
        Ok(backlog.pending + backlog.exhausted)
    }
}
