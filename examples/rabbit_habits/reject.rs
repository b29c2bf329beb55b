//! Reject and requeue; the dead letters are where they end.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use tenonmq_client::{
    Admin, ConsumeFrom, ConsumeOutcome, Failure, Message, PushConsumer, ReceivedMessage, dead_letters::ShowDeadLetters,
};

use crate::habit::{Habit, Place, until};

pub(crate) const TOPIC: &str = "rabbit_reject";
const GROUP: &str = "rabbit_reject_workers";

pub(crate) async fn show(place: &Place, admin: &Admin) -> Result<Vec<Habit>, Box<dyn Error>> {
    let times = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let counted = Arc::clone(&times);
    let consumer = PushConsumer::builder(place.name_server.as_str())
        .group(GROUP)
        .subscribe(TOPIC, "*")
        .consume_from(ConsumeFrom::Earliest)
        .listener(move |message: ReceivedMessage| {
            let key = message.keys().next().unwrap_or_default().to_owned();
            let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
            let times = counted.entry(key.clone()).or_default();
            *times += 1;
            let outcome = match key.as_str() {
                "requeued" if *times == 1 => ConsumeOutcome::RetryAtLevel(1), // in a second
                "rejected" => {
                    ConsumeOutcome::Failed(Failure::new("NoSuchItem", "item 9 is not sold here").dead_letter())
                }
                _ => ConsumeOutcome::Done,
            };
            std::future::ready(outcome)
        })
        .connect()
        .await?;
    let producer = place.producer("rabbit_reject").await?;
    for key in ["requeued", "rejected"] {
        producer.send(Message::new(TOPIC, key).key(key)).await?;
    }
    let of = |key: &str| times.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied().unwrap_or(0);
    let is_requeued = until(|| async { Ok(of("requeued") == 2) }).await?;
    let cause = || async { cause(admin).await };
    let is_dead = until(|| async { Ok(cause().await?.is_some()) }).await?;
    let cause = cause().await?.unwrap_or_default();
    consumer.shutdown().await;
    Ok(vec![
        Habit {
            in_rabbit: "basicNack with requeue",
            here: "ConsumeOutcome::Retry, or RetryAtLevel: comes again after a pause, not in a loop",
            happened: format!("delivered {} times", of("requeued")),
            is_well: is_requeued,
        },
        Habit {
            in_rabbit: "basicReject without requeue, dead-letter exchange",
            here: "ConsumeOutcome::DeadLetter, or Failed with a cause: `tenonmq admin dlq show`, then redrive",
            happened: format!("delivered {} time; dead letter: {cause}", of("rejected")),
            is_well: is_dead && of("rejected") == 1 && cause.contains("item 9"),
        },
    ])
}

/// Why the group's first dead letter is one.
async fn cause(admin: &Admin) -> Result<Option<String>, Box<dyn Error>> {
    for broker in admin.masters().await? {
        let show = ShowDeadLetters { group: GROUP.to_owned(), ..ShowDeadLetters::default() };
        // no group, no letters
        let Ok(page) = admin.ask(&broker, &show).await else { continue };
        let letter =
            page.letters.iter().find(|letter| letter.keys.as_deref().is_some_and(|keys| keys.contains("rejected")));
        if let Some(cause) = letter.and_then(|letter| letter.causes.last()) {
            return Ok(Some(format!("{}, {}", cause.class, cause.digest)));
        }
    }
    Ok(None)
}
