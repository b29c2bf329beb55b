//! A connection against a peer that the test plays by hand.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tenonmq_protocol::{Command, DEFAULT_MAX_FRAME, FrameView, ResponseCode, Serialization, header::GetRoute};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::{Connection, Hooks, Peer, Pool, Reply, expect_success, name_of};
use crate::{config::ClientConfig, error::Error};

const LONG: Duration = Duration::from_secs(30);

/// Passes on what the peer asks.
struct Asked(mpsc::UnboundedSender<Command>);

impl Hooks for Asked {
    fn greet(&self, _: &Arc<Connection>) {}
    fn request(&self, _: &Arc<Connection>, request: Command) {
        drop(self.0.send(request));
    }
    fn closed(&self, _: &Arc<Connection>) {}
}

/// The other end.
struct PlayedPeer {
    stream: TcpStream,
    buffer: BytesMut,
}

impl PlayedPeer {
    async fn next(&mut self) -> Command {
        loop {
            if let Some(frame) = FrameView::peek(&self.buffer, DEFAULT_MAX_FRAME).unwrap() {
                let (command, len) = (Command::decode(&frame).unwrap(), frame.len);
                let _read = self.buffer.split_to(len);
                return command;
            }
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "the client hung up");
        }
    }

    async fn send(&mut self, command: Command) {
        let mut out = BytesMut::new();
        command.encode(Serialization::Json, &mut out);
        self.stream.write_all(&out).await.unwrap();
    }
}

async fn connected() -> (Arc<Connection>, PlayedPeer, mpsc::UnboundedReceiver<Command>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, asks) = mpsc::unbounded_channel();
    let open = Connection::open(&address, Serialization::Json, LONG, DEFAULT_MAX_FRAME, Arc::new(Asked(asked)));
    let (connection, accepted) = tokio::join!(open, listener.accept());
    let peer = PlayedPeer { stream: accepted.unwrap().0, buffer: BytesMut::new() };
    (connection.unwrap(), peer, asks)
}

async fn ask(connection: &Connection, topic: &str, limit: Duration) -> Result<String, Error> {
    let header = GetRoute { topic, standard_json_only: true };
    let decode = |reply: Reply<'_>| Ok(String::from_utf8_lossy(&reply.body).into_owned());
    connection.call(&header, &[], limit, decode).await
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    let (connection, mut peer, _) = connected().await;
    let play = async {
        let requests = [peer.next().await, peer.next().await, peer.next().await];
        for request in requests.iter().rev() {
            let body = request.field("topic").unwrap().to_owned();
            peer.send(Command::response(ResponseCode::SUCCESS, request.opaque).with_body(body)).await;
        }
    };
    let (one, two, three, ()) = tokio::join!(
        ask(&connection, "one", LONG),
        ask(&connection, "two", LONG),
        ask(&connection, "three", LONG),
        play
    );
    assert_eq!([one.unwrap(), two.unwrap(), three.unwrap()], ["one", "two", "three"]);
    assert_eq!(connection.pending_requests(), 0);
}

#[tokio::test]
async fn an_unanswered_request_ends_at_its_deadline_and_a_late_answer_is_ignored() {
    let (connection, mut peer, _) = connected().await;
    let limit = Duration::from_millis(10);
    let unanswered = ask(&connection, "slow", limit).await;
    assert!(matches!(unanswered, Err(Error::Timeout { operation: "GET_ROUTEINFO_BY_TOPIC", after }) if after == limit));
    assert_eq!(connection.pending_requests(), 0);

    let slow = peer.next().await;
    peer.send(Command::response(ResponseCode::SUCCESS, slow.opaque).with_body("late")).await;
    let play = async {
        let next = peer.next().await;
        peer.send(Command::response(ResponseCode::SUCCESS, next.opaque).with_body("in time")).await;
    };
    let (answer, ()) = tokio::join!(ask(&connection, "quick", LONG), play);
    assert_eq!(answer.unwrap(), "in time");
}

#[tokio::test]
async fn a_lost_connection_fails_what_is_pending_and_what_comes_after() {
    let (connection, mut peer, _) = connected().await;
    let hang_up = async {
        peer.next().await;
        drop(peer);
    };
    let (pending, ()) = tokio::join!(ask(&connection, "T", LONG), hang_up);
    assert!(matches!(pending, Err(Error::Disconnected { .. })), "{pending:?}");
    assert!(!connection.is_open());
    assert!(matches!(ask(&connection, "T", LONG).await, Err(Error::Disconnected { .. })));
    assert_eq!(connection.pending_requests(), 0);
}

#[tokio::test]
async fn bytes_that_are_no_frames_close_the_connection() {
    let (connection, mut peer, _) = connected().await;
    peer.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert!(matches!(ask(&connection, "T", LONG).await, Err(Error::Disconnected { .. })));
}

#[tokio::test]
async fn the_peer_may_ask_too() {
    let (connection, mut peer, mut asks) = connected().await;
    peer.send(Command::request(tenonmq_protocol::RequestCode::NOTIFY_CONSUMER_IDS_CHANGED).with_field("k", "v")).await;
    assert_eq!(asks.recv().await.unwrap().field("k"), Some("v"));
    drop(connection);
}

#[tokio::test]
async fn a_refusal_keeps_code_and_remark() {
    let (connection, mut peer, _) = connected().await;
    let header = GetRoute { topic: "T", standard_json_only: true };
    let code = <GetRoute<'_> as tenonmq_protocol::RequestHeader<'_>>::CODE;
    let asked = connection.call(&header, &[], LONG, move |reply| expect_success(code, &reply));
    let play = async {
        let request = peer.next().await;
        peer.send(Command::response(ResponseCode::TOPIC_NOT_EXIST, request.opaque).with_remark("no such topic")).await;
    };
    let (answer, ()) = tokio::join!(asked, play);
    let Err(error) = answer else { panic!("refused") };
    assert_eq!((error.code(), error.remark()), (Some(ResponseCode::TOPIC_NOT_EXIST), Some("no such topic")));
    assert_eq!(name_of(code), "GET_ROUTEINFO_BY_TOPIC");
}

#[tokio::test]
async fn a_peer_that_refuses_connections_is_left_alone_for_a_while() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let config = ClientConfig::new("unused:1").reconnect_backoff(LONG, LONG);
    let pool = Pool::new(config, Arc::new(Asked(mpsc::unbounded_channel().0)));
    assert!(!pool.is_unreachable(&address));
    assert!(matches!(pool.get(&address, Peer::Broker).await, Err(Error::Connect { .. })));
    assert!(pool.is_unreachable(&address));
    // the second attempt would wait out the pause
    let again = tokio::time::timeout(Duration::from_millis(10), pool.get(&address, Peer::Broker)).await;
    assert!(again.is_err());
    pool.close();
    assert!(matches!(pool.get(&address, Peer::Broker).await, Err(Error::Closed)));
}
