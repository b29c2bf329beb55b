//! Targets: how many calls they get, when they are left alone, and which addresses are called at all.

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

use tenonmq_outbox::{
    Schedule,
    notification::{CircuitSettings, Notification, Notifier, Resolver},
};

use super::{
    bench::{Bench, SECOND, TestDatabase},
    endpoint::{Answer, Endpoint},
    notification::{NEVER, courier, keys, notifier, notify, paid},
};

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
pub struct Names(Arc<(Vec<Vec<IpAddr>>, AtomicUsize)>);

impl Names {
    pub fn that(answers: &[&[&str]]) -> Self {
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

pub async fn a_target_that_asks_for_a_pause_is_left_alone_and_its_tasks_lose_no_tries<D: TestDatabase>(
    bench: &Bench<D>,
) {
    let (endpoint, other) = (Endpoint::that(Answer::Later(503, "120".to_owned())).await, Endpoint::well().await);
    let mut rows = Vec::new();
    for n in 0..10 {
        rows.push(notify(bench, &paid(&endpoint, &n.to_string())).await);
        notify(bench, &paid(&other, &format!("other-{n}"))).await;
    }
    let courier = courier(bench).concurrency(1, 100).otherwise(Schedule::listed([SECOND], 3));
    let pass = courier.pass().await.unwrap();
    assert_eq!((pass.failed, pass.delivered, endpoint.calls().len()), (1, 10, 1), "another target is another target");
    bench.clock.step(119_999);
    courier.pass().await.unwrap();
    assert_eq!(endpoint.calls().len(), 1);
    bench.clock.step(1);
    endpoint.answers(Answer::Says(200, ""));
    assert_eq!(courier.pass().await.unwrap().delivered, 10);
    let mut attempts = 0;
    for row in rows {
        attempts += notifier(bench).task(row).await.unwrap().unwrap().attempts;
    }
    assert_eq!(attempts, 11);
}

pub async fn no_pause_is_longer_than_the_courier_allows<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::that(Answer::Later(429, "31536000".to_owned())).await;
    notify(bench, &paid(&endpoint, "order-1")).await;
    let courier = courier(bench).otherwise(Schedule::listed([SECOND], 9)).longest_wait(Duration::ZERO);
    for calls in 1..=3 {
        courier.pass().await.unwrap();
        assert_eq!(endpoint.calls().len(), calls);
        bench.clock.advance(SECOND);
    }
}
