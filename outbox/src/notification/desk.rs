//! What people see of the tasks, and decide about them.

use super::{Notifier, log::Event};
use crate::{
    database::{Dialect, Row, Sql, Unreadable, Value, begin, padded},
    error::Error,
    fault::Point,
    work::{Backlog, Status, shortened, undecidable},
};

/// A task, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Task {
    /// The row's id.
    pub row: i64,
    /// Who is told.
    pub receiver: String,
    /// What kind of event.
    pub business_type: String,
    /// Which event.
    pub business_id: String,
    /// Where.
    pub url: String,
    /// Where it is in its life.
    pub status: Status,
    /// Tries that have ended, since it was written or sent again.
    pub attempts: u32,
    /// When it is tried next, or its lease ends; ms since the Unix epoch. Without meaning unless it is pending.
    pub next_attempt_ms: i64,
    /// Which courier tries it at this moment.
    pub claimed_by: Option<String>,
    /// Why its last try failed, or why it was given up.
    pub last_error: Option<String>,
    /// When it was written; ms since the Unix epoch.
    pub created_ms: i64,
    /// When it changed last; ms since the Unix epoch.
    pub updated_ms: i64,
}

/// Who decides, and why. Both are kept with the time.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// A name that people know: at most 255 bytes.
    pub who: &'a str,
    /// In words.
    pub why: &'a str,
}

const COLUMNS: &str = "id, receiver, business_type, business_id, url, status, attempts, next_attempt_at, claimed_by, \
                       last_error, created_at, updated_at";
/// Rows that are removed at once.
const CHUNK: u32 = 200;

impl<D: Dialect> Notifier<D> {
    /// The task of an event.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::Row`] when the row cannot be read.
    pub async fn find(&self, receiver: &str, business_type: &str, business_id: &str) -> Result<Option<Task>, Error> {
        let mut connection = self.0.pool.acquire().await?;
        let condition = "receiver = ? AND business_type = ? AND business_id = ?";
        let values = [receiver.into(), business_type.into(), business_id.into()];
        self.find_where(&mut connection, condition, &values).await
    }

    /// The task with that id.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn task(&self, row: i64) -> Result<Option<Task>, Error> {
        self.find_where(&mut *self.0.pool.acquire().await?, "id = ?", &[row.into()]).await
    }

    /// Up to `limit` tasks of a status, those with ids above `after` (0 for the first page).
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn list(&self, status: Status, after: i64, limit: u32) -> Result<Vec<Task>, Error> {
        // the status is part of the statement, so that its partial index serves it
        let sql = self.0.table.sql(&format!(
            "SELECT {COLUMNS} FROM {{table}} WHERE status = '{}' AND id > ? ORDER BY id LIMIT ?",
            status.as_str()
        ));
        let rows = D::fetch(&mut *self.0.pool.acquire().await?, &sql, &[after.into(), limit.into()]).await?;
        rows.into_iter().map(|row| self.read_task(row)).collect()
    }

    /// How much waits. Counts the pending rows, so it costs more the more there are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        self.0.table.backlog(&self.0.pool, self.0.clock.now_ms()).await
    }

    /// Has a task sent now, with all tries of its strategy before it: an exhausted or dropped one, one that waits, or one that
    /// was delivered and that the receiver has lost.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is being tried, there is none, or the decision lacks who or why; [`Error::Database`].
    pub async fn resend(&self, row: i64, decision: Decision<'_>) -> Result<(), Error> {
        let sql = self.0.table.sql(
            "UPDATE {table} SET status = 'pending', attempts = 0, next_attempt_at = ?, claimed_by = NULL, updated_at = ? \
             WHERE id = ? AND (status <> 'pending' OR claimed_by IS NULL OR next_attempt_at <= ?)",
        );
        let now_ms = self.0.clock.now_ms();
        let values = [now_ms.into(), now_ms.into(), row.into(), now_ms.into()];
        self.decide(row, Event::Resend, decision, &sql, &values).await?;
        self.wake();
        Ok(())
    }

    /// Gives a task up: it is kept, with the reason, and not sent.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is done, given up already or being tried, there is none, or the decision lacks who or
    /// why; [`Error::Database`].
    pub async fn give_up(&self, row: i64, decision: Decision<'_>) -> Result<(), Error> {
        let sql = self.0.table.sql(
            "UPDATE {table} SET status = 'dropped', claimed_by = NULL, last_error = ?, updated_at = ? WHERE id = ? \
             AND (status = 'exhausted' OR (status = 'pending' AND (claimed_by IS NULL OR next_attempt_at <= ?)))",
        );
        let now_ms = self.0.clock.now_ms();
        let values = [shortened(decision.why).into(), now_ms.into(), row.into(), now_ms.into()];
        self.decide(row, Event::GiveUp, decision, &sql, &values).await
    }

    /// Removes tasks that were done or given up before `before_ms`, with their logs, in small chunks that lock nothing
    /// else. Returns how many tasks.
    ///
    /// # Errors
    /// [`Error::Database`]; the chunks before are removed then.
    pub async fn clean(&self, before_ms: i64) -> Result<u64, Error> {
        let walk = "SELECT id, status, created_at, updated_at FROM {table} WHERE id > ? ORDER BY id LIMIT ?";
        let walk = self.0.table.sql(walk);
        let (mut after, mut removed) = (0, 0);
        loop {
            let rows = D::fetch(&mut *self.0.pool.acquire().await?, &walk, &[after.into(), CHUNK.into()]).await?;
            let mut is_last = rows.len() < CHUNK as usize;
            let mut old = Vec::new();
            for mut row in rows {
                let Ok(id) = row.int("id") else { continue };
                after = id;
                let status = row.text("status").unwrap_or_default();
                let (Ok(created), Ok(updated)) = (row.int("created_at"), row.int("updated_at")) else { continue };
                is_last |= created >= before_ms;
                if created < before_ms && updated < before_ms && matches!(status.as_str(), "done" | "dropped") {
                    old.push(id);
                }
            }
            removed += self.remove(&old).await?;
            if is_last {
                return Ok(removed);
            }
            tokio::task::yield_now().await;
        }
    }

    async fn remove(&self, ids: &[i64]) -> Result<u64, Error> {
        if ids.is_empty() {
            return Ok(0);
        }
        let values: Vec<Value<'_>> = padded(ids).map(Value::Int).collect();
        let mut transaction = begin(&self.0.pool).await?;
        // still so: somebody may have had one sent again
        let tasks = "DELETE FROM {table} WHERE status IN ('done', 'dropped') AND id IN ({ids})";
        let removed = D::execute(&mut transaction, &self.0.table.sql_of_ids(tasks, ids), &values).await?;
        let logs = "DELETE FROM {notification_log} WHERE task IN ({ids}) \
                    AND NOT EXISTS (SELECT 1 FROM {table} kept WHERE kept.id = task)";
        D::execute(&mut transaction, &self.0.table.sql_of_ids(logs, ids), &values).await?;
        self.0.faults.pass(Point::CleaningWritten)?;
        transaction.commit().await?;
        Ok(removed)
    }

    async fn decide(
        &self,
        row: i64,
        event: Event,
        decision: Decision<'_>,
        sql: &Sql,
        values: &[Value<'_>],
    ) -> Result<(), Error> {
        let refused = |reason| Err(Error::Refused { table: self.0.table.name(), row, reason });
        if decision.who.trim().is_empty() || decision.who.len() > 255 || decision.who.contains('\0') {
            return refused("who decides must be named, in at most 255 bytes");
        }
        if decision.why.trim().is_empty() {
            return refused("a decision needs a reason");
        }
        let mut transaction = begin(&self.0.pool).await?;
        if D::execute(&mut transaction, sql, values).await? == 1 {
            self.log_decision(&mut transaction, row, event, decision).await?;
            self.0.faults.pass(Point::NotificationDecisionWritten)?;
            return Ok(transaction.commit().await?);
        }
        let found = self.find_where(&mut transaction, "id = ?", &[row.into()]).await?;
        transaction.rollback().await?;
        refused(undecidable(found.map(|found| found.status)))
    }

    async fn log_decision(
        &self,
        connection: &mut D::Connection,
        row: i64,
        event: Event,
        decision: Decision<'_>,
    ) -> Result<(), Error> {
        let now_ms = self.0.clock.now_ms();
        let values = [
            row.into(),
            event.as_str().into(),
            0_i64.into(),
            decision.who.into(),
            now_ms.into(),
            now_ms.into(),
            Value::OptInt(None),
            Value::OptText(None),
            shortened(decision.why).into(),
        ];
        self.write_log(connection, &values).await
    }

    async fn find_where(
        &self,
        connection: &mut D::Connection,
        condition: &str,
        values: &[Value<'_>],
    ) -> Result<Option<Task>, Error> {
        let sql = self.0.table.sql(&format!("SELECT {COLUMNS} FROM {{table}} WHERE {condition}"));
        let rows = D::fetch(connection, &sql, values).await?;
        rows.into_iter().next().map(|row| self.read_task(row)).transpose()
    }

    fn read_task(&self, mut row: Row) -> Result<Task, Error> {
        let id = row.int("id").unwrap_or(0);
        let mut read = || {
            Ok(Task {
                row: id,
                receiver: row.text("receiver")?,
                business_type: row.text("business_type")?,
                business_id: row.text("business_id")?,
                url: row.text("url")?,
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
            table: self.0.table.name(),
            row: id,
            reason: unreadable.to_string(),
        })
    }
}
