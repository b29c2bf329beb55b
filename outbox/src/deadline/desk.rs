//! What people see and decide.

use std::{future::Future, pin::Pin};

use super::Deadlines;
use crate::{
    database::{Dialect, Value},
    error::Error,
    monitoring::{Part, Reading},
    work::{Backlog, Removal, Status, Tried},
};

impl<D: Dialect> Deadlines<D> {
    /// The row of a thing, if it has a deadline: `done` when that has passed, `dropped` when it was cancelled.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::Row`] when the row cannot be read.
    pub async fn find(&self, key: &str) -> Result<Option<Tried>, Error> {
        let mut connection = self.0.outbox.0.pool.acquire().await?;
        let values = [self.topic().into(), key.into()];
        self.0.table.find(&mut connection, "topic = ? AND business_key = ?", &values).await
    }

    /// Up to `limit` rows of a status, of all kinds of deadline, with ids above `after` (0 for the first page).
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn list(&self, status: Status, after: i64, limit: u32) -> Result<Vec<Tried>, Error> {
        self.0.table.list(&self.0.outbox.0.pool, status, after, limit).await
    }

    /// How many deadlines of this kind are overdue, and how long the oldest has been. What is due later does not count.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        let (table, now_ms, mut backlog) = (&self.0.table, self.now_ms(), Backlog::default());
        let mut connection = self.0.outbox.0.pool.acquire().await?;
        let overdue = table
            .sql("SELECT COUNT(*), MIN(due_at) FROM {table} WHERE status = 'pending' AND topic = ? AND due_at <= ?");
        let values: [Value<'_>; 2] = [self.topic().into(), now_ms.into()];
        if let Some(mut row) = D::fetch(&mut connection, &overdue, &values).await?.into_iter().next() {
            backlog.pending = u64::try_from(row.int("count").unwrap_or(0)).unwrap_or(0);
            backlog.oldest_ms = row.opt_int("due_at").ok().flatten().map(|oldest| (now_ms - oldest).max(0));
        }
        let exhausted = table.sql("SELECT COUNT(*) FROM {table} WHERE status = 'exhausted' AND topic = ?");
        let values: [Value<'_>; 1] = [self.topic().into()];
        if let Some(mut row) = D::fetch(&mut connection, &exhausted, &values).await?.into_iter().next() {
            backlog.exhausted = u64::try_from(row.int("count").unwrap_or(0)).unwrap_or(0);
        }
        Ok(backlog)
    }

    /// Has an exhausted, dropped or waiting deadline looked at now, with all tries of the schedule before it. Nothing passes
    /// before its time by that.
    ///
    /// # Errors
    /// [`Error::Refused`] when it has passed or is being looked at; [`Error::Database`].
    pub async fn rerun(&self, row: i64) -> Result<(), Error> {
        self.0.table.rerun(&self.0.outbox.0.pool, row, self.now_ms()).await?;
        self.0.wake.now();
        Ok(())
    }

    /// Gives a deadline up: its row is kept, with the reason, and the thing stays as it is.
    ///
    /// # Errors
    /// [`Error::Refused`] when it has passed or is being looked at; [`Error::Database`].
    pub async fn give_up(&self, row: i64, reason: &str) -> Result<(), Error> {
        self.0.table.give_up(&self.0.outbox.0.pool, row, reason, self.now_ms()).await
    }

    /// Removes what passed, or was cancelled or given up, before `before_ms`, of all kinds of deadline, in small chunks.
    /// Returns how many rows.
    ///
    /// # Errors
    /// [`Error::Database`]; the chunks before are removed then.
    pub async fn clean(&self, before_ms: i64) -> Result<u64, Error> {
        self.0.table.clean(&self.0.outbox.0.pool, before_ms, Removal::Plain, &self.0.outbox.0.faults).await
    }

    /// A row by its id.
    pub(super) async fn row(&self, row: i64) -> Result<Option<Tried>, Error> {
        let mut connection = self.0.outbox.0.pool.acquire().await?;
        self.0.table.find(&mut connection, "id = ?", &[row.into()]).await
    }
}

impl<D: Dialect> Part for Deadlines<D> {
    fn name(&self) -> String {
        format!("deadlines/{}", self.topic())
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Result<Reading, Error>> + Send + '_>> {
        Box::pin(async { Ok(Reading::of(self.name(), self.backlog().await?, self.counts())) })
    }
}
