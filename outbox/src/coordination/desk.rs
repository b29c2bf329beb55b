//! What people see of global transactions, and decide about them.

use std::{future::Future, pin::Pin};

use super::{
    coordinator::Coordinator,
    progress::{BranchState, Kind, Phase, Progress},
};
use crate::{
    database::Dialect,
    error::Error,
    monitoring::{Part, Reading},
    work::{Backlog, Removal, Status, Tried},
};

/// A global transaction, with its branches.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Global {
    /// Its row. The topic is that of answers; `attempts` counts rounds of commands that are not answered yet.
    pub tried: Tried,
    /// What kind it is.
    pub kind: Kind,
    /// Where it is.
    pub phase: Phase,
    /// Why it is cancelled.
    pub reason: Option<String>,
    /// Its branches, in their order.
    pub branches: Vec<BranchState>,
}

impl<D: Dialect> Coordinator<D> {
    /// The transaction of a global id.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::Row`] when the row cannot be read.
    pub async fn find(&self, global: &str) -> Result<Option<Global>, Error> {
        let shared = &*self.0;
        let mut connection = shared.outbox.0.pool.acquire().await?;
        let Some(tried) = shared.table.find(&mut connection, "global_id = ?", &[global.into()]).await? else {
            return Ok(None);
        };
        let record = shared.load(&mut connection, &shared.by_id, global.into()).await?;
        Ok(record.map(|record| {
            let Progress { kind, phase, reason, branches } = record.progress;
            Global { tried, kind, phase, reason, branches }
        }))
    }

    /// Up to `limit` rows of a status, those with ids above `after` (0 for the first page). A row that `find` cannot read is
    /// listed all the same.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn list(&self, status: Status, after: i64, limit: u32) -> Result<Vec<Tried>, Error> {
        self.0.table.list(&self.0.outbox.0.pool, status, after, limit).await
    }

    /// How much is under way. Counts the pending rows, so it costs more the more there are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        self.0.table.backlog(&self.0.outbox.0.pool, self.0.outbox.0.clock.now_ms()).await
    }

    /// Has an exhausted, dropped or waiting transaction go on now, from where it is: what is not answered is asked again, with
    /// the whole schedule before it. What is decided stays decided.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is done or not there; [`Error::Database`].
    pub async fn rerun(&self, row: i64) -> Result<(), Error> {
        let shared = &*self.0;
        shared.table.rerun(&shared.outbox.0.pool, row, shared.outbox.0.clock.now_ms()).await?;
        shared.wake.now();
        Ok(())
    }

    /// Gives a transaction up, with the reason: no branch is told anything more. What branches did or reserved is then people's
    /// to put right.
    ///
    /// # Errors
    /// As [`rerun`](Self::rerun).
    pub async fn give_up(&self, row: i64, reason: &str) -> Result<(), Error> {
        self.0.table.give_up(&self.0.outbox.0.pool, row, reason, self.0.outbox.0.clock.now_ms()).await
    }

    /// Removes what ended (or was given up) before `before_ms`, in small chunks that lock nothing else. Returns how many rows.
    ///
    /// # Errors
    /// [`Error::Database`]; the chunks before are removed then.
    pub async fn clean(&self, before_ms: i64) -> Result<u64, Error> {
        let outbox = &self.0.outbox.0;
        self.0.table.clean(&outbox.pool, before_ms, Removal::Plain, &outbox.faults).await
    }
}

impl<D: Dialect> Part for Coordinator<D> {
    fn name(&self) -> String {
        "coordinator".to_owned()
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Result<Reading, Error>> + Send + '_>> {
        Box::pin(async { Ok(Reading::of(self.name(), self.backlog().await?, self.counts())) })
    }
}
