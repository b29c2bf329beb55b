//! Taking rows to send.
//!
//! A claim is one short transaction: find what is due, leave out what must wait for an earlier row of its order key, lease the
//! rest. Contents are read afterwards, so that a row which cannot be read spoils nothing but itself.

use std::collections::BTreeMap;

use super::Outbox;
use crate::{
    database::{Dialect, Row, Unreadable, Value, begin, padded},
    error::Error,
    fault::Point,
    message::{Outgoing, headers_from_text},
    work::Claim,
};

/// Pause of a row whose predecessor is being sent at this moment.
pub(crate) const BEHIND_ANOTHER_MS: i64 = 20;

/// What holds for a row that a relay was told of and may claim: it is due, or untouched since it was written. Who published it
/// may have a clock that is ahead of ours.
const CLAIMABLE: &str =
    "status = 'pending' AND (next_attempt_at <= ? OR (next_attempt_at <= created_at AND claimed_by IS NULL))";

/// How much may be claimed at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claims<'a> {
    pub(crate) owner: &'a str,
    pub(crate) lease_ms: i64,
    pub(crate) rows: u32,
    /// Bytes of content in all; one row may be larger.
    pub(crate) bytes: i64,
}

/// A leased row.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) row: i64,
    /// Failures so far.
    pub(crate) attempts: u32,
    /// The message, or what cannot be read about it.
    pub(crate) message: Result<Outgoing, String>,
}

/// What became of rows that a relay was told of.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) claimed: Vec<Claimed>,
    /// Rows that are not there, or not yet (the stream is quicker than the commit that it tells of), or locked at this moment.
    pub(crate) unseen: Vec<i64>,
    /// Whether some are due that wait for an earlier row of their order key, or for room.
    pub(crate) is_left: bool,
}

/// A row that is due.
struct Due {
    row: i64,
    order_key: Option<String>,
    bytes: i64,
}

impl<D: Dialect> Outbox<D> {
    /// Leases what is due, in the order in which it is due.
    pub(crate) async fn claim(&self, claims: Claims<'_>) -> Result<Vec<Claimed>, Error> {
        let shared = &*self.0;
        let now_ms = shared.clock.now_ms();
        // most looks find nothing: they take no lock
        let next_ms = shared.table.next_due_ms(&mut *shared.pool.acquire().await?, &[]).await?;
        if next_ms.is_none_or(|next_ms| next_ms > now_ms) {
            return Ok(Vec::new());
        }
        let mut transaction = begin(&shared.pool).await?;
        let due = shared.table.due(&mut transaction, &[], now_ms, claims.rows).await?;
        if due.is_empty() {
            transaction.rollback().await?; // now, not some time after it is dropped: its locks are in others' way
            return Ok(Vec::new());
        }
        let due = within(claims.bytes, due.into_iter().filter_map(read_due));
        let ids = self.lease(transaction, due, claims, now_ms).await?;
        self.load(&ids).await
    }

    /// Leases those of `rows` that are due, or that nobody has touched since they were written; other rows are not looked at.
    pub(crate) async fn claim_told(&self, claims: Claims<'_>, rows: &[i64]) -> Result<Told, Error> {
        let shared = &*self.0;
        shared.faults.pass(Point::ChangeTold)?;
        let now_ms = shared.clock.now_ms();
        let sql = shared.table.sql_of_ids(
            &format!(
                "SELECT id, attempts, order_key, LENGTH(content) + 0 * id FROM {{table}} WHERE {CLAIMABLE} \
                 AND id IN ({{ids}}) ORDER BY id{{skip locked}}"
            ),
            rows,
        );
        let mut values: Vec<Value<'_>> = vec![now_ms.into()];
        values.extend(padded(rows).map(Value::Int));
        let mut transaction = begin(&shared.pool).await?;
        let found = D::fetch(&mut transaction, &sql, &values).await?;
        let due: Vec<Due> = found.into_iter().filter_map(read_due).collect();
        let missing: Vec<i64> = rows.iter().copied().filter(|row| !due.iter().any(|one| one.row == *row)).collect();
        let unseen = self.unseen(&mut transaction, missing, now_ms).await?;
        let count = due.len();
        let ids = self.lease(transaction, within(claims.bytes, due.into_iter()), claims, now_ms).await?;
        Ok(Told { claimed: self.load(&ids).await?, unseen, is_left: ids.len() < count })
    }

    /// Those that no row has, or that may be claimed after all: they have become visible, or free, at this moment.
    async fn unseen(&self, connection: &mut D::Connection, mut rows: Vec<i64>, now_ms: i64) -> Result<Vec<i64>, Error> {
        if rows.is_empty() {
            return Ok(rows);
        }
        let template = format!("SELECT id FROM {{table}} WHERE NOT ({CLAIMABLE}) AND id IN ({{ids}})");
        let sql = self.0.table.sql_of_ids(&template, &rows);
        let mut values: Vec<Value<'_>> = vec![now_ms.into()];
        values.extend(padded(&rows).map(Value::Int));
        let found = D::fetch(connection, &sql, &values).await?;
        let found: Vec<i64> = found.into_iter().filter_map(|mut row| row.int("id").ok()).collect();
        rows.retain(|row| !found.contains(row));
        Ok(rows)
    }

    /// Leases what `due` has, but for what must wait, and commits. Returns their ids, ascending.
    async fn lease(
        &self,
        mut transaction: sqlx::Transaction<'_, D>,
        due: Vec<Due>,
        claims: Claims<'_>,
        now_ms: i64,
    ) -> Result<Vec<i64>, Error> {
        let shared = &*self.0;
        if due.is_empty() {
            transaction.rollback().await?;
            return Ok(Vec::new());
        }
        let ids = self.in_order(&mut transaction, due, now_ms).await?;
        let claim = Claim { owner: claims.owner, now_ms, until_ms: now_ms.saturating_add(claims.lease_ms) };
        shared.table.lease(&mut transaction, &ids, claim).await?;
        shared.faults.pass(Point::ClaimWritten)?;
        transaction.commit().await?;
        shared.faults.pass(Point::Claimed)?;
        Ok(ids)
    }

    /// Leaves out rows that have a predecessor outside this claim, and moves them behind it.
    async fn in_order(&self, connection: &mut D::Connection, due: Vec<Due>, now_ms: i64) -> Result<Vec<i64>, Error> {
        let mut keys = BTreeMap::<&str, Vec<i64>>::new();
        for one in &due {
            if let Some(key) = &one.order_key {
                keys.entry(key).or_default().push(one.row);
            }
        }
        let mut left_out = Vec::new();
        for (key, rows) in &mut keys {
            rows.sort_unstable();
            left_out.extend(self.behind_another(connection, key, rows, now_ms).await?);
        }
        let mut ids: Vec<i64> = due.iter().map(|one| one.row).filter(|row| !left_out.contains(row)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Those of a key's due rows (ascending) that follow a pending row which is not among them.
    async fn behind_another(
        &self,
        connection: &mut D::Connection,
        key: &str,
        rows: &[i64],
        now_ms: i64,
    ) -> Result<Vec<i64>, Error> {
        let (Some(&last), table) = (rows.last(), &self.0.table) else { return Ok(Vec::new()) };
        // as many of the key's first rows as are due, and one more, tell whether these are the first
        let sql = table
            .sql("SELECT id FROM {table} WHERE status = 'pending' AND order_key = ? AND id <= ? ORDER BY id LIMIT ?");
        let limit = i64::try_from(rows.len()).unwrap_or(i64::MAX).saturating_add(1);
        let first = D::fetch(connection, &sql, &[key.into(), last.into(), limit.into()]).await?;
        let mut first = first.into_iter().filter_map(|mut row| row.int("id").ok());
        let Some(stranger) = first.find(|id| rows.binary_search(id).is_err()) else { return Ok(Vec::new()) };
        let behind: Vec<i64> = rows.iter().copied().filter(|row| *row > stranger).collect();
        if !behind.is_empty() {
            let until_ms = self.wait_behind(connection, stranger, now_ms).await?;
            let sql = table.sql_of_ids("UPDATE {table} SET next_attempt_at = ? WHERE id IN ({ids})", &behind);
            let mut values: Vec<Value<'_>> = vec![until_ms.into()];
            values.extend(padded(&behind).map(Value::Int));
            D::execute(connection, &sql, &values).await?;
        }
        Ok(behind)
    }

    /// How long a row waits behind another: until that one's next try, or shortly when it is being sent. It may have been sent
    /// since it was found, so all is read in one statement: its lease's end must not be taken for its next try.
    async fn wait_behind(&self, connection: &mut D::Connection, other: i64, now_ms: i64) -> Result<i64, Error> {
        let sql = self
            .0
            .table
            .sql("SELECT next_attempt_at FROM {table} WHERE id = ? AND status = 'pending' AND claimed_by IS NULL");
        let waiting = D::fetch(connection, &sql, &[other.into()]).await?.into_iter().next();
        let its_time_ms = waiting.and_then(|mut row| row.int("next_attempt_at").ok());
        let shortly = now_ms.saturating_add(BEHIND_ANOTHER_MS);
        Ok(its_time_ms.map_or(shortly, |its_time_ms| its_time_ms.max(shortly)))
    }

    async fn load(&self, ids: &[i64]) -> Result<Vec<Claimed>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = self.0.table.sql_of_ids(
            "SELECT id, attempts, business_id, topic, tag, order_key, content, headers, deliver_at FROM {table} \
             WHERE id IN ({ids}) ORDER BY id",
            ids,
        );
        let values: Vec<Value<'_>> = padded(ids).map(Value::Int).collect();
        let rows = D::fetch(&mut *self.0.pool.acquire().await?, &sql, &values).await?;
        Ok(rows.into_iter().filter_map(read_claimed).collect())
    }
}

fn read_due(mut row: Row) -> Option<Due> {
    let id = row.int("id").ok()?;
    let _attempts = row.int("attempts");
    let order_key = row.opt_text("order_key").ok().flatten();
    Some(Due { row: id, order_key, bytes: row.int("length").unwrap_or(0) })
}

/// As many as have that many bytes, but at least one.
fn within(bytes: i64, due: impl Iterator<Item = Due>) -> Vec<Due> {
    let mut left = bytes;
    due.take_while(|one| {
        let fits = left > 0;
        left = left.saturating_sub(one.bytes);
        fits
    })
    .collect()
}

fn read_claimed(mut row: Row) -> Option<Claimed> {
    let id = row.int("id").ok()?;
    let attempts = row.count("attempts");
    let mut read = || {
        Ok(Outgoing {
            business_id: row.text("business_id")?,
            topic: row.text("topic")?,
            tag: row.opt_text("tag")?,
            order_key: row.opt_text("order_key")?,
            content: row.bytes("content")?,
            headers: row.parsed("headers", headers_from_text)?,
            deliver_at_ms: row.opt_int("deliver_at")?,
        })
    };
    let message = read().map_err(|unreadable: Unreadable| unreadable.to_string());
    Some(Claimed { row: id, attempts: attempts.unwrap_or(0), message })
}
