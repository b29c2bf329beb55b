//! Notification through every crash point.

use tenonmq_outbox::{
    Error, Schedule, Status,
    fault::Point,
    notification::{Decision, Event},
};

use super::{
    bench::{Bench, SECOND, TestDatabase},
    endpoint::{Answer, Endpoint},
    notification::{courier, notifier, paid},
};

/// One attempt of the user's own transaction, as a process would make it that may die in it.
async fn order<D: TestDatabase>(bench: &Bench<D>, endpoint: &Endpoint, id: &str) -> Result<(), Error> {
    let mut transaction = bench.pool.begin().await?;
    notifier(bench).notify(&mut transaction, &paid(endpoint, id)).await?;
    Ok(transaction.commit().await?)
}

pub async fn after_a_crash_anywhere_the_receiver_is_told_and_the_log_says_what_happened<D: TestDatabase>(
    bench: &Bench<D>,
) {
    for (point, calls, events) in [
        (Point::NotificationWritten, 1, vec![Event::Try]),
        (Point::NotificationClaimWritten, 1, vec![Event::Try]),
        (Point::NotificationClaimed, 1, vec![Event::Lost, Event::Try]),
        (Point::NotificationAnswered, 2, vec![Event::Lost, Event::Try]),
        (Point::NotificationOutcomeWritten, 2, vec![Event::Lost, Event::Try]),
        (Point::NotificationOutcomeKept, 1, vec![Event::Try]),
    ] {
        let endpoint = Endpoint::well().await;
        let id = format!("order-{point:?}");
        bench.faults.crash_at(point);
        while let Err(error) = order(bench, &endpoint, &id).await {
            assert!(matches!(error, Error::Crashed(_)), "{error}");
            bench.bury().await;
        }
        while let Err(error) = courier(bench).pass().await {
            assert!(matches!(error, Error::Crashed(_)), "{error}");
            bench.bury().await;
        }
        bench.clock.advance(60 * SECOND); // the dead one's lease
        courier(bench).pass().await.unwrap();
        assert!(!bench.faults.is_armed(), "{point:?} was not passed");

        let task = notifier(bench).find("merchant-7", "paid", &id).await.unwrap().unwrap();
        assert_eq!(task.status, Status::Done, "{point:?}");
        assert_eq!((endpoint.ids().len(), endpoint.calls().len()), (1, calls), "{point:?}: known by its key");
        let log = notifier(bench).log(task.row, 0, 10).await.unwrap();
        assert_eq!(log.iter().map(|entry| entry.event).collect::<Vec<_>>(), events, "{point:?}");
    }
}

pub async fn a_failure_that_nobody_wrote_down_counts<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::that(Answer::Says(500, "")).await;
    order(bench, &endpoint, "kills").await.unwrap();
    for _ in 0..3 {
        bench.faults.crash_at(Point::NotificationAnswered);
        courier(bench).pass().await.unwrap_err();
        bench.bury().await;
        bench.clock.advance(60 * SECOND);
    }
    let strategy = Schedule::listed([SECOND], 4);
    assert_eq!(courier(bench).otherwise(strategy).pass().await.unwrap().exhausted, 1);
    let task = notifier(bench).find("merchant-7", "paid", "kills").await.unwrap().unwrap();
    assert_eq!((task.status, task.attempts, endpoint.calls().len()), (Status::Exhausted, 4, 4));
}

pub async fn a_decision_is_kept_with_its_reason_or_not_made<D: TestDatabase>(bench: &Bench<D>) {
    let endpoint = Endpoint::well().await;
    order(bench, &endpoint, "order-1").await.unwrap();
    let notifier = notifier(bench);
    let row = notifier.find("merchant-7", "paid", "order-1").await.unwrap().unwrap().row;
    bench.faults.crash_at(Point::NotificationDecisionWritten);
    let decision = Decision { who: "ann", why: "closed" };
    notifier.give_up(row, decision).await.unwrap_err();
    bench.bury().await;
    assert_eq!(notifier.task(row).await.unwrap().unwrap().status, Status::Pending);
    assert!(notifier.log(row, 0, 10).await.unwrap().is_empty());
    notifier.give_up(row, decision).await.unwrap();
    assert_eq!(notifier.log(row, 0, 10).await.unwrap().len(), 1);
}
