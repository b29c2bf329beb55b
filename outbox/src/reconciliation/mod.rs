//! Comparing what two systems have, by business key, for a period: a report of what is missing, surplus or different.
//!
//! Each side is a [`Source`]: pages of [`Record`]s in the order of their keys. One pass over both, side by side, finds
//! everything, and holds one page of each in memory, however much there is. Keys out of order end it with an error
//! that names the key and its place, because what is compared after that would be wrong; a key that comes twice is reported.
//!
//! ```no_run
//! # use sqlx::Sqlite;
//! # use tenonmq_outbox::{Inbox, Outbox};
//! use tenonmq_outbox::reconciliation::{Period, Published, Received, Reconciliation};
//! # async fn example(outbox: Outbox<Sqlite>, inbox: Inbox<Sqlite>) -> Result<(), Box<dyn std::error::Error>> {
//! let period = Period::yesterday();
//! let sent = Published::of(&outbox, "paid", &period);
//! let handled = Received::of(&inbox, "paid", &period);
//! let report = Reconciliation::new("paid", period).run(sent, handled, &mut ()).await?;
//! println!("{report}");
//! std::process::exit(i32::from(!report.agrees())) // for cron
//! # }
//! ```
//!
//! # Periods
//!
//! What happened one second before midnight here is recorded one second after midnight there. So sources are read for
//! [`Period::window`], the period and a [grace](Period::grace) on both sides of it, and what is found counts for the period in
//! which its first side happened. What is younger than the grace when the report is made may still be under way: it is
//! `unsettled`, not missing.

mod cursor;
mod difference;
mod judge;
mod lines;
mod period;
mod record;
mod repair;
mod report;
mod source;
mod tables;
mod text;

use std::sync::Arc;

use self::{cursor::Cursor, judge::Judge};
pub use self::{
    difference::{Difference, Differing, Kind},
    lines::Lines,
    period::Period,
    record::Record,
    repair::Repairs,
    report::{Report, Side},
    source::{Pages, Sink, Source, Trouble},
    tables::{Published, Received},
};
use crate::clock::{Clock, SystemClock};

/// A comparison. Running it changes nothing, unless its sink does.
#[derive(Debug, Clone)]
pub struct Reconciliation {
    name: String,
    period: Period,
    clock: Arc<dyn Clock>,
    most: usize,
}

impl Reconciliation {
    /// A comparison under that name, which also names its repair messages.
    pub fn new(name: impl Into<String>, period: Period) -> Self {
        Self { name: name.into(), period, clock: Arc::new(SystemClock), most: 10_000 }
    }

    /// Tells the time. Default the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Differences that the report keeps; beyond that they are counted, and still given to the sink. Default 10,000.
    #[must_use]
    pub fn most(mut self, differences: usize) -> Self {
        self.most = differences;
        self
    }

    /// Compares. The first source is the one that should be right: what only it has is missing, what only the second has is
    /// surplus. `sink` is given each difference when it is found; `&mut ()` for none.
    ///
    /// # Errors
    /// [`Trouble`]: a source failed or is not sorted, or the sink failed. Sinks may be given the same again.
    pub async fn run(self, left: impl Source, right: impl Source, sink: &mut impl Sink) -> Result<Report, Trouble> {
        let (mut left, mut right) = (Cursor::new(left), Cursor::new(right));
        let report = Report::new(self.name, self.period, left.name(), right.name());
        let mut judge = Judge::new(report, self.clock.now_ms(), self.most, sink);
        left.advance().await?;
        right.advance().await?;
        loop {
            let is_left_first = match (left.key(), right.key()) {
                (None, None) => return judge.end().await,
                (Some(_), None) => Some(true),
                (None, Some(_)) => Some(false),
                (Some(one), Some(other)) if one == other => None,
                (Some(one), Some(other)) => Some(one < other),
            };
            let one = if is_left_first != Some(false) { left.take().await? } else { None };
            let other = if is_left_first != Some(true) { right.take().await? } else { None };
            judge.compare(one.as_ref(), other.as_ref()).await?;
            if let Some(one) = one {
                while let Some((record, position)) = left.take_copy(&one).await? {
                    judge.copy(true, record, position).await?;
                }
            }
            if let Some(other) = other {
                while let Some((record, position)) = right.take_copy(&other).await? {
                    judge.copy(false, record, position).await?;
                }
            }
        }
    }
}
