//! What the connections do.

mod offset;
pub(crate) mod pending;
mod pipeline;
mod pop;
mod pull;
mod send;
mod send_back;
pub(crate) mod timer;
mod transaction;

use std::{
    io,
    net::SocketAddr,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use hdrhistogram::Histogram;
use tenonmq_protocol::{
    code::{RequestCode, ResponseCode},
    frame::{FrameView, Serialization},
    message::UniqueKeyGenerator,
    writer::{Envelope, FrameWriter},
};

use crate::{Phase, peer::Peer};

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
    pub(crate) in_flight: usize,
    pub(crate) size: usize,
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
    /// Microseconds from request to reply.
    pub(crate) latency: Histogram<u64>,
}

impl Tally {
    fn new() -> io::Result<Self> {
        Ok(Self {
            operations: 0,
            failures: 0,
            latency: Histogram::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other)?,
        })
    }

    fn count(&mut self, operations: u64, since: Instant) {
        self.operations += operations;
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros);
    }
}

/// Makes sure that there is something to do.
pub(crate) fn prepare(kind: Kind, settings: &Settings, connections: usize) -> io::Result<()> {
    let fill = |index| match kind {
        Kind::Pull => pull::fill(settings, queue_of(index), pull::FILL),
        Kind::Pop => pull::fill(settings, queue_of(index), pop::FILL),
        _ => Ok(()),
    };
    (0..connections).try_for_each(fill)
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

/// Connections have queues of their own.
fn queue_of(index: usize) -> i32 {
    i32::try_from(index % 1024).unwrap_or(0)
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Writes send requests of one producer, as the Java client would.
struct Sender<'a> {
    settings: &'a Settings,
    queue_id: i32,
    /// Properties in the wire's form, before those that every message has.
    extra_properties: String,
    sys_flag: i32,
    keys: UniqueKeyGenerator,
    body: Vec<u8>,
    scratch: BytesMut,
}

impl<'a> Sender<'a> {
    fn new(settings: &'a Settings, queue_id: i32) -> Self {
        let keys = UniqueKeyGenerator::new([127, 0, 0, 1].into(), std::process::id(), queue_id.unsigned_abs());
        let body = (0..settings.size).map(|at| b'a' + (at % 26) as u8).collect();
        Self { settings, queue_id, extra_properties: String::new(), sys_flag: 0, keys, body, scratch: BytesMut::new() }
    }

    /// A sender of half messages.
    fn of_half_messages(settings: &'a Settings, queue_id: i32) -> Self {
        let extra_properties = "PGROUP\u{1}load\u{2}TRAN_MSG\u{1}true\u{2}".to_owned();
        Self { extra_properties, sys_flag: 4, ..Self::new(settings, queue_id) }
    }

    fn write(&mut self, opaque: i32, out: &mut Vec<u8>) {
        let now = now_ms();
        let properties =
            format!("{}UNIQ_KEY\u{1}{}\u{2}WAIT\u{1}true\u{2}", self.extra_properties, self.keys.next(now).as_str());
        let envelope = Envelope::request(RequestCode::SEND_MESSAGE_V2, opaque);
        let mut writer = FrameWriter::begin(&mut self.scratch, Serialization::Json, &envelope);
        writer.field("a", "load").field("b", self.settings.topic.as_str()).field("c", "TBW102").field("d", 4);
        writer.field("e", self.queue_id).field("f", self.sys_flag);
        writer.field("g", now).field("h", 0).field("i", properties.as_str()).field("j", 0);
        writer.field("k", false).field("m", false);
        writer.finish(self.body.len());
        out.extend_from_slice(&self.scratch);
        out.extend_from_slice(&self.body);
        self.scratch.clear();
    }
}

/// Text of the reply when it is no success.
fn failure(frame: &FrameView<'_>) -> String {
    tenonmq_protocol::command::Command::decode(frame).map_or_else(
        |error| error.to_string(),
        |command| format!("code {}: {}", command.code, command.remark.unwrap_or_default()),
    )
}

fn is_success(code: i32) -> bool {
    code == ResponseCode::SUCCESS.0
}
