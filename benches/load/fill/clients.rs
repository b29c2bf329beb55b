//! Connections that are held open: producers that send nothing, and consumers that pull nothing.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tenonmq_protocol::{
    FLAG_RESPONSE,
    body::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData, json},
    code::RequestCode,
    command::{CommandView, HeaderScratch},
    frame::{DEFAULT_MAX_FRAME, FrameView, Serialization},
    writer::{Envelope, FrameWriter},
};

use crate::workload::{Settings, failure, invalid, is_success, now_ms};

/// Official clients say that they are alive as often.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);
/// Idle producers of one group.
const IN_A_GROUP: usize = 100;
/// Files of this process besides the connections.
const OTHER_FILES: u64 = 64;
const TIMEOUT: Duration = Duration::from_secs(20);

/// Raises the limit on open files so far as that many connections need and the system allows.
pub(super) fn raise_limit(connections: usize) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let needed = connections as u64 + OTHER_FILES;
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        return Err(io::Error::other(format!("{needed} open files are needed: see ulimit -Hn")));
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit })?)
}

/// The clients, each with its heartbeat.
pub(super) struct Clients(Vec<Client>);

struct Client {
    stream: TcpStream,
    heartbeat: HeartbeatData,
}

impl Clients {
    /// Connects them one after the other; each is known to the broker when this returns.
    pub(super) fn connect(settings: &Settings, idle: usize, groups: usize) -> io::Result<Self> {
        let of_producers = (0..idle).map(|index| {
            let group_name = format!("idle-{}", index / IN_A_GROUP);
            HeartbeatData {
                client_id: format!("127.0.0.1@idle-{index}"),
                producer_data_set: vec![ProducerData { group_name }],
                ..HeartbeatData::default()
            }
        });
        let of_consumers = (0..groups).map(|index| HeartbeatData {
            client_id: format!("127.0.0.1@consumer-{index}"),
            consumer_data_set: vec![consumer(settings, index)],
            ..HeartbeatData::default()
        });
        let mut clients = Vec::with_capacity(idle + groups);
        for heartbeat in of_producers.chain(of_consumers) {
            let mut client = Client::connect(settings.broker, heartbeat)?;
            client.beat()?;
            clients.push(client);
        }
        Ok(Self(clients))
    }

    /// Keeps them alive for that time. Heartbeats are spread over their period.
    pub(super) fn hold(mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        let apart = HEARTBEAT_EVERY / u32::try_from(self.0.len().max(1)).unwrap_or(u32::MAX);
        let mut due = Instant::now();
        while Instant::now() < end {
            if self.0.is_empty() {
                thread::sleep(end.saturating_duration_since(Instant::now()));
            }
            for client in &mut self.0 {
                due += apart;
                thread::sleep(due.min(end).saturating_duration_since(Instant::now()));
                if Instant::now() >= end {
                    break;
                }
                client.beat()?;
            }
        }
        Ok(())
    }
}

fn consumer(settings: &Settings, index: usize) -> ConsumerData {
    let subscription =
        SubscriptionData { topic: settings.topic.clone(), sub_version: now_ms(), ..SubscriptionData::default() };
    ConsumerData {
        group_name: format!("group-{index}"),
        subscription_data_set: vec![subscription],
        ..ConsumerData::default()
    }
}

impl Client {
    fn connect(broker: SocketAddr, heartbeat: HeartbeatData) -> io::Result<Self> {
        let stream = TcpStream::connect(broker)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, heartbeat })
    }

    /// Says that it is alive, and waits until the broker has heard it.
    fn beat(&mut self) -> io::Result<()> {
        let body = json::to_vec_standard(&self.heartbeat);
        let mut frame = BytesMut::new();
        let envelope = Envelope::request(RequestCode::HEART_BEAT, 0);
        FrameWriter::begin(&mut frame, Serialization::Json, &envelope).finish(body.len());
        frame.extend_from_slice(&body);
        self.stream.write_all(&frame)?;
        while !self.answered()? {}
        Ok(())
    }

    /// Reads one frame. Whether it is an answer: the broker may also tell the members of a group that these changed.
    fn answered(&mut self) -> io::Result<bool> {
        let mut frame = vec![0; 4];
        self.stream.read_exact(&mut frame)?;
        let len = frame.first_chunk().map_or(0, |len| u32::from_be_bytes(*len) as usize);
        if len > DEFAULT_MAX_FRAME {
            return Err(io::Error::other("the server's frame is too long"));
        }
        frame.resize(4 + len, 0);
        self.stream.read_exact(&mut frame[4..])?;
        let view = FrameView::peek(&frame, DEFAULT_MAX_FRAME).map_err(invalid)?;
        let view = view.ok_or_else(|| io::Error::other("half a frame"))?;
        let mut scratch = HeaderScratch::default();
        let command = CommandView::parse(&view, &mut scratch).map_err(invalid)?;
        if command.flag & FLAG_RESPONSE == 0 {
            return Ok(false);
        }
        if is_success(command.code) { Ok(true) } else { Err(io::Error::other(failure(&view))) }
    }
}
