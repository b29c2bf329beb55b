//! Bodies that are sent from a file of the log.

use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};
use tenonmq_protocol::{command::Command, frame::Serialization, header::PullMessage};
use tenonmq_storage::FetchLimits;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    Outbox,
    outbox::Chunk,
    testing::{Peer, TestBroker, answers},
};

const TOPIC: &str = "paid";
const MESSAGES: usize = 40;

fn broker() -> TestBroker {
    let broker = TestBroker::new();
    broker.topic(TOPIC, 1);
    for number in 0..MESSAGES {
        broker.store(TOPIC, 0, &[number as u8; 1000]);
    }
    broker
}

fn records(broker: &TestBroker) -> Bytes {
    let queue = broker.core.store.queue(TOPIC, 0);
    let fetched = broker.core.store.fetch(&queue, 0, FetchLimits::new(32, 1 << 20), |_| true);
    assert_eq!(fetched.records.len(), 1, "neighbours in one file");
    fetched.records[0].clone()
}

fn pull() -> Command {
    Command::with_header(&PullMessage {
        consumer_group: "stock",
        topic: TOPIC,
        max_count: 32,
        sys_flag: 4,
        subscription: Some("*"),
        ..PullMessage::default()
    })
}

#[test]
fn the_place_of_records_is_where_the_file_has_them() {
    let broker = broker();
    let records = records(&broker);
    let place = broker.core.store.place_of(&records).unwrap();
    let mut read = vec![0; records.len()];
    place.file().read_exact_at(&mut read, place.offset()).unwrap();
    assert_eq!(records, read);
}

#[test]
fn bytes_that_only_look_like_records_have_no_place() {
    let broker = broker();
    let records = records(&broker);
    assert!(broker.core.store.place_of(&Bytes::copy_from_slice(&records)).is_none());
    assert!(broker.core.store.place_of(&records.slice(1..)).is_none());
    assert!(broker.core.store.place_of(&Bytes::new()).is_none());
}

/// Writes at most so many bytes a call, the bytes of a file from the file.
fn written_by(out: &mut Outbox, step: usize) -> (Vec<u8>, usize) {
    let (mut written, mut from_file) = (Vec::new(), 0);
    while out.pending() > 0 {
        let write = |chunk: Chunk<'_>| match chunk {
            Chunk::Slices { slices, .. } => {
                let mut left = step;
                for slice in slices {
                    let part = &slice[..slice.len().min(left)];
                    written.extend_from_slice(part);
                    left -= part.len();
                }
                Ok(step - left)
            }
            Chunk::File { bytes, place } => {
                let len = bytes.len().min(step);
                let mut read = vec![0; len];
                place.file().read_exact_at(&mut read, place.offset())?;
                written.extend_from_slice(&read);
                from_file += len;
                Ok(len)
            }
        };
        out.write_with(write).unwrap();
    }
    (written, from_file)
}

#[test]
fn replies_leave_whole_however_little_is_taken_at_a_time() {
    let broker = broker();
    let (peer, records) = (Peer::new(1), records(&broker));
    let queue = || {
        let mut out = Outbox::default();
        for opaque in 0..3 {
            let mut command = pull();
            command.opaque = opaque;
            broker.handle(&peer, &command, &mut out);
        }
        out
    };
    let expected = queue().take_all();
    assert!(expected.len() > 3 * records.len());
    for step in [1000, 16 * 1024, 1 << 20] {
        let (written, from_file) = written_by(&mut queue(), step);
        assert!(written == expected, "step {step}");
        assert_eq!(from_file, 3 * records.len());
    }
}

#[tokio::test]
async fn a_pull_over_a_socket_brings_what_the_log_has() {
    let broker = broker();
    let (address, _stop) = broker.served().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut request = BytesMut::new();
    for _ in 0..100 {
        pull().encode(Serialization::Json, &mut request);
    }
    stream.write_all(&request).await.unwrap();
    let records = records(&broker);
    for (number, answer) in answers(&mut stream, 100).await.unwrap().iter().enumerate() {
        assert!(answer.code == 0 && answer.body == records, "answer {number}");
    }
}
