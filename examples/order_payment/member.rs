//! A service that follows paid orders: stock or points. Its effect and the mark of the message are one transaction.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use sqlx::{Row, SqlitePool};
use tenonmq_client::ReceivedMessage;

/// One of the two databases that must agree with the orders.
pub(crate) struct Member {
    pool: SqlitePool,
    /// Deliveries of each order, repeats included.
    deliveries: Mutex<HashMap<u32, u32>>,
}

impl Member {
    pub(crate) async fn open(path: &Path) -> sqlx::Result<Self> {
        let pool = crate::orders::open(path).await?;
        sqlx::query("CREATE TABLE processed_message (message_key TEXT PRIMARY KEY)").execute(&pool).await?;
        sqlx::query("CREATE TABLE effect (order_id INTEGER NOT NULL)").execute(&pool).await?;
        Ok(Self { pool, deliveries: Mutex::default() })
    }

    /// Handles one delivery. The key is the order, not the message: a send that was repeated because its answer got lost
    /// is another message about the same order.
    pub(crate) async fn apply(&self, message: &ReceivedMessage) -> sqlx::Result<()> {
        let Some(order) = message.keys().next().and_then(|key| key.parse::<u32>().ok()) else {
            tracing::warn!(id = message.id(), "a message without an order");
            return Ok(());
        };
        let mut transaction = self.pool.begin().await?;
        let fresh = sqlx::query("INSERT OR IGNORE INTO processed_message (message_key) VALUES (?)")
            .bind(order.to_string())
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if fresh == 1 {
            sqlx::query("INSERT INTO effect (order_id) VALUES (?)").bind(order).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        *self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).entry(order).or_default() += 1;
        Ok(())
    }

    /// How often the effect of an order happened.
    pub(crate) async fn effects(&self, order: u32) -> sqlx::Result<u32> {
        let row =
            sqlx::query("SELECT COUNT(*) FROM effect WHERE order_id = ?").bind(order).fetch_one(&self.pool).await?;
        row.try_get(0)
    }

    /// How often the message of an order came.
    pub(crate) fn deliveries(&self, order: u32) -> u32 {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).get(&order).copied().unwrap_or(0)
    }
}
