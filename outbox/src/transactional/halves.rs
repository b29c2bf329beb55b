//! The broker, as far as half messages go.

use std::future::Future;

use tenonmq_client::{Error, HalfPlace};

use crate::{message::Outgoing, relay::Publisher};

/// Stores half messages and commits them. [`Link`](super::Link) does; tests bring their own.
///
/// Its ordinary messages go out by its [`Publisher`] side.
pub trait Halves: Send + Sync + 'static {
    /// What sends ordinary messages.
    type Ordinary: Publisher;

    /// Stores the half message, under an id that its checks name. After an error it may be stored all the same.
    fn prepare(&self, id: &str, message: &Outgoing) -> impl Future<Output = Result<HalfPlace, Error>> + Send;

    /// Whether the broker at that place can be spoken to; tells it nothing.
    fn reach(&self, place: &HalfPlace) -> impl Future<Output = Result<(), Error>> + Send;

    /// Makes it visible. A repeat does nothing.
    fn commit(&self, place: &HalfPlace) -> impl Future<Output = Result<(), Error>> + Send;

    /// Who sends ordinary messages.
    fn ordinary(&self) -> &Self::Ordinary;
}
