//! A blocking connection that reads whole frames and writes many at once.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tenonmq_protocol::frame::{DEFAULT_MAX_FRAME, FrameView};

/// No reply for this long ends the run with an error.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const READ_SIZE: usize = 256 * 1024;

/// One connection to the server under load.
pub(crate) struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// Frames to be written by [`Peer::flush`].
    pub(crate) output: Vec<u8>,
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        Ok(Self { stream, input: vec![0; READ_SIZE], start: 0, end: 0, output: Vec::new() })
    }

    /// Writes all of `output`.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    /// Waits for bytes, then gives every complete frame to `each` together with the output buffer.
    pub(crate) fn receive(
        &mut self,
        mut each: impl FnMut(&FrameView<'_>, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.input.len() {
            self.input.resize(self.end * 2, 0);
        }
        let read = self.stream.read(&mut self.input[self.end..])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        self.end += read;
        loop {
            let frame = FrameView::peek(&self.input[self.start..self.end], DEFAULT_MAX_FRAME)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let Some(frame) = frame else { return Ok(()) };
            self.start += frame.len;
            each(&frame, &mut self.output)?;
        }
    }
}
