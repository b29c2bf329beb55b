//! What people see and decide.

use super::Outbox;
use crate::{
    database::Dialect,
    error::Error,
    work::{Backlog, Removal, Status, Tried},
};

impl<D: Dialect> Outbox<D> {
    /// The row of a business id.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::Row`] when the row cannot be read.
    pub async fn find(&self, topic: &str, business_id: &str) -> Result<Option<Tried>, Error> {
        let mut connection = self.0.pool.acquire().await?;
        let values = [topic.into(), business_id.into()];
        self.0.table.find(&mut connection, "topic = ? AND business_id = ?", &values).await
    }

    /// Up to `limit` rows of a status, those with ids above `after` (0 for the first page).
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn list(&self, status: Status, after: i64, limit: u32) -> Result<Vec<Tried>, Error> {
        self.0.table.list(&self.0.pool, status, after, limit).await
    }

    /// How much waits. Counts the pending rows, so it costs more the more there are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        self.0.table.backlog(&self.0.pool, self.0.clock.now_ms()).await
    }

    /// Has an exhausted, dropped or waiting row sent now, with all tries of the schedule before it.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is done or being tried; [`Error::Database`].
    pub async fn rerun(&self, row: i64) -> Result<(), Error> {
        self.0.table.rerun(&self.0.pool, row, self.0.clock.now_ms()).await?;
        self.wake();
        Ok(())
    }

    /// Gives a row up: it is kept, with the reason, and not sent.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is done or being tried; [`Error::Database`].
    pub async fn give_up(&self, row: i64, reason: &str) -> Result<(), Error> {
        self.0.table.give_up(&self.0.pool, row, reason, self.0.clock.now_ms()).await
    }

    /// Removes what was done (or given up) before `before_ms`, in small chunks that lock nothing else. Returns how many rows.
    ///
    /// # Errors
    /// [`Error::Database`]; the chunks before are removed then.
    pub async fn clean(&self, before_ms: i64) -> Result<u64, Error> {
        self.0.table.clean(&self.0.pool, before_ms, Removal::Plain, &self.0.faults).await
    }

    /// As [`clean`](Self::clean), but moves the rows to the archive.
    ///
    /// # Errors
    /// As [`clean`](Self::clean).
    pub async fn archive(&self, before_ms: i64) -> Result<u64, Error> {
        self.0.table.clean(&self.0.pool, before_ms, Removal::ToArchive, &self.0.faults).await
    }
}
