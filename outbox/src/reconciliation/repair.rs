//! Messages that have differences repaired.

use std::fmt;

use bytes::Bytes;

use super::{Difference, Kind, Period, Sink, Trouble};
use crate::{
    Outbox, Outgoing,
    database::{Dialect, begin},
    error::Error,
    fault::Point,
};

/// Messages of one transaction.
const CHUNK: usize = 100;
/// Keys that are kept of those that no message can be written for.
const MOST_REFUSED: usize = 100;

/// Publishes a repair message for differences, once for each key and period: its business id is
/// `reconciliation/NAME/PERIOD/KEY`, so a comparison that is run again, or broke off, repairs nothing twice, even when the
/// difference looks otherwise by then. Unsettled keys are left alone.
///
/// ```no_run
/// # use sqlx::Sqlite;
/// # use tenonmq_outbox::{Outbox, reconciliation::*};
/// # async fn example(outbox: Outbox<Sqlite>, ours: impl Source, theirs: impl Source) -> Result<(), Trouble> {
/// let mut repairs = Repairs::new(&outbox, "points_repair", |difference: &Difference| {
///     (difference.kind == Kind::Missing).then(|| difference.key.clone().into_bytes())
/// });
/// Reconciliation::new("points", Period::yesterday()).run(ours, theirs, &mut repairs).await?;
/// # Ok(()) }
/// ```
pub struct Repairs<D: Dialect, F> {
    outbox: Outbox<D>,
    topic: String,
    content: F,
    waiting: Vec<Outgoing>,
    /// Messages that this run wrote.
    pub written: u64,
    /// Keys that an earlier run wrote a message for.
    pub known: u64,
    /// Keys that no message can be written for, and why; the first 100.
    pub refused: Vec<(String, String)>,
}

impl<D: Dialect, F, B> Repairs<D, F>
where
    F: FnMut(&Difference) -> Option<B> + Send,
    B: Into<Bytes>,
{
    /// Repairs through `outbox` to `topic`, with the content that `content` makes; nothing is done without one.
    pub fn new(outbox: &Outbox<D>, topic: impl Into<String>, content: F) -> Self {
        let (outbox, topic) = (outbox.clone(), topic.into());
        Self { outbox, topic, content, waiting: Vec::new(), written: 0, known: 0, refused: Vec::new() }
    }

    async fn write(&mut self) -> Result<(), Trouble> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let shared = &self.outbox.0;
        let mut transaction = begin(&shared.pool).await.map_err(Error::from)?;
        let (mut written, mut known) = (0, 0);
        for message in &self.waiting {
            match self.outbox.publish(&mut transaction, message).await {
                Ok(published) if published.is_new => written += 1,
                // the key has its message of this period, whatever was said in it
                Ok(_) | Err(Error::Collision { .. }) => known += 1,
                Err(error @ (Error::Message { .. } | Error::TooLarge { .. })) => {
                    if self.refused.len() < MOST_REFUSED {
                        self.refused.push((message.business_id().to_owned(), error.to_string()));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        shared.faults.pass(Point::RepairsWritten)?;
        transaction.commit().await.map_err(Error::from)?;
        self.waiting.clear();
        self.outbox.wake();
        (self.written, self.known) = (self.written + written, self.known + known);
        shared.faults.pass(Point::RepairsKept)?;
        Ok(())
    }
}

impl<D: Dialect, F, B> Sink for Repairs<D, F>
where
    F: FnMut(&Difference) -> Option<B> + Send,
    B: Into<Bytes>,
{
    async fn take(&mut self, name: &str, period: &Period, difference: &Difference) -> Result<(), Trouble> {
        if difference.kind == Kind::Unsettled {
            return Ok(());
        }
        let Some(content) = (self.content)(difference) else { return Ok(()) };
        let id = format!("reconciliation/{name}/{}/{}", period.name(), difference.key);
        self.waiting.push(Outgoing::new(&self.topic, id, content));
        if self.waiting.len() >= CHUNK { self.write().await } else { Ok(()) }
    }

    async fn end(&mut self) -> Result<(), Trouble> {
        self.write().await
    }
}

impl<D: Dialect, F> fmt::Debug for Repairs<D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Repairs");
        shown
            .field("topic", &self.topic)
            .field("written", &self.written)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}
