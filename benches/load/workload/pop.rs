//! Pops and acknowledgements: a batch is popped, each of its messages acknowledged, then the next batch is popped.
//!
//! Every connection has a queue of its own, so that no broker's lock on a queue is measured. What is acknowledged never
//! returns to its group; at the end of its queue a connection goes on as a new group from the beginning.

use std::{io, time::Instant};

use bytes::{BufMut, BytesMut};
use tenonmq_protocol::{
    code::{RequestCode, ResponseCode},
    command::{CommandView, HeaderScratch},
    frame::{FrameView, Serialization},
    writer::{Envelope, FrameWriter},
};

use super::{Settings, Tally, failure, invalid, is_success, now_ms};
use crate::{peer::Peer, run::Phase};

/// Messages that a queue holds at least before it is popped.
pub(super) const FILL: i32 = 50_000;
const POP_MESSAGE: RequestCode = RequestCode(200_050);
const ACK_MESSAGE: RequestCode = RequestCode(200_051);
const BATCH_ACK_MESSAGE: RequestCode = RequestCode(200_151);
const INVISIBLE_MS: i64 = 60_000;
/// The pop's `opaque`; acknowledgements have any other.
const POP: i32 = -1;

/// What one pop took: what the handles of its messages are made of.
struct Batch {
    pop_time: i64,
    invisible_ms: i64,
    revive_queue: i32,
    start: i64,
    offsets: Vec<i64>,
    unacknowledged: usize,
    since: Instant,
}

struct Popper<'a> {
    settings: &'a Settings,
    queue_id: i32,
    /// Groups that read the queue to its end.
    rounds: u32,
    /// Pops without a message since the last one with any.
    empty: u32,
    batch: Batch,
    header: BytesMut,
}

pub(super) fn run(peer: &mut Peer, settings: &Settings, queue_id: i32, phase: &Phase) -> io::Result<Tally> {
    let mut tally = Tally::new()?;
    let mut scratch = HeaderScratch::default();
    let mut popper = Popper::new(settings, queue_id);
    popper.pop(&mut peer.output);
    peer.flush()?;
    while !phase.stopped() {
        peer.receive(|frame, output| {
            let command = CommandView::parse(frame, &mut scratch).map_err(invalid)?;
            if command.opaque == POP {
                return popper.popped(&command, frame, output);
            }
            if !is_success(command.code) {
                return Err(io::Error::other(failure(frame)));
            }
            let acknowledged = if settings.batch_ack { popper.batch.offsets.len() } else { 1 };
            popper.batch.unacknowledged = popper.batch.unacknowledged.saturating_sub(acknowledged);
            if phase.measures() {
                tally.count(acknowledged as u64, popper.batch.since);
            }
            if popper.batch.unacknowledged == 0 {
                popper.pop(output);
            }
            Ok(())
        })?;
        peer.flush()?;
    }
    Ok(tally)
}

impl<'a> Popper<'a> {
    fn new(settings: &'a Settings, queue_id: i32) -> Self {
        let batch = Batch {
            pop_time: 0,
            invisible_ms: 0,
            revive_queue: 0,
            start: 0,
            offsets: Vec::new(),
            unacknowledged: 0,
            since: Instant::now(),
        };
        Self { settings, queue_id, rounds: 0, empty: 0, batch, header: BytesMut::new() }
    }

    /// A group of this process, so that no run before has acknowledged anything for it.
    fn group(&self) -> String {
        format!("load-{}-{}", std::process::id(), self.rounds)
    }

    fn pop(&mut self, out: &mut Vec<u8>) {
        self.batch.since = Instant::now();
        let group = self.group();
        let mut writer =
            FrameWriter::begin(&mut self.header, Serialization::Json, &Envelope::request(POP_MESSAGE, POP));
        writer.field("pollTime", 0).field("invisibleTime", INVISIBLE_MS).field("queueId", self.queue_id);
        writer.field("bornTime", now_ms()).field("maxMsgNums", self.settings.batch.min(32) as i64);
        writer.field("bname", self.settings.broker_name.as_str()).field("topic", self.settings.topic.as_str());
        writer.field("expType", "TAG").field("exp", "*").field("consumerGroup", group.as_str());
        writer.field("initMode", 0).field("order", false);
        writer.finish(0);
        self.flush(out);
    }

    fn popped(&mut self, answer: &CommandView<'_>, frame: &FrameView<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        if ![0, ResponseCode::PULL_NOT_FOUND.0, 209, 210].contains(&answer.code) {
            return Err(io::Error::other(failure(frame)));
        }
        let offsets = answer.fields.text_or_empty("msgOffsetInfo");
        if !is_success(answer.code) || offsets.is_empty() {
            self.empty += 1;
            if self.empty > 100 {
                return Err(io::Error::other("a hundred groups in turn found nothing to pop"));
            }
            self.rounds += 1;
            self.pop(out);
            return Ok(());
        }
        self.empty = 0;
        self.batch.pop_time = answer.fields.number("popTime").map_err(invalid)?;
        self.batch.invisible_ms = answer.fields.number("invisibleTime").map_err(invalid)?;
        self.batch.revive_queue = answer.fields.number("reviveQid").map_err(invalid)?;
        self.batch.start = last_word(answer.fields.text("startOffsetInfo").map_err(invalid)?)?;
        self.batch.offsets.clear();
        for offset in offsets.rsplit(' ').next().unwrap_or_default().split(',') {
            self.batch.offsets.push(offset.parse().map_err(invalid)?);
        }
        self.batch.unacknowledged = self.batch.offsets.len();
        if self.settings.batch_ack {
            self.acknowledge_all(out);
        } else {
            self.acknowledge_each(out);
        }
        Ok(())
    }

    fn acknowledge_each(&mut self, out: &mut Vec<u8>) {
        let group = self.group();
        let Batch { pop_time, invisible_ms, revive_queue, start, ref offsets, .. } = self.batch;
        for (opaque, offset) in offsets.iter().enumerate() {
            let name = &self.settings.broker_name;
            let queue_id = self.queue_id;
            let handle = format!("{start} {pop_time} {invisible_ms} {revive_queue} 0 {name} {queue_id} {offset}");
            let envelope = Envelope::request(ACK_MESSAGE, opaque as i32);
            let mut writer = FrameWriter::begin(&mut self.header, Serialization::Json, &envelope);
            writer.field("offset", *offset).field("queueId", queue_id).field("bname", name.as_str());
            writer.field("extraInfo", handle.as_str()).field("topic", self.settings.topic.as_str());
            writer.field("consumerGroup", group.as_str());
            writer.finish(0);
        }
        self.flush(out);
    }

    fn acknowledge_all(&mut self, out: &mut Vec<u8>) {
        let Batch { pop_time, invisible_ms, revive_queue, start, ref offsets, .. } = self.batch;
        let mut bits = 0_u64; // bit i stands for offset start + i; a batch has no more than 32
        for offset in offsets {
            bits |= 1_u64.checked_shl((offset - start) as u32).unwrap_or(0);
        }
        let body = format!(
            r#"{{"acks":[{{"b":"{}","c":"{}","it":{invisible_ms},"pt":{pop_time},"q":{},"r":"0","rq":{revive_queue},"so":{start},"t":"{}"}}],"brokerName":"{}"}}"#,
            base64(bits),
            self.group(),
            self.queue_id,
            self.settings.topic,
            self.settings.broker_name
        );
        let envelope = Envelope::request(BATCH_ACK_MESSAGE, 0);
        FrameWriter::begin(&mut self.header, Serialization::Json, &envelope).finish(body.len());
        self.header.put_slice(body.as_bytes());
        self.flush(out);
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header);
        self.header.clear();
    }
}

fn last_word(text: &str) -> io::Result<i64> {
    text.rsplit(' ').next().unwrap_or_default().parse().map_err(invalid)
}

/// A bit set as Java's `BitSet.toByteArray` has it (no empty bytes at the end), in Base64.
fn base64(bits: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = bits.to_le_bytes();
    let len = bytes.len() - bits.leading_zeros() as usize / 8;
    let mut text = String::new();
    for group in bytes[..len].chunks(3) {
        let word = group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            let six = word >> (18 - 6 * at) & 63;
            text.push(if at <= group.len() { char::from(ALPHABET[six as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn bit_sets_are_spelled_as_java_spells_them() {
        assert_eq!(super::base64(0b11), "Aw==");
        assert_eq!(super::base64(0x0201), "AQI=");
        assert_eq!(super::base64(0xFFFF_FFFF), "/////w==");
    }
}
