//! A peer that answers as the scenario says: a name server with a made-up route, a broker in trouble.

use std::{net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use tenonmq_protocol::{Command, DEFAULT_MAX_FRAME, FrameView, RequestCode, ResponseCode, Serialization};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A running peer; it ends when this is dropped.
pub struct FakePeer {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl FakePeer {
    /// Listens and answers every request with what `answer` returns.
    pub async fn start(answer: impl Fn(&Command) -> Command + Send + Sync + 'static) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer)));
            }
        });
        Ok(Self { address, task })
    }

    /// A name server that gives every topic this route.
    pub async fn name_server(route: String) -> std::io::Result<Self> {
        Self::start(move |request| {
            Command::response(ResponseCode::SUCCESS, request.opaque).with_body(route.clone().into_bytes())
        })
        .await
    }

    /// A broker that answers sends with `code` and everything else with success.
    pub async fn broker(code: ResponseCode) -> std::io::Result<Self> {
        Self::start(move |request| match RequestCode(request.code) {
            RequestCode::SEND_MESSAGE_V2 => Command::response(code, request.opaque).with_remark("made up"),
            _ => Command::response(ResponseCode::SUCCESS, request.opaque),
        })
        .await
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<impl Fn(&Command) -> Command + Send + Sync>) -> Option<()> {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(frame) = FrameView::peek(&buffer, DEFAULT_MAX_FRAME).ok()? {
            let (request, len) = (Command::decode(&frame).ok()?, frame.len);
            let _handled = buffer.split_to(len);
            if !request.is_oneway() {
                let mut out = BytesMut::new();
                answer(&request).encode(Serialization::Json, &mut out);
                stream.write_all(&out).await.ok()?;
            }
        }
        if stream.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Asks a peer one question by hand.
///
/// # Errors
/// Whatever goes wrong on the connection; `None` inside when the answer is no frame.
pub async fn ask(address: &str, request: Command) -> std::io::Result<Option<Command>> {
    let mut stream = TcpStream::connect(address).await?;
    let mut buffer = BytesMut::new();
    request.encode(Serialization::Json, &mut buffer);
    stream.write_all(&buffer).await?;
    buffer.clear();
    while stream.read_buf(&mut buffer).await? > 0 {
        match FrameView::peek(&buffer, DEFAULT_MAX_FRAME) {
            Ok(None) => {}
            Ok(Some(frame)) => return Ok(Command::decode(&frame).ok()),
            Err(_) => break,
        }
    }
    Ok(None)
}

/// A route over two brokers with one queue each.
pub fn route_of_two(first: (&str, &str), second: (&str, &str)) -> String {
    let broker = |(name, address): (&str, &str)| serde_json::json!({"brokerName": name, "cluster": "c", "brokerAddrs": {"0": address}});
    let queues = |(name, _): (&str, &str)| serde_json::json!({"brokerName": name, "perm": 6, "readQueueNums": 1, "writeQueueNums": 1, "topicSysFlag": 0});
    let route = serde_json::json!({
        "brokerDatas": [broker(first), broker(second)],
        "queueDatas": [queues(first), queues(second)],
        "filterServerTable": {},
    });
    route.to_string()
}
