//! Ordered push consumers.

use std::{collections::BTreeMap, time::Duration};

use tenonmq_client::{
    ConsumeOutcome, Error, Message, PullConsumer, PushConsumer, PushConsumerBuilder, ReceivedMessage,
};
use tokio::sync::mpsc;

use super::support::{DEADLINE, consumer, fresh, producer, text, topic, until};

fn ordered(ns: &str, group: &str, topic: &str) -> PushConsumerBuilder {
    consumer(ns, group, topic, "*").ordered().suspend_time(Duration::from_millis(50))
}

/// Ten keys, eight steps each; every key's steps go to one queue.
async fn send_steps(ns: &str, topic: &str) -> Result<(), Error> {
    let producer = producer(ns).await?;
    for step in 0..8 {
        for key in 0..10 {
            producer.send_by_key(&format!("k{key}"), Message::new(topic, format!("k{key} {step}"))).await?;
        }
    }
    producer.shutdown().await;
    Ok(())
}

/// Although a message fails now and then: it is tried again in its place.
pub async fn messages_of_a_queue_are_handled_in_their_order(ns: &str) -> Result<(), Error> {
    let topic = topic(ns, 4).await?;
    let (into, mut done) = mpsc::unbounded_channel();
    let listener = move |message: ReceivedMessage| {
        let fails = message.queue_offset() % 5 == 3 && message.reconsume_times() < 2;
        if !fails {
            drop(into.send(text(&message)));
        }
        std::future::ready(if fails { ConsumeOutcome::Retry } else { ConsumeOutcome::Done })
    };
    let consumer = ordered(ns, &fresh("CG"), &topic).listener(listener).connect().await?;
    send_steps(ns, &topic).await?;
    let mut steps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..80 {
        let Ok(Some(body)) = tokio::time::timeout(DEADLINE, done.recv()).await else { panic!("80 are expected") };
        let (key, step) = body.split_once(' ').unwrap_or_default();
        steps.entry(key.to_owned()).or_default().push(step.to_owned());
    }
    for (key, steps) in steps {
        assert_eq!(steps, ["0", "1", "2", "3", "4", "5", "6", "7"], "{key}");
    }
    consumer.shutdown().await;
    Ok(())
}

/// And the queue goes on behind it.
pub async fn an_ordered_message_is_given_up_after_its_last_try(ns: &str) -> Result<(), Error> {
    let (topic, group, producer) = (topic(ns, 1).await?, fresh("CG"), producer(ns).await?);
    let (into, mut seen) = mpsc::unbounded_channel();
    let listener = move |message: ReceivedMessage| {
        let bad = text(&message) == "bad";
        drop(into.send(text(&message)));
        std::future::ready(if bad { ConsumeOutcome::Retry } else { ConsumeOutcome::Done })
    };
    let consumer = ordered(ns, &group, &topic).max_reconsume_times(2).listener(listener).connect().await?;
    for body in ["bad", "good"] {
        producer.send(Message::new(&topic, body)).await?;
    }
    for expected in ["bad", "bad", "bad", "good"] {
        let next = tokio::time::timeout(DEADLINE, seen.recv()).await.ok().flatten();
        assert_eq!(next.as_deref(), Some(expected));
    }
    let reader = PullConsumer::builder(ns).group(fresh("CG")).connect().await?;
    let mut dead = Vec::new();
    until("the dead letter is there", async || {
        for queue in reader.queues(&format!("%DLQ%{group}")).await.unwrap_or_default() {
            reader.seek(&queue, 0);
            dead = reader.pull(&queue).await.map(|pulled| pulled.messages).unwrap_or_default();
        }
        !dead.is_empty()
    })
    .await;
    assert_eq!(dead.iter().map(text).collect::<Vec<_>>(), ["bad"]);
    consumer.shutdown().await;
    Ok(())
}

/// A second member comes while messages flow, and the first one leaves: each step is handled in its order, and nothing
/// that was done is done again.
pub async fn order_is_kept_when_queues_change_hands(ns: &str) -> Result<(), Error> {
    let (topic, group) = (topic(ns, 4).await?, fresh("CG"));
    let (into, mut done) = mpsc::unbounded_channel();
    let member = async || -> Result<PushConsumer, Error> {
        let into = into.clone();
        let listener = move |message: ReceivedMessage| {
            drop(into.send(text(&message)));
            std::future::ready(ConsumeOutcome::Done)
        };
        ordered(ns, &group, &topic).rebalance_interval(Duration::from_secs(1)).listener(listener).connect().await
    };
    let queues = |consumer: &PushConsumer| consumer.assignment().iter().filter(|q| q.topic == topic).count();
    let first = member().await?;
    until("one member has all queues", async || queues(&first) == 4).await;
    let (sent, second) = tokio::join!(send_steps(ns, &topic), member());
    sent?;
    let second = second?;
    until("both have two queues", async || queues(&first) == 2 && queues(&second) == 2).await;
    first.shutdown().await;
    until("the second has all queues", async || queues(&second) == 4).await;
    send_steps(ns, &topic).await?;
    let mut steps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..160 {
        let Ok(Some(body)) = tokio::time::timeout(DEADLINE, done.recv()).await else { panic!("160 are expected") };
        let (key, step) = body.split_once(' ').unwrap_or_default();
        steps.entry(key.to_owned()).or_default().push(step.to_owned());
    }
    for (key, steps) in steps {
        assert_eq!(steps.concat(), "0123456701234567", "{key}");
    }
    second.shutdown().await;
    Ok(())
}
