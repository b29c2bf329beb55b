//! Topics, groups and inboxes of one scenario.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use tenonmq_client::{
    Admin, ConsumeFrom, ConsumeOutcome, Error, Filter, Message, Producer, PushConsumer, PushConsumerBuilder,
    ReceivedMessage,
};
use tokio::{sync::mpsc, time::timeout};

/// Longest wait for anything: generous, because it is only met by a failure.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A name that no other scenario, and no run before on the same broker, has used.
pub fn fresh(name: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_millis());
    format!("{name}_{now:x}_{}_{count}", std::process::id())
}

/// Creates a topic of its own for a scenario.
pub async fn topic(name_server: &str, queues: u16) -> Result<String, Error> {
    let name = fresh("T");
    let admin = Admin::connect(name_server).await?;
    admin.create_topic(&name, queues).await?;
    admin.shutdown().await;
    Ok(name)
}

/// A producer of a group of its own.
pub async fn producer(name_server: &str) -> Result<Producer, Error> {
    Producer::builder(name_server).group(fresh("PG")).connect().await
}

/// What a consumer received, in order.
pub struct Inbox(mpsc::UnboundedReceiver<ReceivedMessage>);

impl Inbox {
    /// The next message.
    ///
    /// # Panics
    /// When none comes before the deadline.
    pub async fn next(&mut self) -> ReceivedMessage {
        match timeout(DEADLINE, self.0.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => panic!("the consumer has stopped"),
            Err(_) => panic!("no message within {DEADLINE:?}"),
        }
    }

    /// The bodies of the next `count` messages, sorted.
    pub async fn next_bodies(&mut self, count: usize) -> Vec<String> {
        let mut bodies = Vec::with_capacity(count);
        for _ in 0..count {
            bodies.push(text(&self.next().await));
        }
        bodies.sort();
        bodies
    }

    /// Receives until a message with that body comes; the different bodies before it, without it.
    pub async fn until(&mut self, last: &str) -> BTreeSet<String> {
        let mut before = BTreeSet::new();
        loop {
            let body = text(&self.next().await);
            if body == last {
                return before;
            }
            before.insert(body);
        }
    }

    /// The bodies that are there already, sorted.
    pub fn drain(&mut self) -> Vec<String> {
        let mut bodies: Vec<String> = std::iter::from_fn(|| self.0.try_recv().ok()).map(|m| text(&m)).collect();
        bodies.sort();
        bodies
    }
}

/// A handler that puts each message into an inbox and reports success.
pub fn collector() -> (impl Fn(ReceivedMessage) -> std::future::Ready<ConsumeOutcome> + Send + Sync, Inbox) {
    let (into, inbox) = mpsc::unbounded_channel();
    let handle = move |message| {
        let outcome = if into.send(message).is_ok() { ConsumeOutcome::Done } else { ConsumeOutcome::Retry };
        std::future::ready(outcome)
    };
    (handle, Inbox(inbox))
}

/// A consumer of everything in a topic, from its beginning.
pub fn consumer(name_server: &str, group: &str, topic: &str, filter: impl Into<Filter>) -> PushConsumerBuilder {
    PushConsumer::builder(name_server)
        .group(group)
        .subscribe(topic, filter)
        .consume_from(ConsumeFrom::Earliest)
        .long_poll(Duration::from_secs(5))
}

/// As [`consumer`], connected, with its inbox.
pub async fn consume(name_server: &str, group: &str, topic: &str) -> Result<(PushConsumer, Inbox), Error> {
    let (listener, inbox) = collector();
    let consumer = consumer(name_server, group, topic, "*").listener(listener).connect().await?;
    Ok((consumer, inbox))
}

/// The body as text.
pub fn text(message: &ReceivedMessage) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// Sends one message for each body, in turn over the queues.
pub async fn send_all(producer: &Producer, topic: &str, bodies: &[String]) -> Result<(), Error> {
    for body in bodies {
        producer.send(Message::new(topic, body.clone())).await?;
    }
    Ok(())
}

/// `prefix0`, `prefix1`, …, sorted.
pub fn numbered(prefix: &str, count: usize) -> Vec<String> {
    let mut names: Vec<String> = (0..count).map(|n| format!("{prefix}{n}")).collect();
    names.sort();
    names
}

/// Polls `condition` until it holds. Its pause is no wait for something to have happened: it only spares the processor.
///
/// # Panics
/// When it does not hold before the deadline.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(DEADLINE, poll).await.is_ok(), "not within {DEADLINE:?}: {what}");
}
