//! What a message does.

use std::{fmt::Display, future::Future};

use sqlx::Transaction;

use crate::{database::Dialect, message::Incoming};

/// The effects of a message on the consumer's data.
pub trait Effects<D: Dialect>: Send + Sync + 'static {
    /// Why they cannot be had now. Its text is kept.
    type Error: Display + Send;

    /// Writes them within `transaction`, and nowhere else. Called again if they failed, or if a crash undid them.
    fn apply(
        &self,
        transaction: &mut Transaction<'_, D>,
        message: &Incoming,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
