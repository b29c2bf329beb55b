//! Setting, moving and cancelling, in the caller's transaction.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sqlx::Transaction;

use super::{Deadline, Deadlines};
use crate::{
    clock::millis,
    database::{Dialect, Row, Value},
    error::Error,
    fault::Point,
    message::key_fault,
    work::Status,
};

/// Longest key in bytes: with a time behind it, it is the message's business id.
const LONGEST_KEY: usize = 230;

/// When a deadline comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// In ms since the Unix epoch.
    AtMs(i64),
    /// From now, by the clock of the outbox.
    After(Duration),
}

impl From<Duration> for Due {
    fn from(after: Duration) -> Self {
        Self::After(after)
    }
}

impl From<SystemTime> for Due {
    fn from(at: SystemTime) -> Self {
        Self::AtMs(millis(at.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }
}

/// A deadline that is set if its transaction commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Set {
    /// The row's id.
    pub row: i64,
    /// When it comes, in ms since the Unix epoch.
    pub due_ms: i64,
    /// Whether this call wrote it. False when the thing had a deadline: that one holds.
    pub is_new: bool,
}

impl<D: Dialect> Deadlines<D> {
    /// Sets the deadline of a thing if and only if `transaction` commits. Setting it again changes nothing, the time
    /// neither: that is what [`extend`](Self::extend) is for.
    ///
    /// # Errors
    /// [`Error::Message`] and [`Error::TooLarge`] before anything is written; [`Error::Collision`] when the thing has a
    /// deadline with another payload; [`Error::Refused`] when it had one that has passed or was cancelled;
    /// [`Error::Database`].
    pub async fn set(
        &self,
        transaction: &mut Transaction<'_, D>,
        key: &str,
        due: impl Into<Due>,
        payload: impl Into<Bytes>,
    ) -> Result<Set, Error> {
        let deadline = Deadline { key: key.to_owned(), due_ms: self.due_ms(due.into()), payload: payload.into() };
        self.check(&deadline)?;
        let (shared, now_ms, due_ms) = (&*self.0, self.now_ms(), deadline.due_ms);
        let announced = self.announces_now(due_ms);
        let values: [Value<'_>; 8] = [
            shared.topic.as_str().into(),
            key.into(),
            due_ms.into(),
            Value::Bytes(&deadline.payload),
            Value::OptInt(announced.then_some(due_ms)),
            self.look_ms(due_ms, announced).into(),
            now_ms.into(),
            now_ms.into(),
        ];
        let Some(row) = D::insert_once(transaction, &shared.insert, &values).await? else {
            return self.set_before(transaction, &deadline).await;
        };
        if announced {
            shared.outbox.publish(transaction, &self.message(&deadline)).await?;
        }
        shared.outbox.0.faults.pass(Point::DeadlineWritten)?;
        Ok(Set { row, due_ms, is_new: true })
    }

    /// Moves the deadline of a thing, later or sooner. False when it has none that can still come: it has passed, was
    /// cancelled, or was never set.
    ///
    /// # Errors
    /// [`Error::Row`] when its row cannot be read; [`Error::Database`].
    pub async fn extend(
        &self,
        transaction: &mut Transaction<'_, D>,
        key: &str,
        due: impl Into<Due>,
    ) -> Result<bool, Error> {
        let (shared, now_ms, due_ms) = (&*self.0, self.now_ms(), self.due_ms(due.into()));
        let Some(known) = self.known(transaction, key).await? else { return Ok(false) };
        if known.status != Status::Pending {
            return Ok(false);
        }
        let deadline = Deadline { due_ms, ..known.deadline };
        let announced = self.announces_now(due_ms);
        if announced {
            shared.outbox.publish(transaction, &self.message(&deadline)).await?;
        }
        let values: [Value<'_>; 5] = [
            due_ms.into(),
            Value::OptInt(announced.then_some(due_ms)),
            self.look_ms(due_ms, announced).into(),
            now_ms.into(),
            known.row.into(),
        ];
        D::execute(transaction, &shared.extend, &values).await?;
        shared.outbox.0.faults.pass(Point::DeadlineWritten)?;
        Ok(true)
    }

    /// Cancels the deadline of a thing; its message will be ignored. False when it has none that can still come. Not needed
    /// for correctness: at its time a deadline finds the thing settled. Change the thing first, then call this.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn cancel(&self, transaction: &mut Transaction<'_, D>, key: &str) -> Result<bool, Error> {
        let values = ["cancelled".into(), self.now_ms().into(), self.topic().into(), key.into()];
        Ok(D::execute(transaction, &self.0.cancel, &values).await? > 0)
    }

    /// The row of a thing, locked until the transaction ends where rows can be.
    pub(super) async fn known(&self, connection: &mut D::Connection, key: &str) -> Result<Option<Known>, Error> {
        let rows = D::fetch(connection, &self.0.known, &[self.topic().into(), key.into()]).await?;
        rows.into_iter().next().map(|row| self.read(key, row)).transpose()
    }

    fn read(&self, key: &str, mut row: Row) -> Result<Known, Error> {
        let id = row.int("id").unwrap_or(0);
        let mut read = || {
            Ok(Known {
                row: id,
                attempts: row.count("attempts")?,
                is_claimed: row.opt_text("claimed_by")?.is_some(),
                status: row.parsed("status", Status::read)?,
                next_attempt_ms: row.int("next_attempt_at")?,
                deadline: {
                    let due_ms = row.int("due_at")?;
                    row.opt_int("announced_at")?;
                    Deadline { key: key.to_owned(), due_ms, payload: row.bytes("content")? }
                },
            })
        };
        read().map_err(|unreadable: crate::database::Unreadable| Error::Row {
            table: self.0.table.name(),
            row: id,
            reason: unreadable.to_string(),
        })
    }

    async fn set_before(&self, transaction: &mut Transaction<'_, D>, deadline: &Deadline) -> Result<Set, Error> {
        let table = self.0.table.name();
        let Some(known) = self.known(transaction, &deadline.key).await? else {
            return Err(Error::Refused { table, row: 0, reason: "it was removed at this moment; try again" });
        };
        let row = known.row;
        if known.deadline.payload != deadline.payload {
            return Err(Error::Collision { table, row, key: deadline.key.clone() });
        }
        if known.status != Status::Pending {
            return Err(Error::Refused { table, row, reason: "this deadline has passed, or was cancelled" });
        }
        Ok(Set { row, due_ms: known.deadline.due_ms, is_new: false })
    }

    /// Whether a message is written together with the row.
    fn announces_now(&self, due_ms: i64) -> bool {
        self.0.grace.is_some() && self.is_near(due_ms)
    }

    fn due_ms(&self, due: Due) -> i64 {
        match due {
            Due::AtMs(at) => at.max(0),
            Due::After(after) => self.now_ms().saturating_add(millis(after)),
        }
    }

    fn check(&self, deadline: &Deadline) -> Result<(), Error> {
        let key = deadline.key.as_str();
        let too_long = (key.len() > LONGEST_KEY).then(|| format!("the key takes {} bytes of {LONGEST_KEY}", key.len()));
        match too_long.or_else(|| key_fault("key", key)) {
            None => self.message(deadline).check(self.0.outbox.0.largest),
            Some(reason) => Err(Error::Message {
                topic: self.topic().to_owned(),
                business_id: key.chars().take(LONGEST_KEY).collect(),
                reason,
            }),
        }
    }
}

/// A row.
pub(super) struct Known {
    pub(super) row: i64,
    pub(super) attempts: u32,
    pub(super) is_claimed: bool,
    pub(super) status: Status,
    pub(super) next_attempt_ms: i64,
    pub(super) deadline: Deadline,
}
