//! Recording what failed.

use super::{Inbox, handle::First};
use crate::{
    clock::millis,
    database::{Dialect, Value, begin},
    error::Error,
    message::Incoming,
    work::{Status, shortened},
};

/// A failure that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// The message's row.
    pub row: i64,
    /// Failures so far, this one included.
    pub attempts: u32,
    /// When it is tried again, in ms since the Unix epoch; `None` when it will not be.
    pub next_ms: Option<i64>,
}

impl<D: Dialect> Inbox<D> {
    /// Records, in a transaction of its own, that handling a message failed and why; the message is kept for the
    /// [retrier](Self::retrier). `None` when it was handled meanwhile, or given up. Call it after the transaction in which
    /// [`handle`](Self::handle) failed has ended.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub async fn record(&self, message: &Incoming, cause: &str) -> Result<Option<Recorded>, Error> {
        message.check()?;
        let shared = &*self.0;
        let now_ms = shared.clock.now_ms();
        let next = |attempts, row| {
            let pause = shared.schedule.after(attempts, row);
            pause.map(|pause| now_ms.saturating_add(millis(pause)))
        };
        let cause = shortened(cause);
        let mut transaction = begin(&shared.pool).await?;
        // it is pending for a moment at most: what becomes of it is decided by its row's id below
        let first = First {
            status: Status::Pending,
            attempts: 0,
            next_ms: now_ms,
            cause: Some(cause),
            content: Some(&message.content),
        };
        let (row, failures) = match self.insert(&mut transaction, message, first).await? {
            Some(row) => (row, 0),
            None => {
                let known = self.known(&mut transaction, message).await?;
                if known.status != Status::Pending {
                    transaction.rollback().await?;
                    return Ok(None);
                }
                (known.row, known.attempts)
            }
        };
        let attempts = failures.saturating_add(1);
        let next_ms = next(attempts, row);
        let status = if next_ms.is_some() { Status::Pending } else { Status::Exhausted };
        let values: [Value<'_>; 7] = [
            status.as_str().into(),
            attempts.into(),
            next_ms.unwrap_or(now_ms).into(),
            cause.into(),
            Value::Bytes(&message.content),
            now_ms.into(),
            row.into(),
        ];
        D::execute(&mut transaction, &shared.record, &values).await?;
        transaction.commit().await?;
        shared.wake.now();
        shared.tally.failed(1);
        if next_ms.is_none() {
            shared.tally.exhausted(1);
            self.alert(row).await;
        }
        Ok(Some(Recorded { row, attempts, next_ms }))
    }

    /// Tells people of a row that will not be tried again.
    pub(super) async fn alert(&self, row: i64) {
        let found = async {
            let mut connection = self.0.pool.acquire().await?;
            self.0.table.find(&mut connection, "id = ?", &[row.into()]).await
        };
        match found.await {
            Ok(Some(tried)) => {
                let (topic, key) = (&tried.topic, &tried.business_key);
                tracing::error!(row, group = self.0.group, topic, key, cause = tried.last_error, "given up");
                if let Some(alert) = &self.0.on_exhausted {
                    alert(&tried);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(row, group = self.0.group, %error, "given up; its row cannot be shown"),
        }
    }
}
