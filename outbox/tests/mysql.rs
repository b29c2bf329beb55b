//! The suite on MySQL or MariaDB, whose URL is in `TENONMQ_TEST_MYSQL` (`tests/databases/run` sets it).

mod suite;

use sqlx::{MySql, mysql::MySqlPoolOptions};
use suite::bench::Bench;

test_database!(
    MySql,
    Some(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE command = 'Execute' AND time_ms > 200 \
         AND info LIKE '%{table}%'"
    )
);

async fn bench() -> Bench<MySql> {
    let url = std::env::var("TENONMQ_TEST_MYSQL").expect("TENONMQ_TEST_MYSQL; see tests/databases/run");
    Bench::over(MySqlPoolOptions::new().max_connections(8).connect(&url).await.unwrap(), None).await
}

whole_suite!(crate::bench);
