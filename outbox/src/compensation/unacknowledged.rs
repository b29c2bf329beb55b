//! Messages of an outbox, as things that should have a counterpart.

use super::{Batch, BoxError, Expectation, Item, Missing, Moment, Page, Standing};
use crate::{
    database::{Dialect, Row, Unreadable},
    error::Error,
    message::{Incoming, headers_from_text},
    outbox::Outbox,
    work::Status,
};

/// A time in the future by more than that was written under a wrong clock.
const AHEAD_MS: i64 = 60_000;

/// The messages of an outbox, in the order of their rows. One is old enough when it was written so long ago; it is repaired
/// when it was also sent so long ago. Those that ask the broker for a later delivery are looked at only if the compensation's
/// age is longer than their delay.
#[derive(Debug)]
pub struct Unacknowledged<D: Dialect> {
    outbox: Outbox<D>,
    topic: Option<String>,
    given_up_too: bool,
}

impl<D: Dialect> Unacknowledged<D> {
    /// All messages.
    pub fn of(outbox: &Outbox<D>) -> Self {
        Self { outbox: outbox.clone(), topic: None, given_up_too: false }
    }

    /// Those for one topic. Anything else would expect of one receiver what another one gets.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Those too that the relay or people have given up. By default the first wait until people have decided, and the others
    /// need no counterpart.
    #[must_use]
    pub fn given_up_too(mut self) -> Self {
        self.given_up_too = true;
        self
    }

    fn item(&self, row: Line, now_ms: i64) -> Option<Item> {
        let is_meant = self.topic.as_ref().is_none_or(|topic| *topic == row.topic);
        let is_late = row.deliver_at_ms.is_none_or(|at_ms| at_ms <= now_ms);
        let is_due = is_late && (row.status != Status::Dropped || self.given_up_too);
        (is_meant && is_due).then(|| Item { topic: row.topic, ..Item::new(row.id, row.business_id) })
    }

    async fn message(&self, topic: &str, key: &str) -> Result<Option<Sent>, Error> {
        let table = &self.outbox.0.table;
        let sql = table.sql(
            "SELECT id, status, updated_at, deliver_at, tag, headers, content FROM {table} \
             WHERE topic = ? AND business_id = ?",
        );
        let mut connection = self.outbox.0.pool.acquire().await?;
        let found = D::fetch(&mut connection, &sql, &[topic.into(), key.into()]).await?.into_iter().next();
        let Some(mut row) = found else { return Ok(None) };
        let id = row.int("id").unwrap_or(0);
        let sent = read_sent(row, topic, key);
        sent.map(Some).map_err(|reason| table.unreadable(id, &reason))
    }
}

impl<D: Dialect> Expectation for Unacknowledged<D> {
    async fn expected(&self, page: Page) -> Result<Batch, BoxError> {
        let sql = self.outbox.0.table.sql(
            "SELECT id, created_at, topic, business_id, status, deliver_at FROM {table} WHERE id > ? ORDER BY id LIMIT ?",
        );
        let mut connection = self.outbox.0.pool.acquire().await?;
        let rows = D::fetch(&mut connection, &sql, &[page.after_number().into(), page.limit.into()]).await?;
        let mut batch = Batch { is_last: rows.len() < page.limit as usize, ..Batch::default() };
        for row in rows {
            let (id, line) = read_line(row);
            let line = match line {
                // the scan goes on behind it when it is old enough
                Ok(line) if line.created_ms > page.before_ms && line.created_ms <= page.now_ms + AHEAD_MS => {
                    batch.is_last = true;
                    break;
                }
                Ok(line) => Some(line),
                Err(reason) => {
                    batch.unreadable.push(self.outbox.0.table.unreadable(id, &reason).to_string());
                    None
                }
            };
            batch.reached = Some(id.to_string());
            batch.items.extend(line.and_then(|line| self.item(line, page.now_ms)));
        }
        Ok(batch)
    }

    async fn standing(&self, missing: &Missing, moment: Moment) -> Result<Standing, BoxError> {
        let Some(sent) = self.message(missing.message.topic(), missing.key()).await? else {
            return Ok(Standing::Lacking(None));
        };
        let not_yet = |why: &str| Ok(Standing::NotYet(None, why.to_owned()));
        match sent.status {
            Status::Pending => not_yet("it is still to be sent"),
            Status::Exhausted if !self.given_up_too => not_yet("the relay has given it up: rerun it, or give it up"),
            Status::Dropped if !self.given_up_too => Ok(Standing::Void("people have given the message up".to_owned())),
            // later the schedule decides
            Status::Done if missing.attempt == 1 && sent.reached_ms(moment) > moment.before_ms => {
                let age_ms = moment.now_ms - moment.before_ms;
                let until_ms = sent.reached_ms(moment).saturating_add(age_ms);
                Ok(Standing::NotYet(Some(until_ms), "it was sent a short while ago".to_owned()))
            }
            _ => Ok(Standing::Lacking(Some(sent.message))),
        }
    }
}

/// What a scan reads of a row.
struct Line {
    id: i64,
    created_ms: i64,
    topic: String,
    business_id: String,
    status: Status,
    deliver_at_ms: Option<i64>,
}

fn read_line(mut row: Row) -> (i64, Result<Line, Unreadable>) {
    let id = row.int("id").unwrap_or(0);
    let mut read = || {
        Ok(Line {
            id,
            created_ms: row.int("created_at")?,
            topic: row.text("topic")?,
            business_id: row.text("business_id")?,
            status: row.parsed("status", Status::read)?,
            deliver_at_ms: row.opt_int("deliver_at")?,
        })
    };
    (id, read())
}

/// A message, and when its receiver can have got it.
struct Sent {
    status: Status,
    sent_ms: i64,
    deliver_at_ms: Option<i64>,
    message: Incoming,
}

impl Sent {
    /// When it can have reached its receiver; a time of a wrong clock says nothing.
    fn reached_ms(&self, moment: Moment) -> i64 {
        let sent_ms = if self.sent_ms > moment.now_ms + AHEAD_MS { i64::MIN } else { self.sent_ms };
        self.deliver_at_ms.map_or(sent_ms, |at_ms| at_ms.max(sent_ms))
    }
}

fn read_sent(mut row: Row, topic: &str, key: &str) -> Result<Sent, Unreadable> {
    let status = row.parsed("status", Status::read)?;
    let (sent_ms, deliver_at_ms) = (row.int("updated_at")?, row.opt_int("deliver_at")?);
    let (topic, business_key) = (topic.to_owned(), key.to_owned());
    let tag = row.opt_text("tag")?;
    let headers = row.parsed("headers", headers_from_text)?;
    let message = Incoming { topic, business_key, tag, headers, content: row.bytes("content")? };
    Ok(Sent { status, sent_ms, deliver_at_ms, message })
}
