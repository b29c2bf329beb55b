//! What other services tell that they handled: for senders that cannot reach the receivers' databases.

use std::{fmt, sync::Arc};

use sqlx::Pool;
use tenonmq_client::{ConsumeOutcome, Failure, MessageListener, ReceivedMessage};

use super::{BoxError, Counterparts};
use crate::{
    clock::{Clock, SystemClock},
    database::{Dialect, Value, begin, placeholders},
    error::Error,
    fault::{Faults, Point},
    inbox::Receipt,
    message::Incoming,
    schema::Schema,
};

/// Rows that are removed at once.
const CHUNK: u32 = 500;

/// Collects what inboxes [acknowledge](crate::InboxBuilder::acknowledge_to) on a topic, in a table of the sender's. It is the
/// listener of a push consumer of that topic; clones share the table.
///
/// ```no_run
/// # use sqlx::{Sqlite, SqlitePool};
/// # use tenonmq_client::{ConsumeFrom, PushConsumer};
/// use tenonmq_outbox::compensation::Acknowledgements;
/// # async fn example(pool: SqlitePool) -> Result<(), Box<dyn std::error::Error>> {
/// let acknowledgements = Acknowledgements::in_table_of(pool);
/// let consumer = PushConsumer::builder("127.0.0.1:9876")
///     .group("orders-acknowledgements")
///     .subscribe("acknowledged", "*")
///     .consume_from(ConsumeFrom::Earliest)
///     .listener(acknowledgements.clone())
///     .connect()
///     .await?;
/// let of_stock = acknowledgements.of("stock"); // the counterparts of a scanner
/// # consumer.shutdown().await;
/// # Ok(()) }
/// ```
pub struct Acknowledgements<D: Dialect> {
    pool: Pool<D>,
    schema: Schema,
    clock: Arc<dyn Clock>,
    faults: Faults,
}

impl<D: Dialect> Acknowledgements<D> {
    /// Over a pool whose tables [`Schema::migrate`] has created.
    pub fn in_table_of(pool: Pool<D>) -> Self {
        Self { pool, schema: Schema::default(), clock: Arc::new(SystemClock), faults: Faults::default() }
    }

    /// What the tables are called. Default [`Schema::default`].
    #[must_use]
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = schema;
        self
    }

    /// Tells the time. Default the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Fault points to set off; for tests.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Keeps one acknowledgement. A copy changes nothing.
    ///
    /// # Errors
    /// [`Error::Message`] when it is none; [`Error::Database`].
    pub async fn collect(&self, message: &Incoming) -> Result<(), Error> {
        let Receipt { group, key } = Receipt::read(message)?;
        let insert = self
            .schema
            .sql::<D>("INSERT INTO {acknowledged} (consumer_group, business_key, created_at) VALUES (?, ?, ?)");
        let values: [Value<'_>; 3] = [group.as_str().into(), key.as_str().into(), self.clock.now_ms().into()];
        let mut transaction = begin(&self.pool).await?;
        D::insert_once(&mut transaction, &insert, &values).await?;
        self.faults.pass(Point::AcknowledgementWritten)?;
        Ok(transaction.commit().await?)
    }

    /// What that consumer group has acknowledged, as the counterparts of a scanner.
    pub fn of(&self, group: impl Into<String>) -> AcknowledgedBy<D> {
        AcknowledgedBy { table: self.clone(), group: group.into() }
    }

    /// Removes what was collected before `before_ms`, in small chunks. Returns how many rows. Let that be longer ago than
    /// any message waits to be scanned.
    ///
    /// # Errors
    /// [`Error::Database`]; the chunks before are removed then.
    pub async fn clean(&self, before_ms: i64) -> Result<u64, Error> {
        let page = self.schema.sql::<D>("SELECT id, created_at FROM {acknowledged} ORDER BY id LIMIT ?");
        let remove = self.schema.sql::<D>("DELETE FROM {acknowledged} WHERE id <= ? AND created_at < ?");
        let mut removed = 0;
        loop {
            let rows = D::fetch(&mut *self.pool.acquire().await?, &page, &[CHUNK.into()]).await?;
            let old = rows.into_iter().filter_map(|mut row| {
                let id = row.int("id").ok()?;
                (row.int("created_at").ok()? < before_ms).then_some(id)
            });
            let Some(last) = old.max() else { return Ok(removed) };
            let mut transaction = begin(&self.pool).await?;
            removed += D::execute(&mut transaction, &remove, &[last.into(), before_ms.into()]).await?;
            self.faults.pass(Point::CleaningWritten)?;
            transaction.commit().await?;
            tokio::task::yield_now().await;
        }
    }
}

impl<D: Dialect> MessageListener for Acknowledgements<D> {
    async fn consume(&self, message: ReceivedMessage) -> ConsumeOutcome {
        match self.collect(&Incoming::from(&message)).await {
            Ok(()) => ConsumeOutcome::Done,
            Err(error @ Error::Message { .. }) => ConsumeOutcome::Failed(Failure::of(&error).dead_letter()),
            Err(error) => ConsumeOutcome::Failed(Failure::of(&error)),
        }
    }
}

/// What one consumer group has acknowledged.
#[derive(Debug, Clone)]
pub struct AcknowledgedBy<D: Dialect> {
    table: Acknowledgements<D>,
    group: String,
}

impl<D: Dialect> Counterparts for AcknowledgedBy<D> {
    async fn present(&self, keys: Vec<String>) -> Result<Vec<String>, BoxError> {
        let Some(last) = keys.last() else { return Ok(Vec::new()) };
        let sql = self.table.schema.sql::<D>(&format!(
            "SELECT business_key FROM {{acknowledged}} WHERE consumer_group = ? AND business_key IN ({})",
            placeholders(keys.len())
        ));
        let mut values: Vec<Value<'_>> = vec![self.group.as_str().into()];
        values.extend(keys.iter().map(|key| Value::Text(key)));
        values.resize(1 + keys.len().next_power_of_two(), Value::Text(last));
        let mut connection = self.table.pool.acquire().await?;
        let rows = D::fetch(&mut connection, &sql, &values).await.map_err(Error::from)?;
        Ok(rows.into_iter().filter_map(|mut row| row.text("business_key").ok()).collect())
    }
}

impl<D: Dialect> Clone for Acknowledgements<D> {
    fn clone(&self) -> Self {
        let (pool, schema) = (self.pool.clone(), self.schema.clone());
        Self { pool, schema, clock: Arc::clone(&self.clock), faults: self.faults.clone() }
    }
}

impl<D: Dialect> fmt::Debug for Acknowledgements<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acknowledgements").field("schema", &self.schema).finish_non_exhaustive()
    }
}
