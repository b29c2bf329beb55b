//! Claims, failures, order, and what holds nothing up.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tenonmq_outbox::{Error, PublishError, Schedule, Status, SystemClock, fault::Point};

use super::bench::{Bench, FakeBroker, LEASE_END, SECOND, START_MS, TestDatabase, each_minute, event};

const MINUTE: Duration = Duration::from_secs(60);

pub async fn relays_side_by_side_send_each_message_once<D: TestDatabase>(bench: &Bench<D>) {
    for number in 0..300 {
        bench.publish(&event(&format!("e{number}"))).await;
    }
    let relay = || bench.relay().batch(16, 1 << 20);
    let (one, other, third) = (relay(), relay(), relay());
    let (one, other, third) = tokio::join!(one.pass(), other.pass(), third.pass());
    assert_eq!(one.unwrap().sent + other.unwrap().sent + third.unwrap().sent, 300);
    let ids = bench.broker.ids();
    assert_eq!(ids.len(), 300);
    assert_eq!(ids.into_iter().collect::<HashSet<_>>().len(), 300);
}

/// Each has sent a row that the other one holds by now, and failed with one that it holds itself.
pub async fn relays_that_write_down_the_same_rows_do_not_lock_each_other_out<D: TestDatabase>(bench: &Bench<D>) {
    let (here, there) = (FakeBroker::default(), FakeBroker::default());
    for id in ["one", "two", "last"] {
        bench.publish(&event(id)).await;
        here.hang(id);
        there.hang(id);
    }
    here.fail("one", PublishError::passing("broker away"));
    there.fail("two", PublishError::passing("broker away"));
    let owner = async || bench.outbox().find("paid", "one").await.unwrap().unwrap().claimed_by.unwrap();
    let relay = |broker: &FakeBroker| {
        let relay = bench.outbox().relay(broker.clone()).schedule(each_minute(3));
        tokio::spawn(async move { relay.pass().await })
    };
    let first = relay(&here);
    here.was_asked(3).await;
    let first_owner = owner().await;
    bench.clock.advance(LEASE_END);
    let second = relay(&there);
    there.was_asked(3).await;
    bench.run(format!("UPDATE {} SET claimed_by = '{first_owner}' WHERE business_id = 'one'", bench.published())).await;

    let mut transaction = bench.pool.begin().await.unwrap();
    let sql = format!("UPDATE {} SET updated_at = updated_at WHERE business_id = 'last'", bench.published());
    D::run(&mut *transaction, sql).await.unwrap();
    here.answer();
    there.answer();
    bench.lock_waits(2).await;
    transaction.commit().await.unwrap();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    for id in ["one", "two", "last"] {
        assert_eq!(bench.outbox().find("paid", id).await.unwrap().unwrap().status, Status::Done, "{id}");
    }
}

pub async fn a_relay_that_dies_in_mid_claim_loses_nothing<D: TestDatabase>(bench: &Bench<D>) {
    bench.publish(&event("paid-1")).await;
    bench.faults.crash_at(Point::Claimed);
    assert!(matches!(bench.relay().pass().await, Err(Error::Crashed(Point::Claimed))));
    assert_eq!(bench.relay().pass().await.unwrap().sent, 0, "it is still leased");
    bench.clock.advance(LEASE_END);
    assert_eq!(bench.relay().pass().await.unwrap().sent, 1);
    assert_eq!(bench.broker.ids(), ["paid-1"]);
}

pub async fn a_message_that_kills_its_relays_is_not_tried_for_ever<D: TestDatabase>(bench: &Bench<D>) {
    bench.publish(&event("poison")).await;
    for _ in 0..4 {
        bench.faults.crash_at(Point::Claimed);
        assert!(bench.relay().pass().await.is_err());
        bench.clock.advance(LEASE_END);
    }
    bench.broker.fail("poison", PublishError::passing("broker away"));
    assert_eq!(bench.relay().pass().await.unwrap().exhausted, 1);
}

pub async fn failures_follow_the_schedule_to_the_millisecond<D: TestDatabase>(bench: &Bench<D>) {
    bench.publish(&event("paid-1")).await;
    bench.broker.fail("paid-1", PublishError::passing("broker away"));
    let relay = || bench.relay().schedule(Schedule::local_message_table());
    let (mut tries, mut pauses) = (0, Vec::new());
    loop {
        let pass = relay().pass().await.unwrap();
        tries += pass.failed;
        if pass.exhausted > 0 {
            break;
        }
        let row = bench.outbox().find("paid", "paid-1").await.unwrap().unwrap();
        assert_eq!((row.status, usize::try_from(row.attempts).unwrap()), (Status::Pending, tries));
        let pause = row.next_attempt_ms - row.updated_ms;
        pauses.push(pause / 1_000);
        bench.clock.step(pause - 1);
        assert_eq!(relay().pass().await.unwrap().failed, 0, "a millisecond early");
        bench.clock.step(1);
    }
    assert_eq!((tries, pauses.len()), (50, 46), "three retries were immediate");
    assert_eq!(pauses[..3], [240, 60, 60]);
}

pub async fn an_exhausted_message_is_kept_told_of_and_sent_again_by_hand<D: TestDatabase>(bench: &Bench<D>) {
    bench.publish(&event("paid-1")).await;
    bench.broker.fail("paid-1", PublishError::passing("broker away"));
    let alerts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&alerts);
    let relay = bench.relay().on_exhausted(move |tried| {
        assert_eq!((tried.business_key.as_str(), tried.attempts), ("paid-1", 3));
        counted.fetch_add(1, Ordering::SeqCst);
    });
    for _ in 0..5 {
        relay.pass().await.unwrap();
        bench.clock.advance(MINUTE);
    }
    assert_eq!(alerts.load(Ordering::SeqCst), 1);
    let outbox = bench.outbox();
    let exhausted = outbox.list(Status::Exhausted, 0, 10).await.unwrap();
    assert_eq!((exhausted.len(), exhausted[0].attempts), (1, 3));
    assert_eq!(exhausted[0].last_error.as_deref(), Some("broker away"));
    assert_eq!(outbox.backlog().await.unwrap().exhausted, 1);

    bench.broker.heal();
    outbox.rerun(exhausted[0].row).await.unwrap();
    assert_eq!(relay.pass().await.unwrap().sent, 1);
    assert!(matches!(outbox.rerun(exhausted[0].row).await, Err(Error::Refused { reason: "it is done", .. })));
    assert!(matches!(outbox.rerun(999_999).await, Err(Error::Refused { reason: "there is none", .. })));
}

pub async fn a_message_that_people_gave_up_is_kept_with_the_reason<D: TestDatabase>(bench: &Bench<D>) {
    bench.publish(&event("paid-1")).await;
    let row = bench.outbox().find("paid", "paid-1").await.unwrap().unwrap().row;
    bench.outbox().give_up(row, "the order was a test").await.unwrap();
    assert_eq!(bench.relay().pass().await.unwrap().sent, 0);
    let kept = bench.outbox().find("paid", "paid-1").await.unwrap().unwrap();
    assert_eq!((kept.status, kept.last_error.as_deref()), (Status::Dropped, Some("the order was a test")));
}

pub async fn a_row_that_nobody_can_read_holds_no_other_up_and_says_why<D: TestDatabase>(bench: &Bench<D>) {
    for id in ["a", "broken", "c"] {
        bench.publish(&event(id)).await;
    }
    bench.run(format!("UPDATE {} SET headers = 'not json' WHERE business_id = 'broken'", bench.published())).await;
    let pass = bench.relay().pass().await.unwrap();
    assert_eq!((pass.sent, pass.exhausted), (2, 1));
    let row = bench.outbox().find("paid", "broken").await.unwrap().unwrap();
    let cause = row.last_error.unwrap();
    assert!(cause.contains("cannot be read") && cause.contains("headers"), "{cause}");
    assert_eq!((row.status, row.attempts), (Status::Exhausted, 1));
}

pub async fn a_failing_message_holds_its_order_key_up_and_nothing_else<D: TestDatabase>(bench: &Bench<D>) {
    for number in 0..6 {
        let key = if number % 2 == 0 { "even" } else { "odd" };
        bench.publish(&event(&number.to_string()).in_order_of(key)).await;
    }
    bench.publish(&event("free")).await;
    bench.broker.fail("2", PublishError::passing("broker away"));
    let relay = bench.relay().schedule(each_minute(50));
    relay.pass().await.unwrap();
    bench.publish(&event("6").in_order_of("even")).await;
    relay.pass().await.unwrap();
    let of = |ids: &[String], wanted: &[&str]| -> Vec<String> {
        ids.iter().filter(|id| wanted.contains(&id.as_str())).cloned().collect()
    };
    let even = ["0", "2", "4", "6"];
    assert_eq!(of(&bench.broker.ids(), &even), ["0"]);
    assert_eq!(of(&bench.broker.ids(), &["1", "3", "5"]), ["1", "3", "5"]);
    assert!(bench.broker.ids().contains(&"free".to_owned()));

    bench.broker.heal();
    bench.clock.advance(MINUTE);
    relay.pass().await.unwrap();
    assert_eq!(of(&bench.broker.ids(), &even), even);
}

pub async fn an_order_key_is_kept_by_relays_side_by_side<D: TestDatabase>(bench: &Bench<D>) {
    for number in 0..60 {
        let message = event(&format!("{number:02}")).in_order_of(["x", "y", "z"][number % 3]);
        bench.publish(&message).await;
    }
    let relay = || bench.relay().batch(4, 1 << 20);
    // a row behind one that is being sent waits some milliseconds: let them pass
    for _ in 0..60 {
        let (one, other) = (relay(), relay());
        let (one, other) = tokio::join!(one.pass(), other.pass());
        one.unwrap();
        other.unwrap();
        if bench.outbox().backlog().await.unwrap().pending == 0 {
            break;
        }
        bench.clock.advance(SECOND);
    }
    for key in ["x", "y", "z"] {
        let messages = bench.broker.messages();
        let sent: Vec<_> = messages.iter().filter(|sent| sent.order_key() == Some(key)).collect();
        assert_eq!(sent.len(), 20);
        assert!(sent.is_sorted_by_key(|sent| sent.business_id()), "{key}: {sent:?}");
    }
}

pub async fn a_commit_is_noticed_at_once_though_nobody_calls<D: TestDatabase>(bench: &Bench<D>) {
    let outbox = bench.outbox_builder().clock(SystemClock).build();
    // the period is an hour: it is not what notices
    let relay = outbox.relay(bench.broker.clone()).period(Duration::from_secs(3600)).start();
    for number in 1..=3 {
        let mut transaction = bench.pool.begin().await.unwrap();
        outbox.publish(&mut transaction, &event(&format!("e{number}"))).await.unwrap();
        transaction.commit().await.unwrap();
        bench.broker.has(number).await;
    }
    relay.shutdown().await;
    assert_eq!(outbox.backlog().await.unwrap().pending, 0, "what was sent is written down at the end");
}

/// With one row in hand at a time a relay that is full waits for room; it sends all the same.
pub async fn a_relay_with_little_room_sends_all<D: TestDatabase>(bench: &Bench<D>) {
    for number in 0..20 {
        bench.publish(&event(&format!("e{number}"))).await;
    }
    let outbox = bench.outbox_builder().clock(SystemClock).build();
    let relay = outbox.relay(bench.broker.clone()).in_flight(1).start();
    bench.broker.has(20).await;
    relay.shutdown().await;
    assert_eq!(bench.broker.ids().len(), 20);
}

pub async fn a_send_that_hangs_holds_no_other_up<D: TestDatabase>(bench: &Bench<D>) {
    let outbox = bench.outbox_builder().clock(SystemClock).build();
    bench.broker.hang("slow");
    let relay = outbox.relay(bench.broker.clone()).batch(4, 1 << 20).start();
    for id in ["slow", "a", "b", "c", "d", "e", "f"] {
        let mut transaction = bench.pool.begin().await.unwrap();
        outbox.publish(&mut transaction, &event(id)).await.unwrap();
        transaction.commit().await.unwrap();
        outbox.wake();
    }
    bench.broker.has(6).await;
    assert!(!bench.broker.ids().contains(&"slow".to_owned()));
    drop(relay);
}

/// It is away while the relay has messages in hand, and comes back.
pub async fn a_database_that_goes_away_costs_time_and_nothing_else<D: TestDatabase>(bench: &Bench<D>) {
    let outbox = bench.outbox_builder().clock(SystemClock).build();
    let (table, away) = (bench.published(), format!("{}_away", bench.published()));
    let relay = outbox.relay(bench.broker.clone()).start();
    bench.broker.hang("in-hand");
    for id in ["in-hand", "a"] {
        bench.publish(&event(id)).await;
        outbox.wake();
    }
    bench.broker.has(1).await;
    bench.run(format!("ALTER TABLE {table} RENAME TO {away}")).await;
    bench.broker.heal();
    bench.broker.has(2).await;
    bench.run(format!("ALTER TABLE {away} RENAME TO {table}")).await;
    bench.publish(&event("b")).await;
    outbox.wake();
    bench.broker.has(3).await;
    relay.shutdown().await;
    for id in ["in-hand", "a", "b"] {
        let row = outbox.find("paid", id).await.unwrap().unwrap();
        assert_eq!(row.status, Status::Done, "{id}");
    }
    assert_eq!(bench.broker.ids().len(), 3);
}

pub async fn rows_that_were_written_under_a_wrong_clock_do_not_wait_for_it<D: TestDatabase>(bench: &Bench<D>) {
    const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600_000;
    bench.clock.step(TEN_YEARS_MS);
    bench.publish(&event("paid-1")).await;
    bench.broker.fail("paid-1", PublishError::passing("broker away"));
    bench.relay().pass().await.unwrap();
    bench.clock.step(-TEN_YEARS_MS);
    bench.broker.heal();
    assert_eq!(bench.relay().pass().await.unwrap().sent, 0);
    let relay = bench.relay().start();
    bench.broker.has(1).await;
    relay.shutdown().await;
    let row = bench.outbox().find("paid", "paid-1").await.unwrap().unwrap();
    assert_eq!((row.status, row.updated_ms), (Status::Done, START_MS));
}
