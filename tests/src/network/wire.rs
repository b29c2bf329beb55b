//! A connection on which bytes are sent and frames come back.

use std::{io, net::SocketAddr, time::Duration};

use bytes::BytesMut;
use tenonmq_protocol::{Command, DEFAULT_MAX_FRAME, FrameView};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that are no frame.
pub(super) fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The connection.
pub struct Wire {
    /// For whatever is to be done to it.
    pub stream: TcpStream,
    input: BytesMut,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// The system's.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { stream: TcpStream::connect(address).await?, input: BytesMut::new() })
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The peer has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next frame, or `None` when the peer has closed the connection.
    ///
    /// # Errors
    /// No frame within a minute, or bytes that are none.
    pub async fn answer(&mut self) -> io::Result<Option<Command>> {
        loop {
            if let Some(frame) = FrameView::peek(&self.input, DEFAULT_MAX_FRAME).map_err(invalid)? {
                let (len, command) = (frame.len, Command::decode(&frame).map_err(invalid)?);
                drop(self.input.split_to(len));
                return Ok(Some(command));
            }
            match timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await? {
                Ok(0) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                other => other?,
            };
        }
    }

    /// Sends a request and waits for the code of its answer.
    ///
    /// # Errors
    /// As [`Wire::send`] and [`Wire::answer`]; and when the connection was closed instead of an answer.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<i32> {
        self.send(request).await?;
        let answer = self.answer().await?;
        answer.map(|answer| answer.code).ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }

    /// Ends it without a goodbye: the peer sees a reset.
    pub fn reset(self) {
        drop(socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))); // or else the peer sees an end
    }
}
