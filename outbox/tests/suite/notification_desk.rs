//! What people decide about notifications, and what is cleaned away.

use tenonmq_outbox::{
    Error, Schedule, Status,
    notification::{Decision, Event},
};

use super::{
    bench::{Bench, SECOND, START_MS, TestDatabase},
    endpoint::{Answer, Endpoint},
    notification::{courier, notifier, notify, paid},
};

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
