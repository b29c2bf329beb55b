//! One connection: requests are encoded straight into a shared write buffer, answers are paired by `opaque`.
//!
//! A writer task sends whatever has gathered in the buffer since its last write, so that concurrent requests share
//! system calls. A reader task decodes every frame in place and runs the completion that its request left in the
//! pending table; bodies stay slices of the read buffer.
//!
//! Invariant: once `open` is false the pending table is empty and stays so; every request ends in its answer, its
//! deadline, or [`Error::Disconnected`].

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tenonmq_protocol::{
    Command, CommandView, Envelope, FLAG_ONEWAY, FrameView, FrameWriter, HeaderScratch, Language, RequestCode,
    RequestHeader, ResponseCode, Serialization, VERSION,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::pool::Hooks;
use crate::error::Error;

/// Requests wait while this many bytes are buffered and not yet written.
const WRITE_BUFFER_LIMIT: usize = 8 << 20;
const READ_CHUNK: usize = 64 << 10;

/// An answer, borrowed from the read buffer while its completion runs.
pub(crate) struct Reply<'a> {
    pub(crate) head: &'a CommandView<'a>,
    pub(crate) body: Bytes,
}

/// Runs in the reader task; `None` when the connection was lost.
type Complete = Box<dyn FnOnce(Option<Reply<'_>>) + Send>;

/// A connection to one peer. Dropping the last handle does not close it; [`Connection::close`] does.
pub(crate) struct Connection {
    address: String,
    local: SocketAddr,
    serialization: Serialization,
    outgoing: Mutex<Outgoing>,
    pending: Mutex<FxHashMap<i32, Complete>>,
    next_opaque: AtomicI32,
    written: Notify,
    drained: Notify,
    closed: CancellationToken,
}

struct Outgoing {
    buffer: BytesMut,
    open: bool,
}

impl Connection {
    /// Connects and starts the two tasks.
    pub(crate) async fn open(
        address: &str,
        serialization: Serialization,
        connect_timeout: Duration,
        max_frame: usize,
        hooks: Arc<dyn Hooks>,
    ) -> Result<Arc<Self>, Error> {
        let failed = |source| Error::Connect { address: address.to_owned(), source };
        let stream = match timeout(connect_timeout, TcpStream::connect(address)).await {
            Ok(stream) => stream.map_err(failed)?,
            Err(_) => return Err(failed(std::io::ErrorKind::TimedOut.into())),
        };
        stream.set_nodelay(true).map_err(failed)?;
        let connection = Arc::new(Self {
            address: address.to_owned(),
            local: stream.local_addr().map_err(failed)?,
            serialization,
            outgoing: Mutex::new(Outgoing { buffer: BytesMut::with_capacity(READ_CHUNK), open: true }),
            pending: Mutex::default(),
            next_opaque: AtomicI32::new(1),
            written: Notify::new(),
            drained: Notify::new(),
            closed: CancellationToken::new(),
        });
        let (read, write) = stream.into_split();
        tokio::spawn(Arc::clone(&connection).write_loop(write));
        tokio::spawn(Arc::clone(&connection).read_loop(read, max_frame, hooks));
        Ok(connection)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.closed.is_cancelled()
    }

    #[cfg(test)]
    pub(crate) fn pending_requests(&self) -> usize {
        self.pending.lock().len()
    }

    /// Closes it and fails what is pending.
    pub(crate) fn close(&self) {
        self.outgoing.lock().open = false;
        self.closed.cancel();
        self.drained.notify_waiters();
        let pending = std::mem::take(&mut *self.pending.lock());
        for complete in pending.into_values() {
            complete(None);
        }
    }

    /// Sends a request and waits for its answer, at most `limit` long. `decode` runs on the reader's task with the
    /// answer borrowed from the read buffer: it takes out what is needed.
    pub(crate) async fn call<'h, H, T>(
        &self,
        header: &H,
        body: &[u8],
        limit: Duration,
        decode: impl FnOnce(Reply<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error>
    where
        H: RequestHeader<'h>,
        T: Send + 'static,
    {
        let operation = name_of(H::CODE);
        let (answer, waiting) = oneshot::channel();
        let complete: Complete = Box::new(move |reply| {
            // a caller that gave up has dropped its end, and nobody wants the answer
            drop(answer.send(reply.map(decode)));
        });
        let opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        let _forget = ForgetOnDrop { connection: self, opaque };
        let exchange = async {
            self.room().await;
            self.enqueue(header, opaque, 0, body, Some(complete))?;
            waiting.await.ok().flatten().unwrap_or_else(|| Err(self.lost()))
        };
        timeout(limit, exchange).await.unwrap_or(Err(Error::Timeout { operation, after: limit }))
    }

    /// Sends a request that is never answered. Returns once it is in the write buffer.
    pub(crate) async fn oneway<'h, H: RequestHeader<'h>>(&self, header: &H, body: &[u8]) -> Result<(), Error> {
        self.room().await;
        let opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        self.enqueue(header, opaque, FLAG_ONEWAY, body, None)
    }

    /// Puts a request into the buffer at once, whatever is in it already, and leaves its answer to `complete`.
    pub(crate) fn post<'h, H: RequestHeader<'h>>(
        &self,
        header: &H,
        body: &[u8],
        complete: impl FnOnce(Option<Reply<'_>>) + Send + 'static,
    ) -> Result<(), Error> {
        let opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        self.enqueue(header, opaque, 0, body, Some(Box::new(complete)))
    }

    /// Answers a request of the peer.
    pub(crate) fn respond(&self, response: &Command) -> Result<(), Error> {
        self.append(|out| response.encode(self.serialization, out))
    }

    fn enqueue<'h, H: RequestHeader<'h>>(
        &self,
        header: &H,
        opaque: i32,
        flag: i32,
        body: &[u8],
        complete: Option<Complete>,
    ) -> Result<(), Error> {
        if let Some(complete) = complete {
            self.pending.lock().insert(opaque, complete);
        }
        let envelope =
            Envelope { code: H::CODE.0, version: VERSION, opaque, flag, remark: None, language: Language::Rust };
        let queued = self.append(|out| {
            let mut writer = FrameWriter::begin(out, self.serialization, &envelope);
            header.encode(&mut writer);
            writer.finish(body.len());
            out.extend_from_slice(body);
        });
        if queued.is_err() {
            // `close` may have run between the two locks
            self.pending.lock().remove(&opaque);
        }
        queued
    }

    fn append(&self, encode: impl FnOnce(&mut BytesMut)) -> Result<(), Error> {
        let mut outgoing = self.outgoing.lock();
        if !outgoing.open {
            return Err(self.lost());
        }
        let was_empty = outgoing.buffer.is_empty();
        encode(&mut outgoing.buffer);
        drop(outgoing);
        if was_empty {
            self.written.notify_one();
        }
        Ok(())
    }

    /// Waits until the write buffer is below its limit.
    async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            {
                let outgoing = self.outgoing.lock();
                if outgoing.buffer.len() < WRITE_BUFFER_LIMIT || !outgoing.open {
                    return;
                }
            }
            drained.await;
        }
    }

    fn lost(&self) -> Error {
        Error::Disconnected { address: self.address.clone() }
    }

    async fn write_loop(self: Arc<Self>, mut half: OwnedWriteHalf) {
        loop {
            let chunk = self.outgoing.lock().buffer.split();
            if chunk.is_empty() {
                tokio::select! {
                    () = self.written.notified() => continue,
                    () = self.closed.cancelled() => break,
                }
            }
            self.drained.notify_waiters();
            let written = tokio::select! {
                written = half.write_all(&chunk) => written,
                () = self.closed.cancelled() => break,
            };
            if let Err(error) = written {
                debug!(peer = %self.address, %error, "write failed");
                break;
            }
        }
        self.close();
    }

    async fn read_loop(self: Arc<Self>, mut half: OwnedReadHalf, max_frame: usize, hooks: Arc<dyn Hooks>) {
        let mut buffer = BytesMut::with_capacity(READ_CHUNK);
        let mut scratch = HeaderScratch::default();
        loop {
            if let Err(reason) = self.drain_frames(&mut buffer, max_frame, &mut scratch, &hooks) {
                warn!(peer = %self.address, reason, "closing: the peer does not speak the protocol");
                break;
            }
            buffer.reserve(READ_CHUNK);
            let read = tokio::select! {
                read = half.read_buf(&mut buffer) => read,
                () = self.closed.cancelled() => break,
            };
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    debug!(peer = %self.address, %error, "read failed");
                    break;
                }
            }
        }
        self.close();
        hooks.closed(&self);
    }

    /// Handles every complete frame in the buffer.
    fn drain_frames(
        self: &Arc<Self>,
        buffer: &mut BytesMut,
        max_frame: usize,
        scratch: &mut HeaderScratch,
        hooks: &Arc<dyn Hooks>,
    ) -> Result<(), String> {
        while let Some(len) = FrameView::peek(buffer, max_frame).map_err(|e| e.to_string())?.map(|frame| frame.len) {
            let frame = buffer.split_to(len).freeze();
            let Some(view) = FrameView::peek(&frame, max_frame).map_err(|e| e.to_string())? else { break };
            let head = CommandView::parse(&view, scratch).map_err(|e| e.to_string())?;
            if head.is_response() {
                let complete = self.pending.lock().remove(&head.opaque);
                match complete {
                    Some(complete) => complete(Some(Reply { head: &head, body: frame.slice_ref(view.body) })),
                    None => debug!(peer = %self.address, opaque = head.opaque, "an answer that nobody waits for"),
                }
            } else {
                let body = frame.slice_ref(view.body);
                hooks.request(self, Command::from_view(&head, body));
            }
        }
        Ok(())
    }
}

/// Takes a request out of the pending table when its caller stops waiting.
struct ForgetOnDrop<'a> {
    connection: &'a Connection,
    opaque: i32,
}

impl Drop for ForgetOnDrop<'_> {
    fn drop(&mut self) {
        self.connection.pending.lock().remove(&self.opaque);
    }
}

/// Ok for code 0; otherwise the peer's refusal.
pub(crate) fn expect_success(operation: RequestCode, reply: &Reply<'_>) -> Result<(), Error> {
    match ResponseCode(reply.head.code) {
        ResponseCode::SUCCESS => Ok(()),
        code => Err(Error::Refused {
            operation: name_of(operation),
            code,
            remark: reply.head.remark.unwrap_or_default().to_owned(),
        }),
    }
}

/// Apache's name for a request, for errors and logs.
pub(crate) fn name_of(code: RequestCode) -> &'static str {
    code.name().unwrap_or("request")
}
