//! What people see of the gaps, and decide about them.

use super::Compensation;
use crate::{
    database::{Dialect, Row, Unreadable, Value},
    error::Error,
    work::{Backlog, Removal, Status},
};

/// A thing that lacks its counterpart, or lacked it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The row's id.
    pub row: i64,
    /// The business key of the thing.
    pub key: String,
    /// The topic of the message that should have made the counterpart; empty when there is none.
    pub topic: String,
    /// How it is repaired.
    pub action: String,
    /// Where it is in its life: pending is open, done is resolved.
    pub status: Status,
    /// Repairs, those that failed too.
    pub attempts: u32,
    /// When it is looked at again, or its lease ends; ms since the Unix epoch. Without meaning unless it is pending.
    pub next_attempt_ms: i64,
    /// Which scanner has it at this moment.
    pub claimed_by: Option<String>,
    /// What the last repair did, or how it ended.
    pub result: Option<String>,
    /// Why the last repair failed, or why it was given up.
    pub last_error: Option<String>,
    /// When it was found; ms since the Unix epoch.
    pub created_ms: i64,
    /// When it changed last; ms since the Unix epoch.
    pub updated_ms: i64,
}

const COLUMNS: &str = "id, business_key, topic, action, status, attempts, next_attempt_at, claimed_by, result, \
                       last_error, created_at, updated_at";

impl<D: Dialect> Compensation<D> {
    /// The gap of a business key, if one was found.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::Row`] when the row cannot be read.
    pub async fn find(&self, key: &str) -> Result<Option<Gap>, Error> {
        self.find_where("name = ? AND business_key = ?", &[self.0.name.as_str().into(), key.into()]).await
    }

    /// Up to `limit` gaps of a status, those with ids above `after` (0 for the first page).
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn list(&self, status: Status, after: i64, limit: u32) -> Result<Vec<Gap>, Error> {
        // the status is part of the statement, so that its partial index serves it
        let sql = self.0.table.sql(&format!(
            "SELECT {COLUMNS} FROM {{table}} WHERE status = '{}' AND name = ? AND id > ? ORDER BY id LIMIT ?",
            status.as_str()
        ));
        let values = [self.0.name.as_str().into(), after.into(), limit.into()];
        let rows = D::fetch(&mut *self.0.pool.acquire().await?, &sql, &values).await?;
        rows.into_iter().map(|row| self.read(row)).collect()
    }

    /// How much is open, and how much waits for people. Counts the open gaps, so it costs more the more there are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        let mut connection = self.0.pool.acquire().await?;
        let name = [Value::from(self.0.name.as_str())];
        let pending =
            self.0.table.sql("SELECT COUNT(*), MIN(created_at) FROM {table} WHERE status = 'pending' AND name = ?");
        let exhausted = self.0.table.sql("SELECT COUNT(*) FROM {table} WHERE status = 'exhausted' AND name = ?");
        let mut backlog = Backlog::default();
        let now_ms = self.0.clock.now_ms();
        if let Some(mut row) = D::fetch(&mut connection, &pending, &name).await?.into_iter().next() {
            backlog.pending = u64::try_from(row.int("count").unwrap_or(0)).unwrap_or(0);
            backlog.oldest_ms = row.opt_int("created_at").ok().flatten().map(|oldest| (now_ms - oldest).max(0));
        }
        if let Some(mut row) = D::fetch(&mut connection, &exhausted, &name).await?.into_iter().next() {
            backlog.exhausted = u64::try_from(row.int("count").unwrap_or(0)).unwrap_or(0);
        }
        Ok(backlog)
    }

    /// Has an exhausted, dropped or waiting gap looked at now, with all repairs of the schedule before it.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is done or being repaired; [`Error::Database`].
    pub async fn rerun(&self, row: i64) -> Result<(), Error> {
        self.0.table.rerun(&self.0.pool, row, self.0.clock.now_ms()).await?;
        self.0.wake.now();
        Ok(())
    }

    /// Gives a gap up: it is kept, with the reason, and not repaired.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is done or being repaired; [`Error::Database`].
    pub async fn give_up(&self, row: i64, reason: &str) -> Result<(), Error> {
        self.0.table.give_up(&self.0.pool, row, reason, self.0.clock.now_ms()).await
    }

    /// Removes gaps that were found and closed (or given up) before `before_ms`, of all compensations of the table, in small
    /// chunks. Returns how many. The scan does not find them again: it has passed them.
    ///
    /// # Errors
    /// [`Error::Database`]; the chunks before are removed then.
    pub async fn clean(&self, before_ms: i64) -> Result<u64, Error> {
        self.0.table.clean(&self.0.pool, before_ms, Removal::Plain, &self.0.faults).await
    }

    pub(super) async fn gap(&self, row: i64) -> Result<Option<Gap>, Error> {
        self.find_where("id = ?", &[row.into()]).await
    }

    async fn find_where(&self, condition: &str, values: &[Value<'_>]) -> Result<Option<Gap>, Error> {
        let found = self.0.table.one(&mut *self.0.pool.acquire().await?, COLUMNS, condition, values).await?;
        found.map(|row| self.read(row)).transpose()
    }

    fn read(&self, mut row: Row) -> Result<Gap, Error> {
        let id = row.int("id").unwrap_or(0);
        let mut read = || {
            Ok(Gap {
                row: id,
                key: row.text("business_key")?,
                topic: row.text("topic")?,
                action: row.text("action")?,
                status: row.parsed("status", Status::read)?,
                attempts: row.count("attempts")?,
                next_attempt_ms: row.int("next_attempt_at")?,
                claimed_by: row.opt_text("claimed_by")?,
                result: row.opt_text("result")?,
                last_error: row.opt_text("last_error")?,
                created_ms: row.int("created_at")?,
                updated_ms: row.int("updated_at")?,
            })
        };
        read().map_err(|unreadable: Unreadable| self.0.table.unreadable(id, &unreadable))
    }
}
