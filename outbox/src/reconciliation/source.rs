//! Where records come from, and where differences go.

use std::{error::Error as StdError, fmt, future::Future, io};

use super::{Difference, Period, Record};
use crate::error::Error;

/// Why a comparison ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// A source failed.
    #[error("source {name:?}: {cause}")]
    Source {
        /// Which.
        name: String,
        /// Why.
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// A source is not in the order of its keys.
    #[error(
        "source {name:?} is not sorted: {key:?}, its record {position}, comes after {previous:?} (keys are ordered byte by byte)"
    )]
    Unsorted {
        /// Which.
        name: String,
        /// The key that should have come before.
        key: String,
        /// The key before it.
        previous: String,
        /// Where it is in the source, from 1.
        position: u64,
    },
    /// The outbox of repair messages failed.
    #[error(transparent)]
    Outbox(#[from] Error),
    /// The report cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One side of a comparison.
pub trait Source: Send {
    /// Its name, for the report.
    fn name(&self) -> &str;

    /// The next records, in the order of their keys, some hundreds or thousands of them; none at the end.
    fn page(&mut self) -> impl Future<Output = Result<Vec<Record>, Trouble>> + Send;
}

/// Takes each difference when it is found.
pub trait Sink: Send {
    /// A difference of the comparison `name` for a period.
    fn take(
        &mut self,
        name: &str,
        period: &Period,
        difference: &Difference,
    ) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// There are no more.
    fn end(&mut self) -> impl Future<Output = Result<(), Trouble>> + Send {
        std::future::ready(Ok(()))
    }
}

impl Sink for () {
    async fn take(&mut self, _: &str, _: &Period, _: &Difference) -> Result<(), Trouble> {
        Ok(())
    }
}

/// Records of a query that is asked page by page: `WHERE id > ? ORDER BY id LIMIT ?`, with an index on that.
///
/// ```no_run
/// # use sqlx::SqlitePool;
/// use tenonmq_outbox::reconciliation::{Pages, Record};
/// # fn example(pool: SqlitePool) {
/// let orders = Pages::new("orders", move |after: Option<String>, limit: u32| {
///     let pool = pool.clone();
///     async move {
///         let page = sqlx::query_as("SELECT id, amount FROM orders WHERE id > ? ORDER BY id LIMIT ?");
///         let rows: Vec<(String, i64)> = page.bind(after.unwrap_or_default()).bind(limit).fetch_all(&pool).await?;
///         let page: Vec<Record> = rows.into_iter().map(|(id, amount)| Record::new(id).amount(amount)).collect();
///         Ok::<_, sqlx::Error>(page)
///     }
/// });
/// # }
/// ```
///
/// The database must order as we do, byte by byte: on PostgreSQL `COLLATE "C"`, on MySQL a `_bin` collation, and numbers
/// as texts of one length.
pub struct Pages<F> {
    name: String,
    ask: F,
    after: Option<String>,
    limit: u32,
    is_at_end: bool,
}

impl<F> Pages<F> {
    /// `ask` is given the last key of the page before (none at first) and how many records to return.
    pub fn new(name: impl Into<String>, ask: F) -> Self {
        Self { name: name.into(), ask, after: None, limit: 1_000, is_at_end: false }
    }

    /// Records of one page. Default 1,000.
    #[must_use]
    pub fn limit(mut self, records: u32) -> Self {
        self.limit = records.max(1);
        self
    }
}

impl<F> fmt::Debug for Pages<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("name", &self.name).field("after", &self.after).finish_non_exhaustive()
    }
}

impl<F, A> Source for Pages<F>
where
    F: FnMut(Option<String>, u32) -> A + Send,
    A: Future<Output = Result<Vec<Record>, Box<dyn StdError + Send + Sync>>> + Send,
{
    fn name(&self) -> &str {
        &self.name
    }

    async fn page(&mut self) -> Result<Vec<Record>, Trouble> {
        if self.is_at_end {
            return Ok(Vec::new());
        }
        let asked = (self.ask)(self.after.clone(), self.limit).await;
        let page = asked.map_err(|cause| Trouble::Source { name: self.name.clone(), cause })?;
        self.is_at_end = page.len() < self.limit as usize;
        if let Some(last) = page.last() {
            self.after = Some(last.key.clone());
        }
        Ok(page)
    }
}
