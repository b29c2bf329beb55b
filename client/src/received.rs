//! The message that an application receives, and how it is read out of the log's bytes in an answer.

use std::{fmt, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tenonmq_protocol::message::{
    flags::SysFlag, id::OffsetMessageId, properties::names, queue::MessageQueue, record::RecordView,
};

use crate::{error::Error, text::PropertyText};

/// A message as a consumer gets it. Cloning is cheap: all of it is shared.
#[derive(Clone)]
pub struct ReceivedMessage {
    pub(crate) inner: Arc<Received>,
    /// Tries in this process that the broker knows nothing of.
    pub(crate) tries_here: i32,
}

/// What a [`ReceivedMessage`] shares. The body is a slice of the answer that brought it, unless it was compressed.
pub(crate) struct Received {
    pub(crate) queue: Arc<MessageQueue>,
    /// The topic that the application subscribed to; differs from the queue's for retried messages.
    pub(crate) topic: Arc<str>,
    pub(crate) body: Bytes,
    pub(crate) properties: PropertyText,
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    pub(crate) queue_offset: i64,
    pub(crate) physical_offset: i64,
    pub(crate) born_timestamp: i64,
    pub(crate) store_timestamp: i64,
    pub(crate) born_host: SocketAddr,
    pub(crate) store_host: SocketAddr,
    pub(crate) reconsume_times: i32,
    pub(crate) stored_len: usize,
}

impl ReceivedMessage {
    /// The topic it was sent to. A retried message says its first topic here, not the retry topic.
    pub fn topic(&self) -> &str {
        &self.inner.topic
    }

    /// The body, decompressed. When it was not compressed it is a slice of the answer that brought it, and keeps that
    /// whole answer in memory: copy what is kept for long.
    pub fn body(&self) -> &Bytes {
        &self.inner.body
    }

    /// The tag, if the producer set one.
    pub fn tags(&self) -> Option<&str> {
        self.get(names::TAGS)
    }

    /// The business keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.get(names::KEYS).unwrap_or_default().split_ascii_whitespace()
    }

    /// The value of any property, the protocol's included.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.inner.properties.get(name)
    }

    /// All properties, in stored order.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.inner.properties.iter()
    }

    /// The id that the producer gave it. It stays the same through retries, so it is what to dedupe by.
    /// Falls back to the offset id for messages that have none.
    pub fn id(&self) -> String {
        self.get(names::UNIQ_KEY).map_or_else(|| self.offset_id(), str::to_owned)
    }

    /// The id that names the place in the broker's log: upper-case hex of store address and physical offset.
    pub fn offset_id(&self) -> String {
        OffsetMessageId { host: self.inner.store_host, offset: self.inner.physical_offset }.to_string()
    }

    /// The queue it was read from; for a retried message one of the retry topic's.
    pub fn queue(&self) -> &MessageQueue {
        &self.inner.queue
    }

    /// Its position in that queue.
    pub fn queue_offset(&self) -> i64 {
        self.inner.queue_offset
    }

    /// Its position in the broker's log.
    pub fn physical_offset(&self) -> i64 {
        self.inner.physical_offset
    }

    /// The application's own number (`Message::flag`).
    pub fn flag(&self) -> i32 {
        self.inner.flag
    }

    /// The protocol's flag word: compression and transaction bits.
    pub fn sys_flag(&self) -> i32 {
        self.inner.sys_flag
    }

    /// When the producer made it, ms since the Unix epoch, by the producer's clock.
    pub fn born_timestamp_ms(&self) -> i64 {
        self.inner.born_timestamp
    }

    /// When the broker stored it, ms since the Unix epoch, by the broker's clock.
    pub fn store_timestamp_ms(&self) -> i64 {
        self.inner.store_timestamp
    }

    /// Where the producer connected from.
    pub fn born_host(&self) -> SocketAddr {
        self.inner.born_host
    }

    /// The broker that stored it.
    pub fn store_host(&self) -> SocketAddr {
        self.inner.store_host
    }

    /// How often it was given back before: 0 on first delivery.
    pub fn reconsume_times(&self) -> i32 {
        self.inner.reconsume_times.saturating_add(self.tries_here)
    }

    /// The same message, known to lie at a broker. For messages that nobody else holds yet.
    pub(crate) fn at_broker(mut self, name: &str) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            let queue = &inner.queue;
            inner.queue = Arc::new(MessageQueue::new(queue.topic.as_str(), name, queue.queue_id));
        }
        self
    }
}

impl fmt::Debug for ReceivedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedMessage")
            .field("topic", &self.inner.topic)
            .field("queue_id", &self.inner.queue.queue_id)
            .field("queue_offset", &self.inner.queue_offset)
            .field("body_len", &self.inner.body.len())
            .field("properties", &self.inner.properties)
            .finish()
    }
}

/// A compressed body that grows beyond this is refused: it is an attack or damage, no message.
const DECOMPRESSED_LIMIT: usize = 64 << 20;

/// The records of a pull answer. An undecodable one ends the list with the error: what follows it cannot be found.
///
/// `queue` is where they were pulled from; without one each record says so itself (but for the broker's name).
pub(crate) fn decode_records(
    queue: Option<&Arc<MessageQueue>>,
    body: &Bytes,
) -> impl Iterator<Item = Result<ReceivedMessage, Error>> {
    let mut last_topic: Arc<str> = Arc::from("");
    RecordView::iter_all(body).map(move |record| {
        let record = record.map_err(|error| damaged(error.to_string()))?;
        if *last_topic != *record.topic() {
            last_topic = record.topic().into();
        }
        decode_record(queue, &last_topic, body, &record)
    })
}

fn decode_record(
    queue: Option<&Arc<MessageQueue>>,
    topic: &Arc<str>,
    answer: &Bytes,
    record: &RecordView<'_>,
) -> Result<ReceivedMessage, Error> {
    let properties = PropertyText::from_wire(record.properties_text());
    let own_queue = || Arc::new(MessageQueue::new(record.topic(), "", record.queue_id()));
    let queue = queue.map_or_else(own_queue, Arc::clone);
    // a retried message is shown under the topic that it was sent to
    let topic = properties.get(names::RETRY_TOPIC).map_or_else(|| Arc::clone(topic), Arc::from);
    Ok(ReceivedMessage {
        tries_here: 0,
        inner: Arc::new(Received {
            queue,
            topic,
            body: plain_body(record, answer)?,
            properties,
            flag: record.flag(),
            sys_flag: record.sys_flag().0,
            queue_offset: record.queue_offset(),
            physical_offset: record.physical_offset(),
            born_timestamp: record.born_timestamp(),
            store_timestamp: record.store_timestamp(),
            born_host: record.born_host(),
            store_host: record.store_host(),
            reconsume_times: record.reconsume_times(),
            stored_len: record.len(),
        }),
    })
}

/// The body, decompressed; a slice of `answer` when it was not compressed.
pub(crate) fn plain_body(record: &RecordView<'_>, answer: &Bytes) -> Result<Bytes, Error> {
    inflate(record.sys_flag(), answer.slice_ref(record.body()))
}

/// A body as its sender made it.
pub(crate) fn inflate(flag: SysFlag, body: Bytes) -> Result<Bytes, Error> {
    match flag.compression() {
        Ok(None) => Ok(body),
        Ok(Some(kind)) => {
            let body = kind.decompress(&body, DECOMPRESSED_LIMIT).map_err(|e| damaged(e.to_string()))?;
            Ok(body.into())
        }
        Err(bits) => Err(damaged(format!("unknown compression type {bits:#x}"))),
    }
}

fn damaged(reason: String) -> Error {
    Error::Protocol { operation: "PULL_MESSAGE", reason }
}
