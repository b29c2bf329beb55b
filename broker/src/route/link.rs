//! One connection to a name server elsewhere, made again when it is lost.
//!
//! A name server forgets a broker when the broker's connection closes. So the connection is kept open between
//! registrations and read all the time: its end is noticed at once, and [`Link::lost`] says so.
//!
//! ```text
//! request ──► task: connect, write ──► name server
//!    ▲                │ read always, answers by opaque
//!    └────────────────┘ end or error: everybody who waits is told, `lost` resolves
//! ```

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tenonmq_protocol::{Command, DEFAULT_MAX_FRAME, FrameView, Serialization};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::debug;

/// Requests that may wait for the connection to be made.
const WAITING: usize = 64;
/// How long making a connection may take (upstream `connectTimeoutMillis`).
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Nobody listens there, or the connection broke.
    #[error("{address}: {reason}")]
    Lost {
        /// The name server.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// No answer in time.
    #[error("{address}: no answer within {deadline:?}")]
    Timeout {
        /// The name server.
        address: String,
        /// The time that was allowed.
        deadline: Duration,
    },
}

type Reply = Result<Command, String>;

struct Ask {
    command: Command,
    reply: Option<oneshot::Sender<Reply>>,
}

/// A name server, by its address. Dropping it closes the connection.
pub struct Link {
    address: String,
    asks: mpsc::Sender<Ask>,
    lost: std::sync::Arc<Notify>,
}

impl Link {
    /// A link that connects when it is first used. Must be called inside a runtime.
    #[must_use]
    pub fn new(address: &str) -> Self {
        let (asks, incoming) = mpsc::channel(WAITING);
        let lost = std::sync::Arc::new(Notify::new());
        tokio::spawn(serve(address.to_owned(), incoming, lost.clone()));
        Self { address: address.to_owned(), asks, lost }
    }

    /// `host:port` as configured.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request and waits for its answer, connecting first if need be; `deadline` covers all of it.
    ///
    /// # Errors
    /// [`LinkError`]; whether the request was carried out is then unknown.
    pub async fn request(&self, command: Command, deadline: Duration) -> Result<Command, LinkError> {
        let (reply, answered) = oneshot::channel();
        let ask = Ask { command, reply: Some(reply) };
        let lost = |reason: &str| LinkError::Lost { address: self.address.clone(), reason: reason.to_owned() };
        let both = async {
            self.asks.send(ask).await.map_err(|_| lost("the link is closed"))?;
            match answered.await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(reason)) => Err(lost(&reason)),
                Err(_) => Err(lost("the connection was closed")),
            }
        };
        match timeout(deadline, both).await {
            Ok(outcome) => outcome,
            Err(_) => Err(LinkError::Timeout { address: self.address.clone(), deadline }),
        }
    }

    /// Sends a request that nobody answers; dropped when the link is busy connecting.
    pub fn send_oneway(&self, command: Command) {
        let _ = self.asks.try_send(Ask { command: command.oneway(), reply: None });
    }

    /// Resolves when a connection that had been made is lost. A loss that nobody waited for is remembered.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }
}

/// The task behind a link: ends when the link is dropped.
async fn serve(address: String, mut asks: mpsc::Receiver<Ask>, lost: std::sync::Arc<Notify>) {
    let mut opaque = 0;
    while let Some(ask) = asks.recv().await {
        let stream = match timeout(CONNECT_DEADLINE, TcpStream::connect(address.as_str())).await {
            Ok(Ok(stream)) => stream,
            outcome => {
                let reason = match outcome {
                    Ok(Err(error)) => error.to_string(),
                    _ => format!("not connected within {CONNECT_DEADLINE:?}"),
                };
                fail(ask, &reason);
                // Whoever queued behind the failed one would fail in the same way.
                while let Ok(ask) = asks.try_recv() {
                    fail(ask, &reason);
                }
                continue;
            }
        };
        debug!(address, "connected to name server");
        let ended = converse(stream, ask, &mut asks, &mut opaque).await;
        match ended {
            Some(reason) => {
                debug!(address, reason, "name server connection lost");
                lost.notify_one();
                sleep(Duration::from_millis(100)).await; // a peer that closes at once must not make us spin
            }
            None => return,
        }
    }
}

fn fail(ask: Ask, reason: &str) {
    if let Some(reply) = ask.reply {
        let _ = reply.send(Err(reason.to_owned()));
    }
}

/// Carries requests and answers until the connection ends (why) or the link is dropped (`None`).
async fn converse(
    mut stream: TcpStream,
    first: Ask,
    asks: &mut mpsc::Receiver<Ask>,
    opaque: &mut i32,
) -> Option<String> {
    let _ = stream.set_nodelay(true);
    let mut waiting: HashMap<i32, oneshot::Sender<Reply>> = HashMap::new();
    let mut incoming = BytesMut::with_capacity(4096);
    let mut next = Some(first);
    let reason = loop {
        if let Some(Ask { mut command, reply }) = next.take() {
            *opaque = opaque.wrapping_add(1);
            command.opaque = *opaque;
            waiting.retain(|_, reply| !reply.is_closed());
            if let Some(reply) = reply {
                waiting.insert(*opaque, reply);
            }
            let mut frame = BytesMut::new();
            command.encode(Serialization::Json, &mut frame);
            if let Err(error) = stream.write_all(&frame).await {
                break error.to_string();
            }
        }
        tokio::select! {
            ask = asks.recv() => match ask {
                Some(ask) => next = Some(ask),
                None => return None,
            },
            read = stream.read_buf(&mut incoming) => match read {
                Ok(0) => break "closed by the name server".to_owned(),
                Ok(_) => if let Err(error) = hand_out(&mut incoming, &mut waiting) {
                    break error.to_string();
                },
                Err(error) => break error.to_string(),
            },
        }
    };
    for (_, reply) in waiting {
        let _ = reply.send(Err(reason.clone()));
    }
    Some(reason)
}

/// Gives every complete answer in the buffer to whoever waits for it. Requests of the name server are not for us.
fn hand_out(buffer: &mut BytesMut, waiting: &mut HashMap<i32, oneshot::Sender<Reply>>) -> io::Result<()> {
    while let Some(frame) = FrameView::peek(buffer, DEFAULT_MAX_FRAME).map_err(io::Error::other)? {
        let len = frame.len;
        let command = Command::decode(&frame).map_err(io::Error::other)?;
        buffer.advance(len);
        if command.is_response()
            && let Some(reply) = waiting.remove(&command.opaque)
        {
            let _ = reply.send(Ok(command));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenonmq_protocol::{RequestCode, ResponseCode};
    use tokio::net::TcpListener;

    const DEADLINE: Duration = Duration::from_secs(10);

    async fn read_request(stream: &mut TcpStream) -> Command {
        read_next(stream, &mut BytesMut::new()).await
    }

    async fn read_next(stream: &mut TcpStream, buffer: &mut BytesMut) -> Command {
        loop {
            if let Some(frame) = FrameView::peek(buffer, DEFAULT_MAX_FRAME).unwrap() {
                let (len, command) = (frame.len, Command::decode(&frame).unwrap());
                buffer.advance(len);
                return command;
            }
            assert_ne!(stream.read_buf(buffer).await.unwrap(), 0, "closed early");
        }
    }

    async fn answer(stream: &mut TcpStream, opaque: i32, remark: &str) {
        let mut frame = BytesMut::new();
        let answer = Command::response(ResponseCode::SUCCESS, opaque).with_remark(remark);
        answer.encode(Serialization::Json, &mut frame);
        stream.write_all(&frame).await.unwrap();
    }

    fn request() -> Command {
        Command::request(RequestCode::GET_BROKER_CLUSTER_INFO)
    }

    #[tokio::test]
    async fn answers_find_their_requests_in_any_order() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::new(&listener.local_addr().unwrap().to_string());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = BytesMut::new();
            let first = read_next(&mut stream, &mut buffer).await;
            let second = read_next(&mut stream, &mut buffer).await;
            answer(&mut stream, 999, "nobody asked").await;
            answer(&mut stream, second.opaque, "second").await;
            answer(&mut stream, first.opaque, "first").await;
            stream
        };
        let asked = async { tokio::join!(link.request(request(), DEADLINE), link.request(request(), DEADLINE)) };
        let (_stream, (first, second)) = tokio::join!(server, asked);
        assert_eq!(first.unwrap().remark.as_deref(), Some("first"));
        assert_eq!(second.unwrap().remark.as_deref(), Some("second"));
    }

    #[tokio::test]
    async fn a_lost_connection_is_told_at_once_and_made_again_by_the_next_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::new(&listener.local_addr().unwrap().to_string());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            drop(stream);
        };
        let (refused, ()) = tokio::join!(link.request(request(), DEADLINE), server);
        assert!(matches!(refused, Err(LinkError::Lost { .. })), "{refused:?}");
        link.lost().await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read_request(&mut stream).await;
            answer(&mut stream, request.opaque, "again").await;
            stream
        };
        let (answered, _stream) = tokio::join!(link.request(request(), DEADLINE), server);
        assert_eq!(answered.unwrap().remark.as_deref(), Some("again"));
    }

    #[tokio::test]
    async fn nobody_listening_is_an_error_that_names_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = Link::new(&address).request(request(), DEADLINE).await.unwrap_err();
        assert!(matches!(error, LinkError::Lost { .. }) && error.to_string().starts_with(&address), "{error}");
    }

    #[tokio::test]
    async fn a_name_server_that_does_not_answer_costs_only_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::new(&listener.local_addr().unwrap().to_string());
        let outcome = link.request(request(), Duration::from_millis(20)).await;
        assert!(matches!(outcome, Err(LinkError::Timeout { .. })), "{outcome:?}");
    }
}
