//! What a deadline does.

use std::{fmt::Display, future::Future};

use sqlx::Transaction;

use super::Deadline;
use crate::database::Dialect;

/// What happens to a thing whose deadline has come. Both steps are in one transaction, with the deadline's own row; if
/// one fails, both are undone and tried again.
pub trait Expiry<D: Dialect>: Send + Sync + 'static {
    /// Why it cannot be done now. Its text is kept.
    type Error: Display + Send;

    /// Takes the thing from open to closed, and returns how many rows that changed; 0 says that it was settled before. The
    /// change itself must ask for the open state, in one statement:
    ///
    /// ```sql
    /// UPDATE orders SET state = 'cancelled' WHERE id = ? AND state = 'unpaid'
    /// ```
    ///
    /// and whoever settles the thing does the same (`SET state = 'paid' … AND state = 'unpaid'`, then looks whether a row was
    /// changed). Then the two cannot both succeed, at whatever moment they meet: the second waits for the first's row lock
    /// (SQLite: for its turn to write) and finds the state that the first left. A `SELECT` before the `UPDATE` would see the
    /// state from before.
    fn close(
        &self,
        transaction: &mut Transaction<'_, D>,
        deadline: &Deadline,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send;

    /// Writes what follows from it, such as stock that is free again. Called only when [`close`](Self::close) changed something.
    fn expire(
        &self,
        transaction: &mut Transaction<'_, D>,
        deadline: &Deadline,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
