//! Pulls of what is stored, from the first message to the last and again.

use std::{io, time::Instant};

use bytes::BytesMut;
use tenonmq_protocol::{
    code::{RequestCode, ResponseCode},
    command::{CommandView, HeaderScratch},
    frame::Serialization,
    message::RecordView,
    writer::{Envelope, FrameWriter},
};

use super::{Sender, Settings, Tally, failure, invalid, is_success};
use crate::{peer::Peer, run::Phase};

/// Messages that a queue holds at least before it is pulled.
pub(crate) const FILL: i32 = 20_000;
/// `sysFlag` of a pull that carries its subscription and is not held.
const SUBSCRIPTION: i32 = 4;

/// Sends that many messages to a queue.
pub(crate) fn fill(settings: &Settings, queue_id: i32, count: i32) -> io::Result<()> {
    let mut peer = Peer::connect(settings.broker)?;
    let mut sender = Sender::new(settings, queue_id);
    let mut scratch = HeaderScratch::default();
    let (mut sent, mut stored) = (0, 0);
    while stored < count {
        while sent < count && sent - stored < 256 {
            sender.write(sent, &mut peer.output);
            sent += 1;
        }
        peer.flush()?;
        peer.receive(|frame, _| {
            let command = CommandView::parse(frame, &mut scratch).map_err(invalid)?;
            stored += 1;
            if is_success(command.code) { Ok(()) } else { Err(io::Error::other(failure(frame))) }
        })?;
    }
    Ok(())
}

/// Pulls one at a time: the next offset is known only from the answer.
pub(crate) fn run(peer: &mut Peer, settings: &Settings, queue_id: i32, phase: &Phase) -> io::Result<Tally> {
    let mut tally = Tally::new()?;
    let mut scratch = HeaderScratch::default();
    let mut asked = Instant::now();
    request(settings, queue_id, 0, &mut peer.output);
    peer.flush()?;
    while !phase.stopped() {
        peer.receive(|frame, output| {
            let command = CommandView::parse(frame, &mut scratch).map_err(invalid)?;
            let next = match ResponseCode(command.code) {
                ResponseCode::SUCCESS | ResponseCode::PULL_OFFSET_MOVED => {
                    command.fields.number("nextBeginOffset").map_err(invalid)?
                }
                ResponseCode::PULL_NOT_FOUND => 0,
                _ => return Err(io::Error::other(failure(frame))),
            };
            let messages = RecordView::iter_all(frame.body).count() as u64;
            if phase.measures() && messages > 0 {
                tally.count(messages, asked);
            }
            asked = Instant::now();
            request(settings, queue_id, next, output);
            Ok(())
        })?;
        peer.flush()?;
    }
    Ok(tally)
}

pub(crate) fn request(settings: &Settings, queue_id: i32, offset: i64, out: &mut Vec<u8>) {
    let mut header = BytesMut::new();
    let envelope = Envelope::request(RequestCode::PULL_MESSAGE, 0);
    let mut writer = FrameWriter::begin(&mut header, Serialization::Json, &envelope);
    writer.field("consumerGroup", "load").field("topic", settings.topic.as_str()).field("queueId", queue_id);
    writer.field("queueOffset", offset).field("maxMsgNums", settings.batch as i64).field("sysFlag", SUBSCRIPTION);
    writer.field("commitOffset", 0).field("suspendTimeoutMillis", 0).field("subscription", "*");
    writer.field("subVersion", 0).field("expressionType", "TAG").field("maxMsgBytes", i32::MAX);
    writer.finish(0);
    out.extend_from_slice(&header);
}
