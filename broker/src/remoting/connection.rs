//! One connection's task: read, serve in place, write everything with one call, wait for the next event.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendFlags};
use tenonmq_protocol::{
    code::{RequestCode, ResponseCode},
    command::{Command, CommandView},
    frame::FrameView,
};
use tenonmq_storage::Gathering;
use tokio::{
    io::{AsyncRead, Interest, ReadBuf},
    net::TcpStream,
    sync::mpsc,
};
use tracing::debug;

use super::{
    Connection, Dispatch, Request,
    backlog::Backlog,
    buffer::{self, Buffers},
    held::{Held, Ready},
    outbox::Chunk,
    shared::{Shared, Stuck},
};

/// Replies are written out before more requests are served once they hold this much.
const FLUSH_AT: usize = 256 * 1024;

/// A peer that has sent so much lets the others have their turn.
const TURN: usize = 128 * 1024;

enum Event {
    Read,
    Ready(Ready),
    Send(Command),
    End,
}

/// What a connection's task owns.
pub(super) struct Task<D: Dispatch + ?Sized> {
    stream: TcpStream,
    connection: Arc<Connection>,
    outgoing: mpsc::Receiver<Command>,
    dispatch: Arc<D>,
    shared: Arc<Shared>,
    held: Held,
    stuck: Stuck,
    backlog: Backlog,
    /// Bytes read since others had their turn.
    turn: usize,
    /// Present only while bytes or replies are under way.
    buffers: Option<Box<Buffers>>,
    /// Size of the frame that is only partly here, 0 when unknown.
    wanted: usize,
}

impl<D: Dispatch + ?Sized> Task<D> {
    pub(super) fn new(
        stream: TcpStream,
        connection: Arc<Connection>,
        outgoing: mpsc::Receiver<Command>,
        dispatch: Arc<D>,
        shared: Arc<Shared>,
    ) -> Self {
        let (held, stuck, backlog) =
            (Held::new(Arc::clone(&shared)), Stuck::new(Arc::clone(&shared)), Backlog::default());
        let (turn, buffers, wanted) = (0, None, 0);
        Self { stream, connection, outgoing, dispatch, shared, held, stuck, backlog, turn, buffers, wanted }
    }

    /// Serves until either side ends the connection.
    pub(super) async fn run(mut self) {
        let outcome = self.serve().await;
        if let Err(error) = outcome {
            debug!(peer = %self.connection.peer(), %error, "connection ended");
        }
    }

    async fn serve(&mut self) -> io::Result<()> {
        let connection = Arc::clone(&self.connection);
        let mut closing = pin!(connection.closing());
        loop {
            match poll_fn(|cx| self.poll_event(cx, closing.as_mut())).await? {
                Event::Read => self.serve_frames().await?,
                Event::Ready(ready) => self.settle(ready),
                Event::Send(command) => self.push_command(&command),
                Event::End => return Ok(()),
            }
            self.gather_ready();
            self.flush().await?;
            self.connection.touch();
            if self.turn >= TURN {
                self.turn = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// The next thing to do. Takes buffers for the read, and gives them back when there is nothing to read.
    fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        closing: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<io::Result<Event>> {
        if closing.poll(cx).is_ready() {
            return Poll::Ready(Ok(Event::End));
        }
        if let Poll::Ready(ready) = self.held.poll(cx, self.dispatch.store()) {
            return Poll::Ready(Ok(Event::Ready(ready)));
        }
        if let Poll::Ready(Some(command)) = self.outgoing.poll_recv(cx) {
            return Poll::Ready(Ok(Event::Send(command)));
        }
        let mut buffers = self.buffers.take().unwrap_or_else(buffer::take);
        let mut room = ReadBuf::new(buffers.input.room(self.wanted));
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut room);
        let read = room.filled().len();
        buffers.input.filled(read);
        if buffers.input.unread().is_empty() && buffers.outbox.pending() == 0 {
            buffer::give_back(buffers);
        } else {
            self.buffers = Some(buffers);
        }
        match polled {
            Poll::Pending => {
                self.turn = 0;
                if let Err(error) = self.waits_for_peer() {
                    return Poll::Ready(Err(error));
                }
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) if read == 0 => Poll::Ready(Ok(Event::End)),
            Poll::Ready(Ok(())) => {
                self.has_read(read);
                Poll::Ready(Ok(Event::Read))
            }
        }
    }

    /// Counts what is held while the peer has not sent the rest of its frame, or has not read its replies.
    fn waits_for_peer(&mut self) -> io::Result<()> {
        let Some(buffers) = &mut self.buffers else { return Ok(()) };
        if self.shared.is_tight() {
            buffers.input.shrink();
            buffers.outbox.shrink();
        }
        let bytes = buffers.input.capacity() + buffers.outbox.memory();
        self.stuck.holds(&self.connection, bytes).map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))
    }

    fn has_read(&mut self, read: usize) {
        self.turn += read;
        self.backlog.has_read(&self.stream, read, self.shared.limits.send_wait);
    }

    fn settle(&mut self, ready: Ready) {
        let buffers = self.buffers.get_or_insert_with(buffer::take);
        self.held.settle(ready, self.dispatch.store(), &mut buffers.outbox);
    }

    fn push_command(&mut self, command: &Command) {
        self.connection.taken(command);
        self.buffers().outbox.push_command(command, Connection::SERIALIZATION);
    }

    fn buffers(&mut self) -> &mut Buffers {
        self.buffers.get_or_insert_with(buffer::take)
    }

    /// Serves every complete frame in the buffer. Others have their turn after each full outbox.
    async fn serve_frames(&mut self) -> io::Result<()> {
        while self.serve_some()? {
            self.flush().await?;
            tokio::task::yield_now().await; // many pulls can wait in few bytes
        }
        Ok(())
    }

    /// Serves frames until none is complete (false) or the replies should leave first (true).
    fn serve_some(&mut self) -> io::Result<bool> {
        let Some(mut buffers) = self.buffers.take() else { return Ok(false) };
        let outcome = self.serve_from(&mut buffers);
        self.buffers = Some(buffers);
        self.write_out()?;
        outcome
    }

    /// Has the records written that the replies tell of. After an error nobody may be told of them, so the connection ends.
    fn write_out(&self) -> io::Result<()> {
        let Some(store) = self.dispatch.store() else { return Ok(()) };
        store.write_out().map_err(|error| io::Error::new(error.source.kind(), format!("{error}: {}", error.source)))
    }

    fn serve_from(&mut self, buffers: &mut Buffers) -> io::Result<bool> {
        let Buffers { input, outbox, scratch } = buffers;
        loop {
            let max_frame = self.shared.limits.max_frame;
            let frame = match FrameView::peek(input.unread(), max_frame) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.wanted = announced_len(input.unread(), max_frame);
                    return Ok(false);
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            };
            let len = frame.len;
            let command = CommandView::parse(&frame, scratch)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if command.is_response() {
                self.answered(&frame);
            } else {
                let request = Request {
                    command: &command,
                    body: frame.body,
                    serialization: frame.serialization,
                    connection: &self.connection,
                };
                if let Some(reason) = self.backlog.refusal()
                    && is_send(command.request_code())
                {
                    self.shared.refuses();
                    outbox.reply(&request, ResponseCode::SYSTEM_BUSY, Some(reason), |_| {}, &[]);
                } else {
                    let _gathers = gathers(command.request_code()).then(Gathering::begin);
                    self.held.serve(&*self.dispatch, &request, outbox);
                }
            }
            input.consume(len);
            self.stuck.goes_on(&self.connection);
            if outbox.pending() >= FLUSH_AT {
                return Ok(true);
            }
        }
    }

    fn answered(&self, frame: &FrameView<'_>) {
        let delivered = Command::decode(frame).is_ok_and(|command| self.connection.complete(command));
        if !delivered {
            debug!(peer = %self.connection.peer(), "an answer that nobody waits for");
        }
    }

    /// Takes in replies and commands that are ready by now, so that they leave in the same write.
    fn gather_ready(&mut self) {
        while self.buffers.as_ref().is_none_or(|buffers| buffers.outbox.pending() < FLUSH_AT) {
            if let Some(ready) = self.held.ready_now() {
                self.settle(ready);
            } else if let Ok(command) = self.outgoing.try_recv() {
                self.push_command(&command);
            } else {
                break;
            }
        }
    }

    /// Writes all replies. A peer that takes nothing for [`Limits::write_timeout`](super::server::Limits::write_timeout) loses the connection.
    async fn flush(&mut self) -> io::Result<()> {
        self.write_out()?;
        let mut has_waited = false;
        while let Some(buffers) = &mut self.buffers
            && buffers.outbox.pending() > 0
        {
            match buffers.outbox.write_with(|chunk| send(&self.stream, &chunk)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !has_waited {
                        has_waited = true;
                        self.waits_for_peer()?;
                    }
                    writable(&self.stream, &self.connection, self.shared.limits.write_timeout).await?;
                }
                Err(error) => return Err(error),
            }
        }
        if has_waited {
            self.stuck.goes_on(&self.connection);
        }
        if let Some(buffers) = self.buffers.take_if(|buffers| buffers.input.unread().is_empty()) {
            buffer::give_back(buffers);
        }
        Ok(())
    }
}

/// However the task ends, by a panic of a waiting reply too, nothing of the connection stays.
impl<D: Dispatch + ?Sized> Drop for Task<D> {
    fn drop(&mut self) {
        self.connection.end();
        self.dispatch.closed(&self.connection);
        self.shared.left(&self.connection);
    }
}

/// Writes what the socket takes now.
fn send(stream: &TcpStream, chunk: &Chunk<'_>) -> io::Result<usize> {
    match chunk {
        Chunk::Slices { slices, more: false } => stream.try_write_vectored(slices),
        Chunk::Slices { slices, more: true } => stream.try_io(Interest::WRITABLE, || {
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            Ok(rustix::net::sendmsg(stream, slices, &mut SendAncillaryBuffer::default(), flags)?)
        }),
        Chunk::File { bytes, place } => stream.try_io(Interest::WRITABLE, || {
            Ok(rustix::fs::sendfile(stream, place.file(), Some(&mut place.offset()), bytes.len())?)
        }),
    }
}

async fn writable(stream: &TcpStream, connection: &Connection, timeout: Duration) -> io::Result<()> {
    tokio::select! {
        ready = tokio::time::timeout(timeout, stream.writable()) => {
            ready.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read its replies")))
        }
        () = connection.closing() => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// The requests that Apache's broker drops when they waited too long for its send threads, but for those that nobody
/// sends again.
fn is_send(code: RequestCode) -> bool {
    matches!(code, RequestCode::SEND_MESSAGE | RequestCode::SEND_MESSAGE_V2 | RequestCode::SEND_BATCH_MESSAGE)
}

/// The requests whose records may be written when all that came with them are served: they change no file besides, and what
/// they put into memory is saved only after the log is written (`Store::write_out`).
fn gathers(code: RequestCode) -> bool {
    is_send(code) || matches!(code, RequestCode::END_TRANSACTION | RequestCode::CONSUMER_SEND_MSG_BACK)
}

/// Whole length of the frame whose first bytes are here; 0 when even the length is not.
fn announced_len(unread: &[u8], max_frame: usize) -> usize {
    let Some(length) = unread.first_chunk::<4>() else { return 0 };
    usize::try_from(u32::from_be_bytes(*length)).map_or(0, |length| length.saturating_add(4).min(max_frame))
}
