//! What branches answer: the effects of the coordinator's inbox.

use sqlx::Transaction;
use tracing::debug;

use super::{command::Answer, coordinator::Coordinator};
use crate::{database::Dialect, error::Error, fault::Point, inbox::Effects, message::Incoming, work::Status};

impl<D: Dialect> Coordinator<D> {
    async fn hear(&self, transaction: &mut Transaction<'_, D>, message: &Incoming) -> Result<(), Error> {
        let answer = Answer::read(message)?;
        let shared = &*self.0;
        let Some(mut record) = shared.load(transaction, &shared.by_id, answer.global.as_str().into()).await? else {
            debug!(global = answer.global, "an answer to what is no longer there, or another coordinator's");
            return Ok(());
        };
        if matches!(record.status, Status::Done | Status::Dropped) {
            return Ok(()); // when it is run again by hand, it asks again
        }
        let (told, before) = (record.progress.orders(), record.progress.clone());
        record.progress.hear(&answer.branch, answer.action, &answer.vote);
        if record.progress != before {
            shared.go_on(transaction, &mut record, &told, false).await?;
            shared.outbox.0.faults.pass(Point::AnswerWritten)?;
            shared.wake.soon();
            if record.status == Status::Done {
                shared.tally.done(1);
            }
        }
        Ok(())
    }
}

impl<D: Dialect> Effects<D> for Coordinator<D> {
    type Error = Error;

    /// An answer that was heard before, or comes too late, changes nothing.
    async fn apply(&self, transaction: &mut Transaction<'_, D>, message: &Incoming) -> Result<(), Error> {
        let heard = self.hear(transaction, message).await;
        if let Err(error) = &heard {
            self.0.outbox.0.faults.note(error);
        }
        heard
    }
}
