//! What others ask an inbox about messages, and keeping it from one.

use super::{Inbox, handle::First};
use crate::{
    database::{Dialect, Value, begin, placeholders},
    error::Error,
    message::Incoming,
    work::{Status, shortened},
};

impl<D: Dialect> Inbox<D> {
    /// Keeps the group from handling a message that has not been handled, whether it has come yet or not: its sender acts on
    /// its not having happened. Returns whether it is barred; false when it has been handled. Waits for a consumer that
    /// handles it at this moment.
    ///
    /// # Errors
    /// [`Error::Collision`] and [`Error::Message`] as [`receive`](Self::receive); [`Error::Database`].
    pub async fn bar(&self, message: &Incoming, reason: &str) -> Result<bool, Error> {
        message.check()?;
        let now_ms = self.0.clock.now_ms();
        let cause = shortened(reason);
        let mut transaction = begin(&self.0.pool).await?;
        let first = First {
            status: Status::Dropped,
            attempts: 0,
            next_ms: now_ms,
            cause: Some(cause),
            content: Some(&message.content),
        };
        if self.insert(&mut transaction, message, first).await?.is_none() {
            let known = self.known(&mut transaction, message).await?;
            if known.status == Status::Done {
                transaction.rollback().await?;
                return Ok(false);
            }
            let sql = self.0.table.sql(
                "UPDATE {table} SET status = 'dropped', claimed_by = NULL, last_error = ?, updated_at = ? WHERE id = ?",
            );
            let values: [Value<'_>; 3] = [cause.into(), now_ms.into(), known.row.into()];
            D::execute(&mut transaction, &sql, &values).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Those of the keys whose row has that status.
    pub(crate) async fn keys_that_are(&self, status: &'static str, keys: &[String]) -> Result<Vec<String>, Error> {
        let Some(last) = keys.last() else { return Ok(Vec::new()) };
        let sql = self.0.table.sql(&format!(
            "SELECT business_key FROM {{table}} WHERE status = '{status}' AND consumer_group = ? AND business_key IN ({})",
            placeholders(keys.len())
        ));
        let mut values: Vec<Value<'_>> = vec![self.0.group.as_str().into()];
        values.extend(keys.iter().map(|key| Value::Text(key)));
        values.resize(1 + keys.len().next_power_of_two(), Value::Text(last));
        let rows = D::fetch(&mut *self.0.pool.acquire().await?, &sql, &values).await?;
        Ok(rows.into_iter().filter_map(|mut row| row.text("business_key").ok()).collect())
    }
}
