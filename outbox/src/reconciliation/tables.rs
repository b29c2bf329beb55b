//! Our own tables as sources: what was sent against what was handled.

use super::{Period, Record, Source, Trouble};
use crate::{
    Inbox, Outbox,
    database::{Dialect, Row, Sql, Unreadable, Value},
    error::Error,
};

/// Rows of one page.
const PAGE: u32 = 1_000;

/// The messages of a topic in `msg_published`, by business id. Its field `handled` says `done`, which is what the other side
/// should say. Rows that were given up are left out.
#[derive(Debug)]
pub struct Published<D: Dialect> {
    outbox: Outbox<D>,
    walk: Walk,
}

/// The messages of a topic in `msg_received` of one group, by business key. Its field `handled` says `done`, or how far it came.
#[derive(Debug)]
pub struct Received<D: Dialect> {
    inbox: Inbox<D>,
    walk: Walk,
}

impl<D: Dialect> Published<D> {
    /// What was published to `topic` in the period's window.
    pub fn of(outbox: &Outbox<D>, topic: &str, period: &Period) -> Self {
        let sql = outbox.0.table.sql(
            "SELECT business_id, created_at, 'done' FROM {table} WHERE topic = ? AND business_id{byte order} > ? \
             AND created_at >= ? AND created_at < ? AND status <> 'dropped' ORDER BY business_id{byte order} LIMIT ?",
        );
        let walk = Walk::new(format!("published {topic}"), outbox.0.table.name(), sql, vec![topic.to_owned()], period);
        Self { outbox: outbox.clone(), walk }
    }
}

impl<D: Dialect> Received<D> {
    /// What the inbox's group received of `topic` in the period's window.
    pub fn of(inbox: &Inbox<D>, topic: &str, period: &Period) -> Self {
        let sql = inbox.0.table.sql(
            "SELECT business_key, created_at, status FROM {table} WHERE consumer_group = ? AND topic = ? \
             AND business_key{byte order} > ? AND created_at >= ? AND created_at < ? \
             ORDER BY business_key{byte order} LIMIT ?",
        );
        let whose = vec![inbox.group().to_owned(), topic.to_owned()];
        let name = format!("received by {}", inbox.group());
        Self { inbox: inbox.clone(), walk: Walk::new(name, inbox.0.table.name(), sql, whose, period) }
    }
}

impl<D: Dialect> Source for Published<D> {
    fn name(&self) -> &str {
        &self.walk.name
    }

    async fn page(&mut self) -> Result<Vec<Record>, Trouble> {
        self.walk.page(&self.outbox.0.pool).await
    }
}

impl<D: Dialect> Source for Received<D> {
    fn name(&self) -> &str {
        &self.walk.name
    }

    async fn page(&mut self) -> Result<Vec<Record>, Trouble> {
        self.walk.page(&self.inbox.0.pool).await
    }
}

/// A walk along the keys of a table.
#[derive(Debug)]
struct Walk {
    name: String,
    table: String,
    sql: Sql,
    /// The statement's first values.
    whose: Vec<String>,
    window: (i64, i64),
    after: String,
    is_at_end: bool,
}

impl Walk {
    fn new(name: String, table: String, sql: Sql, whose: Vec<String>, period: &Period) -> Self {
        Self { name, table, sql, whose, window: period.window(), after: String::new(), is_at_end: false }
    }

    async fn page<D: Dialect>(&mut self, pool: &sqlx::Pool<D>) -> Result<Vec<Record>, Trouble> {
        if self.is_at_end {
            return Ok(Vec::new());
        }
        let page =
            self.read(pool).await.map_err(|error| Trouble::Source { name: self.name.clone(), cause: error.into() })?;
        self.is_at_end = page.len() < PAGE as usize;
        if let Some(last) = page.last() {
            self.after.clone_from(&last.key);
        }
        Ok(page)
    }

    async fn read<D: Dialect>(&self, pool: &sqlx::Pool<D>) -> Result<Vec<Record>, Error> {
        let mut values: Vec<Value<'_>> = self.whose.iter().map(|one| one.as_str().into()).collect();
        let (from_ms, to_ms) = self.window;
        values.extend::<[Value<'_>; 4]>([self.after.as_str().into(), from_ms.into(), to_ms.into(), PAGE.into()]);
        let rows = D::fetch(&mut *pool.acquire().await?, &self.sql, &values).await?;
        rows.into_iter().map(|row| self.record(row)).collect()
    }

    fn record(&self, mut row: Row) -> Result<Record, Error> {
        let mut read = || {
            let key = row.text("key")?;
            Ok(Record::new(key).at_ms(row.int("created_at")?).field("handled", row.text("status")?))
        };
        read().map_err(|unreadable: Unreadable| {
            let reason = format!("after the key {:?}, {unreadable}", self.after);
            Error::Row { table: self.table.clone(), row: 0, reason }
        })
    }
}
