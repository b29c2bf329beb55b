//! One connection's task: read, serve in place, write everything with one call, wait for the next event.

use std::{
    future::{Future, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tenonmq_protocol::{
    code::ResponseCode,
    command::{Command, CommandView},
    frame::FrameView,
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
    sync::mpsc,
};
use tracing::{debug, error};

use super::{
    Connection, Dispatch, Handled, LaterReply, Request, Response,
    buffer::{self, Buffers},
    outbox::ReplyTo,
    server::Limits,
};

/// Replies are written out before more requests are served once they hold this much.
const FLUSH_AT: usize = 256 * 1024;

/// A held request together with what its reply is addressed to.
struct Held {
    reply_to: ReplyTo,
    reply: LaterReply,
}

impl Future for Held {
    type Output = (ReplyTo, Response);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply_to = self.reply_to;
        self.reply.as_mut().poll(cx).map(|response| (reply_to, response))
    }
}

enum Event {
    Read,
    Reply(ReplyTo, Response),
    Send(Command),
    End,
}

/// What a connection's task owns.
pub(super) struct Task<D: ?Sized> {
    stream: TcpStream,
    connection: Arc<Connection>,
    outgoing: mpsc::Receiver<Command>,
    dispatch: Arc<D>,
    limits: Limits,
    held: FuturesUnordered<Held>,
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
        limits: Limits,
    ) -> Self {
        Self { stream, connection, outgoing, dispatch, limits, held: FuturesUnordered::new(), buffers: None, wanted: 0 }
    }

    /// Serves until either side ends the connection.
    pub(super) async fn run(mut self) {
        let outcome = self.serve().await;
        if let Err(error) = outcome {
            debug!(peer = %self.connection.peer(), %error, "connection ended");
        }
        self.connection.end();
        self.dispatch.closed(&self.connection);
    }

    async fn serve(&mut self) -> io::Result<()> {
        let connection = Arc::clone(&self.connection);
        let mut closing = pin!(connection.closing());
        loop {
            match poll_fn(|cx| self.poll_event(cx, closing.as_mut())).await? {
                Event::Read => self.serve_frames().await?,
                Event::Reply(to, response) => self.buffers().outbox.respond_to(to, response),
                Event::Send(command) => self.push_command(&command),
                Event::End => return Ok(()),
            }
            self.gather_ready();
            self.flush().await?;
            self.connection.touch();
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
        if let Poll::Ready(Some((to, response))) = self.held.poll_next_unpin(cx) {
            return Poll::Ready(Ok(Event::Reply(to, response)));
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
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) if read == 0 => Poll::Ready(Ok(Event::End)),
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Event::Read)),
        }
    }

    fn push_command(&mut self, command: &Command) {
        self.connection.taken(command);
        self.buffers().outbox.push_command(command, Connection::SERIALIZATION);
    }

    fn buffers(&mut self) -> &mut Buffers {
        self.buffers.get_or_insert_with(buffer::take)
    }

    /// Serves every complete frame in the buffer.
    async fn serve_frames(&mut self) -> io::Result<()> {
        while self.serve_some()? {
            self.flush().await?;
        }
        Ok(())
    }

    /// Serves frames until none is complete (false) or the replies should leave first (true).
    fn serve_some(&mut self) -> io::Result<bool> {
        let Some(mut buffers) = self.buffers.take() else { return Ok(false) };
        let outcome = self.serve_from(&mut buffers);
        self.buffers = Some(buffers);
        outcome
    }

    fn serve_from(&mut self, buffers: &mut Buffers) -> io::Result<bool> {
        let Buffers { input, outbox, scratch } = buffers;
        loop {
            let frame = match FrameView::peek(input.unread(), self.limits.max_frame) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.wanted = announced_len(input.unread(), self.limits.max_frame);
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
                if let Some(reply) = serve_one(&*self.dispatch, &request, outbox, self.held.len(), &self.limits) {
                    self.held.push(Held { reply_to: request.reply_to(), reply });
                }
            }
            input.consume(len);
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
            if let Some(Some((to, response))) = self.held.next().now_or_never() {
                self.buffers().outbox.respond_to(to, response);
            } else if let Ok(command) = self.outgoing.try_recv() {
                self.push_command(&command);
            } else {
                break;
            }
        }
    }

    /// Writes all replies. A peer that takes nothing for [`Limits::write_timeout`] loses the connection.
    async fn flush(&mut self) -> io::Result<()> {
        let Some(buffers) = &mut self.buffers else { return Ok(()) };
        while buffers.outbox.pending() > 0 {
            match buffers.outbox.write_with(|slices| self.stream.try_write_vectored(slices)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    writable(&self.stream, &self.connection, self.limits.write_timeout).await?;
                }
                Err(error) => return Err(error),
            }
        }
        if buffers.input.unread().is_empty()
            && let Some(buffers) = self.buffers.take()
        {
            buffer::give_back(buffers);
        }
        Ok(())
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

/// Serves one request; a handler that panics is a defect of ours, not the end of the connection.
fn serve_one<D: Dispatch + ?Sized>(
    dispatch: &D,
    request: &Request<'_>,
    outbox: &mut super::Outbox,
    held: usize,
    limits: &Limits,
) -> Option<LaterReply> {
    match catch_unwind(AssertUnwindSafe(|| dispatch.handle(request, outbox))) {
        Ok(Handled::Done) => None,
        Ok(Handled::Later(reply)) if held < limits.max_held => Some(reply),
        Ok(Handled::Later(_)) => {
            let remark = format!("[OVERLOAD]system busy: this connection already has {held} requests waiting");
            outbox.respond(request, Response::error(ResponseCode::SYSTEM_BUSY, remark));
            None
        }
        Err(_) => {
            error!(code = request.command.code, peer = %request.connection.peer(), "a request handler panicked");
            outbox.respond(
                request,
                Response::error(ResponseCode::SYSTEM_ERROR, "internal error while serving the request"),
            );
            None
        }
    }
}

/// Whole length of the frame whose first bytes are here; 0 when even the length is not.
fn announced_len(unread: &[u8], max_frame: usize) -> usize {
    let Some(length) = unread.first_chunk::<4>() else { return 0 };
    usize::try_from(u32::from_be_bytes(*length)).map_or(0, |length| length.saturating_add(4).min(max_frame))
}
