//! The change relay, on PostgreSQL alone: a part of `postgres.rs`, not of the suite that every database passes.
//!
//! The clock stands: a look at the table that nobody asked for would come only when a test moves it.

use std::{collections::HashSet, future::Future, time::Duration};

use sqlx::Postgres;
use tenonmq_outbox::{
    ChangeRelay, ChangeSource, Error, PublishError, RunningChangeRelay, Status,
    fault::Point,
    monitoring::{Measure, Part, Rule, Rules, Severity},
};

use crate::suite::bench::{Bench, FakeBroker, LEASE_END, SECOND, arrived, each_minute, event};

const SOON: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(60);
const MEBIBYTE: u64 = 1 << 20;

fn url() -> String {
    std::env::var("TENONMQ_TEST_POSTGRES").expect("TENONMQ_TEST_POSTGRES; see tests/databases/run")
}

/// Slot and publication are named after the bench's own tables.
fn changes(bench: &Bench<Postgres>) -> ChangeRelay<FakeBroker> {
    let relay = bench.relay().from_changes(&url()).unwrap();
    relay.standby_pause(SOON).reconnect(SOON, 10 * SOON).heartbeat(2 * SOON)
}

async fn started(bench: &Bench<Postgres>) -> RunningChangeRelay {
    let relay = changes(bench).start().await.unwrap();
    learns_from(&relay, ChangeSource::Stream).await;
    relay
}

async fn learns_from(relay: &RunningChangeRelay, wanted: ChangeSource) {
    let mut source = relay.source();
    within_limit(&format!("{wanted:?}"), async {
        source.wait_for(|source| *source == wanted).await.unwrap();
    })
    .await;
}

async fn within_limit<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work).await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within_limit(what, async {
        while !holds().await {
            tokio::time::sleep(SOON / 4).await;
        }
    })
    .await;
}

async fn has(bench: &Bench<Postgres>, count: usize) {
    within_limit(&format!("{count} messages are sent, not {:?}", bench.broker.ids()), bench.broker.has(count)).await;
}

/// Until nothing is to be sent; time goes by meanwhile.
async fn all_is_sent(bench: &Bench<Postgres>) {
    until("all is sent", async || {
        bench.clock.advance(SECOND);
        bench.outbox().backlog().await.unwrap().pending == 0
    })
    .await;
}

fn slot(bench: &Bench<Postgres>) -> String {
    format!("tenonmq_postgres_{}", bench.published())
}

/// Where the WAL is, or where the slot is confirmed.
async fn position(bench: &Bench<Postgres>, of: &str) -> i64 {
    bench.number(format!("SELECT COALESCE(pg_wal_lsn_diff(({of}), '0/0'), -1)::BIGINT")).await
}

async fn confirmed(bench: &Bench<Postgres>) -> i64 {
    let of = format!("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{}'", slot(bench));
    position(bench, &of).await
}

/// As much WAL as that, of no table.
async fn write_wal(bench: &Bench<Postgres>, mebibytes: u64) {
    for _ in 0..mebibytes {
        bench
            .number("SELECT LENGTH(pg_logical_emit_message(false, 'x', repeat('x', 1048576))::TEXT)::BIGINT".into())
            .await;
    }
}

/// Ends the session of whoever has the slot, and drops it.
async fn drop_slot(bench: &Bench<Postgres>) {
    let slot = slot(bench);
    let end = format!(
        "SELECT COUNT(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active"
    );
    until("the slot is dropped", async || {
        bench.number(end.clone()).await;
        let sql = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}' AND NOT active"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&bench.pool).await.is_ok_and(|done| done.rows_affected() == 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_commits_is_sent_from_the_stream_though_nobody_looks() {
    let bench = &crate::bench().await;
    let relay = started(bench).await;
    bench.publish(&event("first")).await;
    has(bench, 1).await;
    let mut rolled_back = bench.pool.begin().await.unwrap();
    bench.outbox().publish(&mut rolled_back, &event("never")).await.unwrap();
    rolled_back.rollback().await.unwrap();
    let told = bench.faults.passed(Point::ChangeTold);
    for number in 2..=5 {
        bench.publish(&event(&format!("e{number}"))).await;
        has(bench, number).await;
    }
    assert!(bench.faults.passed(Point::ChangeTold) >= told + 4, "each was told of");
    relay.shutdown().await;
    assert_eq!(bench.broker.ids(), ["first", "e2", "e3", "e4", "e5"]);
    assert_eq!(bench.outbox().list(Status::Done, 0, 9).await.unwrap().len(), 5, "what was sent is written down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_is_sent_whole() {
    let bench = &crate::bench().await;
    let relay = started(bench).await;
    let mut transaction = bench.pool.begin().await.unwrap();
    for number in 0..1_500 {
        bench.outbox().publish(&mut transaction, &event(&format!("e{number}"))).await.unwrap();
    }
    transaction.commit().await.unwrap();
    has(bench, 1_500).await;
    relay.shutdown().await;
    assert_eq!(bench.broker.ids().into_iter().collect::<HashSet<_>>().len(), 1_500);
    assert_eq!(bench.broker.ids().len(), 1_500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_loses_nothing_and_sends_nothing_twice() {
    let bench = &crate::bench().await;
    let relay = started(bench).await;
    for id in ["a", "b"] {
        bench.publish(&event(id)).await;
    }
    has(bench, 2).await;
    relay.shutdown().await;
    let stood = confirmed(bench).await;
    for id in ["c", "d", "e"] {
        bench.publish(&event(id)).await;
    }
    assert_eq!(confirmed(bench).await, stood, "the slot has kept its place");
    let relay = started(bench).await;
    has(bench, 5).await;
    bench.publish(&event("f")).await;
    has(bench, 6).await;
    until("the slot goes on", async || confirmed(bench).await > stood).await;
    relay.shutdown().await;
    let mut ids = bench.broker.ids();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b", "c", "d", "e", "f"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_key_is_kept() {
    let bench = &crate::bench().await;
    let relay = started(bench).await;
    for number in 0..60 {
        let message = event(&format!("{number:02}")).in_order_of(["x", "y", "z"][number % 3]);
        bench.publish(&message).await;
    }
    all_is_sent(bench).await;
    relay.shutdown().await;
    for key in ["x", "y", "z"] {
        let messages = bench.broker.messages();
        let sent: Vec<_> = messages.iter().filter(|sent| sent.order_key() == Some(key)).collect();
        assert_eq!(sent.len(), 20);
        assert!(sent.is_sorted_by_key(|sent| sent.business_id()), "{key}: {sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_follows_the_schedule_and_holds_no_wal() {
    let bench = &crate::bench().await;
    let relay = started(bench).await;
    bench.broker.fail("ill", PublishError::passing("broker away"));
    bench.publish(&event("ill")).await;
    let row = async || bench.outbox().find("paid", "ill").await.unwrap().unwrap();
    until("the failure is written down", async || row().await.attempts == 1).await;
    let failed = row().await;
    assert_eq!((failed.status, failed.next_attempt_ms - failed.updated_ms), (Status::Pending, 60_000));
    assert_eq!(failed.last_error.as_deref(), Some("broker away"));
    let written = position(bench, "pg_current_wal_lsn()").await;
    until("the position moves on", async || confirmed(bench).await >= written).await;

    bench.clock.step(59_999);
    bench.publish(&event("well")).await;
    has(bench, 1).await;
    assert_eq!(row().await.attempts, 1, "a millisecond early");
    bench.clock.step(1);
    until("the second try fails", async || row().await.attempts == 2).await;
    bench.clock.step(60_000);
    until("the third was the last", async || row().await.status == Status::Exhausted).await;
    relay.shutdown().await;
    assert_eq!(bench.broker.ids(), ["well"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_table_holds_no_wal() {
    let bench = &crate::bench().await;
    let relay = started(bench).await;
    for _ in 0..3 {
        bench.run(format!("INSERT INTO {} SELECT 'x' FROM generate_series(1, 2000)", bench.effects)).await;
        let written = position(bench, "pg_current_wal_lsn()").await;
        until("the position moves on", async || confirmed(bench).await >= written).await;
    }
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_anywhere_the_effects_happen_once() {
    let bench = &crate::bench().await;
    for &point in Point::OF_CHANGE_RELAY {
        for nth in 1..=2 {
            crash(bench, point, nth).await;
        }
    }
}

async fn crash(bench: &Bench<Postgres>, point: Point, nth: u32) {
    const EVENTS: [&str; 3] = ["order-1/paid", "order-2/paid", "order-3/paid"];
    for table in [bench.published(), bench.received(), bench.effects.clone()] {
        bench.run(format!("DELETE FROM {table}")).await;
    }
    bench.broker.forget();
    bench.faults.crash_at_nth(point, nth);
    let relay = changes(bench).start().await.unwrap();
    if point != Point::SlotKept {
        learns_from(&relay, ChangeSource::Stream).await; // this time it is the stream that is interrupted
    }
    for id in EVENTS {
        bench.publish(&event(id)).await;
    }
    // each point is reached once; a second time only by some
    until(&format!("{point:?} {nth} crashes"), async || {
        let done = async || bench.outbox().list(Status::Done, 0, 9).await.unwrap().len();
        !bench.faults.is_armed() || nth > 1 && done().await == EVENTS.len()
    })
    .await;
    drop(relay);
    bench.faults.disarm();
    bench.bury().await;
    bench.clock.advance(LEASE_END);

    let relay = started(bench).await;
    all_is_sent(bench).await;
    relay.shutdown().await;
    let effects = bench.note_down();
    for message in bench.broker.messages() {
        bench.inbox().receive(&arrived(&message), &effects).await.unwrap();
    }
    for id in EVENTS {
        assert_eq!(bench.times(id).await, 1, "{point:?} {nth}: {id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_holds_too_much_is_told_of_dropped_and_made_anew() {
    let bench = &crate::bench().await;
    started(bench).await.shutdown().await;
    until("nobody has the slot", async || !slot_reading(bench).await.unwrap().is_active).await;
    write_wal(bench, 3).await;
    let watched = changes(bench).slot_to_watch();
    let reading = watched.read().await.unwrap();
    let mut rules = Rules::new([Rule::new("slot", Measure::HeldBytes, MEBIBYTE, Severity::Warning)]);
    let findings = rules.findings(0, &[reading]);
    assert!(findings[0].text.ends_with("MiB of WAL are held"), "{findings:?}");

    bench.publish(&event("a")).await;
    let relay = changes(bench).guard(Some(2 * MEBIBYTE)).guard_pause(LIMIT * 60).start().await.unwrap();
    until("the slot is dropped", async || slot_reading(bench).await.is_none()).await;
    assert!(watched.read().await.unwrap_err().to_string().contains("there is none"));
    has(bench, 1).await;
    bench.publish(&event("b")).await;
    all_is_sent(bench).await;
    assert_eq!(*relay.source().borrow(), ChangeSource::Table, "it scans");
    relay.shutdown().await;

    let relay = changes(bench).guard(Some(2 * MEBIBYTE)).start().await.unwrap();
    learns_from(&relay, ChangeSource::Stream).await;
    bench.publish(&event("c")).await;
    has(bench, 3).await;
    relay.shutdown().await;
}

async fn slot_reading(bench: &Bench<Postgres>) -> Option<tenonmq_outbox::SlotReading> {
    changes(bench).slot_to_watch().look().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_a_slot_may_drop_it_when_all_relays_are_dead() {
    let bench = &crate::bench().await;
    let relay = started(bench).await;
    let watched = changes(bench).slot_to_watch().drop_above(2 * MEBIBYTE);
    write_wal(bench, 3).await;
    watched.read().await.unwrap();
    drop(relay);
    until("nobody has the slot", async || !slot_reading(bench).await.unwrap().is_active).await;
    write_wal(bench, 3).await;
    assert!(watched.read().await.unwrap_err().to_string().contains("is dropped"));
    assert_eq!(slot_reading(bench).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_when_the_slot_is_free() {
    let bench = &crate::bench().await;
    let first = started(bench).await;
    let second = changes(bench).start().await.unwrap();
    learns_from(&second, ChangeSource::Standby).await;
    for number in 1..=20 {
        bench.publish(&event(&format!("e{number}"))).await;
    }
    has(bench, 20).await;
    drop(first);
    learns_from(&second, ChangeSource::Stream).await;
    bench.publish(&event("after")).await;
    until("it is sent", async || bench.broker.ids().contains(&"after".to_owned())).await;
    second.shutdown().await;
    assert_eq!(bench.broker.ids().len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scanning_relay_beside_it_sends_nothing_twice() {
    let bench = &crate::bench().await;
    let change = started(bench).await;
    let scanning = bench.relay().batch(8, 1 << 20).start();
    for number in 0..200 {
        bench.publish(&event(&format!("e{number}"))).await;
    }
    has(bench, 200).await;
    all_is_sent(bench).await;
    change.shutdown().await;
    scanning.shutdown().await;
    let ids = bench.broker.ids();
    assert_eq!((ids.len(), ids.into_iter().collect::<HashSet<_>>().len()), (200, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_dropped_underneath_is_made_anew() {
    let bench = &crate::bench().await;
    let relay = started(bench).await;
    bench.publish(&event("before")).await;
    has(bench, 1).await;
    drop_slot(bench).await;
    bench.publish(&event("meanwhile")).await;
    all_is_sent(bench).await;
    learns_from(&relay, ChangeSource::Stream).await;
    bench.publish(&event("after")).await;
    has(bench, 3).await;
    relay.shutdown().await;
    assert_eq!(bench.broker.ids().len(), 3);
}

/// The server runs with a small `max_slot_wal_keep_size`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_lost_is_made_anew_and_the_gap_is_scanned() {
    let bench = &crate::bench().await;
    started(bench).await.shutdown().await;
    bench.publish(&event("gap")).await;
    until("the slot is lost", async || {
        write_wal(bench, 16).await;
        bench.run("CHECKPOINT".into()).await;
        slot_reading(bench).await.unwrap().is_lost
    })
    .await;
    let watched = changes(bench).slot_to_watch().read().await;
    assert!(watched.unwrap_err().to_string().contains("it is lost"));
    let relay = started(bench).await;
    has(bench, 1).await;
    bench.publish(&event("after")).await;
    has(bench, 2).await;
    relay.shutdown().await;
    assert_eq!(bench.broker.ids(), ["gap", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_costs_time_and_nothing_else() {
    let bench = &crate::bench().await;
    let relay = started(bench).await;
    for round in 0..3 {
        let sql = format!(
            "SELECT COUNT(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE slot_name = '{}'",
            slot(bench)
        );
        bench.number(sql).await;
        bench.publish(&event(&format!("e{round}"))).await;
        all_is_sent(bench).await;
        learns_from(&relay, ChangeSource::Stream).await;
    }
    relay.shutdown().await;
    assert_eq!(bench.broker.ids(), ["e0", "e1", "e2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_named() {
    let bench = &crate::bench().await;
    let role = format!("{}_plain", bench.published());
    bench.run(format!("CREATE ROLE {role} LOGIN")).await;
    let plain = url().replace("//postgres@", &format!("//{role}@"));
    let relay = || bench.outbox().relay(bench.broker.clone()).schedule(each_minute(3));
    let error = relay().from_changes(&plain).unwrap().start().await.unwrap_err();
    assert!(matches!(&error, Error::Replication { what, .. } if what == "REPLICATION"), "{error}");
    assert!(error.to_string().contains(&format!("ALTER ROLE {role} REPLICATION")), "{error}");

    bench.run(format!("ALTER ROLE {role} REPLICATION")).await;
    let error = relay().from_changes(&plain).unwrap().start().await.unwrap_err();
    assert!(error.to_string().contains("must own"), "{error}");

    bench.run(format!("CREATE PUBLICATION {role} FOR TABLE {}", bench.effects)).await;
    let other = relay().from_changes(&url()).unwrap().publication(&role).unwrap();
    let error = other.start().await.unwrap_err();
    assert!(error.to_string().contains(&format!("does not have {}", bench.published())), "{error}");
}
