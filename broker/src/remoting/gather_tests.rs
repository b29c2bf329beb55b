//! Requests that come together: their records go to the log together, and before any of them is answered.

use std::{io, sync::Arc};

use bytes::BytesMut;
use tenonmq_protocol::{command::Command, frame::Serialization, header::SendMessage};
use tenonmq_storage::fs::{FaultyFs, Op};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::watch};

use super::testing::{TestBroker, answers};

const TOPIC: &str = "paid";

struct Bench {
    broker: TestBroker,
    disk: Arc<FaultyFs>,
    address: std::net::SocketAddr,
    _stop: watch::Sender<bool>,
}

impl Bench {
    async fn new() -> Self {
        let disk = Arc::new(FaultyFs::lazy());
        let broker = TestBroker::on(Arc::clone(&disk), &[]);
        broker.topic(TOPIC, 1);
        let (address, stop) = broker.served().await;
        Self { broker, disk, address, _stop: stop }
    }

    fn writes(&self) -> u64 {
        self.disk.calls(Op::WriteReserved)
    }

    fn stored(&self) -> i64 {
        self.broker.core.store.queue(TOPIC, 0).max_offset()
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

/// The codes of so many answers, or what ended the connection before.
async fn codes(stream: &mut TcpStream, count: usize) -> io::Result<Vec<i32>> {
    Ok(answers(stream, count).await?.iter().map(|answer| answer.code).collect())
}

#[tokio::test]
async fn sends_that_come_together_are_written_together_before_the_first_is_answered() {
    let bench = Bench::new().await;
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    let before = bench.writes();
    send(&mut stream, 32, false).await;
    assert_eq!(codes(&mut stream, 1).await.unwrap(), [0]);
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
    codes(&mut stream, 1).await.unwrap();
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
    assert_eq!(codes(&mut stream, 1).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    bench.disk.heal(Op::WriteReserved);
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    send(&mut stream, 1, false).await;
    assert_eq!(codes(&mut stream, 1).await.unwrap(), [0]);
    assert_eq!(bench.stored(), 4, "the three keep their places; their senders do not know of them and send again");
}
