//! The orders and their database.

use std::{path::Path, time::Duration};

use sqlx::{
    Row, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};

/// What happens to an order when it is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Paid; the producer tells the broker.
    Paid,
    /// The payment fails; the producer tells the broker.
    Declined,
    /// Paid, but the producer dies before it can tell the broker.
    DiesAfterPaying,
    /// The producer dies before it pays.
    DiesBeforePaying,
}

impl Fate {
    /// The fate of an order, by its number: every fourth fails, every fifth and every seventh loses its producer.
    pub(crate) fn of(order: u32) -> Self {
        match order {
            _ if order % 5 == 4 => Self::DiesAfterPaying,
            _ if order % 7 == 6 => Self::DiesBeforePaying,
            _ if order % 4 == 3 => Self::Declined,
            _ => Self::Paid,
        }
    }

    /// Whether the order ends up paid.
    pub(crate) fn is_paid(self) -> bool {
        matches!(self, Self::Paid | Self::DiesAfterPaying)
    }
}

/// What the database says of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Paid,
    Declined,
    Absent,
}

/// The database of the order service.
#[derive(Clone)]
pub(crate) struct Orders {
    pool: SqlitePool,
}

/// A pool over one SQLite file that several tasks may write to.
pub(crate) async fn open(path: &Path) -> sqlx::Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(10));
    SqlitePoolOptions::new().max_connections(4).connect_with(options).await
}

impl Orders {
    pub(crate) async fn open(path: &Path) -> sqlx::Result<Self> {
        let pool = open(path).await?;
        sqlx::query("CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT NOT NULL)").execute(&pool).await?;
        Ok(Self { pool })
    }

    /// The local transaction: the order is recorded, paid or declined, once.
    pub(crate) async fn record(&self, order: u32, paid: bool) -> sqlx::Result<()> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("INSERT OR IGNORE INTO orders (id, state) VALUES (?, ?)")
            .bind(order)
            .bind(if paid { "paid" } else { "declined" })
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    pub(crate) async fn state(&self, order: u32) -> sqlx::Result<State> {
        let row = sqlx::query("SELECT state FROM orders WHERE id = ?").bind(order).fetch_optional(&self.pool).await?;
        let state: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
        Ok(match state.as_deref() {
            Some("paid") => State::Paid,
            Some(_) => State::Declined,
            None => State::Absent,
        })
    }
}
