//! What the connections do.

mod offset;
mod paced;
pub(crate) mod pending;
pub(crate) mod pipeline;
mod pop;
pub(crate) mod pull;
mod send;
mod send_back;
mod sender;
pub(crate) mod timer;
mod transaction;

use std::{
    io,
    net::SocketAddr,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use tenonmq_protocol::{code::ResponseCode, frame::FrameView};

pub(crate) use self::{paced::Window, sender::Sender};
use crate::{peer::Peer, run::Phase};

/// The kinds of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Send,
    Transaction,
    Pull,
    Offset,
    SendBack,
    Pop,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Transaction => "transaction",
            Self::Pull => "pull",
            Self::Offset => "offset",
            Self::SendBack => "send-back",
            Self::Pop => "pop",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Send | Self::Pull | Self::SendBack | Self::Pop => "messages",
            Self::Transaction => "transactions",
            Self::Offset => "commits",
        }
    }
}

/// The same for every connection.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) broker: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) size: usize,
    /// Messages of one request.
    pub(crate) batch: usize,
    pub(crate) topic: String,
    /// Name that Apache's clients put into their requests and handles.
    pub(crate) broker_name: String,
    /// Delay level of what is sent back; negative for the dead letters.
    pub(crate) delay_level: i32,
    /// Whether what is popped is acknowledged in one request.
    pub(crate) batch_ack: bool,
}

/// What one connection counted while it was measured.
pub(crate) struct Tally {
    pub(crate) operations: u64,
    pub(crate) failures: u64,
    /// Due in an open loop, and not answered long after its end.
    pub(crate) unanswered: u64,
    /// Microseconds from request to reply; in an open loop from the moment the operation was due.
    pub(crate) latency: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            operations: 0,
            failures: 0,
            unanswered: 0,
            latency: Histogram::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other)?,
        })
    }

    pub(crate) fn add(&mut self, other: &Self) -> io::Result<()> {
        self.operations += other.operations;
        self.failures += other.failures;
        self.unanswered += other.unanswered;
        self.latency.add(&other.latency).map_err(io::Error::other)
    }

    fn count(&mut self, operations: u64, since: Instant) {
        self.operations += operations;
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros);
    }
}

/// Makes sure that there is something to do.
pub(crate) fn prepare(kind: Kind, settings: &Settings) -> io::Result<()> {
    let fill = |index| match kind {
        Kind::Pull => pull::fill(settings, queue_of(index), pull::FILL),
        Kind::Pop => pull::fill(settings, queue_of(index), pop::FILL),
        _ => Ok(()),
    };
    (0..settings.connections).try_for_each(fill)
}

/// Runs one connection until the phase says stop.
pub(crate) fn run(kind: Kind, settings: &Settings, index: usize, phase: &Phase) -> io::Result<Tally> {
    let mut peer = Peer::connect(settings.broker)?;
    match kind {
        Kind::Send => send::run(&mut peer, settings, queue_of(index), phase),
        Kind::Transaction => transaction::run(&mut peer, settings, queue_of(index), phase),
        Kind::Pull => pull::run(&mut peer, settings, queue_of(index), phase),
        Kind::Offset => offset::run(&mut peer, settings, queue_of(index), phase),
        Kind::SendBack => send_back::run(&mut peer, settings, queue_of(index), phase),
        Kind::Pop => pop::run(&mut peer, settings, queue_of(index), phase),
    }
}

/// Runs one connection of an open loop until its window has ended. Only sends and transactions have one.
pub(crate) fn run_paced(kind: Kind, settings: &Settings, index: usize, window: Window) -> io::Result<Tally> {
    let mut peer = Peer::connect(settings.broker)?;
    match kind {
        Kind::Send => send::run_paced(&mut peer, settings, index, window),
        Kind::Transaction => transaction::run_paced(&mut peer, settings, index, window),
        _ => Err(io::Error::other(format!("{} has no fixed rate", kind.name()))),
    }
}

/// Connections have queues of their own.
pub(crate) fn queue_of(index: usize) -> i32 {
    i32::try_from(index % 1024).unwrap_or(0)
}

pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Text of the reply when it is no success.
pub(crate) fn failure(frame: &FrameView<'_>) -> String {
    tenonmq_protocol::command::Command::decode(frame).map_or_else(
        |error| error.to_string(),
        |command| format!("code {}: {}", command.code, command.remark.unwrap_or_default()),
    )
}

pub(crate) fn is_success(code: i32) -> bool {
    code == ResponseCode::SUCCESS.0
}
