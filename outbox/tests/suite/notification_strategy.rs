//! When a notification is tried again, and when it is given up.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tenonmq_outbox::{Clock, Schedule, Status, notification::Event};

use super::{
    bench::{Bench, SECOND, START_MS, TestDatabase},
    endpoint::{Answer, Endpoint},
    notification::{courier, notifier, notify, paid},
};

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

pub async fn a_pause_that_the_endpoint_asks_for_is_kept_to_the_millisecond<D: TestDatabase>(bench: &Bench<D>) {
    let hour_ms = 3_600_000;
    // what it says, by what pause the strategy has, and how long is waited
    for (id, answer, pause_ms, waited_ms) in [
        ("seconds", Answer::Later(429, "120".to_owned()), 1_000, 120_000),
        ("date", Answer::Later(503, "Tue, 14 Nov 2023 22:15:20 GMT".to_owned()), 1_000, 120_000),
        ("past", Answer::Later(503, "Tue, 14 Nov 2023 22:13:00 GMT".to_owned()), 1_000, 1_000),
        ("shorter", Answer::Later(429, "5".to_owned()), 60_000, 60_000),
        ("a-year", Answer::Later(503, "31536000".to_owned()), 1_000, hour_ms),
        ("year-9999", Answer::Later(429, "Fri, 31 Dec 9999 23:59:59 GMT".to_owned()), 1_000, hour_ms),
        ("unreadable", Answer::Later(429, "when it suits me".to_owned()), 1_000, 1_000),
        ("another-status", Answer::Later(500, "120".to_owned()), 1_000, 1_000),
    ] {
        let began_ms = bench.clock.now_ms();
        let endpoint = Endpoint::that(answer).await;
        let row = notify(bench, &paid(&endpoint, id)).await;
        let courier = courier(bench).otherwise(Schedule::listed([Duration::from_millis(pause_ms)], 50));
        courier.pass().await.unwrap();
        let task = notifier(bench).task(row).await.unwrap().unwrap();
        assert_eq!(task.next_attempt_ms - began_ms, waited_ms, "{id}");
        bench.clock.step(waited_ms - 1);
        courier.pass().await.unwrap();
        assert_eq!(endpoint.calls().len(), 1, "{id}: not a millisecond too early");
        bench.clock.step(1);
        endpoint.answers(Answer::Says(200, ""));
        assert_eq!(courier.pass().await.unwrap().delivered, 1, "{id}");
        bench.clock.step(START_MS - bench.clock.now_ms()); // the dates are of that day
    }
}
