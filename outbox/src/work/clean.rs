//! Removing what was done long ago.
//!
//! In chunks, each a short transaction of its own that names its rows by id: no lock covers a range, and no statement runs
//! long, however many rows there are. The walk goes by id and ends where all rows are too young, so it costs what it
//! removes and no index of its own.

use sqlx::Pool;

use super::WorkTable;
use crate::{
    database::{Dialect, Value, begin, padded},
    error::Error,
    fault::{Faults, Point},
};

/// Rows of one chunk.
const CHUNK: u32 = 500;

/// What the archive keeps.
const ARCHIVED: &str = "id, business_id, topic, tag, order_key, content, headers, deliver_at, status, attempts, \
                        last_error, sent_as, created_at, updated_at";

/// What may be removed. Asked again when it is: people may have had a row tried once more meanwhile.
const OVER: &str = "status IN ('done', 'dropped')";

/// Where rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Nowhere.
    Plain,
    /// To the outbox's archive.
    ToArchive,
    /// Nowhere, and what this table tells of them in its column `task` goes with them.
    #[cfg(feature = "notification")]
    WithLog(crate::schema::Table),
}

impl<D: Dialect> WorkTable<D> {
    /// Removes rows that were written and done (or given up) before `before_ms`.
    /// Returns how many.
    pub(crate) async fn clean(
        &self,
        pool: &Pool<D>,
        before_ms: i64,
        removal: Removal,
        faults: &Faults,
    ) -> Result<u64, Error> {
        let walk = self.sql("SELECT id, status, created_at, updated_at FROM {table} WHERE id > ? ORDER BY id LIMIT ?");
        let (mut after, mut removed) = (0, 0);
        loop {
            let rows = D::fetch(&mut *pool.acquire().await?, &walk, &[after.into(), CHUNK.into()]).await?;
            let mut old = Vec::new();
            let is_full = rows.len() == CHUNK as usize;
            let mut has_old = false; // a row of a wrong clock among old ones does not end the walk
            for mut row in rows {
                let Ok(id) = row.int("id") else { continue };
                after = id;
                let status = row.text("status").unwrap_or_default();
                // a row that cannot be read is nobody's to remove
                let (Ok(created), Ok(updated)) = (row.int("created_at"), row.int("updated_at")) else { continue };
                has_old |= created < before_ms;
                if updated < before_ms && created < before_ms && matches!(status.as_str(), "done" | "dropped") {
                    old.push(id);
                }
            }
            removed += self.remove(pool, &old, removal, faults).await?;
            if !(is_full && has_old) {
                return Ok(removed);
            }
            tokio::task::yield_now().await;
        }
    }

    async fn remove(&self, pool: &Pool<D>, ids: &[i64], removal: Removal, faults: &Faults) -> Result<u64, Error> {
        if ids.is_empty() {
            return Ok(0);
        }
        let mut transaction = begin(pool).await?;
        let archived = match removal {
            Removal::ToArchive => Some(self.archive(&mut transaction, ids).await?),
            _ => None,
        };
        let ids = archived.as_deref().unwrap_or(ids);
        if ids.is_empty() {
            transaction.rollback().await?;
            return Ok(0);
        }
        let values: Vec<Value<'_>> = padded(ids).map(Value::Int).collect();
        let delete = self.sql_of_ids(&format!("DELETE FROM {{table}} WHERE {OVER} AND id IN ({{ids}})"), ids);
        let removed = D::execute(&mut transaction, &delete, &values).await?;
        #[cfg(feature = "notification")]
        if let Removal::WithLog(log) = removal {
            let entries = format!(
                "DELETE FROM {} WHERE task IN ({{ids}}) \
                 AND NOT EXISTS (SELECT 1 FROM {{table}} kept WHERE kept.id = task)",
                self.schema.name(log)
            );
            D::execute(&mut transaction, &self.sql_of_ids(&entries, ids), &values).await?;
        }
        faults.pass(Point::CleaningWritten)?;
        transaction.commit().await?;
        Ok(removed)
    }

    /// Copies rows that are still there, and still over: two may be cleaning at once. Returns which, locked.
    async fn archive(&self, connection: &mut D::Connection, ids: &[i64]) -> Result<Vec<i64>, Error> {
        let lock = format!("SELECT id FROM {{table}} WHERE {OVER} AND id IN ({{ids}}) ORDER BY id{{for update}}");
        let values: Vec<Value<'_>> = padded(ids).map(Value::Int).collect();
        let there = D::fetch(connection, &self.sql_of_ids(&lock, ids), &values).await?;
        let there: Vec<i64> = there.into_iter().filter_map(|mut row| row.int("id").ok()).collect();
        if !there.is_empty() {
            let copy =
                format!("INSERT INTO {{archive}} ({ARCHIVED}) SELECT {ARCHIVED} FROM {{table}} WHERE id IN ({{ids}})");
            let values: Vec<Value<'_>> = padded(&there).map(Value::Int).collect();
            D::execute(connection, &self.sql_of_ids(&copy, &there), &values).await?;
        }
        Ok(there)
    }
}
