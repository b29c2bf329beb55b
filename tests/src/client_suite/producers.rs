//! Sending.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tenonmq_client::{
    Admin, ClientConfig, Compression, Error, Message, MessageQueue, Producer, PullConsumer, ResponseCode, SendStatus,
    Serialization,
};

use super::{
    fake::{FakePeer, route_of_two},
    support::{consume, fresh, numbered, producer, topic, until},
};

/// The receipt names the place, and what lies there is what was sent.
pub async fn a_sent_message_is_found_under_its_id_with_all_it_carried(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 2).await?, producer(ns).await?);
    let message = Message::new(&topic, "order 42").tag("card").key("42").key("m7").property("member", "7").flag(5);
    let receipt = producer.send(message).await?;
    assert_eq!(receipt.status, SendStatus::Ok);
    assert_eq!((receipt.queue.topic.as_str(), receipt.queue_offset), (topic.as_str(), 0));

    let admin = Admin::connect(ns).await?;
    let found = admin.view_message(&receipt.offset_message_id).await?;
    assert_eq!(found.body(), "order 42");
    assert_eq!((found.id(), found.offset_id()), (receipt.message_id, receipt.offset_message_id));
    assert_eq!((found.topic(), found.tags(), found.flag()), (topic.as_str(), Some("card"), 5));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["42", "m7"]);
    assert_eq!(found.get("member"), Some("7"));
    Ok(())
}

/// Nothing is answered, and yet they are stored.
pub async fn oneway_messages_arrive(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 2).await?, producer(ns).await?);
    let (_consumer, mut inbox) = consume(ns, &fresh("CG"), &topic).await?;
    for body in numbered("m", 10) {
        producer.send_oneway(Message::new(&topic, body)).await?;
    }
    assert_eq!(inbox.next_bodies(10).await, numbered("m", 10));
    Ok(())
}

/// All or none, one after the other, each with its own id.
pub async fn a_batch_lies_in_one_queue_at_consecutive_offsets(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 2).await?, producer(ns).await?);
    let batch = numbered("m", 5).into_iter().map(|body| Message::new(&topic, body).tag("t")).collect();
    let receipt = producer.send_batch(batch).await?;
    assert_eq!((receipt.message_ids.len(), receipt.offset_message_ids.len()), (5, 5));

    let consumer = PullConsumer::builder(ns).group(fresh("CG")).connect().await?;
    let mut pulled = Vec::new();
    until("all five can be read", async || {
        // Apache's broker puts them into the queue behind the send
        consumer.seek(&receipt.queue, receipt.first_queue_offset);
        pulled = consumer.pull(&receipt.queue).await.map(|pulled| pulled.messages).unwrap_or_default();
        pulled.len() == 5
    })
    .await;
    let ids: Vec<String> = pulled.iter().map(|m| m.id()).collect();
    let offsets: Vec<i64> = pulled.iter().map(|m| m.queue_offset()).collect();
    assert_eq!(ids, receipt.message_ids);
    assert_eq!(offsets, (0..5).map(|n| receipt.first_queue_offset + n).collect::<Vec<_>>());
    assert!(pulled.iter().all(|m| m.tags() == Some("t")));
    Ok(())
}

/// With each kind of compression; the broker holds the small form, the consumer sees the body.
pub async fn large_bodies_travel_compressed_and_arrive_as_they_were(ns: &str) -> Result<(), Error> {
    const COMPRESSED: i32 = 1;
    let topic = topic(ns, 1).await?;
    let (_consumer, mut inbox) = consume(ns, &fresh("CG"), &topic).await?;
    let body = "all work and no play ".repeat(5_000);
    for kind in [Compression::Zlib, Compression::Lz4, Compression::Zstd] {
        let producer = Producer::builder(ns).group(fresh("PG")).compression(kind).connect().await?;
        producer.send(Message::new(&topic, body.clone())).await?;
        let received = inbox.next().await;
        assert_eq!(received.body(), body.as_bytes(), "{kind:?}");
        assert_eq!(received.sys_flag() & COMPRESSED, COMPRESSED);
        producer.send(Message::new(&topic, "small")).await?;
        assert_eq!(inbox.next().await.sys_flag() & COMPRESSED, 0);
    }
    Ok(())
}

/// Order among them is the queue's order.
pub async fn messages_of_one_key_go_to_one_queue(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 4).await?, producer(ns).await?);
    let mut queues = Vec::new();
    for body in numbered("m", 6) {
        queues.push(producer.send_by_key("order-42", Message::new(&topic, body)).await?.queue);
    }
    queues.dedup();
    assert_eq!(queues.len(), 1);

    let all = producer.queues(&topic).await?;
    let last = all.last().ok_or(Error::NoRoute { topic: topic.clone() })?;
    let chosen = producer.send_choosing(Message::new(&topic, "x"), |queues| queues.len() - 1).await?;
    assert_eq!(chosen.queue, *last);
    Ok(())
}

/// The other header serialisation, in both directions.
pub async fn binary_headers_carry_the_same_messages(ns: &str) -> Result<(), Error> {
    let topic = topic(ns, 1).await?;
    let client = ClientConfig::new(ns).serialization(Serialization::Binary);
    let producer = Producer::builder(client.clone()).group(fresh("PG")).connect().await?;
    let receipt = producer.send(Message::new(&topic, "bïnary").key("k")).await?;
    let consumer = PullConsumer::builder(client).group(fresh("CG")).connect().await?;
    consumer.seek(&receipt.queue, receipt.queue_offset);
    let pulled = consumer.pull(&receipt.queue).await?;
    let bodies: Vec<_> = pulled.messages.iter().map(|m| m.body().as_ref()).collect();
    assert_eq!(bodies, ["bïnary".as_bytes()]);
    Ok(())
}

/// One of two brokers does not listen: every send gets through by the other.
pub async fn a_send_goes_to_another_broker_when_the_first_is_gone(ns: &str) -> Result<(), Error> {
    let (topic, real) = real_broker(ns).await?;
    // a port that was free a moment ago
    let gone = FakePeer::broker(ResponseCode::SUCCESS).await.map_err(file)?.address();
    let route = route_of_two(("a-gone", &gone), (&real.0, &real.1));
    let fake = FakePeer::name_server(route).await.map_err(file)?;
    let producer = producer(&fake.address()).await?;
    for body in numbered("m", 6) {
        assert_eq!(producer.send(Message::new(&topic, body)).await?.queue.broker_name, real.0);
    }
    Ok(())
}

/// One of two brokers answers "busy": the send is tried again at the other.
pub async fn a_send_goes_to_another_broker_when_the_first_is_busy(ns: &str) -> Result<(), Error> {
    let (topic, real) = real_broker(ns).await?;
    let busy = FakePeer::broker(ResponseCode::SYSTEM_BUSY).await.map_err(file)?;
    let route = route_of_two(("a-busy", &busy.address()), (&real.0, &real.1));
    let fake = FakePeer::name_server(route).await.map_err(file)?;
    let producer = producer(&fake.address()).await?;
    for body in numbered("m", 6) {
        assert_eq!(producer.send(Message::new(&topic, body)).await?.queue.broker_name, real.0);
    }
    let stubborn = Producer::builder(fake.address()).group(fresh("PG")).retries(0).connect().await?;
    let results = [
        stubborn.send(Message::new(&topic, "x")).await.is_ok(),
        stubborn.send(Message::new(&topic, "x")).await.is_ok(),
    ];
    assert!(results.contains(&false), "without retries the busy broker's turn fails");
    Ok(())
}

/// "Illegal message" will be illegal everywhere.
pub async fn a_final_refusal_is_not_tried_again(ns: &str) -> Result<(), Error> {
    let (topic, real) = real_broker(ns).await?;
    let strict = FakePeer::broker(ResponseCode::MESSAGE_ILLEGAL).await.map_err(file)?;
    let route = route_of_two(("a-strict", &strict.address()), (&real.0, &real.1));
    let fake = FakePeer::name_server(route).await.map_err(file)?;
    let producer = producer(&fake.address()).await?;
    let strict_queue = MessageQueue::new(&topic, "a-strict", 0);
    let refused = producer.send_to(&strict_queue, Message::new(&topic, "x")).await;
    let Err(error) = refused else { panic!("the send must fail") };
    assert_eq!((error.code(), error.remark()), (Some(ResponseCode::MESSAGE_ILLEGAL), Some("made up")));
    assert!(!error.is_retryable());
    Ok(())
}

/// By the client's limit before sending, and by the broker's if that is lower.
pub async fn a_message_that_is_too_large_is_refused_here_and_there(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 1).await?, producer(ns).await?);
    let body = vec![b'x'; 5 << 20];
    let here = producer.send(Message::new(&topic, body.clone())).await;
    assert!(matches!(here, Err(Error::MessageTooLarge { limit: 4_194_304, .. })), "{here:?}");

    let generous = Producer::builder(ns)
        .group(fresh("PG"))
        .max_message_size(8 << 20)
        .compress_over(usize::MAX)
        .send_timeout(Duration::from_secs(20))
        .connect()
        .await?;
    let Err(there) = generous.send(Message::new(&topic, body)).await else { panic!("the broker must refuse") };
    assert_eq!(there.code(), Some(ResponseCode::MESSAGE_ILLEGAL), "{there}");
    assert!(!there.is_retryable());
    Ok(())
}

/// The template topic's route stands in, and the broker creates the topic.
pub async fn a_topic_that_does_not_exist_is_created_by_its_first_message(ns: &str) -> Result<(), Error> {
    let (name, producer) = (fresh("auto"), producer(ns).await?);
    let unknown = producer.queues(&name).await;
    assert!(matches!(unknown, Err(Error::NoRoute { .. })), "{unknown:?}");
    let receipt = producer.send(Message::new(&name, "first")).await?;
    assert_eq!(receipt.queue.topic, name);
    let admin = Admin::connect(ns).await?;
    assert!(!admin.queues(&name).await?.is_empty());
    Ok(())
}

/// Neither at the broker nor at the name server.
pub async fn a_deleted_topic_has_no_route(ns: &str) -> Result<(), Error> {
    let (topic, admin) = (topic(ns, 1).await?, Admin::connect(ns).await?);
    assert_eq!(admin.queues(&topic).await?.len(), 1);
    admin.delete_topic(&topic).await?;
    let gone = admin.queues(&topic).await;
    assert!(matches!(gone, Err(Error::NoRoute { .. })), "{gone:?}");
    Ok(())
}

/// It is the caller's mistake, so no other queue is tried.
pub async fn a_queue_that_does_not_exist_is_refused(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 2).await?, producer(ns).await?);
    let queues = producer.queues(&topic).await?;
    let first = queues.first().ok_or(Error::NoRoute { topic: topic.clone() })?;
    let beyond = MessageQueue { queue_id: 99, ..first.clone() };
    let Err(error) = producer.send_to(&beyond, Message::new(&topic, "x")).await else { panic!("must fail") };
    assert_eq!(error.code(), Some(ResponseCode::INVALID_PARAMETER), "{error}");
    Ok(())
}

/// Delay level 2 is 5 s, level 1 is 1 s.
pub async fn a_delayed_message_comes_after_its_delay(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 1).await?, producer(ns).await?);
    let (_consumer, mut inbox) = consume(ns, &fresh("CG"), &topic).await?;
    let sent = Instant::now();
    producer.send(Message::new(&topic, "level 2").delay_level(2)).await?;
    producer.send(Message::new(&topic, "level 1").delay_level(1)).await?;
    producer.send(Message::new(&topic, "now")).await?;
    let mut order = Vec::new();
    for least in [0.0, 1.0, 5.0] {
        order.push(String::from_utf8_lossy(inbox.next().await.body()).into_owned());
        assert!(sent.elapsed().as_secs_f64() >= least, "{order:?} came after {:?}", sent.elapsed());
    }
    assert_eq!(order, ["now", "level 1", "level 2"]);
    Ok(())
}

/// They share one connection and are told apart by their opaque numbers.
pub async fn a_hundred_sends_at_once_all_get_their_own_answer(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 4).await?, producer(ns).await?);
    let sends = (0..100).map(|n| producer.send(Message::new(&topic, format!("m{n}"))));
    let receipts = join_all(sends).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut places: Vec<String> = receipts.iter().map(|r| r.offset_message_id.clone()).collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), 100);
    Ok(())
}

/// A topic, and the name and address of the broker that holds it.
async fn real_broker(ns: &str) -> Result<(String, (String, String)), Error> {
    let topic = topic(ns, 1).await?;
    let admin = Admin::connect(ns).await?;
    let (queues, masters) = (admin.queues(&topic).await?, admin.masters().await?);
    match (queues.first(), masters.into_iter().next()) {
        (Some(queue), Some(address)) => Ok((topic, (queue.broker_name.clone(), address))),
        _ => Err(Error::NoRoute { topic }),
    }
}

fn file(source: std::io::Error) -> Error {
    Error::File { op: "listen", path: "127.0.0.1:0".into(), source }
}

/// By the handle of its receipt; one that was not recalled arrives. The broker must allow it (`recallMessageEnable=true`).
pub async fn a_recalled_message_does_not_arrive(ns: &str) -> Result<(), Error> {
    let (topic, producer) = (topic(ns, 1).await?, producer(ns).await?);
    let (_consumer, mut inbox) = consume(ns, &fresh("CG"), &topic).await?;
    let delayed = |body: &str, seconds| Message::new(&topic, body.to_owned()).delay(Duration::from_secs(seconds));
    let recalled = producer.send(delayed("recalled", 5)).await?;
    producer.send(delayed("kept", 7)).await?;
    let handle = recalled.recall_handle.as_deref().unwrap_or_default();
    assert_eq!(producer.recall(&topic, handle).await?, recalled.message_id);
    assert!(inbox.until("kept").await.is_empty());

    let nonsense = producer.recall(&topic, "no handle").await;
    assert!(matches!(nonsense, Err(Error::InvalidMessage { .. })), "{nonsense:?}");
    producer.shutdown().await;
    Ok(())
}
