//! Sends, pipelined.

use std::{io, time::Instant};

use tenonmq_protocol::command::{CommandView, HeaderScratch};

use super::{Sender, Settings, Tally, failure, invalid, is_success};
use crate::{Phase, peer::Peer};

pub(super) fn run(peer: &mut Peer, settings: &Settings, queue_id: i32, phase: &Phase) -> io::Result<Tally> {
    let mut tally = Tally::new()?;
    let mut sender = Sender::new(settings, queue_id, "");
    let mut sent_at = vec![Instant::now(); settings.in_flight];
    let mut scratch = HeaderScratch::default();
    for slot in 0..settings.in_flight {
        sender.write(slot as i32, &mut peer.output);
    }
    peer.flush()?;
    while !phase.stopped() {
        peer.receive(|frame, output| {
            let command = CommandView::parse(frame, &mut scratch).map_err(invalid)?;
            let slot = command.opaque as usize % sent_at.len();
            if !is_success(command.code) {
                tally.failures += 1;
                eprintln!("send: {}", failure(frame));
                return Err(io::Error::other("a send failed"));
            }
            if phase.measures() {
                tally.count(1, sent_at[slot]);
            }
            sent_at[slot] = Instant::now();
            sender.write(command.opaque, output);
            Ok(())
        })?;
        peer.flush()?;
    }
    Ok(tally)
}
