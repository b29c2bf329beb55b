//! Messages of a retry topic as clients get them: with the topic that they popped, and a handle of their own.

use std::fmt::Write;

use bytes::Bytes;
use tenonmq_protocol::{
    header::ReceiptHandle,
    message::{
        NewRecord, RecordView,
        properties::{NAME_END, VALUE_END, find, names as property},
        record::Assigned,
    },
};

/// The record under `topic` and with `handle` as its property, unless it has one.
pub(super) fn shown_as(record: &RecordView<'_>, topic: &str, handle: &ReceiptHandle<'_>) -> Bytes {
    let text = record.properties_text();
    let mut properties = Vec::with_capacity(text.len() + 96);
    properties.extend_from_slice(text.as_bytes());
    if find(text, property::POP_CK).is_none() {
        let mut own = String::with_capacity(80);
        let _ = write!(own, "{handle}"); // writing to a `String` cannot fail
        if properties.last().is_some_and(|last| *last != VALUE_END) {
            properties.push(VALUE_END);
        }
        properties.extend_from_slice(property::POP_CK.as_bytes());
        properties.push(NAME_END);
        properties.extend_from_slice(own.as_bytes());
        properties.push(VALUE_END);
    }
    let prepared_transaction_offset = record.prepared_transaction_offset();
    let shown = NewRecord { topic, prepared_transaction_offset, ..NewRecord::copy_of(record, &properties) };
    let at = Assigned {
        queue_offset: record.queue_offset(),
        physical_offset: record.physical_offset(),
        store_timestamp: record.store_timestamp(),
    };
    let mut bytes = vec![0; shown.encoded_len()];
    shown.encode(&mut bytes, at);
    bytes.into()
}
