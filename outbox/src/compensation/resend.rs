//! Sending the message again.

use super::{BoxError, Missing, Repair, Repaired};
use crate::{
    database::{Dialect, Value, begin},
    error::Error,
    fault::Point,
    message::{headers_from_text, headers_to_text},
    outbox::Outbox,
    transactional::HALF_HEADER,
    work::Status,
};

/// Has the outbox send the message again, under the same business id: who has handled it already recognises it.
#[derive(Debug)]
pub struct Resend<D: Dialect> {
    outbox: Outbox<D>,
    given_up_too: bool,
}

impl<D: Dialect> Resend<D> {
    /// Sends messages of that outbox, whose relay must run somewhere.
    pub fn from(outbox: &Outbox<D>) -> Self {
        Self { outbox: outbox.clone(), given_up_too: false }
    }

    /// Sends also those that the relay or people have given up.
    #[must_use]
    pub fn given_up_too(mut self) -> Self {
        self.given_up_too = true;
        self
    }
}

impl<D: Dialect> Repair for Resend<D> {
    fn name(&self) -> &str {
        "resend"
    }

    async fn repair(&self, missing: &Missing) -> Result<Repaired, BoxError> {
        let (topic, id) = (missing.message.topic(), missing.key());
        let mut transaction = begin(&self.outbox.0.pool).await.map_err(Error::from)?;
        let status = self.outbox.resend(&mut transaction, topic, id, self.given_up_too).await?;
        self.outbox.0.faults.pass(Point::ResendWritten)?;
        transaction.commit().await?;
        self.outbox.wake();
        match status {
            Some(Status::Pending) => Ok(Repaired::NotYet("it is still to be sent".to_owned())),
            Some(Status::Exhausted | Status::Dropped) if !self.given_up_too => {
                Ok(Repaired::NotYet("it was given up before it was sent".to_owned()))
            }
            Some(_) => Ok(Repaired::Begun("it is sent again".to_owned())),
            None => Err(format!("{} has no row of it for topic {topic:?}", self.outbox.0.table.name()).into()),
        }
    }
}

impl<D: Dialect> Outbox<D> {
    /// Has a message sent again that was sent, or given up when that is asked for. Returns what it was; `None` when it is
    /// not there.
    pub(crate) async fn resend(
        &self,
        connection: &mut D::Connection,
        topic: &str,
        business_id: &str,
        given_up_too: bool,
    ) -> Result<Option<Status>, Error> {
        let table = &self.0.table;
        let find = table.sql("SELECT id, status, headers FROM {table} WHERE topic = ? AND business_id = ?{for update}");
        let found = D::fetch(connection, &find, &[topic.into(), business_id.into()]).await?.into_iter().next();
        let Some(mut row) = found else { return Ok(None) };
        let id = row.int("id").unwrap_or(0);
        let unreadable = |reason| table.unreadable(id, &reason);
        let status = row.parsed("status", Status::read).map_err(unreadable)?;
        let mut headers = row.parsed("headers", headers_from_text).map_err(unreadable)?;
        match status {
            Status::Pending => return Ok(Some(status)),
            // its half message is visible and cannot be so twice: an ordinary message goes out
            Status::Done => headers.remove(HALF_HEADER),
            Status::Exhausted | Status::Dropped if given_up_too => None,
            Status::Exhausted | Status::Dropped => return Ok(Some(status)),
        };
        let again = table.sql(
            "UPDATE {table} SET status = 'pending', attempts = 0, next_attempt_at = ?, claimed_by = NULL, headers = ?, \
             updated_at = ? WHERE id = ?",
        );
        let (now_ms, headers) = (self.0.clock.now_ms(), headers_to_text(&headers));
        let values: [Value<'_>; 4] = [now_ms.into(), headers.as_str().into(), now_ms.into(), id.into()];
        D::execute(connection, &again, &values).await?;
        Ok(Some(status))
    }
}
