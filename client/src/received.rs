//! From the log's bytes in an answer to messages.

use std::sync::Arc;

use bytes::Bytes;
use tenonmq_protocol::message::{flags::SysFlag, properties::names, queue::MessageQueue, record::RecordView};

use crate::{
    error::Error,
    message::{Received, ReceivedMessage},
    text::PropertyText,
};

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
    let flag: SysFlag = record.sys_flag();
    match flag.compression() {
        Ok(None) => Ok(answer.slice_ref(record.body())),
        Ok(Some(kind)) => {
            let body = kind.decompress(record.body(), DECOMPRESSED_LIMIT).map_err(|e| damaged(e.to_string()))?;
            Ok(body.into())
        }
        Err(bits) => Err(damaged(format!("unknown compression type {bits:#x}"))),
    }
}

fn damaged(reason: String) -> Error {
    Error::Protocol { operation: "PULL_MESSAGE", reason }
}
