//! Complaints about dead letters, each named after its thread.

use tenonmq_protocol::body::dead_letter_desk::{
    DeadLetterFilter, ListDeadLetters, RedriveOutcome, ShowDeadLetters, StartRedrive,
};

use super::tests::{bodies, broker_with, give_up, job, results, run, start, wanted};
use crate::remoting::testing::START_MS;

/// rocketmq-dashboard #393: letters that lay in the topic were found neither by group nor by id, and could not be sent.
#[tokio::test]
async fn thread_dashboard_393_letters_are_found_by_group_key_and_time_and_sent_by_their_ids() {
    let (broker, peer) = broker_with(4, &[]).await;
    let by = |filter| ShowDeadLetters { group: "billing".into(), filter, ..ShowDeadLetters::default() };
    let key = DeadLetterFilter { key: Some("k2".into()), ..DeadLetterFilter::default() };
    let found = broker.desk(&peer, &by(key)).await.unwrap().letters;
    assert_eq!((found.len(), found[0].offset), (1, 2));
    let time = |from, until| DeadLetterFilter { from: Some(from), until: Some(until), ..DeadLetterFilter::default() };
    assert_eq!(broker.desk(&peer, &by(time(START_MS, START_MS + 1))).await.unwrap().letters.len(), 4);
    assert_eq!(broker.desk(&peer, &by(time(START_MS + 1, START_MS + 9))).await.unwrap().letters.len(), 0);

    let id = start(&broker, &peer, &StartRedrive { ids: vec![found[0].id.clone()], ..wanted() }).await;
    run(&broker);
    assert_eq!((job(&broker, &peer, id).await.sent, bodies(&broker, "%RETRY%billing", 0)), (1, vec!["k2".to_owned()]));
}

/// nats-server #4956, #7817: letters went with what they came from.
#[tokio::test]
async fn thread_nats_4956_letters_outlive_the_topic_that_they_came_from_and_a_restart() {
    let (broker, peer) = broker_with(2, &[]).await;
    broker.core.topics.remove("orders", START_MS);
    broker.core.store.delete_topic("orders").unwrap();
    let broker = broker.restarted();
    broker.core.groups.find_or_create("billing").unwrap();
    let listed = broker.desk(&peer, &ListDeadLetters::default()).await.unwrap().groups;
    assert_eq!((listed[0].messages, listed[0].readable), (2, true));
    let id = start(&broker, &peer, &wanted()).await;
    run(&broker);
    assert_eq!(job(&broker, &peer, id).await.sent, 2);
}

/// rocketmq-dashboard #4913: what was left out was told as a success.
#[tokio::test]
async fn thread_dashboard_4913_every_letter_that_matches_has_one_result_and_the_sums_agree() {
    let (broker, peer) = broker_with(5, &[]).await;
    let some = DeadLetterFilter { cause: Some("A".into()), ..DeadLetterFilter::default() };
    start(&broker, &peer, &StartRedrive { filter: some, ..wanted() }).await;
    run(&broker);
    give_up(&broker, &peer, "late", "x", "B").await;
    let id = start(&broker, &peer, &wanted()).await;
    run(&broker);
    let (done, told) = (job(&broker, &peer, id).await, results(&broker, &peer, id).await);
    let count = |outcome| told.iter().filter(|result| result.outcome == outcome).count() as i64;
    assert_eq!((done.sent, done.skipped, done.failed, done.quarantined), (3, 3, 0, 0));
    assert_eq!((count(RedriveOutcome::Sent), count(RedriveOutcome::Skipped)), (3, 3));
    assert_eq!(told.len() as i64, done.matched);
    assert!(told.iter().all(|result| (result.outcome == RedriveOutcome::Sent) == result.sent_id.is_some()));
    assert!(told.iter().all(|result| (result.outcome == RedriveOutcome::Sent) == result.why.is_none()));
}
