//! Conversations that Apache's Java client had, with a broker without sockets.

use std::time::Duration;

use bytes::BytesMut;
use tenonmq_protocol::{
    Command, FrameView, Serialization,
    code::{RequestCode, ResponseCode},
    frame::DEFAULT_MAX_FRAME,
    message::RecordView,
};

use super::super::state::Next;
use crate::remoting::testing::{Peer, TestBroker};

const FILES: [&str; 3] = ["transaction-commit", "transaction-rollback", "transaction-unknown-then-check"];
const SECOND: Duration = Duration::from_secs(1);

/// The frames of a captured conversation, in the client's header encoding.
fn captured(encoding: &str, file: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/../golden/wire/{encoding}-{file}.bin", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
    while let Some(frame) = FrameView::peek(rest, DEFAULT_MAX_FRAME).unwrap() {
        frames.push(rest[..frame.len].to_vec());
        rest = &rest[frame.len..];
    }
    frames
}

fn decoded(frame: &[u8]) -> Command {
    Command::decode(&FrameView::peek(frame, DEFAULT_MAX_FRAME).unwrap().unwrap()).unwrap()
}

/// What the client of a capture sends next with this code.
struct Client {
    encoding: &'static str,
    peer: Peer,
}

impl Client {
    fn requests(&self, file: &str, code: RequestCode) -> Vec<Vec<u8>> {
        let frames = captured(self.encoding, file);
        let is_request = |frame: &Vec<u8>| {
            let command = decoded(frame);
            command.code == code.0 && !command.is_response()
        };
        frames.into_iter().filter(is_request).collect()
    }

    /// The last captured verdict that says so, about another half message.
    fn verdict(&self, file: &str, said: &str, half_offset: i64, log_offset: i64) -> Vec<u8> {
        let verdicts = self.requests(file, RequestCode::END_TRANSACTION);
        let says_so = |command: &Command| command.field("commitOrRollback") == Some(said);
        let mut command = verdicts.iter().map(|frame| decoded(frame)).rfind(says_so).unwrap();
        for (name, value) in &mut command.fields {
            match name.as_str() {
                "tranStateTableOffset" => *value = half_offset.to_string(),
                "commitLogOffset" => *value = log_offset.to_string(),
                _ => {}
            }
        }
        let serialization = if self.encoding == "json" { Serialization::Json } else { Serialization::Binary };
        let mut bytes = BytesMut::new();
        command.encode(serialization, &mut bytes);
        bytes.to_vec()
    }
}

async fn sent(broker: &TestBroker, client: &Client, frame: &[u8]) -> (i64, i64) {
    let answer = broker.frame(&client.peer, frame).await.unwrap();
    assert_eq!(answer.code, ResponseCode::SUCCESS.0, "{:?}", answer.remark);
    let id = answer.field("msgId").unwrap();
    let log_offset = i64::from_str_radix(&id[id.len() - 16..], 16).unwrap();
    (answer.field("queueOffset").unwrap().parse().unwrap(), log_offset)
}

fn visible(broker: &TestBroker) -> Vec<String> {
    let store = &broker.core.store;
    let queues = (0..8).filter_map(|queue_id| store.find_queue("W_tran", queue_id));
    let mut bodies = Vec::new();
    for queue in queues {
        for at in queue.entries(queue.min_offset()) {
            bodies.extend(store.peek(&at.entry, |record| String::from_utf8_lossy(record.body()).into_owned()));
        }
    }
    bodies
}

fn check(broker: &TestBroker) {
    while broker.core.transactions.check(&*broker.core) == Next::Now {}
}

fn start(encoding: &'static str) -> (TestBroker, Client) {
    let broker = TestBroker::new();
    broker.topic("W_tran", 2);
    (broker, Client { encoding, peer: Peer::new(1) })
}

#[tokio::test]
async fn the_java_clients_commit_and_rollback_do_what_they_say() {
    for encoding in ["json", "rocketmq"] {
        let (broker, client) = start(encoding);
        let half = client.requests(FILES[0], RequestCode::SEND_MESSAGE_V2).remove(0);
        let expected = decoded(&half).body;
        let (half_offset, log_offset) = sent(&broker, &client, &half).await;
        assert!(visible(&broker).is_empty());
        let commit = client.verdict(FILES[0], "8", half_offset, log_offset);
        assert!(broker.frame(&client.peer, &commit).await.is_none(), "oneway");
        assert_eq!(visible(&broker), [String::from_utf8_lossy(&expected)]);

        let half = client.requests(FILES[1], RequestCode::SEND_MESSAGE_V2).remove(0);
        let (half_offset, log_offset) = sent(&broker, &client, &half).await;
        let rollback = client.verdict(FILES[1], "12", half_offset, log_offset);
        assert!(broker.frame(&client.peer, &rollback).await.is_none(), "oneway");
        assert_eq!(visible(&broker).len(), 1);
        assert_eq!(broker.core.transactions.pending(), 0);
    }
}

#[tokio::test]
async fn the_answer_to_a_half_message_names_its_real_queue_and_its_place_in_the_half_queue() {
    let (broker, client) = start("json");
    let half = client.requests(FILES[0], RequestCode::SEND_MESSAGE_V2).remove(0);
    let answer = broker.frame(&client.peer, &half).await.unwrap();
    let captured = decoded(&captured("json", FILES[0])[4]);
    let fields = |answer: &Command| {
        let mut names: Vec<_> = answer.fields.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(fields(&answer), fields(&captured));
    for field in ["queueId", "queueOffset", "transactionId", "MSG_REGION", "TRACE_ON"] {
        assert_eq!(answer.field(field), captured.field(field), "{field}");
    }
}

#[tokio::test]
async fn a_producer_that_does_not_know_is_asked_and_its_answers_count() {
    for encoding in ["json", "rocketmq"] {
        let (broker, mut client) = start(encoding);
        let heartbeat = client.requests(FILES[2], RequestCode::HEART_BEAT).remove(0);
        broker.frame(&client.peer, &heartbeat).await.unwrap();
        let halves = client.requests(FILES[2], RequestCode::SEND_MESSAGE_V2);
        let mut places = Vec::new();
        for half in &halves {
            let (half_offset, log_offset) = sent(&broker, &client, half).await;
            let unknown = client.verdict(FILES[2], "0", half_offset, log_offset);
            assert!(broker.frame(&client.peer, &unknown).await.is_none(), "never answered");
            places.push((half_offset, log_offset));
        }
        broker.advance(6 * SECOND);
        check(&broker);
        let questions = client.peer.take();
        assert_eq!(questions.len(), 2);
        let asked = captured(encoding, FILES[2]).iter().map(|frame| decoded(frame)).find(|command| {
            command.code == RequestCode::CHECK_TRANSACTION_STATE.0
                && command.field("msgId") == questions[0].field("msgId")
        });
        same_question(&questions[0], &asked.expect("Apache asked the same"));

        let commit = client.verdict(FILES[2], "8", places[0].0, places[0].1);
        let rollback = client.verdict(FILES[2], "12", places[1].0, places[1].1);
        for verdict in [&commit, &commit, &rollback] {
            assert!(broker.frame(&client.peer, verdict).await.is_none(), "oneway");
        }
        assert_eq!(visible(&broker), [String::from_utf8_lossy(&decoded(&halves[0]).body)]);
        assert_eq!(broker.core.transactions.pending(), 0);
        broker.advance(60 * SECOND);
        check(&broker);
        assert!(client.peer.received().is_empty());
    }
}

/// Ours asks about the first record, Apache's about a copy of it: places and times differ, the rest does not.
fn same_question(ours: &Command, apaches: &Command) {
    let names = |command: &Command| {
        let mut names: Vec<_> = command.fields.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(names(ours), names(apaches));
    for field in ["topic", "msgId", "transactionId"] {
        assert_eq!(ours.field(field), apaches.field(field), "{field}");
    }
    let (ours, apaches) = (RecordView::parse(&ours.body).unwrap(), RecordView::parse(&apaches.body).unwrap());
    assert_eq!((ours.topic(), ours.queue_id(), ours.body()), (apaches.topic(), apaches.queue_id(), apaches.body()));
    assert_eq!((ours.sys_flag().0, ours.flag()), (apaches.sys_flag().0, apaches.flag()));
    let (ours, apaches) = (ours.properties(), apaches.properties());
    assert_eq!(ours.len(), apaches.len());
    for (name, value) in apaches.iter().filter(|(name, _)| *name != "CLUSTER") {
        assert_eq!(ours.get(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_two_way_verdict_is_answered_and_one_without_meaning_is_not() {
    let (broker, client) = start("json");
    let half = client.requests(FILES[0], RequestCode::SEND_MESSAGE_V2).remove(0);
    let (half_offset, log_offset) = sent(&broker, &client, &half).await;
    let two_way = |verdict: &str, half_offset: i64| {
        Command::request(RequestCode::END_TRANSACTION)
            .with_field("producerGroup", "WPG_tran")
            .with_field("tranStateTableOffset", half_offset)
            .with_field("commitLogOffset", log_offset)
            .with_field("commitOrRollback", verdict)
            .with_field("msgId", "x")
    };
    let mut bytes = BytesMut::new();
    two_way("4", half_offset).encode(Serialization::Json, &mut bytes);
    assert!(broker.frame(&client.peer, &bytes).await.is_none());
    let refused = broker.call(&client.peer, two_way("8", half_offset + 1)).await;
    assert_eq!(refused.code, ResponseCode::SYSTEM_ERROR.0);
    assert_eq!(refused.remark.as_deref(), Some("The transaction state table offset wrong"));
    assert_eq!(broker.call(&client.peer, two_way("8", half_offset)).await.code, ResponseCode::SUCCESS.0);
    assert_eq!(broker.call(&client.peer, two_way("8", half_offset)).await.code, ResponseCode::SUCCESS.0);
    let refused = broker.call(&client.peer, two_way("12", half_offset)).await;
    assert_eq!(refused.code, ResponseCode::ILLEGAL_OPERATION.0);
    assert_eq!(visible(&broker).len(), 1);
}

#[tokio::test]
async fn with_synchronous_flush_a_verdict_is_on_the_disk_when_it_is_answered() {
    let broker = TestBroker::with(&[("flushDiskType", "SYNC_FLUSH")]);
    broker.topic("W_tran", 2);
    let client = Client { encoding: "json", peer: Peer::new(1) };
    let half = client.requests(FILES[0], RequestCode::SEND_MESSAGE_V2).remove(0);
    let (half_offset, log_offset) = sent(&broker, &client, &half).await;
    for _first_and_repeated in 0..2 {
        let commit = Command::request(RequestCode::END_TRANSACTION)
            .with_field("producerGroup", "WPG_tran")
            .with_field("tranStateTableOffset", half_offset)
            .with_field("commitLogOffset", log_offset)
            .with_field("commitOrRollback", "8");
        assert_eq!(broker.call(&client.peer, commit).await.code, ResponseCode::SUCCESS.0);
        let marks = broker.core.store.watermarks();
        assert_eq!(marks.flushed, marks.appended);
    }
    assert_eq!(visible(&broker).len(), 1);
}

#[tokio::test]
async fn the_keeper_checks_when_time_has_come_and_stops_when_told() {
    let (broker, mut client) = start("json");
    let heartbeat = client.requests(FILES[2], RequestCode::HEART_BEAT).remove(0);
    broker.frame(&client.peer, &heartbeat).await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let keeper = tokio::spawn(super::super::keep_checking(broker.core.clone(), stopped));
    let half = client.requests(FILES[2], RequestCode::SEND_MESSAGE_V2).remove(0);
    sent(&broker, &client, &half).await;
    broker.advance(6 * SECOND);
    let question = client.peer.next().await;
    assert_eq!(question.code, RequestCode::CHECK_TRANSACTION_STATE.0);
    stop.send_replace(true);
    keeper.await.unwrap();
}
