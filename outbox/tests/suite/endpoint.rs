//! An HTTP endpoint that does what it is told, on a socket of its own.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// How a call is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// That status, and that body.
    Says(u16, &'static str),
    /// That status, and that header `Retry-After`.
    Later(u16, String),
    /// 302 to that URL.
    Elsewhere(String),
    /// Reads the call and says nothing.
    Hangs,
    /// 200, and half of the body that it announces.
    BreaksOff,
    /// Closes the connection without a word.
    Closes,
    /// 200 and a body without end.
    Endless,
    /// Something that is not HTTP.
    Gibberish,
    /// 200 when [`Endpoint::open`] is called.
    Waits,
}

/// A call as it came.
#[derive(Debug, Clone)]
pub struct Call {
    pub head: String,
    pub body: Vec<u8>,
}

impl Call {
    /// A header's value.
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

/// The endpoint; it ends with its last clone's task, which is the test's runtime.
#[derive(Debug, Clone)]
pub struct Endpoint {
    port: u16,
    state: Arc<Mutex<State>>,
    calls: watch::Sender<usize>,
    gate: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    answer: Answer,
    calls: Vec<Call>,
    open: usize,
    most_open: usize,
}

impl Endpoint {
    pub async fn that(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Self {
            port: listener.local_addr().unwrap().port(),
            state: Arc::new(Mutex::new(State { answer, calls: Vec::new(), open: 0, most_open: 0 })),
            calls: watch::Sender::new(0),
            gate: watch::Sender::new(false),
        };
        let serving = endpoint.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        endpoint
    }

    pub async fn well() -> Self {
        Self::that(Answer::Says(200, "ok")).await
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        self.url_at("127.0.0.1")
    }

    pub fn url_at(&self, host: &str) -> String {
        format!("http://{host}:{}/notified?by=shop", self.port)
    }

    pub fn answers(&self, answer: Answer) {
        self.state.lock().answer = answer;
    }

    /// Lets go all who wait.
    pub fn open(&self) {
        self.gate.send_replace(true);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.clone()
    }

    /// The events that it was told, each once.
    pub fn ids(&self) -> BTreeSet<String> {
        self.state.lock().calls.iter().map(|call| call.header("x-business-id").to_owned()).collect()
    }

    /// Most calls that were there at the same time.
    pub fn most_at_once(&self) -> usize {
        self.state.lock().most_open
    }

    /// Ends when it has had that many calls.
    pub fn called(&self, times: usize) -> impl Future<Output = ()> + use<> {
        let mut calls = self.calls.subscribe();
        async move {
            calls.wait_for(|calls| *calls >= times).await.unwrap();
        }
    }

    async fn serve(self, mut stream: TcpStream) {
        let Some(call) = read_call(&mut stream).await else { return };
        let answer = {
            let mut state = self.state.lock();
            state.calls.push(call);
            state.open += 1;
            state.most_open = state.most_open.max(state.open);
            state.answer.clone()
        };
        self.calls.send_modify(|calls| *calls += 1);
        self.reply(&mut stream, answer).await;
        self.state.lock().open -= 1;
        let _ = stream.shutdown().await;
    }

    async fn reply(&self, stream: &mut TcpStream, answer: Answer) {
        let text = match answer {
            Answer::Says(code, body) => {
                format!("HTTP/1.1 {code} Whatever\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }
            Answer::Later(code, when) => {
                format!("HTTP/1.1 {code} Later\r\nretry-after: {when}\r\ncontent-length: 0\r\n\r\n")
            }
            Answer::Elsewhere(url) => format!("HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n"),
            Answer::BreaksOff => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_owned(),
            Answer::Gibberish => "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
            Answer::Closes => String::new(),
            Answer::Hangs => {
                let _ = stream.read(&mut [0]).await; // until the other side goes
                return;
            }
            Answer::Endless => {
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
                return;
            }
            Answer::Waits => {
                let _ = self.gate.subscribe().wait_for(|open| *open).await;
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()
            }
        };
        let _ = stream.write_all(text.as_bytes()).await;
    }
}

async fn read_call(stream: &mut TcpStream) -> Option<Call> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut call = Call { head: String::from_utf8_lossy(&bytes[..end]).into_owned(), body: bytes[end..].to_vec() };
    let length: usize = call.header("content-length").parse().unwrap_or(0);
    while call.body.len() < length {
        if stream.read_buf(&mut call.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(call)
}
