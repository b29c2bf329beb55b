//! How much WAL the slot makes the server keep.

use std::{future::Future, pin::Pin};

use sqlx::{Postgres, pool::Pool};

use crate::{
    database::{Dialect, Sql},
    error::Error,
    monitoring::{Counts, Part, Reading},
    work::Backlog,
};

const READ: &str = "SELECT plugin, database, CASE WHEN active THEN 1 ELSE 0 END::BIGINT, wal_status, \
     pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::BIGINT, \
     pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::BIGINT, current_database()::TEXT \
     FROM pg_replication_slots WHERE slot_name = $1";

/// What the server says of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotReading {
    /// Whether somebody reads it at this moment.
    pub is_active: bool,
    /// WAL in bytes that the server keeps because of it. A long transaction lets it grow too.
    pub held_bytes: u64,
    /// WAL in bytes that was written since the last confirmed position.
    pub behind_bytes: u64,
    /// Whether the server has given it up: what it should have kept is removed.
    pub is_lost: bool,
    /// Whether it is one for `pgoutput`, in this database.
    pub(super) is_ours: bool,
}

/// A slot that can be watched: a [`Monitor`](crate::monitoring::Monitor) finds it unreadable when it is missing or lost, and
/// measures [`Measure::HeldBytes`](crate::monitoring::Measure::HeldBytes). Default rule: more than 1 GiB is a warning.
#[derive(Debug, Clone)]
pub struct ChangeSlot {
    pool: Pool<Postgres>,
    name: String,
    drop_above: Option<u64>,
}

impl ChangeSlot {
    /// The slot of that name, on the server of `pool`.
    pub fn named(pool: Pool<Postgres>, name: &str) -> Self {
        Self { pool, name: name.to_owned(), drop_above: None }
    }

    /// Drops the slot when nobody reads it and it holds more than that: for a process that outlives all relays. The pool's
    /// user needs the attribute REPLICATION. A relay that comes back makes it anew and scans.
    #[must_use]
    pub fn drop_above(mut self, bytes: u64) -> Self {
        self.drop_above = Some(bytes);
        self
    }

    /// What the server says of it; `None` when there is no such slot.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn look(&self) -> Result<Option<SlotReading>, Error> {
        read(&mut *self.pool.acquire().await?, &self.name).await
    }

    async fn guarded(&self) -> Result<SlotReading, Error> {
        let wrong = |reason: String| Error::Replication { what: format!("slot {}", self.name), reason };
        let found = self.look().await?.ok_or_else(|| wrong("there is none; the relay scans".into()))?;
        if found.is_lost {
            return Err(wrong("it is lost: the server has removed WAL that it needs".into()));
        }
        if self.drop_above.is_some_and(|most| !found.is_active && found.held_bytes > most) {
            drop_slot(&mut *self.pool.acquire().await?, &self.name).await?;
            return Err(wrong(format!("it held {} bytes while nobody read it, and is dropped", found.held_bytes)));
        }
        Ok(found)
    }
}

impl Part for ChangeSlot {
    fn name(&self) -> String {
        format!("slot/{}", self.name)
    }

    fn read(&self) -> Pin<Box<dyn Future<Output = Result<Reading, Error>> + Send + '_>> {
        Box::pin(async {
            let held_bytes = Some(self.guarded().await?.held_bytes);
            Ok(Reading { part: self.name(), backlog: Backlog::default(), counts: Counts::default(), held_bytes })
        })
    }
}

pub(super) async fn read(connection: &mut sqlx::PgConnection, name: &str) -> Result<Option<SlotReading>, Error> {
    let rows = Postgres::fetch(connection, &Sql::verbatim(READ), &[name.into()]).await?;
    let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
    let mut read = || {
        let (plugin, database) = (row.opt_text("plugin")?, row.opt_text("database")?);
        let is_active = row.int("active")? != 0;
        let status = row.opt_text("wal_status")?;
        let mut bytes = |column| Ok(u64::try_from(row.opt_int(column)?.unwrap_or(0)).unwrap_or(0));
        let (held_bytes, behind_bytes) = (bytes("restart_lsn")?, bytes("confirmed_flush_lsn")?);
        let here = row.text("current_database")?;
        Ok(SlotReading {
            is_active,
            held_bytes,
            behind_bytes,
            is_lost: status.as_deref() == Some("lost"),
            is_ours: plugin.as_deref() == Some("pgoutput") && database == Some(here),
        })
    };
    read().map(Some).map_err(|unreadable: crate::database::Unreadable| Error::Replication {
        what: format!("slot {name}"),
        reason: unreadable.to_string(),
    })
}

pub(super) async fn drop_slot(connection: &mut sqlx::PgConnection, name: &str) -> Result<(), Error> {
    let sql =
        Sql::verbatim("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1");
    Postgres::fetch(connection, &sql, &[name.into()]).await?;
    Ok(())
}
