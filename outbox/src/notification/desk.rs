//! What people see of the tasks, and decide about them.

use sqlx::Transaction;

use super::{Notifier, Shared, log::Event};
use crate::{
    database::{Dialect, Row, Unreadable, Value},
    error::Error,
    fault::Point,
    schema::Table,
    work::{Backlog, Removal, Status, shortened},
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
        let rows = self.0.table.page(&self.0.pool, COLUMNS, status, after, limit).await?;
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
        self.check(row, decision)?;
        let Shared { table, pool, clock, .. } = &*self.0;
        let from = [Status::Done, Status::Exhausted, Status::Dropped];
        let transaction = table.begin_rerun(pool, row, &from, clock.now_ms()).await?;
        self.keep_decision(transaction, row, Event::Resend, decision).await?;
        self.wake();
        Ok(())
    }

    /// Gives a task up: it is kept, with the reason, and not sent.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is done, given up already or being tried, there is none, or the decision lacks who or
    /// why; [`Error::Database`].
    pub async fn give_up(&self, row: i64, decision: Decision<'_>) -> Result<(), Error> {
        self.check(row, decision)?;
        let Shared { table, pool, clock, .. } = &*self.0;
        let transaction = table.begin_give_up(pool, row, decision.why, clock.now_ms()).await?;
        self.keep_decision(transaction, row, Event::GiveUp, decision).await
    }

    /// Removes tasks that were done or given up before `before_ms`, with their logs, in small chunks that lock nothing
    /// else. Returns how many tasks.
    ///
    /// # Errors
    /// [`Error::Database`]; the chunks before are removed then.
    pub async fn clean(&self, before_ms: i64) -> Result<u64, Error> {
        let removal = Removal::WithLog(Table::NotificationLog);
        self.0.table.clean(&self.0.pool, before_ms, removal, &self.0.faults).await
    }

    fn check(&self, row: i64, decision: Decision<'_>) -> Result<(), Error> {
        let reason = if decision.who.trim().is_empty() || decision.who.len() > 255 || decision.who.contains('\0') {
            "who decides must be named, in at most 255 bytes"
        } else if decision.why.trim().is_empty() {
            "a decision needs a reason"
        } else {
            return Ok(());
        };
        Err(Error::Refused { table: self.0.table.name(), row, reason })
    }

    /// Commits a decision with its entry in the log.
    async fn keep_decision(
        &self,
        mut transaction: Transaction<'static, D>,
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
        self.write_log(&mut transaction, &values).await?;
        self.0.faults.pass(Point::NotificationDecisionWritten)?;
        Ok(transaction.commit().await?)
    }

    async fn find_where(
        &self,
        connection: &mut D::Connection,
        condition: &str,
        values: &[Value<'_>],
    ) -> Result<Option<Task>, Error> {
        let found = self.0.table.one(connection, COLUMNS, condition, values).await?;
        found.map(|row| self.read_task(row)).transpose()
    }

    fn read_task(&self, mut row: Row) -> Result<Task, Error> {
        let id = row.int("id").unwrap_or(0);
        let mut read = || -> Result<Task, Unreadable> {
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
        read().map_err(|unreadable| self.0.table.unreadable(id, &unreadable))
    }
}
