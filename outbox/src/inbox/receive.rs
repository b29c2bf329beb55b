//! Handling a message once, in a transaction of the inbox's own, and recording what fails.

use tokio::time::timeout;

use super::{
    Effects, Inbox, Recorded,
    handle::{Attempt, Entered},
};
use crate::{
    database::{Dialect, begin},
    error::Error,
    fault::Point,
    message::Incoming,
};

/// What became of a message. Whatever it is, the broker need not send it again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// The effects are committed.
    Now,
    /// They were committed before: nothing was run.
    Before,
    /// Its last try failed, or it was given up; nothing was run. Operators [decide](Inbox::rerun).
    GivenUp,
    /// They failed. The failure is recorded with the message, and the [retrier](Inbox::retrier) tries again.
    Failed(Recorded),
}

impl<D: Dialect> Inbox<D> {
    /// Handles a message in a transaction of its own and commits it; records a failure in another one.
    ///
    /// # Errors
    /// [`Error::Collision`] and [`Error::Message`] for messages that cannot be recorded, and never will;
    /// [`Error::Database`] when it is not known what became of it: let the broker send it again.
    pub async fn receive<E: Effects<D>>(&self, message: &Incoming, effects: &E) -> Result<Received, Error> {
        let cause = match self.try_once(message, effects).await? {
            Ok(received) => return Ok(received),
            Err(cause) => cause,
        };
        self.0.faults.pass(Point::HandlingFailed)?;
        let recorded = self.record(message, &cause).await?;
        self.0.faults.pass(Point::FailureKept)?;
        Ok(recorded.map_or(Received::Before, Received::Failed))
    }

    /// The inner error is why the effects failed.
    pub(crate) async fn try_once<E: Effects<D>>(
        &self,
        message: &Incoming,
        effects: &E,
    ) -> Result<Result<Received, String>, Error> {
        let mut transaction = begin(&self.0.pool).await?;
        let tried = match self.enter(&mut transaction, message).await? {
            Entered::Mine(attempt) => self.apply(attempt, message, effects).await?,
            Entered::Before => Ok(Received::Before),
            Entered::GivenUp => Ok(Received::GivenUp),
        };
        if tried == Ok(Received::Now) {
            transaction.commit().await?;
            self.0.faults.pass(Point::EffectsKept)?;
        } else if tried == Ok(Received::Before) && self.0.acknowledge.is_some() {
            transaction.commit().await?; // the receipt
        } else {
            // now, not some time after it is dropped, unless a statement still holds it up
            let _ = timeout(self.0.time_limit, transaction.rollback()).await;
        }
        Ok(tried)
    }

    async fn apply<E: Effects<D>>(
        &self,
        mut attempt: Attempt<'_, D>,
        message: &Incoming,
        effects: &E,
    ) -> Result<Result<Received, String>, Error> {
        let limit = self.0.time_limit;
        match timeout(limit, effects.apply(&mut attempt.inner, message)).await {
            Ok(Ok(())) => {
                self.keep(attempt, message).await?;
                Ok(Ok(Received::Now))
            }
            Ok(Err(error)) => {
                self.0.faults.survive()?;
                Ok(Err(error.to_string()))
            }
            Err(_) => Ok(Err(format!("the effects took longer than {limit:?}"))),
        }
    }
}
