//! Writing a message in the caller's transaction.

use sqlx::Transaction;

use super::Outbox;
use crate::{
    database::{Dialect, Value},
    error::Error,
    fault::Point,
    message::{Outgoing, headers_to_text},
};

/// A message that will be sent if its transaction commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The row's id.
    pub row: i64,
    /// Whether this call wrote it. False when the same message was published before: it is not sent once more.
    pub is_new: bool,
}

impl<D: Dialect> Outbox<D> {
    /// Publishes a message if and only if `transaction` commits. Publishing the same message again changes nothing.
    ///
    /// # Errors
    /// [`Error::Message`] and [`Error::TooLarge`] before anything is written; [`Error::Collision`] when topic and business
    /// id belong to another content; [`Error::Database`].
    pub async fn publish(&self, transaction: &mut Transaction<'_, D>, message: &Outgoing) -> Result<Published, Error> {
        self.publish_from(transaction, message, self.0.clock.now_ms()).await
    }

    /// The same, where relays leave the message alone until `first_attempt_ms`: somebody else means to send it before.
    pub(crate) async fn publish_from(
        &self,
        transaction: &mut Transaction<'_, D>,
        message: &Outgoing,
        first_attempt_ms: i64,
    ) -> Result<Published, Error> {
        message.check(self.0.largest)?;
        let now_ms = self.0.clock.now_ms();
        let headers = headers_to_text(&message.headers);
        let values: [Value<'_>; 10] = [
            message.business_id.as_str().into(),
            message.topic.as_str().into(),
            Value::OptText(message.tag.as_deref()),
            Value::OptText(message.order_key.as_deref()),
            Value::Bytes(&message.content),
            headers.as_str().into(),
            Value::OptInt(message.deliver_at_ms),
            first_attempt_ms.into(),
            now_ms.into(),
            now_ms.into(),
        ];
        let Some(row) = D::insert_once(transaction, &self.0.insert, &values).await? else {
            return self.published_before(transaction, message).await;
        };
        if let Some(channel) = &self.0.channel {
            D::notify(transaction, channel).await?;
        }
        self.0.faults.pass(Point::PublishWritten)?;
        self.0.wake.soon();
        Ok(Published { row, is_new: true })
    }

    async fn published_before(
        &self,
        transaction: &mut Transaction<'_, D>,
        message: &Outgoing,
    ) -> Result<Published, Error> {
        let values = [message.topic.as_str().into(), message.business_id.as_str().into()];
        let found = D::fetch(transaction, &self.0.known, &values).await?.into_iter().next();
        let table = self.0.table.name();
        let Some(mut found) = found else {
            // cleaned away between the two statements: the caller's next try will write it
            return Err(Error::Refused { table, row: 0, reason: "it was removed at this moment; try again" });
        };
        let row = found.int("id").unwrap_or(0);
        match found.bytes("content") {
            Ok(content) if content == message.content => Ok(Published { row, is_new: false }),
            _ => Err(Error::Collision { table, row, key: message.business_id.clone() }),
        }
    }
}
