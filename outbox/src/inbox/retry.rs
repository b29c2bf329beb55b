//! Trying again what failed, by the schedule.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::warn;

use super::{Effects, Inbox, Received};
use crate::{
    clock::millis,
    database::{Dialect, Row, Unreadable, Value, begin},
    error::Error,
    fault::Point,
    message::{Incoming, headers_from_text},
    running::Running,
    wake::AFTER_TROUBLE,
    work::{Claim, Failure, WrongClock},
};

/// What a lease is longer than the effects may take.
const SPARE: Duration = Duration::from_secs(10);

/// Handles again what failed. Any number may run, in any number of processes.
pub struct Retrier<D: Dialect, E> {
    inbox: Inbox<D>,
    effects: Arc<E>,
    at_once: usize,
    period: Duration,
    /// Under which it claims.
    owner: String,
    wrong_clock: WrongClock,
}

impl<D: Dialect, E: Effects<D>> Retrier<D, E> {
    pub(super) fn new(inbox: Inbox<D>, effects: E) -> Self {
        let owner = format!("{:016x}", rand::random::<u64>());
        Self {
            inbox,
            effects: Arc::new(effects),
            at_once: 4,
            period: Duration::from_millis(500),
            owner,
            wrong_clock: WrongClock::default(),
        }
    }

    /// Messages that are handled side by side; a slow one holds the others up only when all are slow. Default 4.
    #[must_use]
    pub fn at_once(mut self, messages: usize) -> Self {
        self.at_once = messages.max(1);
        self
    }

    /// How often the table is looked at when nothing calls. Default 500 ms.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period.max(Duration::from_millis(1));
        self
    }

    /// Handles what is due now, one message after the other, and returns how many were handled successfully. For tests and
    /// for jobs; a service starts the retrier.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn pass(&self) -> Result<usize, Error> {
        let mut done = 0;
        while let Some(received) = self.one().await? {
            done += usize::from(received == Received::Now);
        }
        Ok(done)
    }

    /// Starts handling, in tasks of its own.
    pub fn start(self) -> RunningRetrier {
        let (mut running, stopped) = Running::new();
        let this = Arc::new(self);
        for _ in 0..this.at_once {
            running.spawn(Arc::clone(&this).run(stopped.clone()));
        }
        RunningRetrier(running)
    }

    async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let shared = &self.inbox.0;
        while !*stopped.borrow() {
            let next_ms = match self.one().await {
                Ok(Some(_)) => continue,
                Ok(None) => self.next_look().await,
                Err(error) => {
                    warn!(%error, group = shared.group, "a failed message cannot be tried again; once more in a while");
                    shared.clock.now_ms().saturating_add(millis(AFTER_TROUBLE))
                }
            };
            tokio::select! {
                () = shared.clock.wait_until(next_ms) => {}
                () = shared.wake.called() => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Handles the message that is due longest, if one is.
    async fn one(&self) -> Result<Option<Received>, Error> {
        let Some(row) = self.claim().await? else { return Ok(None) };
        self.inbox.0.faults.pass(Point::RetryClaimed)?;
        let message = match self.load(row).await? {
            Some(Ok(message)) => message,
            Some(Err(reason)) => return self.refuse(row, &reason).await.map(Some),
            None => return Ok(Some(Received::Before)),
        };
        match self.inbox.receive(&message, &*self.effects).await {
            Ok(received) => Ok(Some(received)),
            Err(error @ (Error::Collision { .. } | Error::Message { .. } | Error::Row { .. })) => {
                self.refuse(row, &error.to_string()).await.map(Some)
            }
            Err(error) => Err(error),
        }
    }

    async fn claim(&self) -> Result<Option<i64>, Error> {
        let shared = &*self.inbox.0;
        let now_ms = shared.clock.now_ms();
        let group = [Value::from(shared.group.as_str())];
        // most looks find nothing: they take no lock
        let next_ms = shared.table.next_due_ms(&mut *shared.pool.acquire().await?, &group).await?;
        if next_ms.is_none_or(|next_ms| next_ms > now_ms) {
            return Ok(None);
        }
        let mut transaction = begin(&shared.pool).await?;
        let due = shared.table.due(&mut transaction, &group, now_ms, 1).await?;
        let Some(row) = due.into_iter().next().and_then(|mut row| row.int("id").ok()) else {
            transaction.rollback().await?;
            return Ok(None);
        };
        let until_ms = now_ms.saturating_add(millis(shared.time_limit + SPARE));
        shared.table.lease(&mut transaction, &[row], Claim { owner: &self.owner, now_ms, until_ms }).await?;
        transaction.commit().await?;
        Ok(Some(row))
    }

    /// The message of a row; `None` when it was handled meanwhile, and an error that says what cannot be read.
    async fn load(&self, row: i64) -> Result<Option<Result<Incoming, String>>, Error> {
        let shared = &*self.inbox.0;
        let sql = shared
            .table
            .sql("SELECT topic, business_key, tag, headers, content FROM {table} WHERE id = ? AND status = 'pending'");
        let rows = D::fetch(&mut *shared.pool.acquire().await?, &sql, &[row.into()]).await?;
        Ok(rows.into_iter().next().map(|row| read(row).map_err(|unreadable| unreadable.to_string())))
    }

    /// Sets a row aside that cannot be tried.
    async fn refuse(&self, row: i64, reason: &str) -> Result<Received, Error> {
        let shared = &*self.inbox.0;
        let now_ms = shared.clock.now_ms();
        let mut transaction = begin(&shared.pool).await?;
        let found = shared.table.sql("SELECT attempts FROM {table} WHERE id = ?");
        let found = D::fetch(&mut transaction, &found, &[row.into()]).await?.into_iter().next();
        let attempts = found.and_then(|mut row| row.count("attempts").ok()).unwrap_or(0).saturating_add(1);
        let failure = Failure { row, attempts, cause: reason, now_ms, next_ms: None };
        let is_written = shared.table.fail(&mut transaction, &self.owner, failure).await?;
        transaction.commit().await?;
        if is_written {
            self.inbox.alert(row).await;
        }
        Ok(Received::GivenUp)
    }

    async fn next_look(&self) -> i64 {
        let shared = &*self.inbox.0;
        let now_ms = shared.clock.now_ms();
        let due = async {
            let mut connection = shared.pool.acquire().await?;
            shared.table.next_due_ms(&mut connection, &[shared.group.as_str().into()]).await
        };
        self.amend_clock(now_ms).await;
        let due_ms = due.await.ok().flatten().unwrap_or(i64::MAX);
        due_ms.clamp(now_ms.saturating_add(1), now_ms.saturating_add(millis(self.period)))
    }

    async fn amend_clock(&self, now_ms: i64) {
        let shared = &*self.inbox.0;
        let longest = shared.schedule.horizon().map(|horizon| horizon.max(shared.time_limit + SPARE));
        let amend = async |horizon_ms| {
            let mut connection = shared.pool.acquire().await?;
            shared.table.amend_clock(&mut connection, &[shared.group.as_str().into()], now_ms, horizon_ms).await
        };
        if self.wrong_clock.look(now_ms, longest, amend).await > 0 {
            shared.wake.now();
        }
    }
}

fn read(mut row: Row) -> Result<Incoming, Unreadable> {
    Ok(Incoming {
        topic: row.text("topic")?,
        business_key: row.text("business_key")?,
        tag: row.opt_text("tag")?,
        headers: row.parsed("headers", headers_from_text)?,
        content: row.bytes("content")?,
    })
}

/// A retrier at work. Dropping it ends it as a crash would; what it had claimed is tried when the leases have ended.
#[derive(Debug)]
pub struct RunningRetrier(Running);

impl RunningRetrier {
    /// Lets what is being handled end, and ends.
    pub async fn shutdown(self) {
        self.0.shutdown().await;
    }
}
