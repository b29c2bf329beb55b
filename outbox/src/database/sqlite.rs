//! SQLite: one writer at a time, so a claim needs no row locks, only a transaction that writes from its beginning.

use sqlx::Sqlite;

use super::{
    Dialect, Sql, Value, Words,
    through_sqlx::{through_sqlx, values_through_sqlx},
};

impl super::sealed::Sealed for Sqlite {}

impl Dialect for Sqlite {
    const WORDS: &'static Words = &Words {
        tokens: &[
            ("serial", "INTEGER PRIMARY KEY AUTOINCREMENT"),
            ("name", "TEXT"),
            ("text", "TEXT"),
            ("blob", "BLOB"),
            ("status,", ""),
            ("where pending", " WHERE status = 'pending'"),
            ("where exhausted", " WHERE status = 'exhausted'"),
            ("byte order", ""),
            ("for update", ""),
            ("skip locked", ""),
        ],
        numbered: false,
        before_begin: None,
        begin: "BEGIN IMMEDIATE",
        lock: None, // BEGIN IMMEDIATE is one
        unlock: None,
    };

    through_sqlx!(Sqlite);

    async fn insert_once(
        connection: &mut Self::Connection,
        sql: &Sql,
        values: &[Value<'_>],
    ) -> Result<Option<i64>, sqlx::Error> {
        let done = match bound(sql, values).execute(connection).await {
            Ok(done) => done,
            // only the statement is taken back
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(done.last_insert_rowid()))
    }
}

values_through_sqlx!(Sqlite);
