//! What the application contributes to a transaction.

use std::future::{Future, ready};

use super::{Check, CheckError};
use crate::message::Message;

/// What became of a local transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LocalState {
    /// It is done: publish the message.
    Commit,
    /// It did not happen and never will: drop the message.
    Rollback,
    /// Not known (yet): leave the message hidden and ask again.
    Unknown,
}

/// Answers the broker's checks. Any `Fn(Check) -> impl Future` is one whose future gives a [`LocalState`] or a
/// `Result<LocalState, E>`.
///
/// The method is a future; an implementation simply writes `async fn`.
pub trait CheckListener: Send + Sync + 'static {
    /// Looks the outcome up. May run long after the half message was sent, and in another process: answer from durable
    /// state, never from memory.
    ///
    /// An error, a panic, and an answer that takes longer than the producer's
    /// [limit](crate::TransactionProducerBuilder::check_timeout) mean [`LocalState::Unknown`]: the broker asks again. So
    /// a `?` behind every query is right. [`LocalState::Rollback`] is right only if the local transaction can no longer
    /// commit, not if it has not committed yet: compare [`Check::age`] with the longest that yours take.
    fn check_local_transaction(&self, check: Check) -> impl Future<Output = Result<LocalState, CheckError>> + Send;
}

/// The application's half of a transactional send, for those who keep local transaction and check together.
///
/// Those who do not, hand the local transaction to each send
/// ([`TransactionProducer::send_with`](crate::TransactionProducer::send_with)).
pub trait TransactionListener: CheckListener {
    /// What one send hands to its local transaction.
    type Input: Send;

    /// Runs the local transaction. Called once, after the half message is stored. A future that is dropped before it
    /// is done (the caller was cancelled) leaves the outcome to the check.
    fn execute_local_transaction(
        &self,
        message: &Message,
        input: Self::Input,
    ) -> impl Future<Output = LocalState> + Send;
}

/// The listener of a producer that has none: it decides its messages by hand, and answers every check with
/// [`LocalState::Unknown`], so that another producer of the group is asked later.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoListener;

impl CheckListener for NoListener {
    fn check_local_transaction(&self, _: Check) -> impl Future<Output = Result<LocalState, CheckError>> + Send {
        ready(Ok(LocalState::Unknown))
    }
}

/// What local transactions and checks that are closures may return.
pub trait IntoAnswer {
    /// The state, or why it could not be found out.
    ///
    /// # Errors
    /// The application's own.
    fn into_answer(self) -> Result<LocalState, CheckError>;
}

impl IntoAnswer for LocalState {
    fn into_answer(self) -> Result<LocalState, CheckError> {
        Ok(self)
    }
}

impl<E: Into<CheckError>> IntoAnswer for Result<LocalState, E> {
    fn into_answer(self) -> Result<LocalState, CheckError> {
        self.map_err(Into::into)
    }
}

impl<F, Fut> CheckListener for F
where
    F: Fn(Check) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoAnswer> + Send,
{
    async fn check_local_transaction(&self, check: Check) -> Result<LocalState, CheckError> {
        self(check).await.into_answer()
    }
}
