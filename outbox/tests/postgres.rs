//! The suite on PostgreSQL, whose URL is in `TENONMQ_TEST_POSTGRES` (`tests/databases/run` sets it).

#[cfg(feature = "postgres-cdc")]
#[path = "suite/cdc.rs"]
mod cdc;
mod suite;

use std::time::Duration;

use sqlx::{Postgres, postgres::PgPoolOptions};
use suite::bench::{Bench, event};
use tenonmq_outbox::SystemClock;

#[cfg(not(feature = "postgres-cdc"))] // with it, the suite has it already
test_database!(Postgres, suite::bench::WAITING_ON_POSTGRES);

async fn bench() -> Bench<Postgres> {
    let url = std::env::var("TENONMQ_TEST_POSTGRES").expect("TENONMQ_TEST_POSTGRES; see tests/databases/run");
    Bench::over(PgPoolOptions::new().max_connections(8).connect(&url).await.unwrap(), None).await
}

whole_suite!(crate::bench);

/// Another instance, which nothing in this process can call.
#[tokio::test]
async fn a_commit_in_another_process_is_noticed_at_once() {
    let bench = bench().await;
    let elsewhere = bench.outbox_builder().clock(SystemClock).build();
    // the period is an hour: it is not what notices
    let relay = elsewhere.relay(bench.broker.clone()).period(Duration::from_secs(3600)).start();
    for number in 1..=3 {
        bench.publish(&event(&format!("e{number}"))).await;
        bench.broker.has(number).await;
    }
    relay.shutdown().await;
}
