//! What the three databases do differently, in one place.
//!
//! The rest of the crate is written once, over [`Dialect`]: statements have `?` for values and `{tokens}` for what
//! differs ([`Sql`]), go out through [`Dialect::execute`] and its neighbours, and come back as [`Row`]s. The caller's own
//! `sqlx::Transaction<'_, Sqlite | Postgres | MySql>` is passed through untouched.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod row;
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod through_sqlx;

use std::{fmt, future::Future};

use sqlx::{Pool, Transaction};

pub(crate) use self::{
    row::{Row, Unreadable},
    sql::{Sql, padded, placeholders},
};
use crate::wake::Wake;

/// A database that this crate can work in: `sqlx::Sqlite`, `sqlx::Postgres` or `sqlx::MySql` (MariaDB too), each behind the
/// feature of its name. Not for others to implement.
pub trait Dialect: sqlx::Database + sealed::Sealed {
    /// How its SQL differs.
    #[doc(hidden)]
    const WORDS: &'static Words;

    /// Runs a statement; returns how many rows it changed.
    #[doc(hidden)]
    fn execute(
        connection: &mut Self::Connection,
        sql: &Sql,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Runs a query.
    #[doc(hidden)]
    fn fetch(
        connection: &mut Self::Connection,
        sql: &Sql,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<Vec<Row>, sqlx::Error>> + Send;

    /// Inserts a row and returns its id; `None`, and the transaction is as good as before, when a unique key is taken.
    /// Waits for another transaction that is about to take the key.
    #[doc(hidden)]
    fn insert_once(
        connection: &mut Self::Connection,
        sql: &Sql,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<Option<i64>, sqlx::Error>> + Send;

    /// Has the database tell this channel's listeners when the transaction commits, where it can.
    #[doc(hidden)]
    fn notify(
        connection: &mut Self::Connection,
        channel: &str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        let _ = (connection, channel);
        std::future::ready(Ok(()))
    }

    /// Passes on what the database tells, where it can; otherwise never ends.
    #[doc(hidden)]
    fn listen(pool: &Pool<Self>, channel: &str, wake: &Wake) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        let _ = (pool, channel, wake);
        std::future::pending()
    }

    /// Whether the failure says that something to be created is there already, in a database whose DDL cannot be rolled
    /// back.
    #[doc(hidden)]
    fn is_already_there(_: &sqlx::Error) -> bool {
        false
    }
}

/// How a database's SQL differs.
#[doc(hidden)]
#[derive(Debug)]
pub struct Words {
    /// What stands for the tokens of a statement.
    pub(crate) tokens: &'static [(&'static str, &'static str)],
    /// Whether values are `$1`, `$2` instead of `?`.
    pub(crate) numbered: bool,
    /// Run before a transaction of ours begins.
    pub(crate) before_begin: Option<&'static str>,
    /// Begins a transaction that writes.
    pub(crate) begin: &'static str,
    /// Keeps others from migrating until the transaction's end, or the matching `unlock`.
    pub(crate) lock: Option<&'static str>,
    /// Ends what `lock` began.
    pub(crate) unlock: Option<&'static str>,
}

/// A value that is bound to a statement.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Int(i64),
    OptInt(Option<i64>),
    Text(&'a str),
    OptText(Option<&'a str>),
    Bytes(&'a [u8]),
    OptBytes(Option<&'a [u8]>),
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::OptInt(value) => write!(f, "{value:?}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::OptText(value) => write!(f, "{value:?}"),
            Self::Bytes(value) => write!(f, "[{} bytes]", value.len()),
            Self::OptBytes(value) => write!(f, "[{:?} bytes]", value.map(<[u8]>::len)),
        }
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

/// Begins a transaction of our own that will write: one that cannot fail later because another wrote first.
pub(crate) async fn begin<D: Dialect>(pool: &Pool<D>) -> Result<Transaction<'static, D>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    if let Some(before) = D::WORDS.before_begin {
        D::execute(&mut connection, &Sql::verbatim(before), &[]).await?;
    }
    Transaction::begin(connection, Some(sqlx::SqlSafeStr::into_sql_str(D::WORDS.begin))).await
}

pub(crate) mod sealed {
    pub trait Sealed {}
}
