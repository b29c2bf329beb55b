//! Half message and outbox row in one step.

use std::time::Duration;

use tenonmq_client::LocalState;
use tenonmq_outbox::{HalfPublisher, Outgoing, Relay, Schedule, Status, Transactional, fault::Point};

use super::{
    bench::{Bench, TestDatabase, event},
    half_broker::{Fate, HalfBroker, Trouble},
};

const MINUTE: Duration = Duration::from_secs(60);

/// An instance of the service.
fn service<D: TestDatabase>(bench: &Bench<D>, broker: &HalfBroker) -> Transactional<D, HalfBroker> {
    Transactional::builder(bench.outbox(), "no name server").over(broker.clone())
}

fn relay<D: TestDatabase>(service: &Transactional<D, HalfBroker>) -> Relay<D, HalfPublisher<D, HalfBroker>> {
    service.relay().schedule(Schedule::listed([MINUTE], 100))
}

/// Publishes in a transaction of its own. Whether the transaction committed.
async fn publish<D: TestDatabase>(
    bench: &Bench<D>,
    service: &Transactional<D, HalfBroker>,
    message: &Outgoing,
) -> bool {
    let mut transaction = bench.pool.begin().await.unwrap();
    if service.publish(&mut transaction, message).await.is_err() {
        return false; // dropped: rolled back
    }
    transaction.commit().await.unwrap();
    true
}

/// Lets time pass over relays and checks until both have nothing to do.
async fn settle<D: TestDatabase>(bench: &Bench<D>, broker: &HalfBroker) {
    bench.bury().await;
    let service = service(bench, broker);
    for _ in 0..4 {
        bench.clock.advance(2 * MINUTE);
        relay(&service).pass().await.unwrap();
        broker.check(&service).await;
    }
    bench.clock.advance(2 * MINUTE);
    relay(&service).pass().await.unwrap();
    assert!(broker.halves(Fate::Undecided).is_empty());
    assert_eq!(service.outbox().backlog().await.unwrap().pending, 0);
}

pub async fn what_commits_becomes_visible_by_its_half_message<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    assert!(publish(bench, &service, &event("paid-1")).await);
    assert!(broker.by_half().is_empty(), "nothing before the relay, or a check, has seen the commit");
    assert_eq!(relay(&service).pass().await.unwrap().sent, 1);
    assert_eq!((broker.by_half(), broker.ordinary()), (vec!["paid-1".to_owned()], vec![]));
    let row = service.outbox().find("paid", "paid-1").await.unwrap().unwrap();
    assert_eq!(row.status, Status::Done);
}

pub async fn what_is_rolled_back_is_dropped_by_its_check<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    let mut transaction = bench.pool.begin().await.unwrap();
    service.publish(&mut transaction, &event("never")).await.unwrap();
    transaction.rollback().await.unwrap();
    settle(bench, &broker).await;
    assert_eq!(broker.halves(Fate::RolledBack).len(), 1);
    assert!(broker.by_half().is_empty() && broker.ordinary().is_empty());
}

/// The process died after its commit; the check finds the row.
pub async fn a_check_is_answered_by_any_instance<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    publish(bench, &service(bench, &broker), &event("paid-1")).await;
    let another = service(bench, &broker);
    broker.check(&another).await;
    assert_eq!(broker.by_half(), ["paid-1"]);
    settle(bench, &broker).await;
    assert!(broker.ordinary().is_empty());
}

/// The check comes while the transaction is open, with its row or yet without: it must not say "rollback" and be wrong.
pub async fn a_check_during_the_transaction_waits_for_its_end<D: TestDatabase>(bench: &Bench<D>) {
    for commits in [true, false] {
        let broker = HalfBroker::default();
        let service = service(bench, &broker);
        let id = format!("open-{commits}");
        let mut transaction = bench.pool.begin().await.unwrap();
        service.publish(&mut transaction, &event(&id)).await.unwrap();
        let [half] = broker.halves(Fate::Undecided).try_into().unwrap();
        let asking = tokio::spawn({
            let service = service.clone();
            async move { service.answer_check(&half).await }
        });
        tokio::task::yield_now().await;
        if commits {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
        let expected = if commits { LocalState::Commit } else { LocalState::Rollback };
        // a database may refuse to wait: an error is answered "unknown", and the broker asks again
        let answer = asking.await.unwrap().unwrap_or(LocalState::Unknown);
        assert!(answer == expected || answer == LocalState::Unknown, "{answer:?}");
        settle(bench, &broker).await;
        assert_eq!(broker.by_half().len(), usize::from(commits));
        assert!(broker.ordinary().is_empty());
    }
}

/// The half message is given up before its row is written: the row then makes the relay send it.
pub async fn a_caller_that_is_slower_than_the_check_loses_nothing<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    broker.check_at_once(&service);
    assert!(publish(bench, &service, &event("slow")).await);
    assert_eq!(broker.halves(Fate::RolledBack).len(), 1);
    settle(bench, &broker).await;
    assert_eq!((broker.by_half(), broker.ordinary()), (vec![], vec!["slow".to_owned()]));
}

pub async fn a_broker_that_is_away_costs_nothing_but_its_half_messages<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    broker.trouble(Trouble::Down);
    assert!(publish(bench, &service, &event("a")).await);
    assert!(publish(bench, &service, &event("b")).await);
    assert_eq!(broker.tries(), 1, "after one failure the others do not wait for the broker");
    broker.trouble(Trouble::None);
    bench.clock.advance(Duration::from_secs(6));
    assert!(publish(bench, &service, &event("c")).await);
    settle(bench, &broker).await;
    assert_eq!(broker.ordinary(), ["a", "b"]);
    assert_eq!(broker.by_half(), ["c"]);
}

/// The subtle one: the broker dies with the half message undecided, the relay takes over, and the broker comes back.
pub async fn what_the_relay_took_over_is_not_committed_when_the_broker_comes_back<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    publish(bench, &service, &event("paid-1")).await;
    broker.trouble(Trouble::Down);
    assert_eq!(relay(&service).pass().await.unwrap().failed, 1);
    broker.trouble(Trouble::None);
    broker.check(&service).await; // before the relay sends it
    settle(bench, &broker).await;
    assert_eq!(broker.ordinary(), ["paid-1"]);
    assert_eq!((broker.by_half().len(), broker.halves(Fate::RolledBack).len()), (0, 1));
}

/// And its opposite: the commit may have arrived, so nobody else may send it, even if another broker takes it.
pub async fn a_commit_whose_answer_is_lost_excludes_the_relay<D: TestDatabase>(bench: &Bench<D>) {
    for trouble in [Trouble::CommittedWithoutAWord, Trouble::CommitsLost] {
        let broker = HalfBroker::default();
        let service = service(bench, &broker);
        publish(bench, &service, &event(&format!("{trouble:?}"))).await;
        broker.trouble(trouble);
        assert_eq!(relay(&service).pass().await.unwrap().failed, 1);
        broker.trouble(Trouble::Away);
        bench.clock.advance(2 * MINUTE);
        assert_eq!(relay(&service).pass().await.unwrap().failed, 1);
        broker.trouble(Trouble::None);
        settle(bench, &broker).await;
        assert_eq!((broker.by_half().len(), broker.ordinary().len()), (1, 0));
    }
}

/// So does a check that was answered: its answer is as good as a commit.
pub async fn a_check_that_was_answered_excludes_the_relay<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    publish(bench, &service, &event("paid-1")).await;
    broker.check(&service).await;
    broker.trouble(Trouble::Away);
    assert_eq!(relay(&service).pass().await.unwrap().failed, 1);
    broker.trouble(Trouble::None);
    settle(bench, &broker).await;
    assert_eq!((broker.by_half().len(), broker.ordinary().len()), (1, 0));
}

/// People rolled it back at the broker's desk; the transaction had committed.
pub async fn a_half_message_that_was_rolled_back_elsewhere_is_sent_by_the_relay<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    publish(bench, &service, &event("paid-1")).await;
    broker.roll_back_all();
    assert_eq!(relay(&service).pass().await.unwrap().sent, 1);
    assert_eq!((broker.by_half(), broker.ordinary()), (vec![], vec!["paid-1".to_owned()]));
}

/// The broker's data is lost while a commit is under way: only people can know that it did not arrive.
pub async fn people_hand_over_what_no_broker_will_ever_confirm<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    publish(bench, &service, &event("paid-1")).await;
    assert!(service.hand_over("paid", "paid-1").await.is_err(), "the relay decides by itself");
    broker.trouble(Trouble::CommitsLost);
    assert_eq!(relay(&service).pass().await.unwrap().failed, 1);
    service.hand_over("paid", "paid-1").await.unwrap();
    assert_eq!(relay(&service).pass().await.unwrap().sent, 1);
    assert_eq!(broker.ordinary(), ["paid-1"]);
    assert!(service.hand_over("paid", "paid-1").await.is_err());
    assert!(service.hand_over("paid", "nothing").await.is_err());
}

pub async fn a_message_that_is_published_twice_is_visible_once<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    publish(bench, &service, &event("paid-1")).await;
    publish(bench, &service, &event("paid-1")).await;
    settle(bench, &broker).await;
    assert_eq!((broker.by_half().len(), broker.ordinary().len()), (1, 0));
    assert_eq!(broker.halves(Fate::RolledBack).len(), 1);
}

/// A relay that does not know half messages would make them visible twice.
pub async fn an_ordinary_relay_leaves_half_messages_alone<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    publish(bench, &service, &event("paid-1")).await;
    assert_eq!(bench.relay().pass().await.unwrap().failed, 1);
    assert!(bench.broker.ids().is_empty());
    let row = service.outbox().find("paid", "paid-1").await.unwrap().unwrap();
    assert!(row.last_error.unwrap().contains("half message"));
    settle(bench, &broker).await;
    assert_eq!(broker.by_half(), ["paid-1"]);
}

pub async fn what_must_keep_its_order_or_its_time_is_the_relays<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    publish(bench, &service, &event("a").in_order_of("k")).await;
    publish(bench, &service, &event("b").deliver_at_ms(1)).await;
    assert_eq!(broker.tries(), 0);
    settle(bench, &broker).await;
    assert_eq!(broker.ordinary(), ["a", "b"]);
}

/// The seeds' fault: a check whose query fails says "rollback".
pub async fn a_check_whose_query_fails_is_no_answer<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    publish(bench, &service, &event("paid-1")).await;
    let [half] = broker.halves(Fate::Undecided).try_into().unwrap();
    bench.pool.close().await;
    assert!(service.answer_check(&half).await.is_err());
}

pub async fn decided_half_messages_are_cleaned_away_and_late_checks_answered<D: TestDatabase>(bench: &Bench<D>) {
    let broker = HalfBroker::default();
    let service = service(bench, &broker);
    publish(bench, &service, &event("done")).await;
    let [half] = broker.halves(Fate::Undecided).try_into().unwrap();
    assert_eq!(service.clean(i64::MAX).await.unwrap(), 0, "it is not decided");
    settle(bench, &broker).await;
    assert_eq!(service.clean(i64::MAX).await.unwrap(), 1);
    assert_eq!(service.answer_check(&half).await.unwrap(), LocalState::Rollback);
    assert_eq!((broker.by_half().len(), broker.ordinary().len()), (1, 0));
}

/// What goes wrong while the message is published, when the check comes, and when the relay comes.
const TROUBLES: [[Trouble; 3]; 11] = {
    use Trouble::{Away, CommitsLost, CommittedWithoutAWord, Down, None, StoredWithoutAWord};
    [
        [None, None, None],
        [None, None, Away],
        [None, None, CommittedWithoutAWord],
        [None, None, CommitsLost],
        [None, Away, Away],
        [None, Down, Down],
        [None, Away, CommittedWithoutAWord],
        [Away, None, None],
        [Down, None, None],
        [StoredWithoutAWord, None, None],
        [StoredWithoutAWord, Down, Away],
    ]
};

/// The process dies at each point, under each trouble of the broker; whether relay or check comes first afterwards. Both come
/// twice, so that what the first leaves behind is seen by the second.
pub async fn after_a_crash_anywhere_one_path_publishes<D: TestDatabase>(bench: &Bench<D>) {
    let mut crashes = 0;
    for &point in Point::ALL {
        for troubles in TROUBLES {
            for check_first in [true, false] {
                crashes += usize::from(crash(bench, point, troubles, check_first).await);
            }
        }
    }
    assert!(crashes > 100, "only {crashes} cases came to their point");
}

/// Whether the point was reached.
async fn crash<D: TestDatabase>(
    bench: &Bench<D>,
    point: Point,
    [before, at_check, at_relay]: [Trouble; 3],
    check_first: bool,
) -> bool {
    let case = format!("{point:?}-{before:?}-{at_check:?}-{at_relay:?}-{check_first}");
    let broker = HalfBroker::default();
    let instance = service(bench, &broker);
    broker.trouble(before);
    bench.faults.crash_at(point);
    let commits = publish(bench, &instance, &event(&case)).await;
    for turn in 0..4 {
        if (turn % 2 == 0) == check_first {
            broker.trouble(at_check);
            broker.check(&instance).await;
        } else {
            broker.trouble(at_relay);
            drop(relay(&instance).pass().await);
            bench.clock.advance(2 * MINUTE);
        }
    }
    let is_crashed = !bench.faults.is_armed();
    bench.faults.disarm();
    broker.trouble(Trouble::None);
    settle(bench, &broker).await;
    let (by_half, ordinary) = (broker.by_half().len(), broker.ordinary().len());
    if commits {
        assert!(by_half + ordinary > 0, "{case}: lost");
        assert!(by_half == 0 || ordinary == 0, "{case}: both paths published");
        assert!(by_half <= 1, "{case}: two half messages");
        // a send whose outcome was not kept is repeated: receivers recognise it
        let may_repeat = matches!(point, Point::Sent | Point::OutcomeWritten | Point::Claimed);
        assert!(ordinary <= 1 || may_repeat, "{case}: sent {ordinary} times");
    } else {
        assert_eq!((by_half, ordinary), (0, 0), "{case}: published without a commit");
    }
    is_crashed
}

/// Two instances with a relay each, the broker's checks, and a broker in ever new trouble, all at the same time.
pub async fn instances_and_checks_at_once_take_one_path<D: TestDatabase>(bench: &Bench<D>) {
    const MESSAGES: usize = 60;
    let broker = HalfBroker::default();
    let services = [service(bench, &broker), service(bench, &broker)];
    let publishing = async {
        for number in 0..MESSAGES {
            let id = format!("paid-{number}");
            let mut transaction = bench.pool.begin().await.unwrap();
            services[number % 2].publish(&mut transaction, &event(&id)).await.unwrap();
            if number % 3 == 0 {
                transaction.rollback().await.unwrap();
            } else {
                transaction.commit().await.unwrap();
            }
            bench.clock.advance(MINUTE);
        }
    };
    let relaying = async |service: &Transactional<D, HalfBroker>| {
        for _ in 0..MESSAGES {
            // the clock runs so fast that leases end at once: two relays may settle the same rows, and a database may end one
            if let Err(error) = relay(service).pass().await {
                assert!(error.is_retryable(), "{error}");
            }
            tokio::task::yield_now().await;
        }
    };
    let checking = async {
        for _ in 0..MESSAGES {
            broker.check(&services[0]).await;
            tokio::task::yield_now().await;
        }
    };
    let disturbing = async {
        use Trouble::{Away, CommitsLost, CommittedWithoutAWord, Down, None, StoredWithoutAWord};
        for trouble in [None, CommittedWithoutAWord, None, Away, Down, None, StoredWithoutAWord, CommitsLost, Away]
            .repeat(MESSAGES)
        {
            broker.trouble(trouble);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(publishing, relaying(&services[0]), relaying(&services[1]), checking, disturbing);
    broker.trouble(Trouble::None);
    settle(bench, &broker).await;
    let (by_half, ordinary) = (broker.by_half(), broker.ordinary());
    for number in 0..MESSAGES {
        let id = format!("paid-{number}");
        let count = |ids: &[String]| ids.iter().filter(|one| **one == id).count();
        let ways = (count(&by_half), count(&ordinary));
        let expected = if number % 3 == 0 { ways == (0, 0) } else { ways == (1, 0) || (ways.0 == 0 && ways.1 > 0) };
        assert!(expected, "{id}: {ways:?}");
    }
}
