//! Transactional messages.
//!
//! A broker may deliver a committed message twice (Apache's does when its check comes before its op records are
//! written), so these look at which messages come, not how often.

use std::collections::BTreeSet;

use tenonmq_client::{Error, LocalState, Message, TransactionListener, TransactionProducer};
use tokio::sync::mpsc;

use super::support::{consume, fresh, topic};

/// Does what the input says, and answers checks with what the message's key says.
struct Scripted {
    checked: mpsc::UnboundedSender<String>,
}

impl TransactionListener for Scripted {
    type Input = LocalState;

    async fn execute_local_transaction(&self, _: &Message, outcome: LocalState) -> LocalState {
        outcome
    }

    async fn check_local_transaction(&self, message: &Message) -> LocalState {
        drop(self.checked.send(String::from_utf8_lossy(message.body()).into_owned()));
        match message.keys().next() {
            Some("commit") => LocalState::Commit,
            Some("rollback") => LocalState::Rollback,
            _ => LocalState::Unknown,
        }
    }
}

type Checks = mpsc::UnboundedReceiver<String>;

async fn scripted(ns: &str, group: &str) -> Result<(TransactionProducer<Scripted>, Checks), Error> {
    let (checked, checks) = mpsc::unbounded_channel();
    let producer = TransactionProducer::builder(ns).group(group).listener(Scripted { checked }).connect().await?;
    Ok((producer, checks))
}

fn set(bodies: &[&str]) -> BTreeSet<String> {
    bodies.iter().map(|&body| body.to_owned()).collect()
}

/// At once, and the broker confirms the decision.
pub async fn a_committed_message_becomes_visible(ns: &str) -> Result<(), Error> {
    let topic = topic(ns, 1).await?;
    let (producer, _checks) = scripted(ns, &fresh("PG")).await?;
    let (_consumer, mut inbox) = consume(ns, &fresh("CG"), &topic).await?;
    let message = Message::new(&topic, "paid").tag("card").key("commit");
    let receipt = producer.send_in_transaction(message, LocalState::Commit).await?;
    assert_eq!((receipt.state, receipt.confirmed), (LocalState::Commit, true));
    let visible = inbox.next().await;
    assert_eq!((visible.topic(), visible.tags()), (topic.as_str(), Some("card")));
    assert_eq!(visible.id(), receipt.send.message_id);
    assert_eq!(visible.body(), "paid");
    Ok(())
}

/// A message that is committed after it does.
pub async fn a_rolled_back_message_never_does(ns: &str) -> Result<(), Error> {
    let topic = topic(ns, 1).await?;
    let (producer, _checks) = scripted(ns, &fresh("PG")).await?;
    let (_consumer, mut inbox) = consume(ns, &fresh("CG"), &topic).await?;
    let undone = Message::new(&topic, "undone").key("rollback");
    let receipt = producer.send_in_transaction(undone, LocalState::Rollback).await?;
    assert_eq!((receipt.state, receipt.confirmed), (LocalState::Rollback, true));
    producer.send_in_transaction(Message::new(&topic, "done").key("commit"), LocalState::Commit).await?;
    assert_eq!(inbox.until("done").await, set(&[]));
    Ok(())
}

/// The check's answer decides: one is committed, one rolled back.
pub async fn an_unknown_outcome_is_asked_for(ns: &str) -> Result<(), Error> {
    let topic = topic(ns, 1).await?;
    let (producer, mut checks) = scripted(ns, &fresh("PG")).await?;
    let (_consumer, mut inbox) = consume(ns, &fresh("CG"), &topic).await?;
    for (body, key) in [("undone", "rollback"), ("done", "commit")] {
        let receipt = producer.send_in_transaction(Message::new(&topic, body).key(key), LocalState::Unknown).await?;
        assert_eq!((receipt.state, receipt.confirmed), (LocalState::Unknown, false));
    }
    assert_eq!(inbox.until("done").await, set(&[]));
    let mut asked = BTreeSet::new();
    while asked.len() < 2 {
        asked.insert(checks.recv().await.unwrap_or_default());
    }
    assert_eq!(asked, set(&["done", "undone"]));
    Ok(())
}

/// Without a listener; an ordinary message of the same producer needs no decision.
pub async fn a_prepared_message_is_decided_by_hand(ns: &str) -> Result<(), Error> {
    let topic = topic(ns, 1).await?;
    let producer = TransactionProducer::builder(ns)
        .group(fresh("PG"))
        .check_with(async |message: Message| match message.keys().next() {
            Some("commit") => LocalState::Commit,
            _ => LocalState::Rollback,
        })
        .connect()
        .await?;
    let (_consumer, mut inbox) = consume(ns, &fresh("CG"), &topic).await?;
    let kept = producer.prepare(Message::new(&topic, "kept").key("commit")).await?;
    let dropped = producer.prepare(Message::new(&topic, "undone").key("rollback")).await?;
    assert_ne!(kept.message_id(), dropped.message_id());
    dropped.rollback().await?;
    kept.commit().await?;
    assert_eq!(inbox.until("kept").await, set(&[]));
    producer.producer().send(Message::new(&topic, "plain")).await?;
    assert!(inbox.until("plain").await.is_subset(&set(&["kept"])));
    Ok(())
}

/// The producer that prepared it is gone; another one of its group answers the check.
pub async fn a_dropped_message_is_decided_by_another_producer_of_the_group(ns: &str) -> Result<(), Error> {
    let (topic, group) = (topic(ns, 1).await?, fresh("PG"));
    let (_consumer, mut inbox) = consume(ns, &fresh("CG"), &topic).await?;
    let first = TransactionProducer::builder(ns).group(&group).connect().await?;
    drop(first.prepare(Message::new(&topic, "orphan").key("commit")).await?);
    first.shutdown().await;

    let (second, mut checks) = scripted(ns, &group).await?;
    second.watch(&topic).await?;
    assert_eq!(inbox.until("orphan").await, set(&[]));
    assert_eq!(checks.recv().await.as_deref(), Some("orphan"));
    Ok(())
}
