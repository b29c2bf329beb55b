//! Effects that happen once.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::Transaction;
use tenonmq_outbox::{Effects, Error, HandleError, Handled, Incoming, Received, Schedule, Status, SystemClock};

use super::bench::{Bench, TestDatabase, arrived, event};

pub async fn a_second_delivery_is_acknowledged_without_running<D: TestDatabase>(bench: &Bench<D>) {
    let (inbox, effects, message) = (bench.inbox(), bench.note_down(), arrived(&event("paid-1")));
    assert_eq!(inbox.receive(&message, &effects).await.unwrap(), Received::Now);
    assert_eq!(inbox.receive(&message, &effects).await.unwrap(), Received::Before);
    assert_eq!(bench.inbox().receive(&message, &effects).await.unwrap(), Received::Before, "after a restart too");
    assert_eq!(bench.times("paid-1").await, 1);
    assert_eq!(inbox.find("paid-1").await.unwrap().unwrap().status, Status::Done);
}

pub async fn consumers_that_have_a_message_at_once_do_not_both_pass<D: TestDatabase>(bench: &Bench<D>) {
    for round in 0..10 {
        let message = arrived(&event(&format!("e{round}")));
        let (inbox, effects) = (bench.inbox(), bench.note_down());
        let receive = || async {
            // a deadlock among several waiters is the database's to break; the broker would send the message again
            for _ in 0..10 {
                if let Ok(received) = inbox.receive(&message, &effects).await {
                    return received;
                }
            }
            panic!("no end to it")
        };
        let all = tokio::join!(receive(), receive(), receive(), receive());
        let all = [all.0, all.1, all.2, all.3];
        assert_eq!(all.iter().filter(|one| **one == Received::Now).count(), 1, "{all:?}");
        assert_eq!(bench.times(message.business_key()).await, 1);
    }
}

pub async fn groups_and_keys_are_told_apart_as_they_are_written<D: TestDatabase>(bench: &Bench<D>) {
    let effects = bench.note_down();
    let other = tenonmq_outbox::Inbox::builder(bench.pool.clone(), "POINTS").schema(bench.schema.clone()).build();
    for key in ["paid-1", "Paid-1"] {
        let message = arrived(&event(key));
        assert_eq!(bench.inbox().receive(&message, &effects).await.unwrap(), Received::Now);
        assert_eq!(other.receive(&message, &effects).await.unwrap(), Received::Now);
    }
}

pub async fn effects_and_receipt_are_the_callers_transaction<D: TestDatabase>(bench: &Bench<D>) {
    let (inbox, message, table) = (bench.inbox(), arrived(&event("paid-1")), &bench.effects);
    let handle = async |transaction: &mut Transaction<'_, D>| {
        let sql = format!("INSERT INTO {table} (business_key) VALUES ('paid-1')");
        D::run(&mut **transaction, sql).await.map_err(|error| error.to_string())
    };
    let mut rolled_back = bench.pool.begin().await.unwrap();
    assert_eq!(inbox.handle(&mut rolled_back, &message, handle).await.unwrap(), Handled::Now(1));
    rolled_back.rollback().await.unwrap();
    assert_eq!(bench.times("paid-1").await, 0);

    let mut transaction = bench.pool.begin().await.unwrap();
    assert_eq!(inbox.handle(&mut transaction, &message, handle).await.unwrap(), Handled::Now(1));
    assert_eq!(inbox.handle(&mut transaction, &message, handle).await.unwrap(), Handled::Before);
    transaction.commit().await.unwrap();
    assert_eq!(bench.times("paid-1").await, 1);
}

pub async fn effects_that_fail_leave_nothing_even_if_their_transaction_is_committed<D: TestDatabase>(bench: &Bench<D>) {
    let (inbox, message, table) = (bench.inbox(), arrived(&event("paid-1")), &bench.effects);
    let mut transaction = bench.pool.begin().await.unwrap();
    let failing = async |transaction: &mut Transaction<'_, D>| {
        let sql = format!("INSERT INTO {table} (business_key) VALUES ('paid-1')");
        D::run(&mut **transaction, sql).await.map_err(|error| error.to_string())?;
        Err::<Infallible, _>("no stock".to_owned())
    };
    let error = inbox.handle(&mut transaction, &message, failing).await.unwrap_err();
    assert!(matches!(error, HandleError::Effects(cause) if cause == "no stock"));
    transaction.commit().await.unwrap();
    assert_eq!(bench.times("paid-1").await, 0);
    assert!(inbox.find("paid-1").await.unwrap().is_none());

    let recorded = inbox.record(&message, "no stock").await.unwrap().unwrap();
    assert_eq!(recorded.attempts, 1);
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(inbox.retrier(bench.note_down()).pass().await.unwrap(), 1);
    assert_eq!(bench.times("paid-1").await, 1);
}

pub async fn failures_are_kept_with_their_cause_and_follow_the_schedule<D: TestDatabase>(bench: &Bench<D>) {
    let (inbox, effects) = (bench.inbox(), bench.note_down());
    effects.fail("paid-1", 2);
    let received = inbox.receive(&arrived(&event("paid-1")), &effects).await.unwrap();
    assert!(matches!(received, Received::Failed(recorded) if recorded.attempts == 1));
    for tries in 1..3 {
        let row = inbox.find("paid-1").await.unwrap().unwrap();
        assert_eq!((row.status, row.attempts), (Status::Pending, tries));
        assert_eq!(row.last_error.as_deref(), Some("no stock for paid-1"));
        bench.clock.step(59_999);
        assert_eq!(inbox.retrier(effects.clone()).pass().await.unwrap(), 0, "a millisecond early");
        assert_eq!(inbox.find("paid-1").await.unwrap().unwrap().attempts, tries);
        bench.clock.step(1);
        inbox.retrier(effects.clone()).pass().await.unwrap();
    }
    assert_eq!(inbox.find("paid-1").await.unwrap().unwrap().status, Status::Done);
    assert_eq!(bench.times("paid-1").await, 1);
}

pub async fn an_exhausted_message_waits_for_people_and_is_told_of_once<D: TestDatabase>(bench: &Bench<D>) {
    let alerts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&alerts);
    let inbox = bench.inbox_builder().on_exhausted(move |_| _ = counted.fetch_add(1, Ordering::SeqCst)).build();
    let (effects, message) = (bench.note_down(), arrived(&event("paid-1")));
    effects.fail("paid-1", 3);
    inbox.receive(&message, &effects).await.unwrap();
    for _ in 0..4 {
        bench.clock.advance(Duration::from_secs(60));
        inbox.retrier(effects.clone()).pass().await.unwrap();
    }
    let row = inbox.find("paid-1").await.unwrap().unwrap();
    assert_eq!((row.status, row.attempts, alerts.load(Ordering::SeqCst)), (Status::Exhausted, 3, 1));
    assert_eq!(inbox.receive(&message, &effects).await.unwrap(), Received::GivenUp);
    assert_eq!(bench.times("paid-1").await, 0);

    inbox.rerun(row.row).await.unwrap();
    assert_eq!(inbox.retrier(effects).pass().await.unwrap(), 1);
    assert_eq!(bench.times("paid-1").await, 1);
}

pub async fn another_message_with_a_known_key_is_refused_with_the_row<D: TestDatabase>(bench: &Bench<D>) {
    let (inbox, effects) = (bench.inbox(), bench.note_down());
    inbox.receive(&arrived(&event("paid-1")), &effects).await.unwrap();
    let other = Incoming::new("paid", "paid-1", "something else");
    let row = inbox.find("paid-1").await.unwrap().unwrap().row;
    let error = inbox.receive(&other, &effects).await.unwrap_err();
    assert!(matches!(&error, Error::Collision { row: found, .. } if *found == row), "{error}");
    let trusting = bench.inbox_builder().trust_keys().build();
    assert_eq!(trusting.receive(&other, &effects).await.unwrap(), Received::Before);
}

pub async fn a_message_without_a_key_is_refused<D: TestDatabase>(bench: &Bench<D>) {
    let error = bench.inbox().receive(&Incoming::new("paid", "", "x"), &bench.note_down()).await.unwrap_err();
    assert!(matches!(&error, Error::Message { reason, .. } if reason.contains("no key")), "{error}");
}

pub async fn a_failed_row_that_nobody_can_read_holds_no_other_up<D: TestDatabase>(bench: &Bench<D>) {
    let (inbox, effects) = (bench.inbox(), bench.note_down());
    for id in ["broken", "fine"] {
        effects.fail(id, 1);
        inbox.receive(&arrived(&event(id)), &effects).await.unwrap();
    }
    bench.run(format!("UPDATE {} SET headers = '[' WHERE business_key = 'broken'", bench.received())).await;
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(inbox.retrier(effects).pass().await.unwrap(), 1);
    let broken = inbox.find("broken").await.unwrap().unwrap();
    assert_eq!(broken.status, Status::Exhausted);
    assert!(broken.last_error.unwrap().contains("headers"));
}

/// Never comes to an end.
struct Hanging;

impl<D: TestDatabase> Effects<D> for Hanging {
    type Error = Infallible;

    async fn apply(&self, _: &mut Transaction<'_, D>, _: &Incoming) -> Result<(), Infallible> {
        std::future::pending().await
    }
}

pub async fn effects_that_hang_are_rolled_back_and_count_as_failed<D: TestDatabase>(bench: &Bench<D>) {
    let inbox = bench.inbox_builder().time_limit(Duration::from_millis(1)).build();
    let received = inbox.receive(&arrived(&event("paid-1")), &Hanging).await.unwrap();
    assert!(matches!(received, Received::Failed(_)), "{received:?}");
    let row = inbox.find("paid-1").await.unwrap().unwrap();
    assert!(row.last_error.unwrap().contains("longer than 1ms"));
}

pub async fn a_running_retrier_handles_what_failed<D: TestDatabase>(bench: &Bench<D>) {
    let schedule = Schedule::listed([Duration::from_millis(1)], 3);
    let inbox = bench.inbox_builder().clock(SystemClock).schedule(schedule).build();
    let effects = bench.note_down();
    let retrier = inbox.retrier(effects.clone()).start();
    effects.fail("paid-1", 1);
    inbox.receive(&arrived(&event("paid-1")), &effects).await.unwrap();
    while inbox.find("paid-1").await.unwrap().unwrap().status != Status::Done {
        tokio::task::yield_now().await;
    }
    retrier.shutdown().await;
    assert_eq!(bench.times("paid-1").await, 1);
}

pub async fn failures_that_were_recorded_under_a_wrong_clock_do_not_wait_for_it<D: TestDatabase>(bench: &Bench<D>) {
    const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;
    let (inbox, effects) = (bench.inbox(), bench.note_down());
    effects.fail("paid-1", 1);
    bench.clock.step(TEN_YEARS_MS);
    inbox.receive(&arrived(&event("paid-1")), &effects).await.unwrap();
    bench.clock.step(-TEN_YEARS_MS);
    let retrier = inbox.retrier(effects).start();
    while inbox.find("paid-1").await.unwrap().unwrap().status != Status::Done {
        tokio::task::yield_now().await;
    }
    retrier.shutdown().await;
    assert_eq!(bench.times("paid-1").await, 1);
}
