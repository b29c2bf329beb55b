//! The handle to a connected peer that services keep: its address, and a way to send it requests.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tenonmq_protocol::{command::Command, frame::Serialization};
use tokio::sync::{Notify, mpsc, oneshot};

/// Requests of ours that may wait for one peer to read them.
pub(super) const OUTGOING_LIMIT: usize = 1024;
/// Bytes of their bodies that may wait, apart from a single longer one.
const OUTGOING_BYTES: usize = 64 << 20;

/// The peer is gone or does not read.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the connection is closed or its peer does not read")]
pub struct ConnectionGone;

/// Why a request to a peer has no answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub enum RequestError {
    /// The peer is gone or does not read.
    #[error(transparent)]
    Gone(#[from] ConnectionGone),
    /// No answer within the time allowed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// A connected peer. Shared between its task and the services that may want to reach it.
pub struct Connection {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    outgoing: mpsc::Sender<Command>,
    /// Body bytes of commands that the connection's task has not taken yet.
    outgoing_bytes: AtomicUsize,
    awaiting: Mutex<FxHashMap<i32, oneshot::Sender<Command>>>,
    next_opaque: AtomicI32,
    open: AtomicBool,
    closing: Notify,
    /// Ticks of the server's sweeper since the peer was last heard of or written to.
    idle_ticks: AtomicU64,
    /// Since when the peer keeps us waiting in the middle of something, by the server's clock; [`NOT_STALLED`] otherwise.
    stalled_since_ms: AtomicU64,
}

const NOT_STALLED: u64 = u64::MAX;

impl Connection {
    pub(super) fn new(id: u64, peer: SocketAddr, local: SocketAddr) -> (Arc<Self>, mpsc::Receiver<Command>) {
        let (outgoing, receiver) = mpsc::channel(OUTGOING_LIMIT);
        let connection = Self {
            id,
            peer,
            local,
            outgoing,
            outgoing_bytes: AtomicUsize::new(0),
            awaiting: Mutex::default(),
            next_opaque: AtomicI32::new(0),
            open: AtomicBool::new(true),
            closing: Notify::new(),
            idle_ticks: AtomicU64::new(0),
            stalled_since_ms: AtomicU64::new(NOT_STALLED),
        };
        (Arc::new(connection), receiver)
    }

    /// A connection with nobody behind it, for tests of services. What is sent to it arrives at the receiver.
    pub fn detached(id: u64) -> (Arc<Self>, mpsc::Receiver<Command>) {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::new(id, nowhere, nowhere)
    }

    /// Unique among all connections of this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Our own address on this connection.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// False once the connection ended.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Ends the connection soon.
    pub fn close(&self) {
        self.open.store(false, Ordering::Release);
        self.closing.notify_waiters();
    }

    /// Sends a command that nobody answers. Never waits: a peer that does not read is an error.
    pub fn send_oneway(&self, mut command: Command) -> Result<(), ConnectionGone> {
        command.flag |= 2;
        command.opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        self.enqueue(command)
    }

    /// Hands a command to the connection's task. A peer that leaves too much unread loses the connection.
    fn enqueue(&self, command: Command) -> Result<(), ConnectionGone> {
        let len = command.body.len();
        let waiting = self.outgoing_bytes.fetch_add(len, Ordering::Relaxed);
        // A single command may be longer than what may wait.
        if waiting > 0 && waiting.saturating_add(len) > OUTGOING_BYTES {
            tracing::warn!(peer = %self.peer, waiting, "closed: the peer does not read what it is sent");
            self.close();
            return Err(ConnectionGone);
        }
        self.outgoing.try_send(command).map_err(|_| {
            self.outgoing_bytes.fetch_sub(len, Ordering::Relaxed);
            ConnectionGone
        })
    }

    /// The connection's task has taken a command to write it.
    pub(super) fn taken(&self, command: &Command) {
        self.outgoing_bytes.fetch_sub(command.body.len(), Ordering::Relaxed);
    }

    /// Sends a command and waits for its answer, `timeout` at most.
    pub async fn request(&self, mut command: Command, timeout: Duration) -> Result<Command, RequestError> {
        let opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        command.opaque = opaque;
        let (answer, answered) = oneshot::channel();
        self.awaiting.lock().insert(opaque, answer);
        let forget = Forget { connection: self, opaque };
        self.enqueue(command)?;
        let outcome = tokio::time::timeout(timeout, answered).await;
        drop(forget);
        match outcome {
            Ok(Ok(command)) => Ok(command),
            Ok(Err(_)) => Err(ConnectionGone.into()),
            Err(_) => Err(RequestError::Timeout(timeout)),
        }
    }

    /// Hands an answer of the peer to whoever waits for it. False when nobody does.
    pub(super) fn complete(&self, command: Command) -> bool {
        let waiting = self.awaiting.lock().remove(&command.opaque);
        waiting.is_some_and(|answer| answer.send(command).is_ok())
    }

    pub(super) fn end(&self) {
        self.open.store(false, Ordering::Release);
        self.awaiting.lock().clear();
    }

    /// Resolves once [`Connection::close`] was called.
    pub(super) async fn closing(&self) {
        let notified = self.closing.notified(); // from here on no call of `close` is missed
        if self.is_open() {
            notified.await;
        }
    }

    pub(super) fn touch(&self) {
        self.idle_ticks.store(0, Ordering::Relaxed);
    }

    /// The peer keeps us waiting from now on.
    pub(super) fn stalls(&self, now_ms: u64) {
        self.stalled_since_ms.store(now_ms, Ordering::Relaxed);
    }

    /// The peer keeps us waiting no longer.
    pub(super) fn goes_on(&self) {
        self.stalled_since_ms.store(NOT_STALLED, Ordering::Relaxed);
    }

    /// For how long the peer has kept us waiting, in ms; `None` when it does not.
    pub(super) fn stalled_for(&self, now_ms: u64) -> Option<u64> {
        let since = self.stalled_since_ms.load(Ordering::Relaxed);
        (since != NOT_STALLED).then(|| now_ms.saturating_sub(since))
    }

    /// Counts one tick of the sweeper; the ticks since the last [`Connection::touch`].
    pub(super) fn tick(&self) -> u64 {
        self.idle_ticks.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Commands of ours use JSON headers: every client decodes them, and codes beyond 16 bits fit.
    pub(super) const SERIALIZATION: Serialization = Serialization::Json;
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Removes the entry of a request whose future is dropped early.
struct Forget<'a> {
    connection: &'a Connection,
    opaque: i32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.connection.awaiting.lock().remove(&self.opaque);
    }
}

#[cfg(test)]
mod tests {
    use tenonmq_protocol::code::RequestCode;

    use super::*;

    fn command(len: usize) -> Command {
        Command::request(RequestCode::CHECK_TRANSACTION_STATE).with_body(vec![0; len])
    }

    #[test]
    fn a_peer_that_leaves_too_much_unread_loses_its_connection() {
        let (connection, mut inbox) = Connection::detached(1);
        connection.send_oneway(command(OUTGOING_BYTES + 1)).unwrap(); // a single one may be longer
        connection.taken(&inbox.try_recv().unwrap());
        connection.send_oneway(command(OUTGOING_BYTES / 2)).unwrap();
        connection.send_oneway(command(OUTGOING_BYTES / 2)).unwrap();
        assert!(connection.is_open());
        assert!(connection.send_oneway(command(1)).is_err());
        assert!(!connection.is_open());
    }
}
