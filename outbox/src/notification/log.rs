//! What happened to a task, as people read it.

use super::Notifier;
use crate::{
    database::{Dialect, Row, Unreadable},
    error::Error,
    schema::Table,
};

/// A kind of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// The endpoint was called, or could not be.
    Try,
    /// A courier took the task and never said what became of it.
    Lost,
    /// Somebody had it sent again.
    Resend,
    /// Somebody gave it up.
    GiveUp,
}

impl Event {
    /// As it is in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Try => "try",
            Self::Lost => "lost",
            Self::Resend => "resend",
            Self::GiveUp => "give_up",
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let all = [Self::Try, Self::Lost, Self::Resend, Self::GiveUp];
        all.into_iter().find(|one| one.as_str() == text).ok_or_else(|| format!("{text:?} is no event"))
    }
}

/// One entry of a task's log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEntry {
    /// Ascending in the order of writing.
    pub id: i64,
    /// What happened.
    pub event: Event,
    /// Which try it was, from 1; 0 for what people decided.
    pub attempt: u32,
    /// The courier, or the person who decided.
    pub who: String,
    /// When it began; ms since the Unix epoch.
    pub began_ms: i64,
    /// When it ended; ms since the Unix epoch.
    pub ended_ms: i64,
    /// The HTTP status, where there was an answer.
    pub code: Option<u16>,
    /// How the answer's body begins: up to 500 characters.
    pub answer: Option<String>,
    /// Why it was no success, or the reason that was given.
    pub cause: Option<String>,
}

impl<D: Dialect> Notifier<D> {
    /// What happened to a task: up to `limit` entries with ids above `after` (0 for the first page).
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::Row`] when an entry cannot be read.
    pub async fn log(&self, row: i64, after: i64, limit: u32) -> Result<Vec<LogEntry>, Error> {
        let sql = self.0.schema.sql::<D>(
            "SELECT id, event, attempt, who, began_at, ended_at, code, answer, cause FROM {notification_log} \
             WHERE task = ? AND id > ? ORDER BY id LIMIT ?",
        );
        let mut connection = self.0.pool.acquire().await?;
        let rows = D::fetch(&mut connection, &sql, &[row.into(), after.into(), limit.into()]).await?;
        rows.into_iter().map(|row| self.read_entry(row)).collect()
    }

    fn read_entry(&self, mut row: Row) -> Result<LogEntry, Error> {
        let id = row.int("id").unwrap_or(0);
        let mut read = || {
            Ok(LogEntry {
                id,
                event: row.parsed("event", Event::read)?,
                attempt: row.count("attempt")?,
                who: row.text("who")?,
                began_ms: row.int("began_at")?,
                ended_ms: row.int("ended_at")?,
                code: row.opt_int("code")?.and_then(|code| u16::try_from(code).ok()),
                answer: row.opt_text("answer")?,
                cause: row.opt_text("cause")?,
            })
        };
        read().map_err(|unreadable: Unreadable| Error::Row {
            table: self.0.schema.name(Table::NotificationLog),
            row: id,
            reason: unreadable.to_string(),
        })
    }
}
