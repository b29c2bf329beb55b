//! Transactional messages.
//!
//! A broker may deliver a committed message twice (Apache's does when its check comes before its op records are
//! written), so these look at which messages come, not how often.

use std::collections::BTreeSet;

use tenonmq_client::{
    Check, CheckError, CheckListener, CheckRouter, Error, LocalState, Message, TransactionListener, TransactionProducer,
};
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
}

impl CheckListener for Scripted {
    async fn check_local_transaction(&self, check: Check) -> Result<LocalState, CheckError> {
        drop(self.checked.send(String::from_utf8_lossy(check.message().body()).into_owned()));
        Ok(by_key(&check))
    }
}

fn by_key(check: &Check) -> LocalState {
    match check.key() {
        Some("commit") => LocalState::Commit,
        Some("rollback") => LocalState::Rollback,
        _ => LocalState::Unknown,
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
        .listener(async |check: Check| by_key(&check))
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

/// Messages of different topics become visible together, and not one of those that are rolled back.
pub async fn several_messages_get_one_decision(ns: &str) -> Result<(), Error> {
    let (stock, points, group) = (topic(ns, 2).await?, topic(ns, 2).await?, fresh("PG"));
    let producer = TransactionProducer::builder(ns).group(group).connect().await?;
    let (_stock, mut stock_inbox) = consume(ns, &fresh("CG"), &stock).await?;
    let (_points, mut points_inbox) = consume(ns, &fresh("CG"), &points).await?;
    let mut dropped = producer.begin();
    let mut kept = producer.begin();
    for topic in [&stock, &points] {
        dropped.prepare(Message::new(topic, "undone")).await?;
        kept.prepare(Message::new(topic, "done")).await?;
    }
    assert_eq!(dropped.rollback().await.confirmed(), 2);
    let outcome = kept.commit().await?;
    assert!(outcome.is_confirmed(), "{outcome:?}");
    for inbox in [&mut stock_inbox, &mut points_inbox] {
        assert_eq!(inbox.until("done").await, set(&[]));
    }
    Ok(())
}

/// Whoever decided them is gone: the check of each is about the same transaction, so all get the same answer.
pub async fn several_dropped_messages_get_one_answer(ns: &str) -> Result<(), Error> {
    let (topic, group) = (topic(ns, 1).await?, fresh("PG"));
    let (_consumer, mut inbox) = consume(ns, &fresh("CG"), &topic).await?;
    let first = TransactionProducer::builder(ns).group(&group).connect().await?;
    for (id, bodies) in [("rolled back", ["a", "b"]), ("committed", ["c", "d"])] {
        let mut transaction = first.begin_as(id)?;
        for body in bodies {
            transaction.prepare(Message::new(&topic, body)).await?;
        }
    }
    first.shutdown().await;

    let builder =
        TransactionProducer::builder(ns).group(&group).listener(async |check: Check| match check.transaction_id() {
            Some("committed") => LocalState::Commit,
            Some("rolled back") => LocalState::Rollback,
            _ => LocalState::Unknown,
        });
    let second = builder.connect().await?;
    second.watch(&topic).await?;
    let mut visible = BTreeSet::new();
    while visible.len() < 2 {
        visible.insert(String::from_utf8_lossy(inbox.next().await.body()).into_owned());
    }
    assert_eq!(visible, set(&["c", "d"]));
    Ok(())
}

/// Until it is answered; and the check says how old the message is and how often the broker asked before.
pub async fn a_check_that_fails_is_asked_again(ns: &str) -> Result<(), Error> {
    let topic = topic(ns, 1).await?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let builder = TransactionProducer::builder(ns).group(fresh("PG")).listener(move |check: Check| {
        let tell = tell.clone();
        async move {
            let _ = tell.send((check.earlier_checks(), check.age()));
            match check.earlier_checks() {
                0 => Err(std::io::Error::other("the database is away")),
                1 => panic!("out of luck"),
                _ => Ok(LocalState::Commit),
            }
        }
    });
    let producer = builder.connect().await?;
    let (_consumer, mut inbox) = consume(ns, &fresh("CG"), &topic).await?;
    drop(producer.prepare(Message::new(&topic, "kept")).await?);
    assert_eq!(inbox.until("kept").await, set(&[]));
    let mut checks = Vec::new();
    while let Ok(check) = told.try_recv() {
        checks.push(check);
    }
    let counts: Vec<u32> = checks.iter().map(|(earlier, _)| *earlier).collect();
    assert!(counts.starts_with(&[0, 1, 2]), "{counts:?}");
    assert!(checks.is_sorted_by_key(|(_, age)| *age), "{checks:?}");
    Ok(())
}

/// Each kind of transaction has its own listener; what nobody serves stays undecided.
pub async fn checks_find_the_listener_of_their_topic_and_tag(ns: &str) -> Result<(), Error> {
    let (orders, refunds) = (topic(ns, 1).await?, topic(ns, 1).await?);
    let router = CheckRouter::new()
        .on_topic(&orders, async |_: Check| LocalState::Commit)
        .on(&orders, "test", async |_: Check| LocalState::Rollback)
        .on(&refunds, "card", async |_: Check| LocalState::Commit);
    let producer = TransactionProducer::builder(ns).group(fresh("PG")).listener(router).connect().await?;
    let (_orders, mut order_inbox) = consume(ns, &fresh("CG"), &orders).await?;
    let (_refunds, mut refund_inbox) = consume(ns, &fresh("CG"), &refunds).await?;
    for (topic, tag, body) in [
        (&refunds, "cash", "unserved"),
        (&orders, "test", "undone"),
        (&orders, "card", "order"),
        (&refunds, "card", "refund"),
    ] {
        drop(producer.prepare(Message::new(topic, body).tag(tag)).await?);
    }
    assert_eq!(order_inbox.until("order").await, set(&[]));
    assert_eq!(refund_inbox.until("refund").await, set(&[]));
    Ok(())
}
