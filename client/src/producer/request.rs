//! Request and reply: a message that waits for another one in return.
//!
//! The request is an ordinary message that names the requester's client id and a correlation id. Whoever consumes it
//! sends a reply to the cluster's reply topic, and the broker pushes that to the requester's connection.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tenonmq_protocol::{
    Command, ResponseCode,
    header::PushReply,
    message::{flags::SysFlag, properties::names, queue::MessageQueue},
};
use tokio::{sync::oneshot, time::timeout};
use tracing::{debug, warn};

use super::{Outbound, Producer, QueueChoice, SendReceipt};
use crate::{
    error::Error,
    message::Message,
    received::{Received, ReceivedMessage, inflate},
    text::PropertyText,
    transport::Connection,
};

/// Requests that wait for their reply, by correlation id. Each is taken out when its caller stops waiting.
#[derive(Default)]
pub(crate) struct Replies(Mutex<HashMap<String, oneshot::Sender<ReceivedMessage>>>);

impl Replies {
    /// A broker pushes a reply: hands it over and answers the broker.
    pub(crate) fn pushed(&self, connection: &Connection, request: &Command) {
        let code = match read_reply(request) {
            Ok(reply) => {
                let waiting = reply.get(names::CORRELATION_ID).and_then(|id| self.0.lock().remove(id));
                if waiting.is_none_or(|waiting| waiting.send(reply).is_err()) {
                    debug!(peer = connection.address(), "a reply that nobody waits for any more");
                }
                ResponseCode::SUCCESS
            }
            Err(error) => {
                warn!(peer = connection.address(), %error, "a reply cannot be read");
                ResponseCode::SYSTEM_ERROR
            }
        };
        if !request.is_oneway() {
            drop(connection.respond(&Command::response(code, request.opaque))); // gone: nobody to tell
        }
    }
}

/// Takes a request out of the table when its caller stops waiting.
struct ForgetOnDrop<'a> {
    replies: &'a Replies,
    id: &'a str,
}

impl Drop for ForgetOnDrop<'_> {
    fn drop(&mut self) {
        self.replies.0.lock().remove(self.id);
    }
}

impl Producer {
    /// Sends a message and waits for the reply that its consumer sends with [`reply`](Self::reply).
    ///
    /// ```no_run
    /// # async fn example(producer: tenonmq_client::Producer) -> Result<(), tenonmq_client::Error> {
    /// use std::time::Duration;
    /// use tenonmq_client::Message;
    /// let answer = producer.request(Message::new("prices", "apples"), Duration::from_secs(3)).await?;
    /// println!("{:?}", answer.body());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Timeout`] when no reply came in time: the request may have been handled all the same. What goes wrong
    /// with the send, unless the message may have been stored and its reply comes in time.
    pub async fn request(&self, mut message: Message, wait: Duration) -> Result<ReceivedMessage, Error> {
        let id = self.session.next_key().as_str().to_owned();
        message.put(names::CORRELATION_ID, &id);
        message.put(names::REPLY_TO_CLIENT, &self.session.client_id);
        message.put(names::TTL, &wait.as_millis().to_string());
        let outbound = Outbound::from_message(message, &self.settings, &self.session)?;
        let (arrive, arrived) = oneshot::channel();
        self.replies.0.lock().insert(id.clone(), arrive);
        let _forget = ForgetOnDrop { replies: &self.replies, id: &id };
        let mut unsure = None;
        let exchange = async {
            self.be_known(&outbound.topic).await?;
            self.send_and_wait(&outbound, arrived, &mut unsure).await
        };
        let after = wait;
        timeout(wait, exchange)
            .await
            .unwrap_or_else(|_| Err(unsure.unwrap_or(Error::Timeout { operation: "request and reply", after })))
    }

    /// Answers a request. The reply goes to the broker that the request came from, where the requester is connected.
    ///
    /// ```no_run
    /// # async fn example(producer: tenonmq_client::Producer) -> Result<(), tenonmq_client::Error> {
    /// use tenonmq_client::{ConsumeOutcome, PushConsumer, ReceivedMessage};
    /// let replier = producer.clone();
    /// let consumer = PushConsumer::builder("127.0.0.1:9876")
    ///     .group("pricing")
    ///     .subscribe("prices", "*")
    ///     .listener(move |request: ReceivedMessage| {
    ///         let replier = replier.clone();
    ///         async move { replier.reply(&request, "3.50").await.map(drop).into() }
    ///     })
    ///     .connect()
    ///     .await?;
    /// # drop(consumer);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] for a message that asks for no reply; [`Error::Refused`] when the requester has gone.
    pub async fn reply(&self, request: &ReceivedMessage, body: impl Into<Bytes>) -> Result<SendReceipt, Error> {
        let reply = Message::reply_to(request, body)?;
        let outbound = Outbound::from_message(reply, &self.settings, &self.session)?;
        let route = self.session.publish_route(&outbound.topic).await?;
        let broker = &request.queue().broker_name;
        match route.publish.iter().find(|queue| queue.broker_name == *broker) {
            Some(queue) => self.deliver(&outbound, QueueChoice::Exactly(queue)).await,
            None => self.deliver(&outbound, QueueChoice::InTurn).await,
        }
    }

    /// Brokers push replies to clients that they know: all that may get this one must have heard of this client.
    async fn be_known(&self, topic: &str) -> Result<(), Error> {
        if self.session.routes.get(topic).is_none() {
            self.session.publish_route(topic).await?;
            self.session.heartbeat().await;
        }
        Ok(())
    }

    /// Waits for the reply. A send that may have stored the message despite its failure goes to `unsure`.
    async fn send_and_wait(
        &self,
        outbound: &Outbound,
        mut arrived: oneshot::Receiver<ReceivedMessage>,
        unsure: &mut Option<Error>,
    ) -> Result<ReceivedMessage, Error> {
        let sent = tokio::select! {
            biased;
            Ok(reply) = &mut arrived => return Ok(reply),
            sent = self.deliver(outbound, QueueChoice::InTurn) => sent,
        };
        match sent {
            Ok(_) => {}
            Err(error @ (Error::Timeout { .. } | Error::Disconnected { .. })) => *unsure = Some(error),
            Err(error) => return Err(error),
        }
        arrived.await.map_err(|_| Error::Closed)
    }
}

impl Message {
    /// The reply to a request, to be sent as any message; [`Producer::reply`] also picks the right broker.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] for a message that asks for no reply.
    pub fn reply_to(request: &ReceivedMessage, body: impl Into<Bytes>) -> Result<Self, Error> {
        let need = |name: &str| {
            let missing =
                || Error::InvalidMessage { reason: format!("the message asks for no reply: it lacks {name}") };
            request.get(name).ok_or_else(missing)
        };
        let (cluster, client) = (need(names::CLUSTER)?, need(names::REPLY_TO_CLIENT)?);
        let id = need(names::CORRELATION_ID)?;
        let mut reply = Self::new(format!("{cluster}_REPLY_TOPIC"), body);
        reply.put(names::MSG_TYPE, "reply");
        reply.put(names::REPLY_TO_CLIENT, client);
        reply.put(names::CORRELATION_ID, id);
        if let Some(ttl) = request.get(names::TTL) {
            reply.put(names::TTL, ttl);
        }
        Ok(reply)
    }
}

/// A reply as the broker pushes it: a message of which only the properties and the body mean anything.
fn read_reply(request: &Command) -> Result<ReceivedMessage, Error> {
    let malformed = |reason: String| Error::Protocol { operation: "PUSH_REPLY_MESSAGE_TO_CLIENT", reason };
    let header: PushReply<'_> = request.request_header().map_err(|error| malformed(error.to_string()))?;
    let host = |text: &str| text.parse().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
    let received = Received {
        queue: Arc::new(MessageQueue::new(header.topic, "", header.queue_id)),
        topic: header.topic.into(),
        body: inflate(SysFlag(header.sys_flag), request.body.clone())?,
        properties: PropertyText::from_wire(header.properties.unwrap_or_default()),
        flag: header.flag,
        sys_flag: header.sys_flag,
        queue_offset: 0,
        physical_offset: 0,
        born_timestamp: header.born_timestamp,
        store_timestamp: header.store_timestamp,
        born_host: host(header.born_host),
        store_host: host(header.store_host),
        reconsume_times: header.reconsume_times.unwrap_or_default(),
        stored_len: request.body.len(),
    };
    Ok(ReceivedMessage { inner: Arc::new(received), tries_here: 0 })
}

#[cfg(test)]
mod tests {
    use tenonmq_protocol::RequestCode;

    use super::*;
    use crate::testing::{FakeBroker, Say, refuse};

    const LONG: Duration = Duration::from_secs(30);

    async fn producer(fake: &FakeBroker) -> Producer {
        Producer::builder(fake.address()).group("PG").connect().await.unwrap()
    }

    /// What a broker pushes in answer to a sent request.
    fn push(sent: &Command, body: &'static str) -> Command {
        let properties = sent.field("i").unwrap();
        let header = PushReply {
            producer_group: "R",
            topic: "c_REPLY_TOPIC",
            properties: Some(properties),
            born_host: "127.0.0.1:1",
            store_host: "127.0.0.1:2",
            ..PushReply::default()
        };
        Command { opaque: 77, ..Command::with_header(&header) }.with_body(body)
    }

    #[tokio::test]
    async fn a_reply_finds_its_request_and_the_broker_is_answered() {
        let fake = FakeBroker::start(1).await;
        let producer = producer(&fake).await;
        let play = async {
            let sent = fake.saw(RequestCode::SEND_MESSAGE_V2, 1).await;
            fake.tell(&push(&sent[0], "pong"));
        };
        let (reply, ()) = tokio::join!(producer.request(Message::new("T", "ping"), LONG), play);
        let reply = reply.unwrap();
        assert_eq!(reply.body(), "pong");
        assert_eq!(reply.get(names::REPLY_TO_CLIENT), Some(producer.client_id()));
        assert_eq!(reply.get(names::TTL), Some("30000"));
        fake.until(|fake| fake.answers().iter().any(|answer| (answer.opaque, answer.code) == (77, 0))).await;
        assert!(producer.replies.0.lock().is_empty());
    }

    #[tokio::test]
    async fn the_requester_is_known_to_the_broker_before_the_request() {
        let fake = FakeBroker::start(1).await;
        let producer = producer(&fake).await;
        fake.script(|request| match RequestCode(request.code) {
            RequestCode::SEND_MESSAGE_V2 => refuse(ResponseCode::MESSAGE_ILLEGAL),
            _ => Say::Usual,
        });
        let refused = producer.request(Message::new("T", "ping"), LONG).await;
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
        assert!(!fake.seen(RequestCode::HEART_BEAT).is_empty());
    }

    #[tokio::test]
    async fn thread_3933_a_reply_counts_although_the_answer_to_the_send_is_lost() {
        let fake = FakeBroker::start(1).await;
        let producer = producer(&fake).await;
        fake.script(|request| match RequestCode(request.code) {
            RequestCode::SEND_MESSAGE_V2 => Say::Nothing,
            _ => Say::Usual,
        });
        let play = async {
            let sent = fake.saw(RequestCode::SEND_MESSAGE_V2, 1).await;
            fake.tell(&push(&sent[0], "done"));
        };
        let (reply, ()) = tokio::join!(producer.request(Message::new("T", "work"), LONG), play);
        assert_eq!(reply.unwrap().body(), "done");
    }

    /// clients#872: a peer that had gone without closing its connection was not noticed, and every send timed out.
    #[tokio::test]
    async fn thread_clients_872_a_connection_that_nobody_answers_on_is_replaced() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let fake = FakeBroker::start(1).await;
        let short = Duration::from_millis(50);
        let config = crate::ClientConfig::new(fake.address()).request_timeout(short);
        let builder = Producer::builder(config).group("PG").retries(0);
        let producer = builder.send_timeout(short).connect().await.unwrap();
        let deaf = Arc::new(AtomicBool::new(true));
        let hears = Arc::clone(&deaf);
        fake.script(move |request| match RequestCode(request.code) {
            RequestCode::SEND_MESSAGE_V2 | RequestCode::HEART_BEAT if hears.load(Ordering::SeqCst) => Say::Nothing,
            _ => Say::Usual,
        });
        let unheard = producer.send(Message::new("T", "x")).await;
        assert!(matches!(unheard, Err(Error::Timeout { .. })), "{unheard:?}");
        fake.until(|fake| fake.connections() == 1).await; // only the name server's is left
        deaf.store(false, Ordering::SeqCst);
        let heard = async || producer.send(Message::new("T", "x")).await.is_ok();
        while !heard().await {}
        assert_eq!(fake.connections(), 2);
    }

    #[tokio::test]
    async fn without_a_reply_the_wait_ends_and_nothing_is_left_behind() {
        let fake = FakeBroker::start(1).await;
        let producer = producer(&fake).await;
        let waited = producer.request(Message::new("T", "ping"), Duration::from_millis(50)).await;
        assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
        assert!(producer.replies.0.lock().is_empty());
    }
}
