//! The rows of half messages.

use std::marker::PhantomData;

use sqlx::Pool;
use tenonmq_client::HalfPlace;

use crate::{
    database::{Dialect, Row, Sql, Unreadable, Value, begin, padded, placeholders},
    error::Error,
    monitoring::Tally,
    schema::{Schema, Table},
    work::{Backlog, Status},
};

/// Rows of one chunk when cleaning.
const CHUNK: u32 = 500;

/// What is known of a half message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// No transaction that committed tells of it.
    Absent,
    /// Its transaction committed; nobody has said *commit* to the broker yet.
    Held(HalfPlace),
    /// *Commit* may have been said to the broker.
    Deciding(HalfPlace),
    /// The broker confirmed the commit of the message with this id.
    Done(String),
    /// It is given up: the relay sends an ordinary message in its stead.
    Relayed,
    /// It is given up: nobody had told of it when its check came.
    Void,
}

/// All half messages of one service.
pub(super) struct HalfTable<D: Dialect> {
    pool: Pool<D>,
    schema: Schema,
    insert: Sql,
    find: Sql,
    step: Sql,
    /// Confirmed ones are done; those that the relay sends in their stead are failed.
    pub(super) tally: Tally,
    dialect: PhantomData<fn() -> D>,
}

/// Names of the states in the table.
mod name {
    pub(super) const HELD: &str = "held";
    pub(super) const DECIDING: &str = "deciding";
    pub(super) const DONE: &str = "done";
    pub(super) const RELAYED: &str = "relayed";
    pub(super) const VOID: &str = "void";
}

/// Leaving one state for another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// About to say *commit*: from `held`.
    Decide,
    /// The broker confirmed: from `deciding`.
    Confirm,
    /// Handed to the relay before anything was said: from `held`.
    TakeOver,
    /// Handed to the relay because the broker had it rolled back: from `deciding`.
    Resign,
}

impl Step {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Decide => (name::HELD, name::DECIDING),
            Self::Confirm => (name::DECIDING, name::DONE),
            Self::TakeOver => (name::HELD, name::RELAYED),
            Self::Resign => (name::DECIDING, name::RELAYED),
        }
    }
}

impl<D: Dialect> HalfTable<D> {
    pub(super) fn new(pool: Pool<D>, schema: &Schema) -> Self {
        Self {
            pool,
            insert: schema.sql::<D>(
                "INSERT INTO {half} (half_id, published, state, broker, topic, half_offset, log_offset, message_id, \
                 created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ),
            find: schema.sql::<D>(
                "SELECT state, broker, topic, half_offset, log_offset, message_id FROM {half} WHERE half_id = ?",
            ),
            step: schema.sql::<D>("UPDATE {half} SET state = ?, updated_at = ? WHERE half_id = ? AND state = ?"),
            schema: schema.clone(),
            tally: Tally::default(),
            dialect: PhantomData,
        }
    }

    /// Writes in the caller's transaction that it tells of the half message. False when a check has given it up: the
    /// outbox row is then the relay's.
    pub(super) async fn hold(
        &self,
        connection: &mut D::Connection,
        id: &str,
        published: i64,
        place: &HalfPlace,
        now_ms: i64,
    ) -> Result<bool, Error> {
        let values: [Value<'_>; 10] = [
            id.into(),
            published.into(),
            name::HELD.into(),
            place.broker.as_str().into(),
            place.topic.as_str().into(),
            place.half_queue_offset.into(),
            place.commit_log_offset.into(),
            place.message_id.as_str().into(),
            now_ms.into(),
            now_ms.into(),
        ];
        Ok(D::insert_once(connection, &self.insert, &values).await?.is_some())
    }

    /// Gives a half message up that no committed transaction tells of. False when one does after all. Waits for a
    /// transaction that is about to, or fails.
    pub(super) async fn void(
        &self,
        id: &str,
        now_ms: i64,
        written: impl Fn() -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let none = Value::OptText(None);
        let values: [Value<'_>; 10] = [
            id.into(),
            Value::OptInt(None),
            name::VOID.into(),
            none,
            none,
            Value::OptInt(None),
            Value::OptInt(None),
            none,
            now_ms.into(),
            now_ms.into(),
        ];
        let mut transaction = begin(&self.pool).await?;
        let is_void = D::insert_once(&mut transaction, &self.insert, &values).await?.is_some();
        written()?;
        transaction.commit().await?;
        Ok(is_void)
    }

    /// What is committed.
    pub(super) async fn state(&self, id: &str) -> Result<State, Error> {
        let rows = D::fetch(&mut *self.pool.acquire().await?, &self.find, &[id.into()]).await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(State::Absent) };
        let table = || self.schema.name(Table::Half);
        let unreadable = |reason| Error::Row { table: table(), row: 0, reason };
        let state = row.text("state").map_err(|error| unreadable(error.to_string()))?;
        let mut place = || place(&mut row).map_err(|error| unreadable(format!("half message {id}: {error}")));
        Ok(match state.as_str() {
            name::HELD => State::Held(place()?),
            name::DECIDING => State::Deciding(place()?),
            name::DONE => State::Done(place()?.message_id),
            name::RELAYED => State::Relayed,
            name::VOID => State::Void,
            other => return Err(unreadable(format!("half message {id}: column state: {other:?} is no state"))),
        })
    }

    /// Goes from one state to another. False when somebody else was faster.
    pub(super) async fn step(&self, id: &str, step: Step, now_ms: i64) -> Result<bool, Error> {
        let (from, to) = step.names();
        let values: [Value<'_>; 4] = [to.into(), now_ms.into(), id.into(), from.into()];
        let is_mine = D::execute(&mut *self.pool.acquire().await?, &self.step, &values).await? == 1;
        match step {
            Step::Confirm => self.tally.done(usize::from(is_mine)),
            Step::TakeOver | Step::Resign => self.tally.failed(usize::from(is_mine)),
            Step::Decide => {}
        }
        Ok(is_mine)
    }

    /// Goes from `deciding` to `relayed` on people's word.
    pub(super) async fn hand_over(&self, published: i64, now_ms: i64) -> Result<(), Error> {
        let (from, to) = Step::Resign.names();
        let sql = self.schema.sql::<D>("UPDATE {half} SET state = ?, updated_at = ? WHERE published = ? AND state = ?");
        let values: [Value<'_>; 4] = [to.into(), now_ms.into(), published.into(), from.into()];
        match D::execute(&mut *self.pool.acquire().await?, &sql, &values).await? {
            0 => Err(Error::Refused {
                table: self.schema.name(Table::Half),
                row: published,
                reason: "it has no half message whose commit is under way",
            }),
            _ => Ok(()),
        }
    }

    /// Half messages that are held or being decided, whose row is still tried (pending) or not any more (exhausted).
    pub(super) async fn backlog(&self, now_ms: i64) -> Result<Backlog, Error> {
        let mut connection = self.pool.acquire().await?;
        let (pending, oldest_ms) = self.undecided(&mut connection, Status::Pending).await?;
        let (exhausted, _) = self.undecided(&mut connection, Status::Exhausted).await?;
        let oldest_ms = oldest_ms.map(|oldest| now_ms.saturating_sub(oldest).max(0));
        Ok(Backlog { pending, exhausted, oldest_ms })
    }

    /// How many, and when the oldest was written. Found by the rows of the outbox, as decided ones are kept for long.
    async fn undecided(&self, connection: &mut D::Connection, status: Status) -> Result<(u64, Option<i64>), Error> {
        let sql = self.schema.sql::<D>(&format!(
            "SELECT COUNT(*), MIN({{half}}.created_at) FROM {{published}} \
             JOIN {{half}} ON {{half}}.published = {{published}}.id \
             WHERE {{published}}.status = '{}' AND {{half}}.state IN ('{}', '{}')",
            status.as_str(),
            name::HELD,
            name::DECIDING
        ));
        let rows = D::fetch(connection, &sql, &[]).await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok((0, None)) };
        let count = u64::try_from(row.int("count").unwrap_or(0)).unwrap_or(0);
        Ok((count, row.opt_int("created_at").ok().flatten()))
    }

    /// Removes rows of decided half messages whose outbox row needs them no more.
    pub(super) async fn clean(&self, before_ms: i64) -> Result<u64, Error> {
        let find = self.schema.sql::<D>(
            "SELECT id FROM {half} WHERE state IN ('done', 'relayed', 'void') AND updated_at < ? AND NOT EXISTS \
             (SELECT 1 FROM {published} WHERE {published}.id = {half}.published AND {published}.status IN \
             ('pending', 'exhausted')) ORDER BY id LIMIT ?",
        );
        let mut removed = 0;
        loop {
            let mut connection = self.pool.acquire().await?;
            let rows = D::fetch(&mut *connection, &find, &[before_ms.into(), CHUNK.into()]).await?;
            let ids: Vec<i64> = rows.into_iter().filter_map(|mut row| row.int("id").ok()).collect();
            if ids.is_empty() {
                return Ok(removed);
            }
            let list = placeholders(ids.len());
            let delete = self.schema.words::<D>("DELETE FROM {half} WHERE id IN ({ids})", &[("ids", &list)]);
            let values: Vec<Value<'_>> = padded(&ids).map(Value::Int).collect();
            let gone = D::execute(&mut *connection, &delete, &values).await?;
            if gone == 0 {
                return Ok(removed);
            }
            removed += gone;
        }
    }
}

fn place(row: &mut Row) -> Result<HalfPlace, Unreadable> {
    Ok(HalfPlace {
        broker: row.text("broker")?,
        topic: row.text("topic")?,
        half_queue_offset: row.int("half_offset")?,
        commit_log_offset: row.int("log_offset")?,
        message_id: row.text("message_id")?,
    })
}
