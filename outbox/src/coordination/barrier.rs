//! The row that makes each command of a branch take effect once, whatever order the commands come in.
//!
//! ```text
//! try ─────► tried (TCC), done (saga) ──confirm──► confirmed
//!    │                 └──────cancel──► cancelled
//!    └refused─► refused                                      cancel first ─► void: a try that comes later has no effect
//! ```
//!
//! The row is inserted *before* the effects: its key is unique, so of two commands for one branch that come at once the
//! second waits for the first one's transaction, and then sees what that did.

use std::fmt;

use sqlx::Transaction;

use super::{
    command::{Action, BranchId},
    participant::Vote,
    progress::Kind,
};
use crate::{
    database::{Dialect, Sql, Unreadable, Value, padded, placeholders},
    error::Error,
    fault::Point,
    message::key_fault,
    outbox::Outbox,
    schema::Table,
    work::shortened,
};

/// Rows that are removed at once.
const CHUNK: u32 = 500;

/// What is to be done with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the effects run for `First` only"]
pub enum Entry {
    /// It is the first of its kind: run its effects in this transaction, now.
    First,
    /// It was carried out before, or comes after the branch was cancelled: run nothing, and answer this.
    Before(Vote),
    /// There is nothing to cancel, because the try never came or was refused: run nothing, and answer that it is cancelled. A
    /// try that comes later will have no effect.
    Nothing,
}

/// The barrier of one database: that of an outbox. Cloning is cheap.
pub struct Barrier<D: Dialect> {
    outbox: Outbox<D>,
    insert: Sql,
    known: Sql,
    change: Sql,
}

/// What a branch has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Tried,
    Done,
    Refused,
    Void,
    Confirmed,
    Cancelled,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tried => "tried",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Void => "void",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let all = [Self::Tried, Self::Done, Self::Refused, Self::Void, Self::Confirmed, Self::Cancelled];
        all.into_iter().find(|one| one.as_str() == text).ok_or_else(|| format!("{text:?} is no state"))
    }
}

/// A branch that is known.
struct Known {
    row: i64,
    state: State,
    answer: Option<String>,
}

impl<D: Dialect> Barrier<D> {
    /// The barrier of the outbox's database, with its tables, clock and fault points. Answers go through that outbox.
    pub fn of(outbox: &Outbox<D>) -> Self {
        let schema = &outbox.0.schema;
        Self {
            insert: schema.sql::<D>(
                "INSERT INTO {barrier} (global_id, branch, state, created_at, updated_at) VALUES (?, ?, ?, ?, ?)",
            ),
            known: schema
                .sql::<D>("SELECT id, state, answer FROM {barrier} WHERE global_id = ? AND branch = ?{for update}"),
            change: schema.sql::<D>("UPDATE {barrier} SET state = ?, answer = ?, updated_at = ? WHERE id = ?"),
            outbox: outbox.clone(),
        }
    }

    /// Says what is to be done with a command, and writes down that it is. For those who do not use
    /// [`handle`](Self::handle): the effects must run in the same transaction, and when they fail, it must be rolled back; a try that
    /// is to be refused for good is told to [`refuse`](Self::refuse), after its effects are rolled back.
    ///
    /// # Errors
    /// [`Error::Refused`] for a decision that contradicts one which was carried out, and for a confirm without a try;
    /// [`Error::Message`] for names that are no keys; [`Error::Row`]; [`Error::Database`].
    pub async fn enter(
        &self,
        transaction: &mut Transaction<'_, D>,
        id: &BranchId,
        action: Action,
    ) -> Result<Entry, Error> {
        check(id)?;
        let first = match (action, id.kind) {
            (Action::Try, Kind::Tcc) => Some(State::Tried),
            (Action::Try, Kind::Saga) => Some(State::Done),
            (Action::Cancel, _) => Some(State::Void),
            (Action::Confirm, _) => None,
        };
        if let Some(state) = first
            && self.insert(transaction, id, state).await?
        {
            self.outbox.0.faults.pass(Point::BranchEntered)?;
            return Ok(if state == State::Void { Entry::Nothing } else { Entry::First });
        }
        let Some(known) = self.known(transaction, id).await? else {
            return Err(self.refused(
                0,
                match action {
                    Action::Confirm => "a branch cannot be confirmed that has not tried",
                    Action::Try | Action::Cancel => "it was removed at this moment; try again",
                },
            ));
        };
        let next = match (action, known.state) {
            (Action::Try, State::Refused) => {
                return Ok(Entry::Before(Vote::Refused(known.answer.unwrap_or_default())));
            }
            (Action::Try, State::Void) => {
                return Ok(Entry::Before(Vote::Refused("it was cancelled before it was tried".into())));
            }
            (Action::Try, _) | (Action::Confirm, State::Confirmed) | (Action::Cancel, State::Cancelled) => {
                return Ok(Entry::Before(Vote::Done));
            }
            (Action::Cancel, State::Refused | State::Void) => return Ok(Entry::Nothing),
            (Action::Confirm, State::Tried) => State::Confirmed,
            (Action::Cancel, State::Tried | State::Done) => State::Cancelled,
            (Action::Cancel, State::Confirmed) => {
                return Err(self.refused(known.row, "it is confirmed and cannot be cancelled"));
            }
            (Action::Confirm, State::Done) => return Err(self.refused(known.row, "a saga's step has no confirm")),
            (Action::Confirm, State::Refused | State::Void | State::Cancelled) => {
                return Err(self.refused(known.row, "it is cancelled or refused and cannot be confirmed"));
            }
        };
        self.change(transaction, known.row, next, known.answer.as_deref()).await?;
        self.outbox.0.faults.pass(Point::BranchEntered)?;
        Ok(Entry::First)
    }

    /// Writes down that a try, for which [`enter`](Self::enter) said [`Entry::First`] in this transaction, is refused.
    ///
    /// # Errors
    /// [`Error::Refused`] when the branch is not being tried; [`Error::Row`]; [`Error::Database`].
    pub async fn refuse(&self, transaction: &mut Transaction<'_, D>, id: &BranchId, reason: &str) -> Result<(), Error> {
        match self.known(transaction, id).await? {
            Some(Known { row, state: State::Tried | State::Done, .. }) => {
                self.change(transaction, row, State::Refused, Some(shortened(reason))).await
            }
            known => Err(self.refused(known.map_or(0, |known| known.row), "it is not being tried")),
        }
    }

    /// Removes rows of branches that ended before `before_ms`, in small chunks. A branch that has tried and awaits its decision
    /// stays. A command that comes later than that finds no row: keep rows for longer than the broker keeps messages, and than a
    /// saga can take, what waits for people included.
    ///
    /// # Errors
    /// [`Error::Database`]; the chunks before are removed then.
    pub async fn clean(&self, before_ms: i64) -> Result<u64, Error> {
        let schema = &self.outbox.0.schema;
        let find = schema.sql::<D>(
            "SELECT id FROM {barrier} WHERE state <> 'tried' AND updated_at < ? ORDER BY updated_at, id LIMIT ?",
        );
        let mut removed = 0;
        loop {
            let mut connection = self.outbox.0.pool.acquire().await?;
            let rows = D::fetch(&mut *connection, &find, &[before_ms.into(), CHUNK.into()]).await?;
            let ids: Vec<i64> = rows.into_iter().filter_map(|mut row| row.int("id").ok()).collect();
            if ids.is_empty() {
                return Ok(removed);
            }
            let list = placeholders(ids.len());
            let delete = "DELETE FROM {barrier} WHERE id IN ({ids}) AND state <> 'tried'";
            let delete = schema.words::<D>(delete, &[("ids", &list)]);
            let values: Vec<Value<'_>> = padded(&ids).map(Value::Int).collect();
            let gone = D::execute(&mut *connection, &delete, &values).await?;
            removed += gone;
            if gone == 0 || ids.len() < CHUNK as usize {
                return Ok(removed);
            }
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn outbox(&self) -> &Outbox<D> {
        &self.outbox
    }

    async fn insert(&self, transaction: &mut Transaction<'_, D>, id: &BranchId, state: State) -> Result<bool, Error> {
        let now_ms = self.outbox.0.clock.now_ms();
        let values: [Value<'_>; 5] =
            [id.global.as_str().into(), id.branch.as_str().into(), state.as_str().into(), now_ms.into(), now_ms.into()];
        Ok(D::insert_once(transaction, &self.insert, &values).await?.is_some())
    }

    /// The branch's row, locked until the transaction ends where rows can be.
    async fn known(&self, transaction: &mut Transaction<'_, D>, id: &BranchId) -> Result<Option<Known>, Error> {
        let values = [id.global.as_str().into(), id.branch.as_str().into()];
        let Some(mut row) = D::fetch(transaction, &self.known, &values).await?.into_iter().next() else {
            return Ok(None);
        };
        let found = row.int("id").unwrap_or(0);
        let mut read =
            || Ok(Known { row: found, state: row.parsed("state", State::read)?, answer: row.opt_text("answer")? });
        read().map(Some).map_err(|unreadable: Unreadable| Error::Row {
            table: self.table(),
            row: found,
            reason: unreadable.to_string(),
        })
    }

    async fn change(
        &self,
        transaction: &mut Transaction<'_, D>,
        row: i64,
        state: State,
        answer: Option<&str>,
    ) -> Result<(), Error> {
        let now_ms = self.outbox.0.clock.now_ms();
        let values = [state.as_str().into(), Value::OptText(answer), now_ms.into(), row.into()];
        D::execute(transaction, &self.change, &values).await?;
        Ok(())
    }

    fn refused(&self, row: i64, reason: &'static str) -> Error {
        Error::Refused { table: self.table(), row, reason }
    }

    fn table(&self) -> String {
        self.outbox.0.schema.name(Table::Barrier)
    }
}

/// Names that a database would store cut off would be taken for others.
fn check(id: &BranchId) -> Result<(), Error> {
    let fault = key_fault("global id", &id.global).or_else(|| key_fault("branch", &id.branch));
    match fault {
        None => Ok(()),
        Some(reason) => {
            let business_id = id.global.chars().take(80).collect();
            Err(Error::Message { topic: String::new(), business_id, reason })
        }
    }
}

impl<D: Dialect> Clone for Barrier<D> {
    fn clone(&self) -> Self {
        let Self { outbox, insert, known, change } = self;
        Self { outbox: outbox.clone(), insert: insert.clone(), known: known.clone(), change: change.clone() }
    }
}

impl<D: Dialect> fmt::Debug for Barrier<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("table", &self.table()).finish_non_exhaustive()
    }
}
