//! The record of a message that is stored again.

use std::{borrow::Cow, net::SocketAddr};

use tenonmq_protocol::message::{
    FailureCause, NewRecord, Properties, RecordView, cause::push, properties::names as property,
};

use crate::delay::note_target;

/// Where the copy goes.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) topic: &'a str,
    pub(super) queue_id: i32,
    /// Delay level as asked; 0 for at once.
    pub(super) level: i32,
    /// The level that it really waits for.
    pub(super) delayed_by: Option<i32>,
}

/// Appends the copy's property text: with the topic and the id that the message had at first (`origin` unless it says
/// itself), with the real target and level when it is delayed, and with the cause of the failure when the consumer tells it.
pub(super) fn text(
    message: &RecordView<'_>,
    origin: &str,
    target: &Target<'_>,
    cause: Option<&FailureCause<'_>>,
    out: &mut Vec<u8>,
) {
    let id = message.message_id().text();
    let mut properties = message.properties();
    properties.remove(property::CRC32); // that of the record it is copied from
    if !properties.contains(property::RETRY_TOPIC) {
        properties.set(property::RETRY_TOPIC, origin);
    }
    properties.set(property::WAIT, "false");
    properties.set(property::DELAY, number(target.level));
    if properties.get(property::ORIGIN_MESSAGE_ID).is_none_or(|id| id.trim().is_empty()) {
        properties.set(property::ORIGIN_MESSAGE_ID, id.as_str());
    }
    if let Some(cause) = cause {
        note_cause(&mut properties, cause);
    }
    if let Some(level) = target.delayed_by {
        note_target(&mut properties, level, target.topic, target.queue_id);
    }
    properties.encode_into(out);
}

#[cold]
fn note_cause(properties: &mut Properties<'_>, cause: &FailureCause<'_>) {
    let causes = push(properties.get(property::CAUSES), cause);
    properties.set(property::CAUSES, causes);
}

/// A delay level or queue id as text; the usual ones without allocating.
fn number(number: i32) -> Cow<'static, str> {
    const TEXTS: [&str; 33] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19",
        "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32",
    ];
    let usual = usize::try_from(number).ok().and_then(|at| TEXTS.get(at));
    usual.map_or_else(|| Cow::Owned(number.to_string()), |text| Cow::Borrowed(*text))
}

/// The message as it is stored again.
pub(super) fn copy<'a>(
    message: &RecordView<'a>,
    target: &Target<'a>,
    broker: SocketAddr,
    properties: &'a [u8],
) -> NewRecord<'a> {
    NewRecord {
        topic: target.topic,
        queue_id: target.queue_id,
        store_host: broker,
        reconsume_times: message.reconsume_times().saturating_add(1),
        ..NewRecord::copy_of(message, properties)
    }
}
