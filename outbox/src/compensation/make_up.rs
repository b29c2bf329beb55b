//! Making the counterpart: replenishment.

use super::{BoxError, Missing, Repair, Repaired};
use crate::{
    database::Dialect,
    inbox::{Effects, Inbox, Received},
};

/// Writes the missing record, once for each business key, in a transaction of its own: in the database of an [`Inbox`] whose
/// row it shares.
///
/// With the inbox of the consumer that should have done it, the original message, should it come after all, is recognised as
/// done before, provided that the repair knows its content ([`Unacknowledged`](super::Unacknowledged) does, and queries can
/// [tell it](super::Item::message)). An inbox whose group is the compensation's own keeps repairs apart from each other only.
#[derive(Debug)]
pub struct MakeUp<D: Dialect, E> {
    inbox: Inbox<D>,
    effects: E,
}

impl<D: Dialect, E: Effects<D>> MakeUp<D, E> {
    /// `effects` write the record.
    pub fn through(inbox: &Inbox<D>, effects: E) -> Self {
        Self { inbox: inbox.clone(), effects }
    }
}

impl<D: Dialect, E: Effects<D>> Repair for MakeUp<D, E> {
    fn name(&self) -> &str {
        "make_up"
    }

    async fn repair(&self, missing: &Missing) -> Result<Repaired, BoxError> {
        match self.inbox.try_once(&missing.message, &self.effects).await? {
            Ok(Received::Now) => Ok(Repaired::Begun("the record is made up".to_owned())),
            Ok(Received::GivenUp) => Err(format!("group {:?} has given the message up", self.inbox.group()).into()),
            Ok(_) => Ok(Repaired::Begun("the record was made before".to_owned())),
            Err(cause) => Err(cause.into()),
        }
    }
}
