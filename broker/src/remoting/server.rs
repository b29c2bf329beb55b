//! Accepts connections and watches over idle ones.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tenonmq_protocol::frame::DEFAULT_MAX_FRAME;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tracing::{debug, warn};

use super::{Connection, Dispatch, connection::Task};

/// Bounds on what peers may cost us.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest frame in bytes (`com.rocketmq.remoting.frameMaxLength`, 16 MiB).
    pub max_frame: usize,
    /// Connections at one time; further ones are closed at once.
    pub max_connections: usize,
    /// Requests of one connection that may wait for their reply (long polls, synchronous flush).
    pub max_held: usize,
    /// A connection without traffic is closed after this time (`serverChannelMaxIdleTimeSeconds`, 120 s).
    pub idle_timeout: Duration,
    /// A peer that takes none of its replies for this time loses the connection (`remotingWriteTimeoutMillis`, 30 s).
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: DEFAULT_MAX_FRAME,
            max_connections: 65_536,
            max_held: 16_384,
            idle_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(30),
        }
    }
}

static NEXT_CONNECTION_ID: AtomicU64 = AtomicU64::new(1);
const SWEEPS_PER_TIMEOUT: u64 = 12;

type Open = Arc<Mutex<FxHashMap<u64, Arc<Connection>>>>;

/// Serves one or more listeners with one [`Dispatch`].
pub struct Server<D: ?Sized> {
    dispatch: Arc<D>,
    limits: Limits,
    open: Open,
}

impl<D: Dispatch + ?Sized> Server<D> {
    /// A server that serves nothing yet.
    pub fn new(dispatch: Arc<D>, limits: Limits) -> Self {
        Self { dispatch, limits, open: Open::default() }
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.open.lock().len()
    }

    /// Accepts on all `listeners` until `shutdown` turns true, then closes every connection and waits for their tasks.
    pub async fn run(&self, listeners: Vec<TcpListener>, shutdown: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        let mut accepting = JoinSet::new();
        let (accepted, mut incoming) = tokio::sync::mpsc::channel(64);
        for listener in listeners {
            accepting.spawn(accept(listener, accepted.clone(), shutdown.clone()));
        }
        drop(accepted);
        let mut sweep = tokio::time::interval(self.limits.idle_timeout / SWEEPS_PER_TIMEOUT as u32);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                peer = incoming.recv() => match peer {
                    Some((stream, peer)) => self.admit(stream, peer, &mut tasks),
                    None => break,
                },
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                _ = sweep.tick() => self.sweep(),
            }
        }
        for connection in self.open.lock().values() {
            connection.close();
        }
        while tasks.join_next().await.is_some() {}
    }

    fn admit(&self, stream: tokio::net::TcpStream, peer: SocketAddr, tasks: &mut JoinSet<()>) {
        let open = self.open.lock().len();
        if open >= self.limits.max_connections {
            warn!(%peer, open, limit = self.limits.max_connections, "connection refused: too many are open");
            return;
        }
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "TCP_NODELAY not set");
        }
        let local = stream.local_addr().unwrap_or(peer);
        let id = NEXT_CONNECTION_ID.fetch_add(1, Ordering::Relaxed);
        let (connection, outgoing) = Connection::new(id, peer, local);
        self.open.lock().insert(id, Arc::clone(&connection));
        let task = Task::new(stream, connection, outgoing, Arc::clone(&self.dispatch), self.limits.clone());
        let open = Arc::clone(&self.open);
        tasks.spawn(async move {
            task.run().await;
            open.lock().remove(&id);
        });
    }

    fn sweep(&self) {
        for connection in self.open.lock().values() {
            if connection.tick() > SWEEPS_PER_TIMEOUT {
                debug!(peer = %connection.peer(), "closed: no traffic within the idle time");
                connection.close();
            }
        }
    }
}

async fn accept(
    listener: TcpListener,
    accepted: tokio::sync::mpsc::Sender<(tokio::net::TcpStream, SocketAddr)>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        let next = tokio::select! {
            next = listener.accept() => next,
            _ = shutdown.wait_for(|stop| *stop) => return,
        };
        match next {
            Ok(peer) => {
                if accepted.send(peer).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                warn!(%error, "accept failed");
                if is_exhaustion(&error) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Out of descriptors or memory: trying again at once would only spin.
fn is_exhaustion(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
