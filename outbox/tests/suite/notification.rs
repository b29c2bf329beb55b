//! Notifying and delivering: what is called, with what, and what counts as told.

use std::time::Duration;

use tenonmq_outbox::{
    Error, Schedule, Status, Table,
    notification::{
        CircuitSettings, Courier, DerivedKeys, Key, Keys, Notification, Notifier, NotifierBuilder, Reach, Signed,
    },
};

use super::{
    bench::{Bench, SECOND, START_MS, TestDatabase},
    endpoint::{Answer, Endpoint},
};

/// Leaves no target alone.
pub const NEVER: CircuitSettings =
    CircuitSettings { failures: u32::MAX, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };

pub fn keys() -> DerivedKeys {
    DerivedKeys(Key::new("ours"))
}

/// Setting up an instance of the service that may call this machine.
pub fn builder<D: TestDatabase>(bench: &Bench<D>) -> NotifierBuilder<D> {
    let builder = Notifier::builder(bench.pool.clone(), keys()).schema(bench.schema.clone());
    let builder = builder.clock(bench.clock.clone()).faults(bench.faults.clone());
    builder.reach(Reach::public().and("127.0.0.0/8".parse().unwrap()))
}

pub fn notifier<D: TestDatabase>(bench: &Bench<D>) -> Notifier<D> {
    builder(bench).build()
}

/// A courier that leaves no target alone.
pub fn courier<D: TestDatabase>(bench: &Bench<D>) -> Courier<D> {
    notifier(bench).courier().circuit(NEVER)
}

pub fn paid(endpoint: &Endpoint, id: &str) -> Notification {
    Notification::to("merchant-7", endpoint.url()).about("paid", id).json(format!("{{\"order\":\"{id}\"}}"))
}

/// Notifies in a transaction of its own.
pub async fn notify<D: TestDatabase>(bench: &Bench<D>, notification: &Notification) -> i64 {
    let mut transaction = bench.pool.begin().await.unwrap();
    let noted = notifier(bench).notify(&mut transaction, notification).await.unwrap();
    transaction.commit().await.unwrap();
    noted.row
}

pub async fn a_notification_is_there_if_and_only_if_the_transaction_commits<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::well().await;
    let mut rolled_back = bench.pool.begin().await.unwrap();
    notifier(bench).notify(&mut rolled_back, &paid(&endpoint, "never")).await.unwrap();
    rolled_back.rollback().await.unwrap();
    let row = notify(bench, &paid(&endpoint, "order-1")).await;

    assert_eq!(courier(bench).pass().await.unwrap().delivered, 1);
    assert_eq!(endpoint.ids().into_iter().collect::<Vec<_>>(), ["order-1"]);
    let task = notifier(bench).task(row).await.unwrap().unwrap();
    assert_eq!((task.status, task.attempts, task.last_error), (Status::Done, 1, None));
    assert!(notifier(bench).find("merchant-7", "paid", "never").await.unwrap().is_none());
}

pub async fn the_receiver_gets_what_it_can_verify<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::well().await;
    notify(bench, &paid(&endpoint, "订单-1")).await;
    courier(bench).pass().await.unwrap();

    let call = endpoint.calls().remove(0);
    assert!(call.head.starts_with("POST /notified?by=shop HTTP/1.1\r\n"), "{}", call.head);
    assert_eq!(call.header("host"), endpoint.url().split('/').nth(2).unwrap());
    assert_eq!(call.header("content-type"), "application/json");
    assert_eq!(call.header("x-attempt"), "1");
    assert_eq!(call.header("x-business-id"), "%E8%AE%A2%E5%8D%95-1");
    assert_eq!(call.body, "{\"order\":\"订单-1\"}".as_bytes());
    let signed = Signed::Notification {
        business_type: call.header("x-business-type"),
        business_id: call.header("x-business-id"),
        body: &call.body,
    };
    let verify = |keys: &[Key]| signed.verify(keys, call.header("x-signature"), START_MS, SECOND);
    assert_eq!(verify(&keys().of("merchant-7")), Ok(()));
    assert!(verify(&keys().of("merchant-8")).is_err());
}

pub async fn only_a_whole_answer_200_is_a_success<D: TestDatabase>(bench: &Bench<D>) {
    let other = Endpoint::well().await;
    let endpoint = Endpoint::well().await;
    let row = notify(bench, &paid(&endpoint, "order-1")).await;
    let courier = courier(bench).otherwise(Schedule::listed([SECOND], 50));
    let courier = courier.call_limits(Duration::from_millis(300), Duration::from_millis(300));
    for (answer, code, told) in [
        (Answer::Says(201, "made"), Some(201), "the answer is 201, not 200"),
        (Answer::Says(400, "bad"), Some(400), "the answer is 400"),
        (Answer::Says(500, "oops"), Some(500), "the answer is 500"),
        (Answer::Elsewhere(other.url()), Some(302), "redirects are not followed"),
        (Answer::BreaksOff, Some(200), "the answer 200 broke off"),
        (Answer::Closes, None, "connection"),
        (Answer::Gibberish, None, "HTTP"),
        (Answer::Hangs, None, "no whole answer within 300ms"),
    ] {
        endpoint.answers(answer.clone());
        assert_eq!(courier.pass().await.unwrap().failed, 1, "{answer:?}");
        let log = notifier(bench).log(row, 0, 100).await.unwrap();
        let last = log.last().unwrap();
        assert_eq!(last.code, code, "{answer:?}");
        assert!(last.cause.as_deref().unwrap().contains(told), "{answer:?}: {last:?}");
        bench.clock.advance(SECOND);
    }
    assert!(other.calls().is_empty(), "the redirect was followed");
    endpoint.answers(Answer::Endless);
    assert_eq!(courier.pass().await.unwrap().delivered, 1, "200 is 200, and the rest is not read");
    let last = notifier(bench).log(row, 0, 100).await.unwrap().pop().unwrap();
    assert_eq!((last.attempt, last.answer.map(|answer| answer.len())), (9, Some(500)));
}

pub async fn couriers_side_by_side_deliver_each_task_once<D: TestDatabase>(bench: &Bench<D>) {
    let endpoints = [Endpoint::well().await, Endpoint::well().await, Endpoint::well().await];
    for n in 0..60 {
        notify(bench, &paid(&endpoints[n % 3], &n.to_string())).await;
    }
    let (one, two) = (courier(bench), courier(bench));
    let (one, two) =
        tokio::join!(tokio::spawn(async move { one.pass().await }), tokio::spawn(async move { two.pass().await }));
    assert_eq!(one.unwrap().unwrap().delivered + two.unwrap().unwrap().delivered, 60);
    let calls: usize = endpoints.iter().map(|endpoint| endpoint.calls().len()).sum();
    assert_eq!(calls, 60);
}

pub async fn a_running_courier_delivers_what_is_committed_though_nobody_calls<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::well().await;
    let notifier = notifier(bench);
    let running = notifier.courier().start();
    let mut transaction = bench.pool.begin().await.unwrap();
    notifier.notify(&mut transaction, &paid(&endpoint, "order-1")).await.unwrap();
    transaction.commit().await.unwrap();
    let called = endpoint.called(1);
    let moving = async {
        loop {
            bench.clock.advance(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { () = called => {}, () = moving => {} }
    running.shutdown().await;
    let task = notifier.find("merchant-7", "paid", "order-1").await.unwrap().unwrap();
    assert_eq!(task.status, Status::Done);
}

pub async fn one_key_for_two_notifications_is_refused_with_the_row<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::well().await;
    let first = paid(&endpoint, "order-1");
    let row = notify(bench, &first).await;
    let mut transaction = bench.pool.begin().await.unwrap();
    let again = notifier(bench).notify(&mut transaction, &first).await.unwrap();
    assert_eq!((again.row, again.is_new), (row, false));
    for other in [first.clone().json("[]"), first.clone().body("text/plain", first.content().clone())] {
        let refused = notifier(bench).notify(&mut transaction, &other).await.unwrap_err();
        assert!(matches!(&refused, Error::Collision { row: found, .. } if *found == row), "{refused}");
    }
    // another event, and another receiver of the same event
    let other_type = first.clone().about("refunded", "order-1");
    let other_receiver = Notification::to("warehouse", endpoint.url()).about("paid", "order-1").json("{}");
    for other in [other_type, other_receiver] {
        assert!(notifier(bench).notify(&mut transaction, &other).await.unwrap().is_new);
    }
    transaction.commit().await.unwrap();
    assert_eq!(courier(bench).pass().await.unwrap().delivered, 3);
}

pub async fn who_has_no_key_is_not_called<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::well().await;
    let row = notify(bench, &paid(&endpoint, "order-1")).await;
    let keyless = Notifier::builder(bench.pool.clone(), |_: &str| Vec::new()).schema(bench.schema.clone());
    let keyless = keyless.clock(bench.clock.clone()).build();
    assert_eq!(keyless.courier().pass().await.unwrap().failed, 1);
    assert!(endpoint.calls().is_empty());
    let cause = keyless.task(row).await.unwrap().unwrap().last_error.unwrap();
    assert!(cause.contains("no key of \"merchant-7\""), "{cause}");
}

pub async fn a_task_that_nobody_can_read_holds_no_other_up_and_says_why<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::well().await;
    for id in ["a", "broken", "c", "negative"] {
        notify(bench, &paid(&endpoint, id)).await;
    }
    let table = bench.notifications();
    bench.run(format!("UPDATE {table} SET url = 'nowhere at all' WHERE business_id = 'broken'")).await;
    bench.run(format!("UPDATE {table} SET attempts = -1 WHERE business_id = 'negative'")).await;
    let pass = courier(bench).pass().await.unwrap();
    assert_eq!((pass.delivered, pass.exhausted), (2, 2));
    for (id, told) in [("broken", "nowhere at all"), ("negative", "column attempts")] {
        let task = notifier(bench).find("merchant-7", "paid", id).await.unwrap().unwrap();
        let cause = task.last_error.unwrap();
        assert!(task.status == Status::Exhausted && cause.contains(told), "{cause}");
    }
}

pub async fn tasks_that_were_written_under_a_wrong_clock_do_not_wait_for_it<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::well().await;
    let days = 86_400_000 * 30;
    bench.clock.step(days);
    notify(bench, &paid(&endpoint, "order-1")).await;
    bench.clock.step(-days);
    let running = courier(bench).start();
    endpoint.called(1).await;
    running.shutdown().await;
}

pub async fn a_courier_that_cannot_write_down_what_it_knows_ends_all_the_same<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::that(Answer::Waits).await;
    notify(bench, &paid(&endpoint, "order-1")).await;
    let running = courier(bench).start();
    endpoint.called(1).await;
    bench.run(format!("DROP TABLE {}", bench.schema.name(Table::NotificationLog))).await;
    endpoint.open();
    running.shutdown().await;
    let task = notifier(bench).find("merchant-7", "paid", "order-1").await.unwrap().unwrap();
    assert!(task.status == Status::Pending && task.claimed_by.is_some(), "its lease is left to end: {task:?}");
}
