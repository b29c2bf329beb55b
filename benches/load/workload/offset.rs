//! Offset commits, each one further than the one before and each answered.
//!
//! Apache's push consumer makes the same request oneway once its queue moved; answered ones can be counted.

use std::io;

use bytes::BytesMut;
use tenonmq_protocol::{
    code::RequestCode,
    frame::Serialization,
    writer::{Envelope, FrameWriter},
};

use super::{Sender, Settings, Tally, pipeline, pull};
use crate::{peer::Peer, run::Phase};

pub(super) fn run(peer: &mut Peer, settings: &Settings, queue_id: i32, phase: &Phase) -> io::Result<Tally> {
    let mut sender = Sender::new(settings, queue_id);
    // Sent to and pulled from, topic and group exist: a commit creates neither.
    pipeline::some(peer, settings.in_flight, 1, |opaque, out| sender.write(opaque, out), |_| Ok(()))?;
    // Whatever the pull is answered: Apache's queue may not have the message yet.
    drop(pipeline::some(peer, settings.in_flight, 1, |_, out| pull::request(settings, queue_id, 0, out), |_| Ok(())));
    let mut header = BytesMut::new();
    let mut offset = 0;
    pipeline::run(peer, settings, phase, 1, |opaque, out| {
        offset += 1;
        let envelope = Envelope::request(RequestCode::UPDATE_CONSUMER_OFFSET, opaque);
        let mut writer = FrameWriter::begin(&mut header, Serialization::Json, &envelope);
        writer.field("queueId", queue_id).field("bname", settings.broker_name.as_str()).field("commitOffset", offset);
        writer.field("topic", settings.topic.as_str()).field("consumerGroup", "load");
        writer.finish(0);
        out.extend_from_slice(&header);
        header.clear();
    })
}
