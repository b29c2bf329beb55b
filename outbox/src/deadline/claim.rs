//! Taking a deadline in hand: by a lease, in a short transaction, so that no lock is held when the thing itself is locked.

use sqlx::Transaction;

use super::{Deadline, Deadlines, set::Known};
use crate::{
    clock::millis,
    database::{Dialect, Row, Unreadable, Value, begin},
    error::Error,
    fault::Point,
    work::{Claim, Status},
};

/// What a lease is longer than the effects may take, at most.
const SPARE_MS: i64 = 10_000;

/// A leased row.
pub(super) struct Claimed {
    pub(super) row: i64,
    /// Failures so far.
    pub(super) attempts: u32,
    /// Whether the last holder never said what became of it.
    pub(super) was_lost: bool,
    /// For which due time a message was written.
    pub(super) announced_ms: Option<i64>,
    /// The deadline, or what cannot be read about it.
    pub(super) deadline: Result<Deadline, String>,
}

/// What a message finds.
pub(super) enum Found {
    /// Its deadline, which is ours now.
    Mine(Claimed),
    /// A deadline that has passed, was cancelled or moved, or none.
    Over,
    /// A deadline that is due later by our clock. The keeper looks at it then.
    Early,
    /// A deadline that somebody else has in hand, or that waits for its next try.
    InHand,
}

impl<D: Dialect> Deadlines<D> {
    /// Leases the row that is due longest, if one is.
    pub(super) async fn claim_due(&self, owner: &str) -> Result<Option<Claimed>, Error> {
        let shared = &*self.0;
        let (pool, now_ms, topic) = (&shared.outbox.0.pool, self.now_ms(), [Value::from(self.topic())]);
        // most looks find nothing: they take no lock
        let next_ms = shared.table.next_due_ms(&mut *pool.acquire().await?, &topic).await?;
        if next_ms.is_none_or(|next_ms| next_ms > now_ms) {
            return Ok(None);
        }
        let mut transaction = begin(pool).await?;
        let due = shared.table.due(&mut transaction, &topic, now_ms, 1).await?;
        let Some((row, was_lost)) = due.into_iter().next().and_then(read_due) else {
            transaction.rollback().await?;
            return Ok(None);
        };
        self.lease(transaction, row, owner).await?;
        self.load(row, was_lost).await
    }

    /// Leases the row of a message that was meant for `due_ms`.
    pub(super) async fn claim_key(&self, owner: &str, key: &str, due_ms: i64) -> Result<Found, Error> {
        let (pool, now_ms) = (&self.0.outbox.0.pool, self.now_ms());
        let mut transaction = begin(pool).await?;
        let known = match self.known(&mut transaction, key).await {
            Ok(known) => known,
            Err(error) => {
                // now, not some time after it is dropped: the keeper passes over what is locked
                let _ = transaction.rollback().await;
                return Err(error);
            }
        };
        let Some(known) = known.filter(|known| is_meant(known, due_ms)) else {
            transaction.rollback().await?;
            return Ok(Found::Over);
        };
        if known.deadline.due_ms > now_ms {
            D::execute(&mut transaction, &self.0.put_back, &[now_ms.into(), known.row.into()]).await?;
            transaction.commit().await?;
            self.0.wake.now();
            return Ok(Found::Early);
        }
        if known.next_attempt_ms > now_ms && (known.is_claimed || known.attempts > 0) {
            transaction.rollback().await?;
            return Ok(Found::InHand);
        }
        self.lease(transaction, known.row, owner).await?;
        Ok(self.load(known.row, known.is_claimed).await?.map_or(Found::Over, Found::Mine))
    }

    /// Longer than the effects may take.
    pub(super) fn lease_ms(&self) -> i64 {
        let limit_ms = millis(self.0.time_limit);
        limit_ms.saturating_add(limit_ms.clamp(1_000, SPARE_MS))
    }

    async fn lease(&self, mut transaction: Transaction<'_, D>, row: i64, owner: &str) -> Result<(), Error> {
        let (now_ms, faults) = (self.now_ms(), &self.0.outbox.0.faults);
        let claim = Claim { owner, now_ms, until_ms: now_ms.saturating_add(self.lease_ms()) };
        self.0.table.lease(&mut transaction, &[row], claim).await?;
        faults.pass(Point::DeadlineClaimWritten)?;
        transaction.commit().await?;
        faults.pass(Point::DeadlineClaimed)
    }

    /// What a leased row says; `None` when it was cancelled meanwhile.
    async fn load(&self, row: i64, was_lost: bool) -> Result<Option<Claimed>, Error> {
        let sql = self.0.table.sql(
            "SELECT attempts, announced_at, business_key, due_at, content FROM {table} \
             WHERE id = ? AND status = 'pending'",
        );
        let mut connection = self.0.outbox.0.pool.acquire().await?;
        let rows = D::fetch(&mut connection, &sql, &[row.into()]).await?;
        Ok(rows.into_iter().next().map(|mut found| {
            let attempts = found.count("attempts").unwrap_or(0);
            let announced_ms = found.opt_int("announced_at").ok().flatten();
            let deadline = read_deadline(found).map_err(|unreadable| unreadable.to_string());
            Claimed { row, attempts, was_lost, announced_ms, deadline }
        }))
    }
}

/// Whether a message tells of what the row says now.
fn is_meant(known: &Known, due_ms: i64) -> bool {
    known.status == Status::Pending && known.deadline.due_ms <= due_ms
}

fn read_due(mut row: Row) -> Option<(i64, bool)> {
    let id = row.int("id").ok()?;
    let _attempts = row.int("attempts");
    Some((id, row.opt_text("claimed_by").is_ok_and(|holder| holder.is_some())))
}

fn read_deadline(mut row: Row) -> Result<Deadline, Unreadable> {
    Ok(Deadline { key: row.text("business_key")?, due_ms: row.int("due_at")?, payload: row.bytes("content")? })
}
