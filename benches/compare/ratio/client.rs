//! A connection whose requests go in bundles.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::BytesMut;
use tenonmq_protocol::{
    command::{CommandView, HeaderScratch},
    frame::{DEFAULT_MAX_FRAME, FrameView},
};

/// A server that is silent for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    input: BytesMut,
    chunk: Vec<u8>,
    scratch: HeaderScratch,
    /// Counts what was ever asked, for requests that must differ.
    pub(super) asked: i64,
}

impl Client {
    pub(super) fn connect(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (input, scratch) = (BytesMut::new(), HeaderScratch::default());
        Ok(Self { stream, input, chunk: vec![0; 256 * 1024], scratch, asked: 0 })
    }

    /// Sends the requests in one write, and gives each answer to `each` until all have come.
    pub(super) fn ask(
        &mut self,
        requests: &[u8],
        count: usize,
        mut each: impl FnMut(&CommandView<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.stream.write_all(requests)?;
        let mut answered = 0;
        while answered < count {
            let read = self.stream.read(&mut self.chunk)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.input.extend_from_slice(&self.chunk[..read]);
            let mut done = 0;
            while let Some(frame) = FrameView::peek(&self.input[done..], DEFAULT_MAX_FRAME).map_err(io::Error::other)? {
                done += frame.len;
                let answer = CommandView::parse(&frame, &mut self.scratch).map_err(io::Error::other)?;
                if answer.code != 0 {
                    return Err(io::Error::other(format!("refused with code {}", answer.code)));
                }
                each(&answer)?;
                answered += 1;
            }
            let _ = self.input.split_to(done);
        }
        Ok(())
    }
}
