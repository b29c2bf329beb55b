//! Notifying and delivering.

use std::{
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tenonmq_outbox::{
    Error, Schedule, Status,
    notification::{
        CircuitSettings, Courier, Decision, DerivedKeys, Event, Key, Keys, Notification, Notifier, NotifierBuilder,
        Reach, Resolver, Signed,
    },
};

use super::{
    bench::{Bench, SECOND, START_MS, TestDatabase},
    endpoint::{Answer, Endpoint},
};

const NEVER: CircuitSettings =
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

/// Tries until the strategy gives up: each a millisecond before it is due (nothing happens), and when it is due.
async fn pauses_until_given_up<D: TestDatabase>(bench: &Bench<D>, strategy: Schedule) -> (Vec<u64>, i64) {
    let endpoint = Endpoint::that(Answer::Says(500, "down")).await;
    let row = notify(bench, &paid(&endpoint, "order-1")).await;
    let courier = courier(bench).strategy("paid", strategy).otherwise(Schedule::listed([], 1));
    let mut pauses = Vec::new();
    loop {
        let calls = endpoint.calls().len();
        courier.pass().await.unwrap();
        assert_eq!(endpoint.calls().len(), calls + 1);
        let task = notifier(bench).task(row).await.unwrap().unwrap();
        assert_eq!(task.attempts as usize, calls + 1);
        if task.status == Status::Exhausted {
            return (pauses, row);
        }
        let pause_ms = u64::try_from(task.next_attempt_ms - task.updated_ms).unwrap();
        bench.clock.advance(Duration::from_millis(pause_ms - 1));
        courier.pass().await.unwrap();
        assert_eq!(endpoint.calls().len(), calls + 1, "not a millisecond too early");
        bench.clock.advance(Duration::from_millis(1));
        pauses.push(pause_ms);
    }
}

pub async fn growing_pauses_are_kept_to_the_millisecond_up_to_fifty_tries<D: TestDatabase>(bench: &Bench<D>) {
    let (pauses, _) = pauses_until_given_up(bench, Schedule::growing()).await;
    assert_eq!(pauses[..9], [1, 5, 15, 30, 60, 300, 900, 1_800, 3_600].map(|seconds| seconds * 1_000));
    assert_eq!(pauses.len(), 49);
}

pub async fn doubling_minutes_end_after_five_tries_and_the_last_failure_is_stored<D: TestDatabase>(bench: &Bench<D>) {
    let (pauses, row) = pauses_until_given_up(bench, Schedule::doubling_minutes()).await;
    assert_eq!(pauses, [1, 2, 4, 8].map(|minutes| minutes * 60_000));

    let task = notifier(bench).task(row).await.unwrap().unwrap();
    assert_eq!((task.attempts, task.last_error.as_deref()), (5, Some("the answer is 500")));
    let log = notifier(bench).log(row, 0, 100).await.unwrap();
    let tries: Vec<_> =
        log.iter().map(|entry| (entry.event, entry.attempt, entry.code, entry.answer.as_deref())).collect();
    let expected: Vec<_> = (1..=5).map(|attempt| (Event::Try, attempt, Some(500), Some("down"))).collect();
    assert_eq!(tries, expected);
    let minutes: Vec<_> = log.iter().map(|entry| (entry.began_ms - START_MS) / 60_000).collect();
    assert_eq!(minutes, [0, 1, 3, 7, 15]);
}

pub async fn what_is_given_up_is_kept_shown_and_told_of_once<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::that(Answer::Says(404, "who?")).await;
    let row = notify(bench, &paid(&endpoint, "order-1")).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let courier = courier(bench).otherwise(Schedule::listed([SECOND], 2)).on_exhausted({
        let told = Arc::clone(&told);
        move |task| told.lock().push((task.row, task.attempts, task.last_error.clone().unwrap()))
    });
    for _ in 0..4 {
        courier.pass().await.unwrap();
        bench.clock.advance(SECOND);
    }
    assert_eq!(*told.lock(), [(row, 2, "the answer is 404, not 200".to_owned())]);
    let exhausted = notifier(bench).list(Status::Exhausted, 0, 10).await.unwrap();
    assert_eq!(exhausted.iter().map(|task| task.row).collect::<Vec<_>>(), [row]);
    assert_eq!(notifier(bench).backlog().await.unwrap().exhausted, 1);
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

pub async fn a_target_that_hangs_holds_up_nobody_else<D: TestDatabase>(bench: &Bench<D>) {
    let (hanging, well) = (Endpoint::that(Answer::Hangs).await, Endpoint::well().await);
    for n in 0..40 {
        notify(bench, &paid(&hanging, &format!("hangs-{n}"))).await;
    }
    for n in 0..20 {
        notify(bench, &paid(&well, &format!("well-{n}"))).await;
    }
    let courier = courier(bench).call_limits(60 * SECOND, 60 * SECOND).concurrency(4, 16);
    let running = courier.start();
    well.called(20).await;
    hanging.called(4).await;
    assert_eq!(hanging.calls().len(), 4, "no more than its share");
    drop(running);
}

pub async fn no_target_has_more_calls_at_once_than_allowed<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::that(Answer::Waits).await;
    for n in 0..30 {
        notify(bench, &paid(&endpoint, &n.to_string())).await;
    }
    let running = courier(bench).concurrency(3, 100).start();
    endpoint.called(3).await;
    endpoint.open();
    endpoint.called(30).await;
    assert!(endpoint.most_at_once() <= 3, "{}", endpoint.most_at_once());
    running.shutdown().await;
    assert_eq!(notifier(bench).backlog().await.unwrap().pending, 0);
}

pub async fn an_open_circuit_uses_up_no_tries_and_closes_after_one_call_to_see<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::that(Answer::Says(503, "")).await;
    let rows: Vec<i64> = {
        let mut rows = Vec::new();
        for n in 0..20 {
            rows.push(notify(bench, &paid(&endpoint, &n.to_string())).await);
        }
        rows
    };
    let circuit = CircuitSettings { failures: 3, first_pause: 30 * SECOND, longest_pause: 600 * SECOND };
    let courier = notifier(bench).courier().circuit(circuit).concurrency(1, 100);
    let courier = courier.otherwise(Schedule::listed([SECOND], 5));
    for seconds in 0..30 {
        courier.pass().await.unwrap();
        assert_eq!(endpoint.calls().len(), 3, "after {seconds} s");
        bench.clock.advance(SECOND);
    }
    courier.pass().await.unwrap();
    assert_eq!(endpoint.calls().len(), 4, "one call to see");
    bench.clock.advance(59 * SECOND);
    courier.pass().await.unwrap();
    assert_eq!(endpoint.calls().len(), 4, "and twice the pause");
    bench.clock.advance(SECOND);
    endpoint.answers(Answer::Says(200, ""));
    assert_eq!(courier.pass().await.unwrap().delivered, 20);
    let mut attempts = 0;
    for row in rows {
        attempts += notifier(bench).task(row).await.unwrap().unwrap().attempts;
    }
    assert_eq!(attempts, 24, "each call is a try, and nothing else is");
}

pub async fn what_the_receiver_refuses_opens_no_circuit<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::that(Answer::Says(400, "unknown order")).await;
    for n in 0..20 {
        notify(bench, &paid(&endpoint, &n.to_string())).await;
    }
    let circuit = CircuitSettings { failures: 3, ..CircuitSettings::default() };
    assert_eq!(notifier(bench).courier().circuit(circuit).pass().await.unwrap().failed, 20);
}

/// Says for every name what it was told, and counts how often it was asked.
#[derive(Clone)]
struct Names(Arc<(Vec<Vec<IpAddr>>, AtomicUsize)>);

impl Names {
    fn that(answers: &[&[&str]]) -> Self {
        let parsed = answers.iter().map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect());
        Self(Arc::new((parsed.collect(), AtomicUsize::new(0))))
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        let asked = self.0.1.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(self.0.0[asked % self.0.0.len()].clone())))
    }
}

pub async fn the_address_that_is_connected_to_is_the_one_that_was_checked<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::well().await;
    let by_name = Notification::to("merchant-7", endpoint.url_at("shop.example")).about("paid", "order-1").json("{}");
    let strict = Notifier::builder(bench.pool.clone(), keys()).schema(bench.schema.clone()).clock(bench.clock.clone());
    let strict = strict.build();
    let mut transaction = bench.pool.begin().await.unwrap();
    let row = strict.notify(&mut transaction, &by_name).await.unwrap().row;
    let by_address = strict.notify(&mut transaction, &paid(&endpoint, "order-2")).await;
    assert!(by_address.unwrap_err().to_string().contains("127.0.0.1 is not public"));
    transaction.commit().await.unwrap();

    let names = Names::that(&[&["127.0.0.1"], &["10.0.0.1", "169.254.169.254"], &["::1"], &["::ffff:127.0.0.1"]]);
    let within = strict.courier().resolver(names.clone()).circuit(NEVER).otherwise(Schedule::listed([SECOND], 50));
    for asked in 1..=4 {
        assert_eq!(within.pass().await.unwrap().failed, 1);
        assert_eq!(names.0.1.load(Ordering::SeqCst), asked, "one question for one try");
        let cause = strict.task(row).await.unwrap().unwrap().last_error.unwrap();
        assert!(cause.contains("shop.example is at") && cause.contains("not public"), "{cause}");
        bench.clock.advance(SECOND);
    }
    assert!(endpoint.calls().is_empty());

    // of several addresses those are called that may be, and a name that changes its mind afterwards changes nothing
    let names = Names::that(&[&["10.0.0.1", "127.0.0.1"], &["10.0.0.1"]]);
    assert_eq!(courier(bench).resolver(names.clone()).pass().await.unwrap().delivered, 1);
    assert_eq!((names.0.1.load(Ordering::SeqCst), endpoint.calls().len()), (1, 1));
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

pub async fn what_people_decide_is_kept_with_who_why_and_when<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::that(Answer::Says(500, "")).await;
    let row = notify(bench, &paid(&endpoint, "order-1")).await;
    let (notifier, courier) = (notifier(bench), courier(bench).otherwise(Schedule::listed([], 1)));
    courier.pass().await.unwrap();
    bench.clock.advance(SECOND);
    notifier.give_up(row, Decision { who: "ann", why: "the shop has closed" }).await.unwrap();
    let task = notifier.task(row).await.unwrap().unwrap();
    assert_eq!((task.status, task.last_error.as_deref()), (Status::Dropped, Some("the shop has closed")));
    bench.clock.advance(SECOND);
    endpoint.answers(Answer::Says(200, ""));
    notifier.resend(row, Decision { who: "bob", why: "it is open again" }).await.unwrap();
    assert_eq!(courier.pass().await.unwrap().delivered, 1);
    notifier.resend(row, Decision { who: "bob", why: "they restored a backup" }).await.unwrap();
    assert_eq!(courier.pass().await.unwrap().delivered, 1);

    let log = notifier.log(row, 0, 100).await.unwrap();
    let life: Vec<_> = log.iter().map(|entry| (entry.event, entry.attempt, entry.ended_ms - START_MS)).collect();
    assert_eq!(
        life,
        [
            (Event::Try, 1, 0),
            (Event::GiveUp, 0, 1_000),
            (Event::Resend, 0, 2_000),
            (Event::Try, 1, 2_000),
            (Event::Resend, 0, 2_000),
            (Event::Try, 1, 2_000)
        ]
    );
    assert_eq!((log[1].who.as_str(), log[1].cause.as_deref()), ("ann", Some("the shop has closed")));

    let refused = |result: Result<(), Error>| result.unwrap_err().to_string();
    let why = Decision { who: "ann", why: "no" };
    assert!(refused(notifier.give_up(row, why).await).contains("it is done"));
    assert!(refused(notifier.give_up(0, why).await).contains("there is none"));
    assert!(refused(notifier.resend(row, Decision { who: " ", why: "x" }).await).contains("must be named"));
    assert!(refused(notifier.resend(row, Decision { who: "ann", why: "" }).await).contains("needs a reason"));
}

pub async fn a_task_that_is_being_tried_is_nobody_elses_to_decide<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::that(Answer::Waits).await;
    let row = notify(bench, &paid(&endpoint, "order-1")).await;
    let notifier = notifier(bench);
    let running = courier(bench).lease(60 * SECOND).start();
    endpoint.called(1).await;
    let decision = Decision { who: "ann", why: "now" };
    for decided in [notifier.resend(row, decision).await, notifier.give_up(row, decision).await] {
        assert!(decided.unwrap_err().to_string().contains("being tried"));
    }
    endpoint.open();
    running.shutdown().await;
    assert_eq!(notifier.task(row).await.unwrap().unwrap().status, Status::Done);
}

pub async fn cleaning_takes_old_tasks_and_their_logs_and_nothing_else<D: TestDatabase>(bench: &Bench<D>) {
    let (well, ill) = (Endpoint::well().await, Endpoint::that(Answer::Says(500, "")).await);
    let old = notify(bench, &paid(&well, "old")).await;
    let failed = notify(bench, &paid(&ill, "failed")).await;
    courier(bench).otherwise(Schedule::listed([], 1)).pass().await.unwrap();
    bench.clock.advance(60 * SECOND);
    let young = notify(bench, &paid(&well, "young")).await;
    courier(bench).pass().await.unwrap();

    let notifier = notifier(bench);
    assert_eq!(notifier.clean(START_MS + 1_000).await.unwrap(), 1);
    assert!(notifier.task(old).await.unwrap().is_none());
    assert!(notifier.log(old, 0, 10).await.unwrap().is_empty());
    for kept in [failed, young] {
        assert!(notifier.task(kept).await.unwrap().is_some());
        assert_eq!(notifier.log(kept, 0, 10).await.unwrap().len(), 1);
    }
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
