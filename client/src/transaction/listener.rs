//! What the application contributes to a transaction.

use std::future::{Future, ready};

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

/// The application's half of a transactional send.
///
/// The methods are futures; an implementation simply writes `async fn`.
pub trait TransactionListener: Send + Sync + 'static {
    /// What one send hands to its local transaction.
    type Input: Send;

    /// Runs the local transaction. Called once, after the half message is stored. A future that is dropped before it
    /// is done (the caller was cancelled) leaves the outcome to the check.
    fn execute_local_transaction(
        &self,
        message: &Message,
        input: Self::Input,
    ) -> impl Future<Output = LocalState> + Send;

    /// Looks the outcome up again. May run long after, in another process:
    /// answer from durable state, never from memory.
    fn check_local_transaction(&self, message: &Message) -> impl Future<Output = LocalState> + Send;
}

/// The listener of a producer that has none: it prepares messages and decides them by hand, and answers every check
/// with [`LocalState::Unknown`], so that another producer of the group is asked later.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoListener;

impl TransactionListener for NoListener {
    type Input = ();

    fn execute_local_transaction(&self, _: &Message, (): ()) -> impl Future<Output = LocalState> + Send {
        ready(LocalState::Unknown)
    }

    fn check_local_transaction(&self, _: &Message) -> impl Future<Output = LocalState> + Send {
        ready(LocalState::Unknown)
    }
}

/// A listener made of a check alone, for producers that decide with
/// [`Prepared`](crate::Prepared) and only need somebody to answer checks.
#[derive(Debug, Clone, Copy)]
pub struct CheckWith<F>(pub(crate) F);

impl<F, Fut> TransactionListener for CheckWith<F>
where
    F: Fn(Message) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = LocalState> + Send,
{
    type Input = ();

    fn execute_local_transaction(&self, _: &Message, (): ()) -> impl Future<Output = LocalState> + Send {
        ready(LocalState::Unknown)
    }

    fn check_local_transaction(&self, message: &Message) -> impl Future<Output = LocalState> + Send {
        (self.0)(message.clone())
    }
}
