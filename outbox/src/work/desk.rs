//! What people see of the rows, and do to them.

use sqlx::{Pool, Transaction};

use super::{Status, WorkTable, shortened};
use crate::{
    database::{Dialect, Row, Unreadable, Value, begin},
    error::Error,
};

/// A row, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tried {
    /// The row's id.
    pub row: i64,
    /// Its topic.
    pub topic: String,
    /// Its business id or key.
    pub business_key: String,
    /// Where it is in its life.
    pub status: Status,
    /// Tries that have ended.
    pub attempts: u32,
    /// When it is tried next, or its lease ends; ms since the Unix epoch. Without meaning unless it is pending.
    pub next_attempt_ms: i64,
    /// Who tries it at this moment.
    pub claimed_by: Option<String>,
    /// Why its last try failed, or why it was given up.
    pub last_error: Option<String>,
    /// When it was written; ms since the Unix epoch.
    pub created_ms: i64,
    /// When it changed last; ms since the Unix epoch.
    pub updated_ms: i64,
}

/// How much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Backlog {
    /// Rows to be tried, now or later.
    pub pending: u64,
    /// Rows that people must decide about.
    pub exhausted: u64,
    /// Age in ms of the oldest pending row.
    pub oldest_ms: Option<i64>,
}

const COLUMNS: &str =
    "id, topic, {key}, status, attempts, next_attempt_at, claimed_by, last_error, created_at, updated_at";

impl<D: Dialect> WorkTable<D> {
    /// Up to `limit` rows of a status with ids above `after`.
    pub(crate) async fn list(
        &self,
        pool: &Pool<D>,
        status: Status,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Tried>, Error> {
        let rows = self.page(pool, COLUMNS, status, after, limit).await?;
        rows.into_iter().map(|row| self.tried(row)).collect()
    }

    /// The same rows, with these columns.
    pub(crate) async fn page(
        &self,
        pool: &Pool<D>,
        columns: &str,
        status: Status,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Row>, Error> {
        // the status is part of the statement, so that its partial index serves it
        let sql = self.sql(&format!(
            "SELECT {columns} FROM {{table}} WHERE status = '{}' AND id > ? ORDER BY id LIMIT ?",
            status.as_str()
        ));
        Ok(D::fetch(&mut *pool.acquire().await?, &sql, &[after.into(), limit.into()]).await?)
    }

    /// The row for which `condition` holds.
    pub(crate) async fn find(
        &self,
        connection: &mut D::Connection,
        condition: &str,
        values: &[Value<'_>],
    ) -> Result<Option<Tried>, Error> {
        let found = self.one(connection, COLUMNS, condition, values).await?;
        found.map(|row| self.tried(row)).transpose()
    }

    /// The same row, with these columns.
    pub(crate) async fn one(
        &self,
        connection: &mut D::Connection,
        columns: &str,
        condition: &str,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, Error> {
        let sql = self.sql(&format!("SELECT {columns} FROM {{table}} WHERE {condition}"));
        Ok(D::fetch(connection, &sql, values).await?.into_iter().next())
    }

    pub(crate) async fn backlog(&self, pool: &Pool<D>, now_ms: i64) -> Result<Backlog, Error> {
        let mut connection = pool.acquire().await?;
        let pending = self.sql("SELECT COUNT(*), MIN(created_at) FROM {table} WHERE status = 'pending'");
        let exhausted = self.sql("SELECT COUNT(*) FROM {table} WHERE status = 'exhausted'");
        let mut backlog = Backlog::default();
        if let Some(mut row) = D::fetch(&mut *connection, &pending, &[]).await?.into_iter().next() {
            backlog.pending = u64::try_from(row.int("count").unwrap_or(0)).unwrap_or(0);
            backlog.oldest_ms = row.opt_int("created_at").ok().flatten().map(|oldest| (now_ms - oldest).max(0));
        }
        if let Some(mut row) = D::fetch(&mut *connection, &exhausted, &[]).await?.into_iter().next() {
            backlog.exhausted = u64::try_from(row.int("count").unwrap_or(0)).unwrap_or(0);
        }
        Ok(backlog)
    }

    /// Has a row tried again from the beginning of its schedule: an exhausted or dropped one, or a pending one that waits.
    pub(crate) async fn rerun(&self, pool: &Pool<D>, row: i64, now_ms: i64) -> Result<(), Error> {
        let from = [Status::Exhausted, Status::Dropped];
        Ok(self.begin_rerun(pool, row, &from, now_ms).await?.commit().await?)
    }

    /// The same, of a row that waits or has one of these statuses; the transaction is open, for what belongs to it.
    pub(crate) async fn begin_rerun(
        &self,
        pool: &Pool<D>,
        row: i64,
        from: &[Status],
        now_ms: i64,
    ) -> Result<Transaction<'static, D>, Error> {
        let set = "status = 'pending', attempts = 0, next_attempt_at = ?, claimed_by = NULL, updated_at = ?";
        self.decide(pool, row, set, &[now_ms.into(), now_ms.into()], from, now_ms).await
    }

    /// Takes a row that is not done, and that nobody tries at this moment, out of the work.
    pub(crate) async fn give_up(&self, pool: &Pool<D>, row: i64, reason: &str, now_ms: i64) -> Result<(), Error> {
        Ok(self.begin_give_up(pool, row, reason, now_ms).await?.commit().await?)
    }

    /// The same; the transaction is open, for what belongs to it.
    pub(crate) async fn begin_give_up(
        &self,
        pool: &Pool<D>,
        row: i64,
        reason: &str,
        now_ms: i64,
    ) -> Result<Transaction<'static, D>, Error> {
        let set = "status = 'dropped', claimed_by = NULL, last_error = ?, updated_at = ?";
        self.decide(pool, row, set, &[shortened(reason).into(), now_ms.into()], &[Status::Exhausted], now_ms).await
    }

    /// Changes a row that has one of these statuses, or is pending and tried by nobody (any more: its lease has ended).
    async fn decide(
        &self,
        pool: &Pool<D>,
        row: i64,
        set: &str,
        values: &[Value<'_>],
        from: &[Status],
        now_ms: i64,
    ) -> Result<Transaction<'static, D>, Error> {
        let from: Vec<String> = from.iter().map(|status| format!("'{}'", status.as_str())).collect();
        let sql = self.sql(&format!(
            "UPDATE {{table}} SET {set} WHERE id = ? AND (status IN ({}) \
             OR (status = 'pending' AND (claimed_by IS NULL OR next_attempt_at <= ?)))",
            from.join(", ")
        ));
        let mut values = values.to_vec();
        values.extend([Value::from(row), Value::from(now_ms)]);
        let mut transaction = begin(pool).await?;
        if D::execute(&mut transaction, &sql, &values).await? == 1 {
            return Ok(transaction);
        }
        let found = self.one(&mut transaction, "status", "id = ?", &[row.into()]).await?;
        transaction.rollback().await?;
        let status = found.and_then(|mut row| row.parsed("status", Status::read).ok());
        Err(Error::Refused { table: self.name(), row, reason: undecidable(status) })
    }

    /// The error of a row that cannot be read.
    pub(crate) fn unreadable(&self, row: i64, reason: &Unreadable) -> Error {
        Error::Row { table: self.name(), row, reason: reason.to_string() }
    }

    fn tried(&self, mut row: Row) -> Result<Tried, Error> {
        let id = row.int("id").unwrap_or(0);
        let mut read = || -> Result<Tried, Unreadable> {
            Ok(Tried {
                row: id,
                topic: row.text("topic")?,
                business_key: row.text(self.key())?,
                status: row.parsed("status", Status::read)?,
                attempts: row.count("attempts")?,
                next_attempt_ms: row.int("next_attempt_at")?,
                claimed_by: row.opt_text("claimed_by")?,
                last_error: row.opt_text("last_error")?,
                created_ms: row.int("created_at")?,
                updated_ms: row.int("updated_at")?,
            })
        };
        read().map_err(|unreadable| self.unreadable(id, &unreadable))
    }
}

/// Why nobody can decide about a row of this status, or about one that is not there.
fn undecidable(status: Option<Status>) -> &'static str {
    match status {
        None => "there is none",
        Some(Status::Pending) => "it is being tried at this moment",
        Some(Status::Done) => "it is done",
        Some(_) => "it is given up already",
    }
}
