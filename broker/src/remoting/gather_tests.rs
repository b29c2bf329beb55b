//! Requests that come together: their records go to the log together, and before any of them is answered.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use tenonmq_protocol::{
    command::Command,
    frame::{DEFAULT_MAX_FRAME, FrameView, Serialization},
    header::SendMessage,
};
use tenonmq_storage::fs::{FaultyFs, Op};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use super::{BrokerDispatch, Limits, Server, testing::TestBroker};

const PATIENCE: Duration = Duration::from_secs(60);
const TOPIC: &str = "paid";

struct Bench {
    broker: TestBroker,
    disk: Arc<FaultyFs>,
    address: std::net::SocketAddr,
    stop: watch::Sender<bool>,
}

impl Bench {
    async fn new() -> Self {
        let disk = Arc::new(FaultyFs::lazy());
        let broker = TestBroker::on(Arc::clone(&disk), &[]);
        broker.topic(TOPIC, 1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let server = Server::new(Arc::new(BrokerDispatch::new(Arc::clone(&broker.core))), Limits::default());
        tokio::spawn(async move { server.run(vec![listener], stopped).await });
        Self { broker, disk, address, stop }
    }

    fn writes(&self) -> u64 {
        self.disk.calls(Op::WriteReserved)
    }

    fn stored(&self) -> i64 {
        self.broker.core.store.queue(TOPIC, 0).max_offset()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

/// So many sends in one write.
async fn send(stream: &mut TcpStream, count: i32, oneway: bool) {
    let header = SendMessage { producer_group: "shop", topic: TOPIC, ..SendMessage::default() };
    let mut frames = BytesMut::new();
    for number in 0..count {
        let mut command = Command::with_header(&header).with_body(b"order 42".to_vec());
        command.opaque = number;
        let command = if oneway { command.oneway() } else { command };
        command.encode(Serialization::Json, &mut frames);
    }
    stream.write_all(&frames).await.unwrap();
}

/// So many answers, or what ended the connection before.
async fn answers(stream: &mut TcpStream, count: usize) -> io::Result<Vec<i32>> {
    let (mut input, mut codes) = (BytesMut::new(), Vec::new());
    while codes.len() < count {
        match FrameView::peek(&input, DEFAULT_MAX_FRAME).unwrap().map(|frame| (frame.len, Command::decode(&frame))) {
            Some((len, answer)) => {
                codes.push(answer.unwrap().code);
                let _ = input.split_to(len);
            }
            None if timeout(PATIENCE, stream.read_buf(&mut input)).await?? == 0 => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            None => {}
        }
    }
    Ok(codes)
}

#[tokio::test]
async fn sends_that_come_together_are_written_together_before_the_first_is_answered() {
    let bench = Bench::new().await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    let before = bench.writes();
    send(&mut stream, 32, false).await;
    assert_eq!(answers(&mut stream, 1).await.unwrap(), [0]);
    let writes = bench.writes() - before;
    assert!((1..32).contains(&writes), "{writes} writes"); // one for each read of the socket
}

#[tokio::test]
async fn sends_that_nobody_waits_for_are_written_too() {
    let bench = Bench::new().await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    let before = bench.writes();
    send(&mut stream, 3, true).await;
    send(&mut stream, 1, false).await; // its answer says that the others were served
    answers(&mut stream, 1).await.unwrap();
    assert_eq!(bench.stored(), 4);
    let writes = bench.writes() - before;
    bench.broker.core.store.write_out().unwrap();
    assert_eq!(bench.writes() - before, writes, "nothing is left to be written");
    assert!(writes > 0);
}

#[tokio::test]
async fn a_connection_whose_records_cannot_be_written_ends_without_an_answer_and_the_broker_goes_on() {
    let bench = Bench::new().await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    bench.disk.fail(Op::WriteReserved, io::ErrorKind::StorageFull);
    send(&mut stream, 3, false).await;
    assert_eq!(answers(&mut stream, 1).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    bench.disk.heal(Op::WriteReserved);
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    send(&mut stream, 1, false).await;
    assert_eq!(answers(&mut stream, 1).await.unwrap(), [0]);
    assert_eq!(bench.stored(), 4, "the three keep their places; their senders do not know of them and send again");
}
