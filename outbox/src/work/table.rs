//! Claims and outcomes.

use std::marker::PhantomData;

use crate::{
    database::{Dialect, Row, Sql, Value, padded, placeholders},
    error::Error,
    schema::{Schema, Table},
};

/// A table whose rows are tried until they are done.
#[derive(Debug)]
pub(crate) struct WorkTable<D> {
    pub(super) schema: Schema,
    table: Table,
    /// The column that holds the business key.
    key: &'static str,
    due: Sql,
    next_due: Sql,
    fail: Sql,
    amend: Sql,
    dialect: PhantomData<fn() -> D>,
}

/// Whose rows, for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// Who claims; no two holders have the same name.
    pub(crate) owner: &'a str,
    pub(crate) now_ms: i64,
    /// When the lease ends.
    pub(crate) until_ms: i64,
}

/// A try that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure<'a> {
    pub(crate) row: i64,
    /// Failures so far, this one included.
    pub(crate) attempts: u32,
    pub(crate) cause: &'a str,
    pub(crate) now_ms: i64,
    /// When it is tried again; never, without.
    pub(crate) next_ms: Option<i64>,
}

/// Longest cause that is kept, in characters.
const LONGEST_CAUSE: usize = 2_000;

impl<D: Dialect> WorkTable<D> {
    /// `columns` are read for each due row after `id` and `attempts`; `condition` narrows what is due (it begins with
    /// `AND`, or is empty) and its values come first.
    pub(crate) fn new(schema: &Schema, table: Table, key: &'static str, columns: &str, condition: &str) -> Self {
        let name = schema.name(table);
        let words =
            |template: &str| schema.words::<D>(template, &[("table", &name), ("columns", columns), ("and", condition)]);
        Self {
            schema: schema.clone(),
            table,
            key,
            due: words(
                "SELECT id, attempts, {columns} FROM {table} WHERE status = 'pending' {and} AND next_attempt_at <= ? \
                 ORDER BY next_attempt_at, id LIMIT ?{skip locked}",
            ),
            next_due: words(
                "SELECT next_attempt_at FROM {table} WHERE status = 'pending' {and} ORDER BY next_attempt_at LIMIT 1",
            ),
            fail: words(
                "UPDATE {table} SET status = ?, attempts = ?, next_attempt_at = ?, last_error = ?, claimed_by = NULL, \
                 updated_at = ? WHERE id = ? AND status = 'pending' AND claimed_by = ?",
            ),
            amend: words(
                "UPDATE {table} SET next_attempt_at = ? WHERE status = 'pending' {and} AND next_attempt_at > ?",
            ),
            dialect: PhantomData,
        }
    }

    /// The table's full name.
    pub(crate) fn name(&self) -> String {
        self.schema.name(self.table)
    }

    /// The business key's column.
    pub(crate) fn key(&self) -> &'static str {
        self.key
    }

    /// A statement over this table: `{table}`.
    pub(crate) fn sql(&self, template: &str) -> Sql {
        self.schema.words::<D>(template, &[("table", &self.name()), ("key", self.key)])
    }

    /// A statement over some rows of this table: `{table}` and `{ids}`. Bind the ids by [`padded`].
    pub(crate) fn sql_of_ids(&self, template: &str, ids: &[i64]) -> Sql {
        let list = placeholders(ids.len());
        self.schema.words::<D>(template, &[("table", &self.name()), ("key", self.key), ("ids", &list)])
    }

    /// The rows that are due, oldest first, locked against other claims until the transaction ends.
    pub(crate) async fn due(
        &self,
        connection: &mut D::Connection,
        condition: &[Value<'_>],
        now_ms: i64,
        limit: u32,
    ) -> Result<Vec<Row>, Error> {
        let mut values = condition.to_vec();
        values.extend([Value::from(now_ms), Value::from(limit)]);
        Ok(D::fetch(connection, &self.due, &values).await?)
    }

    /// When the next row is due, or some lease ends.
    pub(crate) async fn next_due_ms(
        &self,
        connection: &mut D::Connection,
        condition: &[Value<'_>],
    ) -> Result<Option<i64>, Error> {
        let rows = D::fetch(connection, &self.next_due, condition).await?;
        Ok(rows.into_iter().next().and_then(|mut row| row.int("next_attempt_at").ok()))
    }

    /// When the next row is due after now.
    pub(crate) async fn due_after_ms(&self, connection: &mut D::Connection, now_ms: i64) -> Result<Option<i64>, Error> {
        let sql = self.sql(
            "SELECT next_attempt_at FROM {table} WHERE status = 'pending' AND next_attempt_at > ? \
             ORDER BY next_attempt_at LIMIT 1",
        );
        let rows = D::fetch(connection, &sql, &[now_ms.into()]).await?;
        Ok(rows.into_iter().next().and_then(|mut row| row.int("next_attempt_at").ok()))
    }

    /// Leases rows that [`due`](Self::due) found. One whose last holder never said what became of it counts as failed once
    /// more, so that a row that kills whoever tries it is not tried for ever.
    pub(crate) async fn lease(
        &self,
        connection: &mut D::Connection,
        ids: &[i64],
        claim: Claim<'_>,
    ) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let sql = self.sql_of_ids(
            "UPDATE {table} SET attempts = attempts + CASE WHEN claimed_by IS NULL THEN 0 ELSE 1 END, \
             next_attempt_at = ?, updated_at = ?, claimed_by = ? WHERE id IN ({ids})",
            ids,
        );
        let mut values: Vec<Value<'_>> = vec![claim.until_ms.into(), claim.now_ms.into(), claim.owner.into()];
        values.extend(padded(ids).map(Value::Int));
        D::execute(connection, &sql, &values).await?;
        Ok(())
    }

    /// Locks rows until the transaction ends, in the order of their ids, as whoever is to change several rows in several
    /// statements does first: who takes the same locks in another order may wait for one that waits for him.
    pub(crate) async fn hold(&self, connection: &mut D::Connection, ids: &[i64]) -> Result<(), Error> {
        if ids.len() < 2 || D::WORDS.lock.is_none() {
            return Ok(()); // one lock has no order; or the transaction is the only one that writes
        }
        // `attempts` is in no secondary index, so MySQL walks the primary key, and locks along it
        let sql = self.sql_of_ids("SELECT id, attempts FROM {table} WHERE id IN ({ids}) ORDER BY id{for update}", ids);
        let values: Vec<Value<'_>> = padded(ids).map(Value::Int).collect();
        D::fetch(connection, &sql, &values).await?;
        Ok(())
    }

    /// Gives leased rows back untried, to be tried at `at_ms`.
    pub(crate) async fn release(
        &self,
        connection: &mut D::Connection,
        ids: &[i64],
        owner: &str,
        at_ms: i64,
    ) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let sql = self.sql_of_ids(
            "UPDATE {table} SET next_attempt_at = ?, claimed_by = NULL \
             WHERE claimed_by = ? AND status = 'pending' AND id IN ({ids})",
            ids,
        );
        let mut values: Vec<Value<'_>> = vec![at_ms.into(), owner.into()];
        values.extend(padded(ids).map(Value::Int));
        D::execute(connection, &sql, &values).await?;
        Ok(())
    }

    /// Writes a failure down, with its count and cause, the last one too. False when the lease was lost meanwhile.
    pub(crate) async fn fail(
        &self,
        connection: &mut D::Connection,
        owner: &str,
        failure: Failure<'_>,
    ) -> Result<bool, Error> {
        let status = if failure.next_ms.is_some() { "pending" } else { "exhausted" };
        let values: [Value<'_>; 7] = [
            status.into(),
            failure.attempts.into(),
            failure.next_ms.unwrap_or(failure.now_ms).into(),
            shortened(failure.cause).into(),
            failure.now_ms.into(),
            failure.row.into(),
            owner.into(),
        ];
        Ok(D::execute(connection, &self.fail, &values).await? > 0)
    }

    /// Makes due what is to wait longer than anything ever does: it was written under a wrong clock.
    pub(crate) async fn amend_clock(
        &self,
        connection: &mut D::Connection,
        condition: &[Value<'_>],
        now_ms: i64,
        horizon_ms: i64,
    ) -> Result<u64, Error> {
        let mut values: Vec<Value<'_>> = vec![now_ms.into()];
        values.extend_from_slice(condition);
        values.push(now_ms.saturating_add(horizon_ms).into());
        Ok(D::execute(connection, &self.amend, &values).await?)
    }
}

/// Causes come from anywhere: what is kept has a limit, and no NUL, which PostgreSQL does not take.
pub(crate) fn shortened(cause: &str) -> &str {
    let end = cause.char_indices().nth(LONGEST_CAUSE).map_or(cause.len(), |(at, _)| at);
    let end = cause.find('\0').map_or(end, |nul| nul.min(end));
    cause.get(..end).unwrap_or_default()
}
