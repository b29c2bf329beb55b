//! A line of the table, and what all of them need.

use std::{error::Error, future::Future, path::PathBuf, time::Duration};

use sqlx::{Sqlite, SqlitePool, Transaction};
use tenonmq_client::Producer;
use tenonmq_outbox::{Effects, Incoming};
use tokio::time::{Instant, sleep};

/// What was shown.
pub(crate) struct Habit {
    pub(crate) in_rabbit: &'static str,
    pub(crate) here: &'static str,
    pub(crate) happened: String,
    /// Whether that is what should happen.
    pub(crate) is_well: bool,
}

/// Where the broker is, and where databases may be made.
pub(crate) struct Place {
    pub(crate) name_server: String,
    pub(crate) folder: PathBuf,
}

impl Place {
    /// A service's own database, with a table of the work that it did.
    pub(crate) async fn database(&self, name: &str) -> Result<SqlitePool, Box<dyn Error>> {
        let pool = tenonmq_examples::database(&self.folder.join(format!("{name}.db"))).await?;
        sqlx::query("CREATE TABLE work (business_key TEXT NOT NULL)").execute(&pool).await?;
        Ok(pool)
    }

    /// A producer of that group.
    pub(crate) async fn producer(&self, group: &str) -> Result<Producer, Box<dyn Error>> {
        Ok(Producer::builder(self.name_server.as_str()).group(group).connect().await?)
    }
}

/// Work that leaves a line for each message.
#[derive(Clone, Copy)]
pub(crate) struct Work;

impl Effects<Sqlite> for Work {
    type Error = sqlx::Error;

    async fn apply(&self, transaction: &mut Transaction<'_, Sqlite>, message: &Incoming) -> Result<(), sqlx::Error> {
        let line = sqlx::query("INSERT INTO work (business_key) VALUES (?)").bind(message.business_key());
        line.execute(&mut **transaction).await.map(|_| ())
    }
}

/// How many messages took effect, and how often in all.
pub(crate) async fn worked(pool: &SqlitePool) -> sqlx::Result<(i64, i64)> {
    sqlx::query_as("SELECT COUNT(DISTINCT business_key), COUNT(*) FROM work").fetch_one(pool).await
}

/// Waits until that is so, half a minute at most; whether it is.
pub(crate) async fn until<F: Future<Output = Result<bool, Box<dyn Error>>>>(
    is_so: impl Fn() -> F,
) -> Result<bool, Box<dyn Error>> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if is_so().await? {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        sleep(Duration::from_millis(50)).await;
    }
}
