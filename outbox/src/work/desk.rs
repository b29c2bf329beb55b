//! What people see of the rows, and do to them.

use sqlx::Pool;

use super::{Status, WorkTable};
use crate::{
    database::{Dialect, Row, Sql, Unreadable, Value, begin},
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
        // the status is part of the statement, so that its partial index serves it
        let sql = self.sql(&format!(
            "SELECT {COLUMNS} FROM {{table}} WHERE status = '{}' AND id > ? ORDER BY id LIMIT ?",
            status.as_str()
        ));
        let rows = D::fetch(&mut *pool.acquire().await?, &sql, &[after.into(), limit.into()]).await?;
        rows.into_iter().map(|row| self.tried(row)).collect()
    }

    /// The row for which `condition` holds.
    pub(crate) async fn find(
        &self,
        connection: &mut D::Connection,
        condition: &str,
        values: &[Value<'_>],
    ) -> Result<Option<Tried>, Error> {
        let sql = self.sql(&format!("SELECT {COLUMNS} FROM {{table}} WHERE {condition}"));
        let rows = D::fetch(connection, &sql, values).await?;
        rows.into_iter().next().map(|row| self.tried(row)).transpose()
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
        let sql = self.sql(
            "UPDATE {table} SET status = 'pending', attempts = 0, next_attempt_at = ?, updated_at = ? WHERE id = ? \
             AND (status = 'exhausted' OR status = 'dropped' OR (status = 'pending' AND claimed_by IS NULL))",
        );
        self.decide(pool, row, &sql, &[now_ms.into(), now_ms.into(), row.into()]).await
    }

    /// Takes a row that is not done, and that nobody tries at this moment, out of the work.
    pub(crate) async fn give_up(&self, pool: &Pool<D>, row: i64, reason: &str, now_ms: i64) -> Result<(), Error> {
        let sql = self.sql(
            "UPDATE {table} SET status = 'dropped', last_error = ?, updated_at = ? WHERE id = ? \
             AND (status = 'exhausted' OR (status = 'pending' AND claimed_by IS NULL))",
        );
        self.decide(pool, row, &sql, &[super::table::shortened(reason).into(), now_ms.into(), row.into()]).await
    }

    async fn decide(&self, pool: &Pool<D>, row: i64, sql: &Sql, values: &[Value<'_>]) -> Result<(), Error> {
        let mut transaction = begin(pool).await?;
        if D::execute(&mut transaction, sql, values).await? == 1 {
            return Ok(transaction.commit().await?);
        }
        let found = self.find(&mut transaction, "id = ?", &[row.into()]).await?;
        transaction.rollback().await?;
        Err(Error::Refused { table: self.name(), row, reason: undecidable(found.map(|found| found.status)) })
    }

    fn tried(&self, mut row: Row) -> Result<Tried, Error> {
        let id = row.int("id").unwrap_or(0);
        let mut read = || {
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
        read().map_err(|unreadable: Unreadable| Error::Row {
            table: self.name(),
            row: id,
            reason: unreadable.to_string(),
        })
    }
}

/// Why nobody can decide about a row of this status, or about one that is not there.
pub(crate) fn undecidable(status: Option<Status>) -> &'static str {
    match status {
        None => "there is none",
        Some(Status::Pending) => "it is being tried at this moment",
        Some(Status::Done) => "it is done",
        Some(_) => "it is given up already",
    }
}
