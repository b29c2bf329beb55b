//! Taking tasks to deliver, target by target.
//!
//! The targets with pending tasks are found by one seek of the index for each, and so is the time when each has something
//! due: what this costs grows with the targets, not with the tasks. Then as many tasks of each target are leased as it has
//! room for, so that the rest waits in the table and takes nobody's place.

use super::{Notifier, deliver::Letter};
use crate::{
    database::{Dialect, Row, Unreadable, Value, begin, padded},
    error::Error,
    fault::Point,
    work::Claim,
};

/// Targets that are looked at, and claimed for, at once.
pub(super) const PAGE: u32 = 256;

/// A target with pending tasks.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) target: String,
    /// When its first task is due, or some lease ends.
    pub(super) next_due_ms: i64,
}

/// A target, and for how many tasks it has room.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) target: String,
    pub(super) room: u32,
}

/// A leased task.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) row: i64,
    pub(super) target: String,
    pub(super) business_type: String,
    /// Tries that have ended.
    pub(super) attempts: u32,
    /// What to post, or what cannot be read about it.
    pub(super) letter: Result<Letter, String>,
}

impl<D: Dialect> Notifier<D> {
    /// The first targets after that name, in the order of their names.
    pub(super) async fn waiting(&self, after: &str) -> Result<Vec<Waiting>, Error> {
        let sql = self.0.table.sql(
            // counted, because MySQL and MariaDB bound recursion and not all of them stop at an outer LIMIT
            "WITH RECURSIVE targets(target, seen) AS (\
             SELECT (SELECT MIN(target) FROM {table} WHERE status = 'pending' AND target > ?), 1 \
             UNION ALL SELECT (SELECT MIN(pending.target) FROM {table} pending WHERE pending.status = 'pending' \
             AND pending.target > targets.target), targets.seen + 1 \
             FROM targets WHERE targets.target IS NOT NULL AND targets.seen < ?) \
             SELECT targets.target, (SELECT MIN(pending.next_attempt_at) FROM {table} pending \
             WHERE pending.status = 'pending' AND pending.target = targets.target) \
             FROM targets WHERE targets.target IS NOT NULL",
        );
        let mut connection = self.0.pool.acquire().await?;
        let rows = D::fetch(&mut connection, &sql, &[after.into(), PAGE.into()]).await?;
        let waiting = rows.into_iter().filter_map(|mut row| {
            let target = row.text("target").ok()?;
            // none: its last pending task is just being done
            let next_due_ms = row.opt_int("next_attempt_at").ok().flatten().unwrap_or(i64::MAX);
            Some(Waiting { target, next_due_ms })
        });
        Ok(waiting.collect())
    }

    /// Leases what is due of these targets.
    pub(super) async fn claim(&self, owner: &str, lease_ms: i64, wanted: &[Wanted]) -> Result<Vec<Claimed>, Error> {
        let shared = &*self.0;
        let now_ms = shared.clock.now_ms();
        let mut transaction = begin(&shared.pool).await?;
        let (mut ids, mut lost) = (Vec::new(), Vec::new());
        for one in wanted {
            let due = shared.table.due(&mut transaction, &[one.target.as_str().into()], now_ms, one.room).await?;
            for mut row in due {
                let Ok(id) = row.int("id") else { continue };
                ids.push(id);
                let attempts = row.count("attempts").unwrap_or(0);
                if let Ok(Some(holder)) = row.opt_text("claimed_by") {
                    lost.push((id, attempts, holder));
                }
            }
        }
        if ids.is_empty() {
            transaction.rollback().await?; // now, not some time after it is dropped: its locks are in others' way
            return Ok(Vec::new());
        }
        ids.sort_unstable();
        let claim = Claim { owner, now_ms, until_ms: now_ms.saturating_add(lease_ms) };
        shared.table.lease(&mut transaction, &ids, claim).await?;
        for (row, attempts, holder) in &lost {
            self.log_lost(&mut transaction, *row, attempts.saturating_add(1), holder, now_ms).await?;
        }
        shared.faults.pass(Point::NotificationClaimWritten)?;
        transaction.commit().await?;
        shared.faults.pass(Point::NotificationClaimed)?;
        self.load(&ids).await
    }

    /// Makes due what is to wait longer than anything ever does: it was written under a wrong clock. Looks at the targets
    /// of which nothing is due before.
    pub(super) async fn amend_clock(&self, horizon_ms: i64) -> Result<u64, Error> {
        let (now_ms, mut after, mut amended) = (self.0.clock.now_ms(), String::new(), 0);
        loop {
            let page = self.waiting(&after).await?;
            for Waiting { target, .. } in page.iter().filter(|one| one.next_due_ms > now_ms.saturating_add(horizon_ms))
            {
                let mut connection = self.0.pool.acquire().await?;
                let condition = [target.as_str().into()];
                amended += self.0.table.amend_clock(&mut connection, &condition, now_ms, horizon_ms).await?;
            }
            match page.last() {
                Some(last) if page.len() == PAGE as usize => after.clone_from(&last.target),
                _ => return Ok(amended),
            }
        }
    }

    async fn load(&self, ids: &[i64]) -> Result<Vec<Claimed>, Error> {
        let sql = self.0.table.sql_of_ids(
            "SELECT id, target, business_type, attempts, receiver, business_id, url, content_type, content \
             FROM {table} WHERE id IN ({ids}) ORDER BY id",
            ids,
        );
        let values: Vec<Value<'_>> = padded(ids).map(Value::Int).collect();
        let rows = D::fetch(&mut *self.0.pool.acquire().await?, &sql, &values).await?;
        Ok(rows.into_iter().filter_map(read_claimed).collect())
    }
}

/// A row whose id cannot be read is nobody's: its lease ends.
fn read_claimed(mut row: Row) -> Option<Claimed> {
    let id = row.int("id").ok()?;
    let target = row.text("target").unwrap_or_default();
    let business_type = row.text("business_type");
    let attempts = row.count("attempts");
    let known_type = business_type.clone().unwrap_or_default();
    let attempts_read = attempts.clone().unwrap_or(0);
    let read = || {
        attempts?;
        Ok(Letter {
            receiver: row.text("receiver")?,
            business_type: business_type?,
            business_id: row.text("business_id")?,
            url: row.text("url")?,
            content_type: row.text("content_type")?,
            content: row.bytes("content")?,
        })
    };
    let letter = read().map_err(|unreadable: Unreadable| unreadable.to_string());
    Some(Claimed { row: id, target, business_type: known_type, attempts: attempts_read, letter })
}
