//! What people see and decide.

use super::Inbox;
use crate::{
    database::Dialect,
    error::Error,
    work::{Backlog, Removal, Status, Tried},
};

impl<D: Dialect> Inbox<D> {
    /// The row of a business key, if the group has received it.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::Row`] when the row cannot be read.
    pub async fn find(&self, business_key: &str) -> Result<Option<Tried>, Error> {
        let mut connection = self.0.pool.acquire().await?;
        let values = [self.0.group.as_str().into(), business_key.into()];
        self.0.table.find(&mut connection, "consumer_group = ? AND business_key = ?", &values).await
    }

    /// Up to `limit` rows of a status, of all groups of the table, with ids above `after` (0 for the first page).
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn list(&self, status: Status, after: i64, limit: u32) -> Result<Vec<Tried>, Error> {
        self.0.table.list(&self.0.pool, status, after, limit).await
    }

    /// How much waits, of all groups of the table.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        self.0.table.backlog(&self.0.pool, self.0.clock.now_ms()).await
    }

    /// Has an exhausted, dropped or waiting message handled now, with all tries of the schedule before it.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is done or being handled; [`Error::Database`].
    pub async fn rerun(&self, row: i64) -> Result<(), Error> {
        self.0.table.rerun(&self.0.pool, row, self.0.clock.now_ms()).await?;
        self.0.wake.now();
        Ok(())
    }

    /// Gives a message up: its row is kept, with the reason, and it is not handled.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is done or being handled; [`Error::Database`].
    pub async fn give_up(&self, row: i64, reason: &str) -> Result<(), Error> {
        self.0.table.give_up(&self.0.pool, row, reason, self.0.clock.now_ms()).await
    }

    /// Removes what was done (or given up) before `before_ms`, of all groups of the table, in small chunks. Returns how many
    /// rows. A copy that comes later than that is handled again: keep rows longer than the broker keeps messages.
    ///
    /// # Errors
    /// [`Error::Database`]; the chunks before are removed then.
    pub async fn clean(&self, before_ms: i64) -> Result<u64, Error> {
        self.0.table.clean(&self.0.pool, before_ms, Removal::Plain, &self.0.faults).await
    }
}
