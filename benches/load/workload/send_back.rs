//! Messages that a consumer could not process: each goes to the retry topic of its group, or to the dead letters.
//!
//! A thousand messages of a connection are sent back in turn, as first failures. With a delay level that outlasts the
//! run, nothing is delivered while it is measured.

use std::{io, str::FromStr};

use bytes::BytesMut;
use tenonmq_protocol::{
    code::RequestCode,
    frame::Serialization,
    message::OffsetMessageId,
    writer::{Envelope, FrameWriter},
};

use super::{Sender, Settings, Tally, invalid, pipeline};
use crate::{peer::Peer, run::Phase};

const MESSAGES: usize = 1_000;

/// What a send-back says of a stored message.
struct Stored {
    offset: i64,
    key: String,
}

pub(super) fn run(peer: &mut Peer, settings: &Settings, queue_id: i32, phase: &Phase) -> io::Result<Tally> {
    let stored = store(peer, settings, queue_id)?;
    let mut next = stored.iter().cycle();
    let mut header = BytesMut::new();
    pipeline::run(peer, settings, phase, 1, |opaque, out| {
        let Some(message) = next.next() else { return };
        let envelope = Envelope::request(RequestCode::CONSUMER_SEND_MSG_BACK, opaque);
        let mut writer = FrameWriter::begin(&mut header, Serialization::Json, &envelope);
        writer.field("maxReconsumeTimes", 16).field("offset", message.offset);
        writer.field("bname", settings.broker_name.as_str()).field("delayLevel", settings.delay_level);
        writer.field("originTopic", settings.topic.as_str()).field("originMsgId", message.key.as_str());
        writer.field("unitMode", false).field("group", "load");
        writer.finish(0);
        out.extend_from_slice(&header);
        header.clear();
    })
}

fn store(peer: &mut Peer, settings: &Settings, queue_id: i32) -> io::Result<Vec<Stored>> {
    let mut sender = Sender::new(settings, queue_id);
    let mut stored = Vec::with_capacity(MESSAGES);
    pipeline::some(
        peer,
        settings.in_flight,
        MESSAGES,
        |opaque, out| sender.write(opaque, out),
        |answer| {
            let id = OffsetMessageId::from_str(answer.fields.text("msgId").map_err(invalid)?).map_err(invalid)?;
            let key = answer.fields.text("transactionId").map_err(invalid)?;
            stored.push(Stored { offset: id.offset, key: key.to_owned() });
            Ok(())
        },
    )?;
    Ok(stored)
}
