//! Taking gaps to look at.

use super::{Compensation, Missing};
use crate::{
    database::{Dialect, Row, Unreadable, Value, begin, padded},
    error::Error,
    fault::Point,
    message::Incoming,
    work::Claim,
};

/// A leased gap.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) row: i64,
    /// Repairs so far.
    pub(super) attempts: u32,
    /// What is known of it, with the number of the next repair; or what cannot be read.
    pub(super) missing: Result<Missing, String>,
}

impl<D: Dialect> Compensation<D> {
    /// Leases what is due.
    pub(super) async fn claim(&self, owner: &str, lease_ms: i64, limit: u32) -> Result<Vec<Claimed>, Error> {
        let shared = &*self.0;
        let now_ms = shared.clock.now_ms();
        // most looks find nothing: they take no lock
        if self.next_due_ms().await?.is_none_or(|next_ms| next_ms > now_ms) {
            return Ok(Vec::new());
        }
        let mut transaction = begin(&shared.pool).await?;
        let due = shared.table.due(&mut transaction, &[shared.name.as_str().into()], now_ms, limit).await?;
        let mut ids: Vec<i64> = due.into_iter().filter_map(|mut row| row.int("id").ok()).collect();
        if ids.is_empty() {
            transaction.rollback().await?; // now, not some time after it is dropped: its locks are in others' way
            return Ok(Vec::new());
        }
        ids.sort_unstable();
        let claim = Claim { owner, now_ms, until_ms: now_ms.saturating_add(lease_ms) };
        shared.table.lease(&mut transaction, &ids, claim).await?;
        shared.faults.pass(Point::GapClaimWritten)?;
        transaction.commit().await?;
        shared.faults.pass(Point::GapClaimed)?;
        let load = shared.table.sql_of_ids(
            "SELECT id, attempts, business_key, topic, content, created_at FROM {table} WHERE id IN ({ids}) ORDER BY id",
            &ids,
        );
        let values: Vec<Value<'_>> = padded(&ids).map(Value::Int).collect();
        let rows = D::fetch(&mut *shared.pool.acquire().await?, &load, &values).await?;
        Ok(rows.into_iter().filter_map(read_claimed).collect())
    }

    /// When something is due next, or a lease ends.
    pub(super) async fn next_due_ms(&self) -> Result<Option<i64>, Error> {
        let mut connection = self.0.pool.acquire().await?;
        self.0.table.next_due_ms(&mut connection, &[self.0.name.as_str().into()]).await
    }
}

/// A row whose id cannot be read is nobody's: its lease ends.
fn read_claimed(mut row: Row) -> Option<Claimed> {
    let id = row.int("id").ok()?;
    let attempts = row.count("attempts");
    let so_far = attempts.clone().unwrap_or(0);
    let read = || {
        let attempt = attempts?.saturating_add(1);
        let (key, topic) = (row.text("business_key")?, row.text("topic")?);
        let content = row.opt_bytes("content")?.unwrap_or_default();
        Ok(Missing { message: Incoming::new(topic, key, content), attempt, found_ms: row.int("created_at")? })
    };
    let missing = read().map_err(|unreadable: Unreadable| unreadable.to_string());
    Some(Claimed { row: id, attempts: so_far, missing })
}
