//! Letting a deadline pass.

use sqlx::Transaction;
use tokio::time::timeout;

use super::{
    Deadline, Deadlines, Expiry,
    claim::{Claimed, Found},
};
use crate::{
    clock::millis,
    database::{Dialect, Value, begin},
    error::Error,
    fault::Point,
    message::Incoming,
    work::Failure,
};

/// What became of a deadline that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Passed {
    /// The thing was open. It is closed now, and what follows from that is committed with it.
    Expired,
    /// The thing was settled before; nothing else was run.
    Settled,
    /// The deadline had passed before, was cancelled, or moved; nothing is changed.
    Over,
    /// It is due later by our clock: it is put back until then.
    Early,
    /// Somebody else has it in hand, or it waits for its next try.
    InHand,
    /// It was too far away for the broker when it was set; now its message is written.
    Announced,
    /// It failed. The failure is recorded, and the keeper tries again.
    Failed {
        /// Failures so far, this one included.
        attempts: u32,
        /// When it is tried again, in ms since the Unix epoch; `None` when it will not be.
        next_ms: Option<i64>,
    },
}

impl<D: Dialect> Deadlines<D> {
    /// Lets the deadline pass that a message tells of. Whatever comes of it, the broker need not send it again.
    ///
    /// # Errors
    /// [`Error::Message`] for a message that is none of ours, and [`Error::Row`] for a row that cannot be read;
    /// [`Error::Database`] when it is not known what became of it: let the broker send it again.
    pub async fn receive<E: Expiry<D>>(&self, message: &Incoming, expiry: &E) -> Result<Passed, Error> {
        let business_key = message.business_key();
        let read = |(key, due): (&str, &str)| Some((key.to_owned(), due.parse().ok()?));
        let Some((key, due_ms)) = business_key.rsplit_once('/').and_then(read) else {
            let reason = "its key is not made of a deadline's key, / and its time".to_owned();
            return Err(Error::Message { topic: message.topic.clone(), business_id: business_key.to_owned(), reason });
        };
        let owner = format!("{:016x}", rand::random::<u64>());
        match self.claim_key(&owner, &key, due_ms).await? {
            Found::Mine(claimed) => self.look(&owner, claimed, expiry).await,
            Found::Over => {
                self.0.tally.duplicate();
                Ok(Passed::Over)
            }
            Found::Early => Ok(Passed::Early),
            Found::InHand => Ok(Passed::InHand),
        }
    }

    /// Does with a leased row what is to be done now.
    pub(super) async fn look<E: Expiry<D>>(&self, owner: &str, claimed: Claimed, expiry: &E) -> Result<Passed, Error> {
        let Claimed { row, attempts, was_lost, announced_ms, deadline } = claimed;
        let deadline = match deadline {
            Ok(deadline) => deadline,
            Err(reason) => return self.fail(owner, row, attempts, &reason, true).await,
        };
        let (due_ms, now_ms) = (deadline.due_ms, self.now_ms());
        if due_ms <= now_ms {
            if was_lost && self.0.schedule.after(attempts, row).is_none() {
                let cause = "whoever tried it last never said what became of it";
                return self.fail(owner, row, attempts.saturating_sub(1), cause, true).await;
            }
            return self.fire(owner, row, attempts, &deadline, expiry).await;
        }
        let is_announced = announced_ms == Some(due_ms);
        if self.0.grace.is_some() && !is_announced && self.is_near(due_ms) {
            return self.announce(row, &deadline).await;
        }
        let at_ms = self.look_ms(due_ms, is_announced).min(due_ms).max(now_ms.saturating_add(1));
        let mut connection = self.0.outbox.0.pool.acquire().await?;
        self.0.table.release(&mut connection, &[row], owner, at_ms).await?;
        Ok(Passed::Early)
    }

    async fn fire<E: Expiry<D>>(
        &self,
        owner: &str,
        row: i64,
        attempts: u32,
        deadline: &Deadline,
        expiry: &E,
    ) -> Result<Passed, Error> {
        let cause = match self.try_once(row, deadline, expiry).await? {
            Ok(passed) => return Ok(passed),
            Err(cause) => cause,
        };
        self.0.outbox.0.faults.pass(Point::DeadlineFailed)?;
        self.fail(owner, row, attempts, &cause, false).await
    }

    /// The inner error is why the effects failed.
    async fn try_once<E: Expiry<D>>(
        &self,
        row: i64,
        deadline: &Deadline,
        expiry: &E,
    ) -> Result<Result<Passed, String>, Error> {
        let (shared, faults, limit) = (&*self.0, &self.0.outbox.0.faults, self.0.time_limit);
        let mut transaction = begin(&shared.outbox.0.pool).await?;
        let tried = match timeout(limit, self.effects(&mut transaction, deadline, expiry)).await {
            Ok(tried) => tried?,
            Err(_) => Err(format!("the effects took longer than {limit:?}")),
        };
        let (passed, outcome) = match tried {
            Ok(true) => (Passed::Expired, "expired"),
            Ok(false) => (Passed::Settled, "closed"),
            Err(cause) => {
                // now, not some time after it is dropped, unless a statement still holds it up
                let _ = timeout(limit, transaction.rollback()).await;
                return Ok(Err(cause));
            }
        };
        // the thing is locked first and its deadline second, as by those who settle and cancel
        let values: [Value<'_>; 4] = [outcome.into(), self.now_ms().into(), row.into(), deadline.due_ms.into()];
        if D::execute(&mut transaction, &shared.pass, &values).await? == 0 {
            transaction.rollback().await?;
            return Ok(Ok(Passed::Over));
        }
        faults.pass(Point::DeadlinePassedWritten)?;
        transaction.commit().await?;
        shared.tally.done(1);
        faults.pass(Point::DeadlinePassed)?;
        Ok(Ok(passed))
    }

    /// Whether the thing was open.
    async fn effects<E: Expiry<D>>(
        &self,
        transaction: &mut Transaction<'_, D>,
        deadline: &Deadline,
        expiry: &E,
    ) -> Result<Result<bool, String>, Error> {
        let changed = match expiry.close(transaction, deadline).await {
            Ok(changed) => changed,
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.0.outbox.0.faults.pass(Point::DeadlineClosed)?;
        if changed == 0 {
            return Ok(Ok(false));
        }
        Ok(expiry.expire(transaction, deadline).await.map(|()| true).map_err(|error| error.to_string()))
    }

    /// Writes the message of a deadline that has come near.
    async fn announce(&self, row: i64, deadline: &Deadline) -> Result<Passed, Error> {
        let (shared, due_ms) = (&*self.0, deadline.due_ms);
        let mut transaction = begin(&shared.outbox.0.pool).await?;
        let mut next_ms = self.look_ms(due_ms, true);
        match shared.outbox.publish(&mut transaction, &self.message(deadline)).await {
            Ok(_) => {}
            Err(error @ (Error::Message { .. } | Error::TooLarge { .. } | Error::Collision { .. })) => {
                tracing::warn!(%error, row, "a deadline has no message: the keeper lets it pass");
                next_ms = due_ms;
            }
            Err(error) => return Err(error),
        }
        let values: [Value<'_>; 5] = [due_ms.into(), next_ms.into(), self.now_ms().into(), row.into(), due_ms.into()];
        if D::execute(&mut transaction, &shared.announce, &values).await? == 0 {
            transaction.rollback().await?;
            return Ok(Passed::Over);
        }
        shared.outbox.0.faults.pass(Point::DeadlineAnnounced)?;
        transaction.commit().await?;
        shared.outbox.wake();
        Ok(Passed::Announced)
    }

    /// Writes a failure down.
    async fn fail(&self, owner: &str, row: i64, failures: u32, cause: &str, is_final: bool) -> Result<Passed, Error> {
        let (shared, now_ms, attempts) = (&*self.0, self.now_ms(), failures.saturating_add(1));
        let pause = if is_final { None } else { shared.schedule.after(attempts, row) };
        let next_ms = pause.map(|pause| now_ms.saturating_add(millis(pause)));
        let mut connection = shared.outbox.0.pool.acquire().await?;
        let failure = Failure { row, attempts, cause, now_ms, next_ms };
        if !shared.table.fail(&mut connection, owner, failure).await? {
            return Ok(Passed::Over); // the lease was lost, or the deadline cancelled
        }
        drop(connection);
        shared.tally.failed(1);
        shared.wake.now();
        if next_ms.is_none() {
            shared.tally.exhausted(1);
            self.alert(row).await;
        }
        Ok(Passed::Failed { attempts, next_ms })
    }

    /// Tells people of a row that will not be tried again.
    async fn alert(&self, row: i64) {
        match self.row(row).await {
            Ok(Some(tried)) => {
                let (topic, key) = (&tried.topic, &tried.business_key);
                tracing::error!(row, topic, key, cause = tried.last_error, "a deadline is given up");
                if let Some(alert) = &self.0.on_exhausted {
                    alert(&tried);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(row, %error, "a deadline is given up; its row cannot be shown"),
        }
    }
}
