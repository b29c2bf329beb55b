//! The shop: orders that hold stock until they are paid, or until their time is over.

use std::{error::Error, path::Path, time::Duration};

use sqlx::{Sqlite, SqlitePool, Transaction};
use tenonmq_examples::database;
use tenonmq_outbox::{Deadlines, Expiry, Outbox, deadline::Deadline, fault::Faults};

use crate::TOPIC;

/// Pieces on the shelf at the beginning.
pub(crate) const STOCK: i64 = 1_000;

/// One instance of the shop's service; all share the database.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) pool: SqlitePool,
    pub(crate) outbox: Outbox<Sqlite>,
    pub(crate) deadlines: Deadlines<Sqlite>,
    pub(crate) faults: Faults,
}

/// The database, with all stock free.
pub(crate) async fn open(path: &Path) -> Result<SqlitePool, Box<dyn Error>> {
    let pool = database(path).await?;
    for table in [
        "CREATE TABLE orders (id TEXT PRIMARY KEY, quantity INTEGER, state TEXT, late_ms INTEGER)",
        "CREATE TABLE stock (free INTEGER, held INTEGER, sold INTEGER)",
        "CREATE TABLE released (order_id TEXT)",
    ] {
        sqlx::query(table).execute(&pool).await?;
    }
    sqlx::query("INSERT INTO stock (free, held, sold) VALUES (?, 0, 0)").bind(STOCK).execute(&pool).await?;
    Ok(pool)
}

impl Shop {
    /// Another instance.
    pub(crate) fn instance(pool: &SqlitePool) -> Self {
        let faults = Faults::default();
        let outbox = Outbox::builder(pool.clone()).faults(faults.clone()).build();
        let deadlines = Deadlines::builder(&outbox, TOPIC)
            .grace(Duration::from_secs(1)) // so that what is lost on purpose is made up for soon
            .time_limit(Duration::from_secs(1))
            .build();
        Self { pool: pool.clone(), outbox, deadlines, faults }
    }

    /// An order, the stock that it holds, and its deadline: one transaction.
    pub(crate) async fn order(&self, id: &str, quantity: u32, within: Duration) -> Result<(), Box<dyn Error>> {
        let mut transaction = self.pool.begin().await?;
        let insert = sqlx::query("INSERT INTO orders (id, quantity, state) VALUES (?, ?, 'unpaid')");
        insert.bind(id).bind(quantity).execute(&mut *transaction).await?;
        let hold = sqlx::query("UPDATE stock SET free = free - ?, held = held + ?");
        hold.bind(quantity).bind(quantity).execute(&mut *transaction).await?;
        self.deadlines.set(&mut transaction, id, within, "").await?;
        transaction.commit().await?;
        self.outbox.wake();
        Ok(())
    }

    /// Pays an order; false when it is too late.
    pub(crate) async fn pay(&self, id: &str) -> sqlx::Result<bool> {
        let mut transaction = self.pool.begin().await?;
        let pay = sqlx::query("UPDATE orders SET state = 'paid' WHERE id = ? AND state = 'unpaid'").bind(id);
        if pay.execute(&mut *transaction).await?.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(false);
        }
        move_stock(&mut transaction, "sold", id).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// What happens when the time of an order is over.
pub(crate) struct CancelUnpaid;

impl Expiry<Sqlite> for CancelUnpaid {
    type Error = sqlx::Error;

    async fn close(&self, transaction: &mut Transaction<'_, Sqlite>, order: &Deadline) -> sqlx::Result<u64> {
        let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as i64;
        let cancel = "UPDATE orders SET state = 'cancelled', late_ms = ? WHERE id = ? AND state = 'unpaid'";
        let cancel = sqlx::query(cancel).bind(now_ms - order.due_ms()).bind(order.key());
        Ok(cancel.execute(&mut **transaction).await?.rows_affected())
    }

    async fn expire(&self, transaction: &mut Transaction<'_, Sqlite>, order: &Deadline) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO released VALUES (?)").bind(order.key()).execute(&mut **transaction).await?;
        move_stock(transaction, "free", order.key()).await
    }
}

/// From held to free, or to sold.
async fn move_stock(transaction: &mut Transaction<'_, Sqlite>, to: &'static str, order: &str) -> sqlx::Result<()> {
    let sql = match to {
        "sold" => "UPDATE stock SET held = held - quantity, sold = sold + quantity FROM orders WHERE orders.id = ?",
        _ => "UPDATE stock SET held = held - quantity, free = free + quantity FROM orders WHERE orders.id = ?",
    };
    sqlx::query(sql).bind(order).execute(&mut **transaction).await.map(|_| ())
}
