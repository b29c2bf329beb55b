//! What is done about a gap.

use std::future::Future;

use super::BoxError;
use crate::message::Incoming;

/// A thing that lacks its counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// The message that should have made the counterpart, as far as it is known: its key always, topic and content where
    /// the query told them.
    pub message: Incoming,
    /// Which repair this is, from 1.
    pub attempt: u32,
    /// When it was found lacking; ms since the Unix epoch.
    pub found_ms: i64,
}

impl Missing {
    /// Its business key.
    pub fn key(&self) -> &str {
        self.message.business_key()
    }
}

/// What a repair did. The texts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repaired {
    /// The counterpart should be there soon, or is: the scan will see.
    Begun(String),
    /// Nothing could be done yet, and nothing went wrong: it does not count as a repair.
    NotYet(String),
    /// The gap is closed: no counterpart is to come.
    Settled(String),
}

/// Repairs a gap. Made at least once; so it must know by the business key what it did before.
pub trait Repair: Send + Sync + 'static {
    /// As it is in the table; at most 255 bytes.
    fn name(&self) -> &str;

    /// Repairs it. An error is kept, and the schedule decides when it is tried again.
    fn repair(&self, missing: &Missing) -> impl Future<Output = Result<Repaired, BoxError>> + Send;

    /// Does this for so many repairs, and `next` for those after them: sent again three times, say, and then the sender is told
    /// that it failed.
    fn then_after<R: Repair>(self, repairs: u32, next: R) -> Then<Self, R>
    where
        Self: Sized,
    {
        let name = format!("{}, {}", self.name(), next.name());
        Then { name, first: self, repairs, next }
    }
}

/// One repair, and after some of them another: [`Repair::then_after`].
#[derive(Debug)]
pub struct Then<A, B> {
    name: String,
    first: A,
    repairs: u32,
    next: B,
}

impl<A: Repair, B: Repair> Repair for Then<A, B> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn repair(&self, missing: &Missing) -> Result<Repaired, BoxError> {
        if missing.attempt <= self.repairs { self.first.repair(missing).await } else { self.next.repair(missing).await }
    }
}
