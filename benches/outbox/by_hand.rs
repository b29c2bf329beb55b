//! What services write who have no outbox: a table, and a loop that looks into it each second.

use std::{future::Future, time::Duration};

use sqlx::{Pool, Result, Transaction};
use tenonmq_outbox::{Dialect, Outgoing, Publisher};
use tokio::time::sleep;

/// Rows of one look.
const BATCH: usize = 100;

/// The statements of such a service.
pub(crate) trait ByHand: Dialect {
    fn create(pool: &Pool<Self>) -> impl Future<Output = Result<()>> + Send;
    fn insert(
        transaction: &mut Transaction<'_, Self>,
        id: &str,
        content: &[u8],
    ) -> impl Future<Output = Result<()>> + Send;
    fn unsent(pool: &Pool<Self>) -> impl Future<Output = Result<Vec<(i64, String, Vec<u8>)>>> + Send;
    fn mark_sent(pool: &Pool<Self>, id: i64) -> impl Future<Output = Result<()>> + Send;
}

/// Sends what is there, then looks again after a second. Never ends.
pub(crate) async fn relay<D: ByHand>(pool: Pool<D>, publisher: impl Publisher) -> Result<()> {
    loop {
        let rows = D::unsent(&pool).await?;
        let is_all = rows.len() < BATCH;
        for (id, business_id, content) in rows {
            if publisher.publish(&Outgoing::new("t", business_id, content)).await.is_ok() {
                D::mark_sent(&pool, id).await?;
            }
        }
        if is_all {
            sleep(Duration::from_secs(1)).await;
        }
    }
}

macro_rules! by_hand {
    ($database:ty, $table:literal) => {
        impl ByHand for $database {
            async fn create(pool: &Pool<Self>) -> Result<()> {
                sqlx::query("DROP TABLE IF EXISTS by_hand").execute(pool).await?;
                sqlx::query($table).execute(pool).await?;
                sqlx::query("CREATE INDEX by_hand_unsent ON by_hand (sent, id)").execute(pool).await?;
                Ok(())
            }

            async fn insert(transaction: &mut Transaction<'_, Self>, id: &str, content: &[u8]) -> Result<()> {
                let insert = sqlx::query("INSERT INTO by_hand (business_id, content, sent) VALUES ($1, $2, 0)");
                insert.bind(id).bind(content).execute(&mut **transaction).await?;
                Ok(())
            }

            async fn unsent(pool: &Pool<Self>) -> Result<Vec<(i64, String, Vec<u8>)>> {
                let unsent = "SELECT id, business_id, content FROM by_hand WHERE sent = 0 ORDER BY id LIMIT $1";
                sqlx::query_as(unsent).bind(BATCH as i64).fetch_all(pool).await
            }

            async fn mark_sent(pool: &Pool<Self>, id: i64) -> Result<()> {
                sqlx::query("UPDATE by_hand SET sent = 1 WHERE id = $1").bind(id).execute(pool).await?;
                Ok(())
            }
        }
    };
}

by_hand!(
    sqlx::Sqlite,
    "CREATE TABLE by_hand (id INTEGER PRIMARY KEY, business_id TEXT NOT NULL UNIQUE, content BLOB NOT NULL, sent INTEGER NOT NULL)"
);
#[cfg(feature = "postgres")]
by_hand!(
    sqlx::Postgres,
    "CREATE TABLE by_hand (id BIGSERIAL PRIMARY KEY, business_id TEXT NOT NULL UNIQUE, content BYTEA NOT NULL, sent INTEGER NOT NULL)"
);
