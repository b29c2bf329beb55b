//! Looking for what lacks its counterpart, page by page.

use std::{collections::HashSet, sync::Arc};

use super::{Counterparts, Expectation, Item, Moment, Page, Pass, Repair, Scanner, guard::guarded};
use crate::{
    clock::millis,
    database::{Dialect, Value, begin},
    error::Error,
    fault::Point,
    message::{LONGEST_KEY, key_fault},
};

/// Pages of one pass.
const PAGES: u32 = 50;
/// Bytes of content that a gap keeps.
const LARGEST_CONTENT: usize = 64 << 10;

impl<D: Dialect, S: Expectation, C: Counterparts, R: Repair> Scanner<D, S, C, R> {
    /// Looks at the pages from where the last scan ended. Returns whether it has come to the end of what is old enough.
    pub(super) async fn scan(&self, pass: &mut Pass) -> Result<bool, Error> {
        let shared = &*self.compensation.0;
        for _ in 0..PAGES {
            if self.open().await? >= i64::from(shared.settings.most_open) {
                return Ok(true); // the repairs make room
            }
            let Moment { now_ms, before_ms } = self.moment();
            let after = self.reached().await?;
            let page = Page { after: after.clone(), before_ms, now_ms, limit: shared.settings.batch };
            let expectation = Arc::clone(&self.expectation);
            let asked = guarded(shared.settings.time_limit, async move { expectation.expected(page).await }).await;
            let batch = asked.map_err(|error| self.refused(EXPECTED, error))?;
            pass.errors.extend(batch.unreadable.into_iter().map(|reason| self.refused(EXPECTED, reason)));
            let reached = batch.reached.unwrap_or_else(|| after.clone());
            if reached.len() > LONGEST_KEY || reached.contains('\0') {
                return Err(self.refused(EXPECTED, format!("the cursor {reached:?} cannot be kept")));
            }
            if !batch.items.is_empty() && reached == after {
                return Err(self.refused(EXPECTED, format!("its cursor stays at {reached:?}")));
            }
            pass.scanned += batch.items.len();
            let lacking = self.lacking(batch.items).await?;
            if reached != after || !lacking.is_empty() {
                pass.found += self.keep(&after, &reached, &lacking).await?;
            }
            if batch.is_last || reached == after {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn moment(&self) -> Moment {
        let now_ms = self.compensation.0.clock.now_ms();
        Moment { now_ms, before_ms: now_ms.saturating_sub(millis(self.compensation.0.settings.age)) }
    }

    /// An error of what the user gave.
    pub(super) fn refused(&self, query: &'static str, reason: impl ToString) -> Error {
        let reason = reason.to_string().chars().take(2_000).collect();
        Error::Query { name: self.compensation.0.name.clone(), query, reason }
    }

    /// Those of the keys that exist on the other side.
    pub(super) async fn present(&self, keys: Vec<String>) -> Result<HashSet<String>, Error> {
        if keys.is_empty() {
            return Ok(HashSet::new());
        }
        let counterparts = Arc::clone(&self.counterparts);
        let limit = self.compensation.0.settings.time_limit;
        let present = guarded(limit, async move { counterparts.present(keys).await }).await;
        present.map(HashSet::from_iter).map_err(|error| self.refused(PRESENT, error))
    }

    /// Those without a counterpart; what has no usable key is one of them.
    async fn lacking(&self, items: Vec<Item>) -> Result<Vec<Item>, Error> {
        let usable = items.iter().filter(|item| fault_of(item).is_none());
        let present = self.present(usable.map(|item| item.key.clone()).collect()).await?;
        Ok(items.into_iter().filter(|item| !present.contains(&item.key)).collect())
    }

    /// Where the last scan ended.
    async fn reached(&self) -> Result<String, Error> {
        let shared = &*self.compensation.0;
        let find = shared.schema.sql::<D>("SELECT reached FROM {compensation_scan} WHERE name = ?");
        let mut connection = shared.pool.acquire().await?;
        let found = D::fetch(&mut connection, &find, &[shared.name.as_str().into()]).await?.into_iter().next();
        let Some(mut row) = found else {
            let begin =
                shared.schema.sql::<D>("INSERT INTO {compensation_scan} (name, reached, updated_at) VALUES (?, '', ?)");
            D::insert_once(&mut connection, &begin, &[shared.name.as_str().into(), shared.clock.now_ms().into()])
                .await?;
            return Ok(String::new());
        };
        row.text("reached").map_err(|reason| self.refused(EXPECTED, format!("where the last scan ended: {reason}")))
    }

    /// Writes what was found and how far the scan has come; nothing when another scanner has gone on meanwhile. Returns how
    /// many gaps are new.
    async fn keep(&self, after: &str, reached: &str, lacking: &[Item]) -> Result<usize, Error> {
        let shared = &*self.compensation.0;
        let now_ms = shared.clock.now_ms();
        let mut transaction = begin(&shared.pool).await?;
        let go_on = shared
            .schema
            .sql::<D>("UPDATE {compensation_scan} SET reached = ?, updated_at = ? WHERE name = ? AND reached = ?");
        let values: [Value<'_>; 4] = [reached.into(), now_ms.into(), shared.name.as_str().into(), after.into()];
        if D::execute(&mut transaction, &go_on, &values).await? == 0 {
            transaction.rollback().await?;
            return Ok(0);
        }
        let (mut found, mut unusable) = (0, Vec::new());
        for item in lacking {
            if let Some(row) = self.insert(&mut transaction, item, now_ms).await? {
                found += 1;
                unusable.extend(fault_of(item).map(|_| row));
            }
        }
        shared.faults.pass(Point::GapsWritten)?;
        transaction.commit().await?;
        shared.faults.pass(Point::GapsKept)?;
        for row in unusable {
            self.compensation.exhausted(row).await;
        }
        if found > 0 {
            shared.wake.now();
        }
        Ok(found)
    }

    async fn insert(&self, connection: &mut D::Connection, item: &Item, now_ms: i64) -> Result<Option<i64>, Error> {
        let shared = &*self.compensation.0;
        let fault = fault_of(item);
        let insert = shared.table.sql(
            "INSERT INTO {table} (name, business_key, topic, content, action, status, attempts, next_attempt_at, \
             last_error, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)",
        );
        let (mut key, mut topic) = (item.key.clone(), item.topic.as_str());
        if fault.is_some() {
            (key, topic) = (nameable(&item.key), "");
        }
        let content = item.content.as_deref().filter(|_| fault.is_none());
        let values: [Value<'_>; 10] = [
            shared.name.as_str().into(),
            key.as_str().into(),
            topic.into(),
            Value::OptBytes(content),
            self.repair.name().into(),
            if fault.is_some() { "exhausted" } else { "pending" }.into(),
            now_ms.into(),
            Value::OptText(fault.as_deref()),
            now_ms.into(),
            now_ms.into(),
        ];
        Ok(D::insert_once(connection, &insert, &values).await?)
    }

    /// How many gaps are open, counted up to the limit.
    async fn open(&self) -> Result<i64, Error> {
        let shared = &*self.compensation.0;
        let count = shared.table.sql(
            "SELECT COUNT(*) FROM (SELECT id FROM {table} WHERE status = 'pending' AND name = ? LIMIT ?) AS open_gaps",
        );
        let values = [shared.name.as_str().into(), shared.settings.most_open.into()];
        let rows = D::fetch(&mut *shared.pool.acquire().await?, &count, &values).await?;
        Ok(rows.into_iter().next().and_then(|mut row| row.int("count").ok()).unwrap_or(0))
    }
}

/// What is asked for, as errors name it.
const EXPECTED: &str = "what should have a counterpart";
pub(super) const PRESENT: &str = "what has a counterpart";

/// Why a thing cannot be repaired, whatever happens.
fn fault_of(item: &Item) -> Option<String> {
    let content = item.content.as_ref().map_or(0, bytes::Bytes::len);
    if content > LARGEST_CONTENT {
        return Some(format!("{:?} has {content} bytes of content; a gap keeps {LARGEST_CONTENT}", item.key));
    }
    let topic = (!item.topic.is_empty()).then(|| key_fault("topic", &item.topic)).flatten();
    key_fault("key", &item.key).or(topic).map(|fault| fault.replace('\0', "\\0").chars().take(2_000).collect())
}

/// A key that can be kept for one that cannot: its beginning, and what tells it from others (FNV-1a).
fn nameable(key: &str) -> String {
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let plain = key.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c });
    format!("{}#{hash:016x}", plain.take(40).collect::<String>())
}
