//! A blocking connection that reads whole frames and writes many at once.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
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
    /// Frames to be written by [`Peer::flush`] or [`Peer::write_some`].
    pub(crate) output: Vec<u8>,
    /// Bytes of `output` that are written already.
    written: usize,
}

impl Peer {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        Ok(Self { stream, input: vec![0; READ_SIZE], start: 0, end: 0, output: Vec::new(), written: 0 })
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
        self.take_frames(&mut each)
    }

    /// From now on neither reads nor writes wait.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)
    }

    /// Bytes of `output` that are not written yet.
    pub(crate) fn unwritten(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes as much of `output` as the connection takes now.
    pub(crate) fn write_some(&mut self) -> io::Result<()> {
        while self.unwritten() > 0 {
            match self.stream.write(&self.output[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.output.drain(..self.written);
        self.written = 0;
        Ok(())
    }

    /// As [`Peer::receive`], but when nothing has arrived it does nothing.
    pub(crate) fn receive_ready(
        &mut self,
        each: impl FnMut(&FrameView<'_>, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.receive(each) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }

    fn take_frames(&mut self, each: &mut impl FnMut(&FrameView<'_>, &mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        loop {
            let frame = FrameView::peek(&self.input[self.start..self.end], DEFAULT_MAX_FRAME)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let Some(frame) = frame else { return Ok(()) };
            self.start += frame.len;
            each(&frame, &mut self.output)?;
        }
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
