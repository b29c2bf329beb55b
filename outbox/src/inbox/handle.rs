//! Handling a message once, in the caller's transaction.

use std::fmt::Display;

use sqlx::{Connection, Transaction};

use super::Inbox;
use crate::{
    database::{Dialect, Unreadable, Value},
    error::Error,
    fault::Point,
    message::{Incoming, headers_to_text},
    work::Status,
};

/// What [`Inbox::handle`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled<T> {
    /// The effects are written; they are there when the transaction commits.
    Now(T),
    /// The message was handled before: nothing was run.
    Before,
    /// Its last try failed, or it was given up; nothing was run. Operators [decide](Inbox::rerun).
    GivenUp,
}

/// Why the effects are not written. The transaction is as it was before the call; most callers drop it.
#[derive(Debug, thiserror::Error)]
pub enum HandleError<E> {
    /// The effects failed. [Record it](Inbox::record), once the transaction has ended.
    #[error("{0}")]
    Effects(E),
    /// The inbox failed, or refuses the message.
    #[error(transparent)]
    Inbox(#[from] Error),
}

/// A message's first state in the table.
pub(super) struct First<'a> {
    pub(super) status: Status,
    pub(super) attempts: u32,
    pub(super) next_ms: i64,
    pub(super) cause: Option<&'a str>,
    /// Kept for another try.
    pub(super) content: Option<&'a [u8]>,
}

/// A message that is in the table.
pub(super) struct Known {
    pub(super) row: i64,
    pub(super) status: Status,
    pub(super) attempts: u32,
    digest: i64,
}

/// Whose a message is.
enum Taken {
    /// Ours, and new.
    New,
    /// Ours, after a failure that is in this row.
    Again(i64),
    Before,
    GivenUp,
}

impl<D: Dialect> Inbox<D> {
    /// Runs `effects` unless the message was handled before. Its row and its effects are in `transaction`, and so are there
    /// both or not at all. Effects that fail leave nothing behind, even when the transaction is committed then.
    ///
    /// ```no_run
    /// # use sqlx::{Sqlite, SqlitePool, Transaction};
    /// # use tenonmq_outbox::{Handled, Inbox, Incoming};
    /// # async fn example(pool: SqlitePool, inbox: Inbox<Sqlite>, message: Incoming) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut transaction = pool.begin().await?;
    /// let handled = inbox
    ///     .handle(&mut transaction, &message, async |transaction: &mut Transaction<'_, Sqlite>| {
    ///         sqlx::query("UPDATE stock SET left = left - 1").execute(&mut **transaction).await
    ///     })
    ///     .await?;
    /// transaction.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`HandleError`].
    pub async fn handle<T, E: Display>(
        &self,
        transaction: &mut Transaction<'_, D>,
        message: &Incoming,
        effects: impl AsyncFnOnce(&mut Transaction<'_, D>) -> Result<T, E>,
    ) -> Result<Handled<T>, HandleError<E>> {
        let mut attempt = match self.enter(transaction, message).await? {
            Entered::Mine(attempt) => attempt,
            Entered::Before => return Ok(Handled::Before),
            Entered::GivenUp => return Ok(Handled::GivenUp),
        };
        match effects(&mut attempt.inner).await {
            Ok(done) => {
                self.keep(attempt, message).await?;
                Ok(Handled::Now(done))
            }
            Err(error) => {
                attempt.inner.rollback().await.map_err(Error::from)?;
                Err(HandleError::Effects(error))
            }
        }
    }

    /// Takes the message within a savepoint of `transaction`.
    pub(super) async fn enter<'t>(
        &self,
        transaction: &'t mut Transaction<'_, D>,
        message: &Incoming,
    ) -> Result<Entered<'t, D>, Error> {
        message.check()?;
        let mut inner = Connection::begin(&mut **transaction).await?;
        let failed_before = match self.take(&mut inner, message).await? {
            Taken::New => None,
            Taken::Again(row) => Some(row),
            Taken::Before => {
                if let Some(acknowledge) = &self.0.acknowledge {
                    acknowledge.again(&mut inner, &self.0.group, &message.business_key).await?;
                    inner.commit().await?;
                } else {
                    inner.rollback().await?;
                }
                self.0.tally.duplicate();
                return Ok(Entered::Before);
            }
            Taken::GivenUp => {
                inner.rollback().await?;
                return Ok(Entered::GivenUp);
            }
        };
        self.0.faults.pass(Point::ReceiptWritten)?;
        Ok(Entered::Mine(Attempt { inner, failed_before }))
    }

    /// The effects are written: closes the savepoint.
    pub(super) async fn keep(&self, attempt: Attempt<'_, D>, message: &Incoming) -> Result<(), Error> {
        let Attempt { mut inner, failed_before } = attempt;
        if let Some(row) = failed_before {
            D::execute(&mut inner, &self.0.done, &[self.0.clock.now_ms().into(), row.into()]).await?;
        }
        if let Some(acknowledge) = &self.0.acknowledge {
            acknowledge.first(&mut inner, &self.0.group, &message.business_key).await?;
        }
        inner.commit().await?;
        self.0.tally.done(1);
        self.0.faults.pass(Point::EffectsWritten)
    }

    /// Makes the message ours until the transaction ends: no other transaction gets past this with the same key.
    async fn take(&self, transaction: &mut Transaction<'_, D>, message: &Incoming) -> Result<Taken, Error> {
        let now_ms = self.0.clock.now_ms();
        let done = First { status: Status::Done, attempts: 0, next_ms: now_ms, cause: None, content: None };
        if self.insert(transaction, message, done).await?.is_some() {
            return Ok(Taken::New);
        }
        let known = self.known(transaction, message).await?;
        Ok(match known.status {
            Status::Done => Taken::Before,
            Status::Pending => Taken::Again(known.row),
            Status::Exhausted | Status::Dropped => Taken::GivenUp,
        })
    }

    /// Writes a message's row, unless its key has one.
    pub(super) async fn insert(
        &self,
        transaction: &mut Transaction<'_, D>,
        message: &Incoming,
        first: First<'_>,
    ) -> Result<Option<i64>, Error> {
        let now_ms = self.0.clock.now_ms();
        let headers = headers_to_text(&message.headers);
        let values: [Value<'_>; 13] = [
            self.0.group.as_str().into(),
            message.business_key.as_str().into(),
            message.topic.as_str().into(),
            Value::OptText(message.tag.as_deref()),
            digest(message).into(),
            Value::OptBytes(first.content),
            headers.as_str().into(),
            first.status.as_str().into(),
            first.attempts.into(),
            first.next_ms.into(),
            Value::OptText(first.cause),
            now_ms.into(),
            now_ms.into(),
        ];
        Ok(D::insert_once(transaction, &self.0.insert, &values).await?)
    }

    /// The row of a message's key, locked until the transaction ends where rows can be.
    pub(super) async fn known(&self, transaction: &mut Transaction<'_, D>, message: &Incoming) -> Result<Known, Error> {
        let table = self.0.table.name();
        let values = [self.0.group.as_str().into(), message.business_key.as_str().into()];
        let Some(mut row) = D::fetch(transaction, &self.0.known, &values).await?.into_iter().next() else {
            return Err(Error::Refused { table, row: 0, reason: "it was removed at this moment; try again" });
        };
        let id = row.int("id").unwrap_or(0);
        let mut read = || {
            Ok(Known {
                row: id,
                status: row.parsed("status", Status::read)?,
                attempts: row.count("attempts")?,
                digest: row.int("digest")?,
            })
        };
        match read() {
            Ok(known) if self.0.trusts_keys || known.digest == digest(message) => Ok(known),
            Ok(known) => Err(Error::Collision { table, row: known.row, key: message.business_key.clone() }),
            Err(unreadable) => {
                let unreadable: Unreadable = unreadable;
                Err(Error::Row { table, row: id, reason: unreadable.to_string() })
            }
        }
    }
}

/// What came of taking a message.
pub(super) enum Entered<'t, D: Dialect> {
    Mine(Attempt<'t, D>),
    Before,
    GivenUp,
}

/// A message that is ours, in a savepoint: dropping it undoes all.
pub(super) struct Attempt<'t, D: Dialect> {
    pub(super) inner: Transaction<'t, D>,
    failed_before: Option<i64>,
}

/// Tells a copy from another message (FNV-1a): chance is the enemy here, nobody else gains by it.
fn digest(message: &Incoming) -> i64 {
    let bytes = message.topic.bytes().chain([0]).chain(message.content.iter().copied());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash.cast_signed()
}
