//! MySQL (from 8.0.1) and MariaDB (from 10.6).
//!
//! Our own transactions are READ COMMITTED: under the default a claim's range would be locked against publishers. DDL
//! commits by itself here, so migrations are held apart by a named lock and accept what they find done.

use sqlx::MySql;

use super::{
    Dialect, Sql, Value, Words,
    through_sqlx::{through_sqlx, values_through_sqlx},
};

/// "Duplicate key name": the index of a migration that was cut off.
const DUPLICATE_INDEX: u16 = 1061;

impl super::sealed::Sealed for MySql {}

impl Dialect for MySql {
    const WORDS: &'static Words = &Words {
        tokens: &[
            ("serial", "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY"),
            // a collation that tells A from a, as keys must
            ("name", "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
            ("text", "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
            ("blob", "LONGBLOB"),
            ("status,", "status, "),
            ("where pending", ""),
            ("where exhausted", ""),
            ("byte order", ""),
            ("for update", " FOR UPDATE"),
            ("skip locked", " FOR UPDATE SKIP LOCKED"),
        ],
        numbered: false,
        before_begin: Some("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"),
        begin: "START TRANSACTION",
        lock: Some("SELECT GET_LOCK('tenonmq_outbox_migrations', 60)"),
        unlock: Some("SELECT RELEASE_LOCK('tenonmq_outbox_migrations')"),
    };

    through_sqlx!(MySql);

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
        Ok(Some(i64::try_from(done.last_insert_id()).unwrap_or(i64::MAX)))
    }

    fn is_already_there(error: &sqlx::Error) -> bool {
        let error =
            error.as_database_error().and_then(|error| error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>());
        error.is_some_and(|error| error.number() == DUPLICATE_INDEX)
    }
}

values_through_sqlx!(MySql);
