//! Bytes on a socket: whatever arrives, the peer gets a clear answer or loses its connection, and nobody else notices.

use std::{io, time::Duration};

use bytes::BytesMut;
use tenonmq_protocol::{Command, FrameView, RequestCode, Serialization, frame::DEFAULT_MAX_FRAME};
use tenonmq_tests::temporary_broker::TemporaryBroker;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than any answer takes here; a test that waits for it fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Broker(TemporaryBroker);

impl Broker {
    async fn start(more: &[(&str, &str)]) -> Self {
        let own = [("mappedFileSizeCommitLog", "16777216")];
        let settings = [own.as_slice(), more].concat();
        Self(TemporaryBroker::start(&settings).await.expect("the broker starts"))
    }

    async fn connect(&self) -> Peer {
        Peer { stream: TcpStream::connect(self.0.address).await.expect("the broker accepts"), input: BytesMut::new() }
    }

    async fn stop(self) {
        timeout(Duration::from_secs(5), self.0.running.shutdown())
            .await
            .expect("the stop takes less than five seconds");
    }
}

struct Peer {
    stream: TcpStream,
    input: BytesMut,
}

impl Peer {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the broker reads");
    }

    /// The next frame, or `None` when the broker closed the connection.
    async fn answer(&mut self) -> Option<Command> {
        loop {
            if let Some(frame) = FrameView::peek(&self.input, DEFAULT_MAX_FRAME).expect("a valid frame") {
                let (len, command) = (frame.len, Command::decode(&frame).expect("a valid header"));
                let _ = self.input.split_to(len);
                return Some(command);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await.expect("an answer in time");
            match read {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("cannot read: {error}"),
            }
        }
    }
}

fn request(code: i32, opaque: i32, serialization: Serialization) -> BytesMut {
    let mut bytes = BytesMut::new();
    Command { opaque, ..Command::request(RequestCode(code)) }.encode(serialization, &mut bytes);
    bytes
}

async fn is_served(broker: &Broker) {
    let mut peer = broker.connect().await;
    peer.send(&request(RequestCode::GET_BROKER_RUNTIME_INFO.0, 1, Serialization::Json)).await;
    assert_eq!(peer.answer().await.map(|answer| answer.code), Some(0));
}

#[tokio::test]
async fn an_unknown_code_is_answered_with_3_in_the_encoding_of_the_request() {
    let broker = Broker::start(&[]).await;
    let mut peer = broker.connect().await;
    for serialization in [Serialization::Json, Serialization::Binary] {
        peer.send(&request(29_999, 77, serialization)).await;
        let answer = peer.answer().await.expect("an answer");
        assert_eq!((answer.code, answer.opaque), (3, 77));
        assert_eq!(answer.remark.as_deref(), Some(" request type 29999 not supported"));
    }
    broker.stop().await;
}

#[tokio::test]
async fn frames_that_come_byte_by_byte_and_many_at_once_are_all_answered() {
    let broker = Broker::start(&[]).await;
    let mut peer = broker.connect().await;
    for byte in request(29_999, 1, Serialization::Json) {
        peer.send(&[byte]).await;
    }
    assert_eq!(peer.answer().await.map(|answer| answer.opaque), Some(1));
    let together: Vec<u8> = (0..500).flat_map(|opaque| request(29_999, opaque, Serialization::Json)).collect();
    peer.send(&together).await;
    for opaque in 0..500 {
        assert_eq!(peer.answer().await.map(|answer| answer.opaque), Some(opaque));
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_oneway_request_is_never_answered_not_even_with_an_error() {
    let broker = Broker::start(&[]).await;
    let mut peer = broker.connect().await;
    let mut bytes = BytesMut::new();
    Command::request(RequestCode(29_999)).oneway().encode(Serialization::Json, &mut bytes);
    bytes.extend_from_slice(&request(29_998, 2, Serialization::Json));
    peer.send(&bytes).await;
    assert_eq!(peer.answer().await.map(|answer| answer.opaque), Some(2));
    broker.stop().await;
}

#[tokio::test]
async fn garbage_oversized_and_impossible_frames_cost_their_sender_the_connection_and_nobody_else() {
    let broker = Broker::start(&[]).await;
    let oversized = u32::MAX.to_be_bytes();
    let negative = (-5_i32).to_be_bytes();
    let header_beyond_frame = [0, 0, 0, 8, 0, 0, 0, 200, 1, 2, 3, 4];
    let no_json = [0, 0, 0, 8, 0, 0, 0, 4, b'{', b'x', 0xFF, 0xFE];
    let frames: [&[u8]; 5] = [&oversized, &negative, &header_beyond_frame, &no_json, b"GET / HTTP/1.1\r\n\r\n"];
    for bytes in frames {
        let mut peer = broker.connect().await;
        peer.send(bytes).await;
        assert_eq!(peer.answer().await, None, "after {bytes:?}");
    }
    is_served(&broker).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_send_without_its_topic_is_refused_with_the_name_of_the_field() {
    let broker = Broker::start(&[]).await;
    let mut peer = broker.connect().await;
    peer.send(&request(RequestCode::SEND_MESSAGE_V2.0, 9, Serialization::Json)).await;
    let answer = peer.answer().await.expect("an answer");
    assert_eq!((answer.code, answer.opaque), (1, 9));
    assert_eq!(answer.remark.as_deref(), Some("header field a is missing"));
    broker.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_the_others_stay() {
    let broker = Broker::start(&[("remotingMaxConnections", "2")]).await;
    let (mut first, mut second) = (broker.connect().await, broker.connect().await);
    for peer in [&mut first, &mut second] {
        peer.send(&request(29_999, 1, Serialization::Json)).await;
        assert!(peer.answer().await.is_some());
    }
    assert_eq!(broker.connect().await.answer().await, None);
    first.send(&request(29_999, 5, Serialization::Json)).await;
    assert_eq!(first.answer().await.map(|answer| answer.opaque), Some(5));
    broker.stop().await;
}

/// Idle connections in the test below, unless the limit on open files allows fewer: each has two ends in this process.
const IDLE: usize = 10_000;
/// What one idle connection may cost in this process, its two ends together.
const IDLE_BYTES: usize = 12 * 1024;

#[tokio::test]
async fn ten_thousand_idle_connections_cost_little_and_do_not_keep_a_busy_one_from_being_served() {
    let broker = Broker::start(&[]).await;
    is_served(&broker).await;
    let count = IDLE.min(open_files_allowed().saturating_sub(500) / 2);
    let before = resident_bytes();
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        idle.push(broker.connect().await);
    }
    is_served(&broker).await;
    let each = resident_bytes().saturating_sub(before) / count;
    assert!(each <= IDLE_BYTES, "{each} bytes for each of {count} idle connections");
    for peer in [0, count / 2, count - 1] {
        idle[peer].send(&request(29_999, 3, Serialization::Json)).await;
        assert_eq!(idle[peer].answer().await.map(|answer| answer.opaque), Some(3));
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_replies_loses_its_connection_and_nobody_else_notices() {
    let broker = Broker::start(&[("remotingWriteTimeoutMillis", "200")]).await;
    let mut deaf = broker.connect().await;
    let questions: Vec<u8> =
        (0..100).flat_map(|opaque| request(RequestCode::GET_BROKER_CONFIG.0, opaque, Serialization::Json)).collect();
    let disconnected = async { while deaf.stream.write_all(&questions).await.is_ok() {} };
    let served = is_served(&broker);
    let ((), ()) =
        timeout(PATIENCE, async { tokio::join!(disconnected, served) }).await.expect("the deaf peer is cut off");
    is_served(&broker).await;
    broker.stop().await;
}

/// Raises the limit on open files to what the system allows.
fn open_files_allowed() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("a limit may be raised so far");
    limit.maximum.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// Private memory of this process: mapped files, of other tests too, do not count.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line for private memory");
    let kib = anonymous.trim().trim_end_matches(" kB").parse::<usize>().expect("a number of KiB");
    kib * 1024
}
