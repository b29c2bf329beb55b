//! The requests of a producer.

use bytes::BytesMut;
use tenonmq_protocol::{
    code::RequestCode,
    frame::Serialization,
    message::{UniqueKeyGenerator, batch::BatchElement},
    writer::{Envelope, FrameWriter},
};

use super::{Settings, now_ms};

/// Writes send requests of one producer, as the Java client would.
pub(crate) struct Sender<'a> {
    settings: &'a Settings,
    queue_id: i32,
    /// Properties in the wire's form, before those that every message has.
    pub(crate) extra_properties: String,
    sys_flag: i32,
    keys: UniqueKeyGenerator,
    body: Vec<u8>,
    scratch: BytesMut,
    /// Body of a batch.
    elements: Vec<u8>,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(settings: &'a Settings, queue_id: i32) -> Self {
        let keys = UniqueKeyGenerator::new([127, 0, 0, 1].into(), std::process::id(), queue_id.unsigned_abs());
        let body = (0..settings.size).map(|at| b'a' + (at % 26) as u8).collect();
        Self {
            settings,
            queue_id,
            extra_properties: String::new(),
            sys_flag: 0,
            keys,
            body,
            scratch: BytesMut::new(),
            elements: Vec::new(),
        }
    }

    /// A sender of half messages.
    pub(crate) fn of_half_messages(settings: &'a Settings, queue_id: i32) -> Self {
        let extra_properties = "PGROUP\u{1}load\u{2}TRAN_MSG\u{1}true\u{2}".to_owned();
        Self { extra_properties, sys_flag: 4, ..Self::new(settings, queue_id) }
    }

    /// Appends a request with `batch` messages: several go as a SEND_BATCH_MESSAGE.
    pub(crate) fn write_batch(&mut self, opaque: i32, out: &mut Vec<u8>) {
        if self.settings.batch == 1 {
            return self.write(opaque, out);
        }
        let now = now_ms();
        let mut elements = std::mem::take(&mut self.elements);
        elements.clear();
        for _ in 0..self.settings.batch {
            let properties = self.properties(now);
            let element = BatchElement { flag: 0, body: &self.body, properties: properties.as_bytes() };
            // Properties of a few dozen bytes fit, and so do bodies that fit into a request.
            let _ = element.encode_into(&mut elements);
        }
        self.head(RequestCode::SEND_BATCH_MESSAGE, opaque, "WAIT\u{1}true\u{2}", elements.len());
        self.take(out, &elements);
        self.elements = elements;
    }

    /// Appends a request with one message.
    pub(crate) fn write(&mut self, opaque: i32, out: &mut Vec<u8>) {
        let properties = self.properties(now_ms());
        self.head(RequestCode::SEND_MESSAGE_V2, opaque, &properties, self.body.len());
        out.extend_from_slice(&self.scratch);
        out.extend_from_slice(&self.body);
        self.scratch.clear();
    }

    fn properties(&self, now: i64) -> String {
        format!("{}UNIQ_KEY\u{1}{}\u{2}WAIT\u{1}true\u{2}", self.extra_properties, self.keys.next(now).as_str())
    }

    fn head(&mut self, code: RequestCode, opaque: i32, properties: &str, body_len: usize) {
        let envelope = Envelope::request(code, opaque);
        let mut writer = FrameWriter::begin(&mut self.scratch, Serialization::Json, &envelope);
        writer.field("a", "load").field("b", self.settings.topic.as_str()).field("c", "TBW102").field("d", 4);
        writer.field("e", self.queue_id).field("f", self.sys_flag);
        writer.field("g", now_ms()).field("h", 0).field("i", properties).field("j", 0);
        writer.field("k", false).field("m", code == RequestCode::SEND_BATCH_MESSAGE);
        writer.finish(body_len);
    }

    fn take(&mut self, out: &mut Vec<u8>, body: &[u8]) {
        out.extend_from_slice(&self.scratch);
        out.extend_from_slice(body);
        self.scratch.clear();
    }
}
