//! Writing a notification in the caller's transaction.

use sqlx::Transaction;

use super::{Notification, Notifier};
use crate::{
    database::{Dialect, Value},
    error::Error,
    fault::Point,
};

/// A notification that will be delivered if its transaction commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Noted {
    /// The row's id.
    pub row: i64,
    /// Whether this call wrote it. False when the same notification was written before: it is not delivered once more.
    pub is_new: bool,
}

impl<D: Dialect> Notifier<D> {
    /// Notifies if and only if `transaction` commits. Writing the same notification again changes nothing.
    ///
    /// # Errors
    /// [`Error::Message`] and [`Error::TooLarge`] before anything is written; [`Error::Collision`] when receiver, business
    /// type and business id belong to another content or URL; [`Error::Database`].
    pub async fn notify(
        &self,
        transaction: &mut Transaction<'_, D>,
        notification: &Notification,
    ) -> Result<Noted, Error> {
        let shared = &*self.0;
        let endpoint = notification.check(shared.largest, &shared.reach)?;
        let now_ms = shared.clock.now_ms();
        let values: [Value<'_>; 10] = [
            notification.receiver.as_str().into(),
            notification.business_type.as_str().into(),
            notification.business_id.as_str().into(),
            notification.url.as_str().into(),
            endpoint.target.as_str().into(),
            notification.content_type.as_str().into(),
            Value::Bytes(&notification.content),
            now_ms.into(),
            now_ms.into(),
            now_ms.into(),
        ];
        let Some(row) = D::insert_once(transaction, &shared.insert, &values).await? else {
            return self.noted_before(transaction, notification).await;
        };
        D::notify(transaction, &shared.channel).await?;
        shared.faults.pass(Point::NotificationWritten)?;
        shared.wake.soon();
        Ok(Noted { row, is_new: true })
    }

    async fn noted_before(
        &self,
        transaction: &mut Transaction<'_, D>,
        notification: &Notification,
    ) -> Result<Noted, Error> {
        let values = [
            notification.receiver.as_str().into(),
            notification.business_type.as_str().into(),
            notification.business_id.as_str().into(),
        ];
        let found = D::fetch(transaction, &self.0.known, &values).await?.into_iter().next();
        let table = self.0.table.name();
        let Some(mut found) = found else {
            // cleaned away between the two statements: the caller's next try will write it
            return Err(Error::Refused { table, row: 0, reason: "it was removed at this moment; try again" });
        };
        let row = found.int("id").unwrap_or(0);
        let is_same = found.text("url").is_ok_and(|url| url == notification.url)
            && found.text("content_type").is_ok_and(|content_type| content_type == notification.content_type)
            && found.bytes("content").is_ok_and(|content| content == notification.content);
        match is_same {
            true => Ok(Noted { row, is_new: false }),
            false => Err(Error::Collision { table, row, key: notification.business_id.clone() }),
        }
    }
}
