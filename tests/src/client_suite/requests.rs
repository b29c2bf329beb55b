//! Request and reply.

use std::time::Duration;

use tenonmq_client::{Error, Message, ReceivedMessage, ResponseCode};

use super::support::{DEADLINE, consumer, fresh, producer, topic};

/// The work of the consumer comes back to the one who asked.
pub async fn a_request_gets_its_own_reply(ns: &str) -> Result<(), Error> {
    let (topic, requester, replier) = (topic(ns, 2).await?, producer(ns).await?, producer(ns).await?);
    let answering = replier.clone();
    let listener = move |request: ReceivedMessage| {
        let replier = answering.clone();
        async move { replier.reply(&request, [request.body(), b"!".as_slice()].concat()).await.map(drop).into() }
    };
    let consumer = consumer(ns, &fresh("CG"), &topic, "*").listener(listener).connect().await?;
    let (one, two) = tokio::join!(
        requester.request(Message::new(&topic, "one"), DEADLINE),
        requester.request(Message::new(&topic, "two"), DEADLINE),
    );
    assert_eq!((one?.body().as_ref(), two?.body().as_ref()), (b"one!".as_slice(), b"two!".as_slice()));
    consumer.shutdown().await;
    requester.shutdown().await;
    replier.shutdown().await;
    Ok(())
}

/// When nobody replies; and a reply to somebody who has gone is refused.
pub async fn a_request_without_a_reply_ends_in_time(ns: &str) -> Result<(), Error> {
    let (topic, requester, replier) = (topic(ns, 1).await?, producer(ns).await?, producer(ns).await?);
    let (into, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let listener = move |request: ReceivedMessage| {
        drop(into.send(request));
        std::future::ready(tenonmq_client::ConsumeOutcome::Done)
    };
    let consumer = consumer(ns, &fresh("CG"), &topic, "*").listener(listener).connect().await?;
    let waited = requester.request(Message::new(&topic, "anybody?"), Duration::from_millis(500)).await;
    assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
    requester.shutdown().await;
    let Some(request) = requests.recv().await else { panic!("the consumer has stopped") };
    let refused = replier.reply(&request, "too late").await;
    assert_eq!(refused.err().and_then(|error| error.code()), Some(ResponseCode::SYSTEM_ERROR));
    let no_request = replier.reply(&requests_none(&replier, &topic, ns).await?, "what?").await;
    assert!(matches!(no_request, Err(Error::InvalidMessage { .. })), "{no_request:?}");
    consumer.shutdown().await;
    Ok(())
}

/// A message that asks for no reply.
async fn requests_none(producer: &tenonmq_client::Producer, topic: &str, ns: &str) -> Result<ReceivedMessage, Error> {
    let receipt = producer.send(Message::new(topic, "plain")).await?;
    let admin = tenonmq_client::Admin::connect(ns).await?;
    admin.view_message(&receipt.offset_message_id).await
}
