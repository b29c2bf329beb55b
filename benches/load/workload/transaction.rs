//! Transactions: a half message, then its commit, each waiting for its answer.

use std::{io, str::FromStr, time::Instant};

use bytes::BytesMut;
use tenonmq_protocol::{
    code::RequestCode,
    command::{CommandView, HeaderScratch},
    frame::Serialization,
    message::OffsetMessageId,
    writer::{Envelope, FrameWriter},
};

use super::{
    Sender, Settings, Tally, failure, invalid, is_success,
    paced::{self, Answer, Window},
    queue_of,
};
use crate::{peer::Peer, run::Phase};

const COMMIT: i32 = 8;
/// Marks the `opaque` of a commit in an open loop.
const COMMITTING: i32 = 1 << 30;

/// One transaction at a time goes on in each slot.
#[derive(Clone, Copy)]
struct Slot {
    began: Instant,
    committing: bool,
}

pub(super) fn run(peer: &mut Peer, settings: &Settings, queue_id: i32, phase: &Phase) -> io::Result<Tally> {
    let mut tally = Tally::new()?;
    let mut sender = Sender::of_half_messages(settings, queue_id);
    let mut slots = vec![Slot { began: Instant::now(), committing: false }; settings.in_flight];
    let mut scratch = HeaderScratch::default();
    let mut header = BytesMut::new();
    for slot in 0..settings.in_flight {
        sender.write(slot as i32, &mut peer.output);
    }
    peer.flush()?;
    while !phase.stopped() {
        peer.receive(|frame, output| {
            let command = CommandView::parse(frame, &mut scratch).map_err(invalid)?;
            if !is_success(command.code) {
                eprintln!("transaction: {}", failure(frame));
                return Err(io::Error::other("a transaction failed"));
            }
            let at = command.opaque as usize % slots.len();
            let slot = &mut slots[at];
            if slot.committing {
                if phase.measures() {
                    tally.count(1, slot.began);
                }
                *slot = Slot { began: Instant::now(), committing: false };
                sender.write(command.opaque, output);
            } else {
                slot.committing = true;
                commit(&command, command.opaque, &settings.topic, &mut header)?;
                output.extend_from_slice(&header);
                header.clear();
            }
            Ok(())
        })?;
        peer.flush()?;
    }
    Ok(tally)
}

/// The commit has the half message's `opaque` with [`COMMITTING`] set.
pub(super) fn run_paced(peer: &mut Peer, settings: &Settings, index: usize, window: Window) -> io::Result<Tally> {
    let mut sender = Sender::of_half_messages(settings, queue_of(index));
    let mut header = BytesMut::new();
    let answer = |command: &CommandView<'_>, out: &mut Vec<u8>| {
        if command.opaque & COMMITTING != 0 {
            return Ok(Answer::Complete);
        }
        commit(command, command.opaque | COMMITTING, &settings.topic, &mut header)?;
        out.extend_from_slice(&header);
        header.clear();
        Ok(Answer::GoesOn)
    };
    paced::run(peer, window.of(index, settings.connections, 1), |opaque, out| sender.write(opaque, out), answer)
}

fn commit(half: &CommandView<'_>, opaque: i32, topic: &str, out: &mut BytesMut) -> io::Result<()> {
    let field = |name| half.fields.get(name).ok_or_else(|| io::Error::other(format!("the reply has no {name}")));
    let id = OffsetMessageId::from_str(field("msgId")?).map_err(invalid)?;
    let key = field("transactionId")?;
    let envelope = Envelope::request(RequestCode::END_TRANSACTION, opaque);
    let mut writer = FrameWriter::begin(out, Serialization::Json, &envelope);
    writer.field("topic", topic).field("producerGroup", "load");
    writer.field("tranStateTableOffset", field("queueOffset")?).field("commitLogOffset", id.offset);
    writer.field("commitOrRollback", COMMIT).field("fromTransactionCheck", false);
    writer.field("msgId", key).field("transactionId", key);
    writer.finish(0);
    Ok(())
}
