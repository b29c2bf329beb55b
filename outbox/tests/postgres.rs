//! The suite on PostgreSQL, whose URL is in `TENONMQ_TEST_POSTGRES` (`tests/databases/run` sets it).

mod suite;

use std::time::Duration;

use sqlx::{Postgres, postgres::PgPoolOptions};
use suite::bench::{Bench, event};
use tenonmq_outbox::SystemClock;

test_database!(
    Postgres,
    Some("SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{table}%'")
);

async fn bench() -> Bench<Postgres> {
    let url = std::env::var("TENONMQ_TEST_POSTGRES").expect("TENONMQ_TEST_POSTGRES; see tests/databases/run");
    Bench::over(PgPoolOptions::new().max_connections(8).connect(&url).await.unwrap(), None).await
}

whole_suite!(crate::bench);

#[cfg(feature = "postgres-cdc")]
on_every_database! { crate::bench:
    cdc {
        what_commits_is_sent_from_the_stream_though_nobody_looks,
        a_large_transaction_is_sent_whole,
        a_restart_loses_nothing_and_sends_nothing_twice,
        an_order_key_is_kept,
        a_failure_follows_the_schedule_and_holds_no_wal,
        an_idle_table_holds_no_wal,
        after_a_crash_anywhere_the_effects_happen_once,
        a_slot_that_holds_too_much_is_told_of_dropped_and_made_anew,
        who_watches_a_slot_may_drop_it_when_all_relays_are_dead,
        a_standby_takes_over_when_the_slot_is_free,
        a_scanning_relay_beside_it_sends_nothing_twice,
        a_slot_that_is_dropped_underneath_is_made_anew,
        a_slot_that_is_lost_is_made_anew_and_the_gap_is_scanned,
        a_server_that_goes_away_costs_time_and_nothing_else,
        what_is_missing_is_named,
    }
}

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
