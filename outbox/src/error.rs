//! What can go wrong, by what to do about it.

use crate::fault::Point;

/// Every way this crate can fail. Each variant asks for a different reaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database failed, or is away. What was not committed did not happen.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A table, prefix or schema cannot be named so.
    #[error("the {what} {name:?} is refused: {reason}")]
    Name {
        /// Which name.
        what: &'static str,
        /// As it was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The message can never be sent or received; nothing was written.
    #[error("message {business_id:?} for {topic:?}: {reason}")]
    Message {
        /// Its topic.
        topic: String,
        /// Its business id.
        business_id: String,
        /// What is wrong with which part.
        reason: String,
    },
    /// The message is larger than the broker takes; nothing was written.
    #[error("message {business_id:?} for {topic:?} has {len} bytes of {part}; the limit is {limit}")]
    TooLarge {
        /// Its topic.
        topic: String,
        /// Its business id.
        business_id: String,
        /// `content` or `headers`.
        part: &'static str,
        /// What it has, in bytes.
        len: usize,
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// Another message has this business key already: one key was given to two different things.
    #[error("the key {key:?} belongs to another message: row {row} of {table} has other content")]
    Collision {
        /// The table.
        table: String,
        /// The row that has the key.
        row: i64,
        /// The key.
        key: String,
    },
    /// A row holds what nobody can read. Other rows are not held up.
    #[error("row {row} of {table} cannot be read: {reason}")]
    Row {
        /// The table.
        table: String,
        /// The row's id; 0 when even that cannot be read.
        row: i64,
        /// Which column, and what is in it.
        reason: String,
    },
    /// There is no such row, or it is in a state in which this cannot be done to it.
    #[error("row {row} of {table}: {reason}")]
    Refused {
        /// The table.
        table: String,
        /// The row's id.
        row: i64,
        /// Why.
        reason: &'static str,
    },
    /// PostgreSQL's change stream cannot be read as things are: a setting, a right or a name is wrong.
    #[error("logical replication, {what}: {reason}")]
    Replication {
        /// Which setting, right or object.
        what: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// What belongs to the end of a global transaction failed, so the end is not written either.
    #[error("the end of {global:?} cannot be written: {reason}")]
    Ending {
        /// The transaction's global id.
        global: String,
        /// What its ending said.
        reason: String,
    },
    /// A query that the user gave to a [compensation](crate::compensation) failed, or took too long.
    #[error("compensation {name:?}: the query for {query}: {reason}")]
    Query {
        /// The compensation.
        name: String,
        /// What it was asked for.
        query: &'static str,
        /// What it said.
        reason: String,
    },
    /// A fault point of the test kit was set off.
    #[error("crashed at {0:?}")]
    Crashed(Point),
}

impl Error {
    /// Whether the same call may succeed later, unchanged.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database(_) | Self::Query { .. } | Self::Crashed(_))
    }
}
