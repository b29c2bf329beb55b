//! The suite on SQLite, each test with a file of its own.

mod suite;

use std::time::Duration;

use sqlx::{
    Sqlite,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use suite::bench::Bench;

test_database!(Sqlite, None);

async fn bench() -> Bench<Sqlite> {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("service.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(20));
    let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
    Bench::over(pool, Some(folder)).await
}

whole_suite!(crate::bench);
