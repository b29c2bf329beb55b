//! Pull consumers.

use std::time::{Duration, SystemTime};

use tenonmq_client::{Error, Message, MessageQueue, PullConsumer, PullStatus, SendReceipt};

use super::support::{DEADLINE, fresh, numbered, producer, send_all, text, topic};

/// One queue with ten messages, and a consumer of it.
async fn ten_messages(ns: &str) -> Result<(PullConsumer, MessageQueue), Error> {
    let (topic, producer) = (topic(ns, 1).await?, producer(ns).await?);
    send_all(&producer, &topic, &numbered("m", 10)).await?;
    let consumer = PullConsumer::builder(ns).group(fresh("CG")).pull_batch(4).connect().await?;
    let queues = consumer.queues(&topic).await?;
    let queue = queues.into_iter().next().ok_or(Error::NoRoute { topic })?;
    Ok((consumer, queue))
}

/// Positions are the caller's, commits happen when it says so.
pub async fn a_pull_consumer_seeks_searches_and_commits(ns: &str) -> Result<(), Error> {
    let (consumer, queue) = ten_messages(ns).await?;
    assert_eq!((consumer.min_offset(&queue).await?, consumer.max_offset(&queue).await?), (0, 10));

    consumer.seek(&queue, 7);
    let pulled = consumer.pull(&queue).await?;
    assert_eq!(pulled.messages.iter().map(text).collect::<Vec<_>>(), ["m7", "m8", "m9"]);
    assert_eq!((pulled.status, pulled.next_offset), (PullStatus::Found, 10));
    assert_eq!((pulled.min_offset, pulled.max_offset), (0, 10));
    assert_eq!(consumer.pull(&queue).await?.status, PullStatus::Empty);

    let hour = Duration::from_secs(3600);
    assert_eq!(consumer.offset_by_time(&queue, SystemTime::now() - hour).await?, 0);
    assert_eq!(consumer.offset_by_time(&queue, SystemTime::now() + hour).await?, 10);
    consumer.seek(&queue, 5);
    let fifth = consumer.pull(&queue).await?.messages.into_iter().next().map(|m| m.store_timestamp_ms());
    let fifth = SystemTime::UNIX_EPOCH + Duration::from_millis(fifth.unwrap_or_default() as u64);
    assert!((0..=5).contains(&consumer.offset_by_time(&queue, fifth).await?));

    consumer.commit(&queue, 4).await?;
    assert_eq!(consumer.committed(&queue).await?, Some(4));
    consumer.assign([]);
    consumer.assign([queue.clone()]);
    let polled = consumer.poll().await?;
    assert_eq!(polled.iter().map(text).collect::<Vec<_>>(), ["m4", "m5", "m6", "m7"]);
    assert_eq!(consumer.position(&queue), Some(8));
    consumer.shutdown().await;
    Ok(())
}

/// The broker names the nearest offset that exists, and the next pull begins there.
pub async fn an_offset_out_of_range_is_moved(ns: &str) -> Result<(), Error> {
    let (consumer, queue) = ten_messages(ns).await?;
    consumer.seek(&queue, 99_999);
    let pulled = consumer.pull(&queue).await?;
    assert_eq!((pulled.status, pulled.messages.len(), pulled.next_offset), (PullStatus::OffsetMoved, 0, 10));
    Ok(())
}

/// The broker holds the pull and answers it when the message comes.
pub async fn a_pull_waits_for_a_message(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 1).await?, producer(ns).await?);
    let consumer = PullConsumer::builder(ns).group(fresh("CG")).long_poll(DEADLINE).connect().await?;
    let SendReceipt { queue, .. } = producer.send(Message::new(&topic, "there")).await?;
    consumer.seek(&queue, 1);
    let (pulled, sent) = tokio::join!(consumer.pull(&queue), async {
        // the pull is on its way when this asks a question on the same connection and has its answer
        consumer.max_offset(&queue).await?;
        producer.send(Message::new(&topic, "awaited")).await
    });
    sent?;
    assert_eq!(pulled?.messages.iter().map(text).collect::<Vec<_>>(), ["awaited"]);
    Ok(())
}

/// Reading creates no topic.
pub async fn an_unknown_topic_has_no_queues(ns: &str) -> Result<(), Error> {
    let consumer = PullConsumer::builder(ns).group(fresh("CG")).connect().await?;
    let name = fresh("missing");
    let queues = consumer.queues(&name).await;
    assert!(matches!(&queues, Err(Error::NoRoute { topic }) if *topic == name), "{queues:?}");
    Ok(())
}
