//! What the initiator does when a global transaction has ended.

use std::{
    fmt::{self, Display},
    future::Future,
    pin::Pin,
};

use bytes::Bytes;
use sqlx::Transaction;

use super::progress::{Kind, Phase};
use crate::database::Dialect;

/// How a global transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// Its global id.
    pub global: String,
    /// What kind it is.
    pub kind: Kind,
    /// [`Phase::Confirmed`] or [`Phase::Cancelled`].
    pub phase: Phase,
    /// Why it is cancelled.
    pub reason: Option<String>,
    /// The content of its plan.
    pub content: Bytes,
}

/// What is to be written when a global transaction has ended: the order is bought, or has failed. A branch of the initiator's
/// own is not the place for it, because a branch that never tried is not cancelled either.
pub trait Ending<D: Dialect>: Send + Sync + 'static {
    /// Why it cannot be written now. Its text is kept.
    type Error: Display + Send;

    /// Writes it within `transaction`, and nowhere else: the one that writes the end, so it takes effect once. When it fails, the end
    /// is not written: the answer that brought it is heard again on the schedule of the coordinator's inbox.
    fn ended(
        &self,
        transaction: &mut Transaction<'_, D>,
        ended: &Ended,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

type Written<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// The same, so that coordinators need not be generic over it.
pub(super) trait AnyEnding<D: Dialect>: Send + Sync {
    fn write<'a>(&'a self, transaction: &'a mut Transaction<'_, D>, ended: &'a Ended) -> Written<'a>;
}

impl<D: Dialect, E: Ending<D>> AnyEnding<D> for E {
    fn write<'a>(&'a self, transaction: &'a mut Transaction<'_, D>, ended: &'a Ended) -> Written<'a> {
        Box::pin(async move { self.ended(transaction, ended).await.map_err(|error| error.to_string()) })
    }
}

impl<D: Dialect> fmt::Debug for dyn AnyEnding<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ending")
    }
}
