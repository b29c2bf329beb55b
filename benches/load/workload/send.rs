//! Sends, of one message or a batch of them.

use std::io;

use super::{
    Sender, Settings, Tally,
    paced::{self, Answer, Window},
    pipeline, queue_of,
};
use crate::{peer::Peer, run::Phase};

pub(super) fn run(peer: &mut Peer, settings: &Settings, queue_id: i32, phase: &Phase) -> io::Result<Tally> {
    let mut sender = Sender::new(settings, queue_id);
    let operations = settings.batch as u64;
    pipeline::run(peer, settings, phase, operations, |opaque, out| sender.write_batch(opaque, out))
}

pub(super) fn run_paced(peer: &mut Peer, settings: &Settings, index: usize, window: Window) -> io::Result<Tally> {
    let mut sender = Sender::new(settings, queue_of(index));
    let pace = window.of(index, settings.connections, settings.batch as u64);
    paced::run(peer, pace, |opaque, out| sender.write_batch(opaque, out), |_, _| Ok(Answer::Complete))
}
