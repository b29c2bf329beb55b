//! Writing down what follows from an answer, or from the time, with the commands that it takes.
//!
//! No lease is needed: nothing is sent here but rows are written to the outbox, in the transaction that holds the row's
//! lock. Two coordinators at once take different rows, or one after the other the same.

use sqlx::Transaction;

use super::{
    coordinator::{Coordinator, Shared},
    ending::Ended,
    progress::{Order, Phase, Progress},
    record::Record,
};
use crate::{
    clock::millis,
    database::{Dialect, begin},
    error::Error,
    fault::Point,
    work::Status,
};

impl<D: Dialect> Coordinator<D> {
    /// Does what is due now, one global transaction after the other, and returns for how many something was due. For tests and for
    /// jobs; a service [starts](Self::start) the coordinator.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn pass(&self) -> Result<usize, Error> {
        let mut done = 0;
        while self.one().await? {
            done += 1;
        }
        Ok(done)
    }

    /// The one that is due longest, if one is.
    pub(super) async fn one(&self) -> Result<bool, Error> {
        let shared = &*self.0;
        let now_ms = shared.outbox.0.clock.now_ms();
        // most looks find nothing: they take no lock
        if shared.next_due_ms().await?.is_none_or(|next_ms| next_ms > now_ms) {
            return Ok(false);
        }
        let mut transaction = begin(&shared.outbox.0.pool).await?;
        let due = shared.table.due(&mut transaction, &[], now_ms, 1).await?;
        let Some(row) = due.into_iter().next().and_then(|mut row| row.int("id").ok()) else {
            transaction.rollback().await?;
            return Ok(false);
        };
        match shared.time_is_up(&mut transaction, row).await {
            Ok(status) => {
                shared.outbox.0.faults.pass(Point::RoundWritten)?;
                transaction.commit().await?;
                shared.outbox.0.faults.pass(Point::RoundKept)?;
                shared.outbox.wake();
                shared.count(row, Status::Pending, status).await;
            }
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                transaction.rollback().await?;
                shared.set_aside(row, &error.to_string()).await?;
            }
        }
        Ok(true)
    }
}

impl<D: Dialect> Shared<D> {
    pub(super) async fn next_due_ms(&self) -> Result<Option<i64>, Error> {
        let mut connection = self.outbox.0.pool.acquire().await?;
        self.table.next_due_ms(&mut connection, &[]).await
    }

    async fn time_is_up(&self, transaction: &mut Transaction<'_, D>, row: i64) -> Result<Status, Error> {
        let Some(mut record) = self.load(transaction, &self.by_row, row.into()).await? else {
            return Ok(Status::Done); // removed at this moment
        };
        let told = record.progress.orders();
        self.go_on(transaction, &mut record, &told, true).await?;
        Ok(record.status)
    }

    /// Decides what can be decided, and sends what is to be sent: new orders, and those in `told` when they are due again.
    pub(super) async fn go_on(
        &self,
        transaction: &mut Transaction<'_, D>,
        record: &mut Record,
        told: &[Order],
        is_due: bool,
    ) -> Result<(), Error> {
        let now_ms = self.outbox.0.clock.now_ms();
        record.progress.advance(now_ms);
        let orders = record.progress.orders();
        let has_new = orders.iter().any(|order| !told.contains(order));
        if has_new || is_due || orders.is_empty() {
            record.last_error = None;
        }
        if has_new {
            (record.status, record.attempts) = (Status::Pending, 0);
        }
        match record.progress.phase {
            Phase::Confirmed | Phase::Cancelled => {
                (record.status, record.next_ms) = (Status::Done, now_ms);
                self.end(transaction, record).await?;
            }
            Phase::Trying if !has_new && !is_due => record.next_ms = record.progress.due_ms().unwrap_or(now_ms),
            _ if !has_new && !is_due => {} // some have answered; the others are waited for
            Phase::Trying => {
                record.rounds = record.rounds.saturating_add(1);
                self.send(transaction, record, &orders).await?;
                record.next_ms = record.progress.due_ms().unwrap_or(now_ms);
            }
            Phase::Confirming | Phase::Cancelling => self.insist(transaction, record, &orders, now_ms).await?,
        }
        self.save(transaction, record).await
    }

    /// Has the initiator write what belongs to the end.
    async fn end(&self, transaction: &mut Transaction<'_, D>, record: &Record) -> Result<(), Error> {
        let Some(ending) = &self.ending else { return Ok(()) };
        let Progress { kind, phase, reason, .. } = &record.progress;
        let global = record.global.clone();
        let ended =
            Ended { global, kind: *kind, phase: *phase, reason: reason.clone(), content: record.content.clone() };
        let written = ending.write(transaction, &ended).await;
        written.map_err(|reason| Error::Ending { global: ended.global, reason })
    }

    /// Tells branches once more what is decided, unless that was the last time.
    async fn insist(
        &self,
        transaction: &mut Transaction<'_, D>,
        record: &mut Record,
        orders: &[Order],
        now_ms: i64,
    ) -> Result<(), Error> {
        let pause = |rounds| self.schedule.after(rounds, record.row);
        if record.attempts > 0 && pause(record.attempts).is_none() {
            let names = orders.iter().filter_map(|(at, _)| record.progress.branches.get(*at));
            let names: Vec<&str> = names.map(|branch| branch.name.as_str()).collect();
            let action = orders.first().map_or("", |(_, action)| action.as_str());
            record.status = Status::Exhausted;
            record.last_error =
                Some(format!("no answer to {action} from {} after {} commands", names.join(", "), record.attempts));
            return Ok(());
        }
        record.attempts = record.attempts.saturating_add(1);
        record.rounds = record.rounds.saturating_add(1);
        // the last one is waited for as long as the one before
        let pause = pause(record.attempts).or_else(|| pause(record.attempts.saturating_sub(1))).unwrap_or_default();
        record.next_ms = now_ms.saturating_add(millis(pause).max(1));
        self.send(transaction, record, orders).await
    }

    /// Counts what has come of a row, and tells people of one that is exhausted now.
    pub(super) async fn count(&self, row: i64, before: Status, now: Status) {
        match now {
            Status::Done if before != now => self.tally.done(1),
            Status::Exhausted if before != now => self.alert(row).await,
            _ => {}
        }
    }

    /// One that nobody can drive on holds up no other.
    async fn set_aside(&self, row: i64, cause: &str) -> Result<(), Error> {
        let now_ms = self.outbox.0.clock.now_ms();
        let mut transaction = begin(&self.outbox.0.pool).await?;
        let values = [crate::work::shortened(cause).into(), now_ms.into(), row.into()];
        let changed = D::execute(&mut transaction, &self.set_aside, &values).await?;
        transaction.commit().await?;
        if changed > 0 {
            self.alert(row).await;
        }
        Ok(())
    }

    async fn alert(&self, row: i64) {
        self.tally.exhausted(1);
        let found = async {
            let mut connection = self.outbox.0.pool.acquire().await?;
            self.table.find(&mut connection, "id = ?", &[row.into()]).await
        };
        match found.await {
            Ok(Some(tried)) => {
                tracing::error!(row, global = tried.business_key, cause = tried.last_error, "given up");
                if let Some(alert) = &self.on_exhausted {
                    alert(&tried);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(row, %error, "given up; its row cannot be shown"),
        }
    }
}
