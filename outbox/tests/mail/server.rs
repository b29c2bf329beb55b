//! A mail server that does what it is told, line by line.

use std::{future::Future, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

/// What it does beside taking mails.
#[derive(Clone, Default)]
pub struct Manner {
    /// Speaks TLS, on STARTTLS or from the first byte.
    pub tls: Option<TlsAcceptor>,
    pub is_tls_from_the_start: bool,
    /// Hangs instead of answering a line that begins with this.
    pub hangs_at: Option<&'static str>,
    /// Answers that line so.
    pub answers: Option<(&'static str, &'static str)>,
}

/// A mail that it took.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    pub receivers: Vec<String>,
    pub text: String,
    /// What was said before, TLS or not.
    pub lines: Vec<String>,
    pub is_encrypted: bool,
}

#[derive(Clone)]
pub struct Server {
    pub port: u16,
    manner: Arc<Mutex<Manner>>,
    taken: watch::Sender<Vec<Taken>>,
    calls: watch::Sender<usize>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Server {
    pub async fn that(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            manner: Arc::new(Mutex::new(manner)),
            taken: watch::Sender::new(Vec::new()),
            calls: watch::Sender::new(0),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.calls.send_modify(|calls| *calls += 1);
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(Box::new(stream)).await });
            }
        });
        server
    }

    pub fn behaves(&self, manner: Manner) {
        *self.manner.lock() = manner;
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.taken.borrow().clone()
    }

    pub fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    fn serve(&self, stream: Box<dyn Stream>) -> impl Future<Output = Option<()>> + Send {
        let (manner, taken) = (self.manner.lock().clone(), self.taken.clone());
        async move {
            let mut mail = Taken { is_encrypted: manner.is_tls_from_the_start, ..Taken::default() };
            let stream: Box<dyn Stream> = match (&manner.tls, manner.is_tls_from_the_start) {
                (Some(tls), true) => Box::new(tls.accept(stream).await.ok()?),
                _ => stream,
            };
            let mut stream = BufReader::new(stream);
            stream.write_all(b"220 mail.example\r\n").await.ok()?;
            loop {
                let line = line_of(&mut stream).await?;
                mail.lines.push(line.clone());
                if manner.hangs_at.is_some_and(|begin| line.starts_with(begin)) {
                    std::future::pending::<()>().await;
                }
                let answer = match manner.answers {
                    Some((begin, answer)) if line.starts_with(begin) => answer,
                    _ if line.starts_with("EHLO") && manner.tls.is_some() && !mail.is_encrypted => {
                        "250-mail.example\r\n250 STARTTLS"
                    }
                    _ if line.starts_with("EHLO") => "250-mail.example\r\n250 AUTH PLAIN",
                    _ if line.starts_with("AUTH") => "235 welcome",
                    _ if line.starts_with("DATA") => "354 go on",
                    _ if line.starts_with("STARTTLS") => "220 go on",
                    _ if line.starts_with("QUIT") => "221 bye",
                    _ => "250 ok",
                };
                stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
                match line.split([' ', ':']).next()? {
                    "RCPT" if answer.starts_with("250") => mail.receivers.push(line[8..].to_owned()),
                    "STARTTLS" if answer.starts_with("220") => {
                        let secured = manner.tls.as_ref()?.accept(stream.into_inner()).await.ok()?;
                        stream = BufReader::new(Box::new(secured));
                        mail.is_encrypted = true;
                    }
                    "DATA" if answer.starts_with("354") => {
                        loop {
                            match line_of(&mut stream).await?.as_str() {
                                "." => break,
                                line => mail.text.push_str(&format!("{line}\n")),
                            }
                        }
                        taken.send_modify(|taken| taken.push(std::mem::take(&mut mail)));
                        stream.write_all(b"250 taken\r\n").await.ok()?;
                    }
                    "QUIT" => return None,
                    _ => {}
                }
            }
        }
    }
}

async fn line_of(stream: &mut BufReader<Box<dyn Stream>>) -> Option<String> {
    let mut line = String::new();
    match stream.read_line(&mut line).await.ok()? {
        0 => None,
        _ => Some(line.trim_end().to_owned()),
    }
}
