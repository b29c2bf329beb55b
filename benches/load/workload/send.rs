//! Sends.

use std::io;

use super::{Sender, Settings, Tally, pipeline};
use crate::{Phase, peer::Peer};

pub(super) fn run(peer: &mut Peer, settings: &Settings, queue_id: i32, phase: &Phase) -> io::Result<Tally> {
    let mut sender = Sender::new(settings, queue_id);
    pipeline::run(peer, settings, phase, |opaque, out| sender.write(opaque, out))
}
