//! Simple consumers: leases, acknowledgements, other invisible times.

use std::{collections::BTreeSet, time::Duration};

use tenonmq_client::{
    Admin, ConsumeOutcome, Error, Message, PoppedMessage, ReceivedMessage, SimpleConsumer, SimpleConsumerBuilder,
};
use tenonmq_protocol::{
    Command, RequestCode,
    body::{
        json,
        queue::{MessageRequestMode, SetMessageRequestMode},
    },
};

use super::{
    fake::ask,
    support::{DEADLINE, consumer, fresh, numbered, producer, send_all, text, topic, until},
};

/// Longer than any scenario, so that nothing comes again by itself.
const LONG: Duration = Duration::from_secs(300);

fn simple(ns: &str, group: &str, topic: &str, filter: &str) -> SimpleConsumerBuilder {
    let builder = SimpleConsumer::builder(ns).group(group).subscribe(topic, filter).consume_from_earliest();
    builder.await_duration(Duration::from_secs(5))
}

/// Receives until `count` messages are there, and acknowledges them.
async fn receive_all(consumer: &SimpleConsumer, count: usize) -> Result<Vec<String>, Error> {
    let mut messages: Vec<PoppedMessage> = Vec::new();
    while messages.len() < count {
        messages.extend(consumer.receive(32, LONG).await?);
    }
    consumer.ack_batch(&messages).await?;
    let mut bodies: Vec<String> = messages.iter().map(|message| text(message)).collect();
    bodies.sort();
    Ok(bodies)
}

/// Once each, although the members divide no queues.
pub async fn leased_messages_go_to_one_member_of_the_group(ns: &str) -> Result<(), Error> {
    let (topic, group, producer) = (topic(ns, 4).await?, fresh("CG"), producer(ns).await?);
    let first = simple(ns, &group, &topic, "*").connect().await?;
    let second = simple(ns, &group, &topic, "*").connect().await?;
    send_all(&producer, &topic, &numbered("m", 20)).await?;
    let mut seen = BTreeSet::new();
    while seen.len() < 20 {
        for consumer in [&first, &second] {
            for message in consumer.receive(3, LONG).await? {
                assert!(seen.insert(text(&message)), "{} came twice", text(&message));
                consumer.ack(&message).await?;
            }
        }
    }
    first.shutdown().await;
    second.shutdown().await;
    Ok(())
}

/// And one whose lease ends early comes again, with a count of its deliveries.
pub async fn a_message_that_is_not_acknowledged_comes_again(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 1).await?, producer(ns).await?);
    let consumer = simple(ns, &fresh("CG"), &topic, "*").connect().await?;
    send_all(&producer, &topic, &numbered("m", 3)).await?;
    let mut messages = Vec::new();
    while messages.len() < 3 {
        messages.extend(consumer.receive(32, LONG).await?);
    }
    let mut again = messages.remove(1);
    consumer.ack_batch(&messages).await?;
    let old = again.handle().to_owned();
    consumer.change_invisible(&mut again, Duration::from_secs(1)).await?;
    assert_ne!(again.handle(), old);
    let mut found = Vec::new();
    until("it comes again", async || {
        found = consumer.receive(32, LONG).await.unwrap_or_default();
        !found.is_empty()
    })
    .await;
    assert_eq!(found.iter().map(|m| text(m)).collect::<Vec<_>>(), ["m1"]);
    let second = &found[0];
    assert_eq!((second.topic(), second.id(), second.reconsume_times()), (topic.as_str(), again.id(), 1));
    consumer.ack(second).await?;
    consumer.shutdown().await;
    Ok(())
}

/// Also by tags that have the same hash.
pub async fn leases_are_filtered_by_tag(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 1).await?, producer(ns).await?);
    let consumer = simple(ns, &fresh("CG"), &topic, "Aa || cash").connect().await?;
    for (tag, body) in [("Aa", "1"), ("BB", "2"), ("cash", "3"), ("card", "4"), ("Aa", "5")] {
        producer.send(Message::new(&topic, body).tag(tag)).await?;
    }
    assert_eq!(receive_all(&consumer, 3).await?, ["1", "3", "5"]);
    consumer.shutdown().await;
    Ok(())
}

/// Whichever has something is asked, while the other is waited for.
pub async fn one_receive_waits_for_several_topics(ns: &str) -> Result<(), Error> {
    let (one, two, producer) = (topic(ns, 1).await?, topic(ns, 1).await?, producer(ns).await?);
    let consumer = simple(ns, &fresh("CG"), &one, "*").subscribe(&two, "*").connect().await?;
    assert!(consumer.receive(1, LONG).await?.is_empty());
    let (received, sent) = tokio::join!(receive_all(&consumer, 1), producer.send(Message::new(&two, "there")));
    sent?;
    assert_eq!(received?, ["there"]);
    consumer.shutdown().await;
    Ok(())
}

/// As an operator set it for the group: the broker divides, members pop, and what fails comes again.
pub async fn a_push_consumer_pops_when_its_broker_says_so(ns: &str) -> Result<(), Error> {
    let (topic, group, producer) = (topic(ns, 2).await?, fresh("CG"), producer(ns).await?);
    let mode = SetMessageRequestMode {
        consumer_group: group.clone(),
        mode: MessageRequestMode::Pop,
        pop_share_queue_num: 8,
        topic: topic.clone(),
    };
    for broker in Admin::connect(ns).await?.masters().await? {
        let set = Command::request(RequestCode::SET_MESSAGE_REQUEST_MODE).with_body(json::to_vec(&mode));
        let answer = ask(&broker, set).await.ok().flatten();
        assert_eq!(answer.map(|answer| answer.code), Some(0));
    }
    let (into, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let listener = move |message: ReceivedMessage| {
        let fails = text(&message) == "m3" && message.reconsume_times() == 0;
        drop(into.send((text(&message), message.reconsume_times())));
        std::future::ready(if fails { ConsumeOutcome::RetryAtLevel(1) } else { ConsumeOutcome::Done })
    };
    let consumer = consumer(ns, &group, &topic, "*").broker_assigned().listener(listener).connect().await?;
    until("the broker has all of the topic popped", async || {
        consumer.assignment().iter().any(|queue| queue.topic == topic && queue.queue_id == -1)
    })
    .await;
    send_all(&producer, &topic, &numbered("m", 6)).await?;
    let mut got = Vec::new();
    for _ in 0..7 {
        let next = tokio::time::timeout(DEADLINE, seen.recv()).await.ok().flatten();
        got.push(next.unwrap_or_default());
    }
    assert_eq!(got.pop(), Some(("m3".to_owned(), 1)));
    got.sort();
    assert_eq!(got, numbered("m", 6).into_iter().map(|body| (body, 0)).collect::<Vec<_>>());
    consumer.shutdown().await;
    producer.shutdown().await;
    Ok(())
}
