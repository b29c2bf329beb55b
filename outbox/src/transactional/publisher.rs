//! What the relay does with a row that has a half message.

use std::sync::Arc;

use tenonmq_client::{Error as ClientError, HalfPlace, ResponseCode};
use tracing::{debug, warn};

use super::{
    Halves,
    publish::half_of,
    table::{HalfTable, State, Step},
};
use crate::{
    database::Dialect,
    error::Error,
    fault::Point,
    message::Outgoing,
    outbox::Outbox,
    relay::{PublishError, Publisher},
};

/// Publishes by committing the half message, or by an ordinary message: by one of the two, never by both.
pub struct HalfPublisher<D: Dialect, H> {
    outbox: Outbox<D>,
    halves: Arc<H>,
    table: Arc<HalfTable<D>>,
}

impl<D: Dialect, H: Halves> HalfPublisher<D, H> {
    pub(super) fn new(outbox: Outbox<D>, halves: Arc<H>, table: Arc<HalfTable<D>>) -> Self {
        Self { outbox, halves, table }
    }

    /// The id of the message that became visible with its half message; `None` when it goes out as an ordinary one.
    async fn by_half(&self, id: &str) -> Result<Option<String>, PublishError> {
        loop {
            match self.table.state(id).await.map_err(passing)? {
                State::Absent | State::Relayed | State::Void => return Ok(None),
                State::Done(message_id) => return Ok(Some(message_id)),
                State::Held(place) => match self.halves.reach(&place).await {
                    Ok(()) => {
                        self.step(id, Step::Decide).await?;
                        self.pass(Point::HalfDeciding)?;
                    }
                    Err(error) => {
                        debug!(id, broker = place.broker, %error, "the relay takes over");
                        self.step(id, Step::TakeOver).await?;
                        self.pass(Point::HalfTakenOver)?;
                    }
                },
                State::Deciding(place) => {
                    if self.tell(id, &place).await? {
                        return Ok(Some(place.message_id));
                    }
                }
            }
        }
    }

    /// Says *commit*. False when the broker had it rolled back: it will never be visible by itself.
    async fn tell(&self, id: &str, place: &HalfPlace) -> Result<bool, PublishError> {
        match self.halves.commit(place).await {
            Ok(()) => {
                self.pass(Point::HalfCommitted)?;
                self.step(id, Step::Confirm).await?;
                Ok(true)
            }
            Err(error) if is_rolled_back(&error) => {
                warn!(id, broker = place.broker, %error, "the half message is gone: the relay sends the message");
                self.step(id, Step::Resign).await?;
                Ok(false)
            }
            Err(error) => Err(PublishError::passing(format!("its half message cannot be committed: {error}"))),
        }
    }

    /// Whoever is faster: the loop looks at what is there afterwards.
    async fn step(&self, id: &str, step: Step) -> Result<(), PublishError> {
        self.table.step(id, step, self.outbox.0.clock.now_ms()).await.map(|_| ()).map_err(passing)
    }

    fn pass(&self, point: Point) -> Result<(), PublishError> {
        self.outbox.0.faults.pass_within(point).map_err(passing)
    }
}

impl<D: Dialect, H: Halves> Publisher for HalfPublisher<D, H> {
    const KNOWS_HALF_MESSAGES: bool = true;

    async fn publish(&self, message: &Outgoing) -> Result<String, PublishError> {
        let visible = match half_of(message) {
            Some(id) => self.by_half(id).await?,
            None => None,
        };
        match visible {
            Some(message_id) => Ok(message_id),
            None => self.halves.ordinary().publish(message).await,
        }
    }
}

/// The broker's last word: people, or a check, decided otherwise before.
fn is_rolled_back(error: &ClientError) -> bool {
    error.code() == Some(ResponseCode::ILLEGAL_OPERATION)
}

fn passing(error: Error) -> PublishError {
    PublishError::passing(error.to_string())
}
