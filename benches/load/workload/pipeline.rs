//! Requests of one kind, pipelined: each answer makes room for the next request.

use std::{io, time::Instant};

use tenonmq_protocol::{
    command::{CommandView, HeaderScratch},
    frame::FrameView,
};

use super::{Settings, Tally, failure, invalid, is_success};
use crate::{peer::Peer, run::Phase};

/// Keeps `in_flight` requests outstanding until the phase says stop. `write` appends one request with that `opaque`,
/// which stands for `operations`.
pub(crate) fn run(
    peer: &mut Peer,
    settings: &Settings,
    phase: &Phase,
    operations: u64,
    mut write: impl FnMut(i32, &mut Vec<u8>),
) -> io::Result<Tally> {
    let mut tally = Tally::new()?;
    let mut sent_at = vec![Instant::now(); settings.in_flight];
    let mut scratch = HeaderScratch::default();
    for slot in 0..settings.in_flight {
        write(slot as i32, &mut peer.output);
    }
    peer.flush()?;
    while !phase.stopped() {
        peer.receive(|frame, output| {
            let command = CommandView::parse(frame, &mut scratch).map_err(invalid)?;
            succeeded(&command, frame)?;
            let slot = command.opaque as usize % sent_at.len();
            if phase.measures() {
                tally.count(operations, sent_at[slot]);
            }
            sent_at[slot] = Instant::now();
            write(command.opaque, output);
            Ok(())
        })?;
        peer.flush()?;
    }
    Ok(tally)
}

/// Sends `count` requests, `in_flight` at a time, and gives each answer to `each`.
pub(crate) fn some(
    peer: &mut Peer,
    in_flight: usize,
    count: usize,
    mut write: impl FnMut(i32, &mut Vec<u8>),
    mut each: impl FnMut(&CommandView<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut scratch = HeaderScratch::default();
    let (mut sent, mut answered) = (0, 0);
    while answered < count {
        while sent < count && sent - answered < in_flight {
            write(sent as i32, &mut peer.output);
            sent += 1;
        }
        peer.flush()?;
        peer.receive(|frame, _| {
            let command = CommandView::parse(frame, &mut scratch).map_err(invalid)?;
            succeeded(&command, frame)?;
            answered += 1;
            each(&command)
        })?;
    }
    Ok(())
}

fn succeeded(command: &CommandView<'_>, frame: &FrameView<'_>) -> io::Result<()> {
    if is_success(command.code) { Ok(()) } else { Err(io::Error::other(failure(frame))) }
}
