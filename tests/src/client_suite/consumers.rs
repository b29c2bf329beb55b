//! Push consumers: groups, filters, retries, offsets.

use std::time::Duration;

use tenonmq_client::{Admin, BroadcastOffsets, ConsumeOutcome, Error, Message, PullConsumer, ReceivedMessage};
use tenonmq_protocol::{
    Command, ResponseCode,
    body::{
        json,
        running::{ConsumeDirectlyResult, ConsumeResult, ConsumerRunningInfo},
    },
    header::{ConsumeDirectly, GetRunningInfo},
};

use super::{
    fake::ask,
    support::{DEADLINE, collector, consume, consumer, fresh, numbered, producer, send_all, text, topic, until},
};

/// Also when two tags have the same hash, which is all that the broker compares.
pub async fn only_messages_with_a_subscribed_tag_arrive(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 2).await?, producer(ns).await?);
    let (listener, mut inbox) = collector();
    let _consumer = consumer(ns, &fresh("CG"), &topic, "Aa || cash").listener(listener).connect().await?;
    for (tag, body) in [("Aa", "1"), ("BB", "2"), ("cash", "3"), ("card", "4"), ("Aa", "5")] {
        producer.send(Message::new(&topic, body).tag(tag)).await?;
    }
    producer.send(Message::new(&topic, "untagged")).await?;
    assert_eq!(inbox.next_bodies(3).await, ["1", "3", "5"]);
    for _ in 0..2 {
        producer.send(Message::new(&topic, "last").tag("cash")).await?;
    }
    assert_eq!(inbox.next_bodies(2).await, ["last", "last"]);
    Ok(())
}

/// Every message goes to one of them; when one leaves, nothing is missing.
pub async fn two_members_share_the_queues_and_the_one_that_stays_takes_over(ns: &str) -> Result<(), Error> {
    let (topic, group, producer) = (topic(ns, 4).await?, fresh("CG"), producer(ns).await?);
    let (first, mut first_inbox) = consume(ns, &group, &topic).await?;
    until("one member has all queues", async || own(&first, &topic) == 4).await;
    let (second, mut second_inbox) = consume(ns, &group, &topic).await?;
    until("two members have two queues each", async || own(&first, &topic) == 2 && own(&second, &topic) == 2).await;

    send_all(&producer, &topic, &numbered("shared", 20)).await?;
    let (mut ours, theirs) = tokio::join!(first_inbox.next_bodies(10), second_inbox.next_bodies(10));
    ours.extend(theirs);
    ours.sort();
    assert_eq!(ours, numbered("shared", 20));

    second.shutdown().await;
    until("the first has all queues again", async || own(&first, &topic) == 4).await;
    send_all(&producer, &topic, &numbered("alone", 8)).await?;
    assert_eq!(first_inbox.next_bodies(8).await, numbered("alone", 8));
    assert!(second_inbox.drain().is_empty());
    first.shutdown().await;
    Ok(())
}

/// No division, and progress lies in a file of each member.
pub async fn every_broadcast_member_gets_every_message_and_keeps_its_own_offsets(ns: &str) -> Result<(), Error> {
    let (topic, group, producer) = (topic(ns, 2).await?, fresh("CG"), producer(ns).await?);
    let folder = std::env::temp_dir().join(fresh("broadcast"));
    let file = |source| Error::File { op: "prepare", path: folder.display().to_string(), source };
    std::fs::create_dir_all(&folder).map_err(file)?;
    let member = async |offsets: BroadcastOffsets| {
        let (listener, inbox) = collector();
        let consumer = consumer(ns, &group, &topic, "*").broadcast(offsets).listener(listener).connect().await?;
        Ok::<_, Error>((consumer, inbox))
    };
    let on_file = BroadcastOffsets::File(folder.join("offsets.json"));
    let (first, mut first_inbox) = member(on_file.clone()).await?;
    let (second, mut second_inbox) = member(BroadcastOffsets::InMemory).await?;
    send_all(&producer, &topic, &numbered("m", 6)).await?;
    assert_eq!(first_inbox.next_bodies(6).await, numbered("m", 6));
    assert_eq!(second_inbox.next_bodies(6).await, numbered("m", 6));

    first.shutdown().await;
    let (again, mut again_inbox) = member(on_file).await?;
    producer.send(Message::new(&topic, "after the restart")).await?;
    assert_eq!(text(&again_inbox.next().await), "after the restart");
    again.shutdown().await;
    second.shutdown().await;
    std::fs::remove_dir_all(&folder).map_err(file)
}

/// By way of the group's retry topic, which the application does not see.
pub async fn a_failed_message_comes_again_with_its_first_topic(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 1).await?, producer(ns).await?);
    let (into, mut tries) = tokio::sync::mpsc::unbounded_channel();
    let listener = move |message: ReceivedMessage| {
        let first = message.reconsume_times() == 0;
        drop(into.send(message));
        std::future::ready(if first { ConsumeOutcome::RetryAtLevel(1) } else { ConsumeOutcome::Done })
    };
    let group = fresh("CG");
    let consumer = consumer(ns, &group, &topic, "*").listener(listener).connect().await?;
    let receipt = producer.send(Message::new(&topic, "stubborn").tag("t").key("k")).await?;
    let mut next = async || tokio::time::timeout(DEADLINE, tries.recv()).await.ok().flatten();
    let (Some(first), Some(second)) = (next().await, next().await) else { panic!("two tries are expected") };
    assert_eq!((first.reconsume_times(), second.reconsume_times()), (0, 1));
    assert_eq!((second.topic(), second.tags(), text(&second).as_str()), (topic.as_str(), Some("t"), "stubborn"));
    assert_eq!(second.id(), receipt.message_id);
    assert_eq!(second.queue().topic, format!("%RETRY%{group}"));
    consumer.shutdown().await;
    Ok(())
}

/// At once, without the tries in between.
pub async fn a_hopeless_message_goes_to_the_dead_letter_topic(ns: &str) -> Result<(), Error> {
    let (topic, group, producer) = (topic(ns, 1).await?, fresh("CG"), producer(ns).await?);
    let listener = |_: ReceivedMessage| std::future::ready(ConsumeOutcome::DeadLetter);
    let consumer = consumer(ns, &group, &topic, "*").listener(listener).connect().await?;
    producer.send(Message::new(&topic, "hopeless")).await?;

    let reader = PullConsumer::builder(ns).group(fresh("CG")).connect().await?;
    let dead_letters = format!("%DLQ%{group}");
    let mut found = Vec::new();
    until("the dead letter is there", async || {
        for queue in reader.queues(&dead_letters).await.unwrap_or_default() {
            reader.seek(&queue, 0);
            found = reader.pull(&queue).await.map(|pulled| pulled.messages).unwrap_or_default();
        }
        !found.is_empty()
    })
    .await;
    assert_eq!(found.iter().map(text).collect::<Vec<_>>(), ["hopeless"]);
    consumer.shutdown().await;
    Ok(())
}

/// The panic is that message's affair.
pub async fn a_panicking_handler_does_not_stop_the_others(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 1).await?, producer(ns).await?);
    let (collect, mut inbox) = collector();
    let listener = move |message: ReceivedMessage| {
        assert!(text(&message) != "bad", "a message that the handler cannot bear (this panic is part of the test)");
        collect(message)
    };
    let consumer = consumer(ns, &fresh("CG"), &topic, "*").listener(listener).connect().await?;
    for body in ["good", "bad", "better"] {
        producer.send(Message::new(&topic, body)).await?;
    }
    assert_eq!(inbox.next_bodies(2).await, ["better", "good"]);
    consumer.shutdown().await;
    Ok(())
}

/// Those who come after get what was not done, and nothing else.
pub async fn a_shutdown_keeps_the_offsets_of_what_was_done(ns: &str) -> Result<(), Error> {
    let (topic, group, producer) = (topic(ns, 2).await?, fresh("CG"), producer(ns).await?);
    let (first, mut inbox) = consume(ns, &group, &topic).await?;
    send_all(&producer, &topic, &numbered("before", 12)).await?;
    assert_eq!(inbox.next_bodies(12).await, numbered("before", 12));
    first.shutdown().await;

    send_all(&producer, &topic, &numbered("between", 4)).await?;
    let (second, mut inbox) = consume(ns, &group, &topic).await?;
    assert_eq!(inbox.next_bodies(4).await, numbered("between", 4));
    producer.send(Message::new(&topic, "last")).await?;
    assert!(inbox.until("last").await.is_empty(), "something came twice");
    second.shutdown().await;
    Ok(())
}

/// The topic's route is looked for until it is there.
pub async fn a_consumer_that_comes_before_its_topic_gets_its_messages(ns: &str) -> Result<(), Error> {
    let (name, producer) = (fresh("late"), producer(ns).await?);
    let (listener, mut inbox) = collector();
    let consumer = consumer(ns, &fresh("CG"), &name, "*")
        .rebalance_interval(Duration::from_secs(1))
        .listener(listener)
        .connect()
        .await?;
    producer.send(Message::new(&name, "first")).await?;
    assert_eq!(text(&inbox.next().await), "first");
    consumer.shutdown().await;
    Ok(())
}

/// By way of the broker, as `mqadmin consumerStatus` and the console do.
pub async fn operators_look_into_a_member_and_hand_it_a_message(ns: &str) -> Result<(), Error> {
    let (topic, group, producer) = (topic(ns, 1).await?, fresh("CG"), producer(ns).await?);
    let (consumer, mut inbox) = consume(ns, &group, &topic).await?;
    let receipt = producer.send(Message::new(&topic, "again and again")).await?;
    assert_eq!(text(&inbox.next().await), "again and again");
    consumer.commit().await;
    let admin = Admin::connect(ns).await?;
    let broker = admin.masters().await?.into_iter().next().ok_or(Error::NoRoute { topic: topic.clone() })?;
    let asked = async |request: Command| match ask(&broker, request).await {
        Ok(Some(answer)) if answer.code == ResponseCode::SUCCESS.0 => answer,
        other => panic!("no answer: {other:?}"),
    };

    let look = GetRunningInfo { consumer_group: &group, client_id: consumer.client_id(), jstack: false };
    let info: ConsumerRunningInfo = from_body(&asked(Command::with_header(&look)).await);
    let held = info.mq_table.get(&receipt.queue).unwrap_or_else(|| panic!("the queue is not in {:?}", info.mq_table));
    assert_eq!((held.commit_offset, held.cached_msg_count), (1, 0));
    assert!(info.subscription_set.iter().any(|subscription| subscription.topic == topic));

    let hand = ConsumeDirectly {
        consumer_group: &group,
        client_id: Some(consumer.client_id()),
        message_id: Some(&receipt.offset_message_id),
        topic: Some(&topic),
        ..ConsumeDirectly::default()
    };
    let result: ConsumeDirectlyResult = from_body(&asked(Command::with_header(&hand)).await);
    assert_eq!(result.consume_result, ConsumeResult::Success);
    assert_eq!(text(&inbox.next().await), "again and again");
    consumer.shutdown().await;
    Ok(())
}

fn from_body<T: serde::de::DeserializeOwned>(answer: &Command) -> T {
    json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {:?}", answer.body))
}

fn own(consumer: &tenonmq_client::PushConsumer, topic: &str) -> usize {
    consumer.assignment().iter().filter(|queue| queue.topic == topic).count()
}
