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

use tenonmq_protocol::frame::DEFAULT_MAX_FRAME;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tracing::{debug, warn};

use super::{Connection, Dispatch, connection::Task, shared::Shared};

/// Bounds on what peers may cost us.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest frame in bytes (`com.rocketmq.remoting.frameMaxLength`, 16 MiB).
    pub max_frame: usize,
    /// Connections at one time; further ones are closed at once.
    pub max_connections: usize,
    /// Requests of one connection that may wait for their reply (long polls, synchronous flush).
    pub max_held: usize,
    /// Requests of all connections together that may wait for their reply (`remotingHeldRequestsMax`, 500,000).
    pub max_held_together: usize,
    /// Bytes that may be held for peers that keep us waiting, in the middle of a frame or with replies that they do not
    /// read (`remotingStuckBytesMax`, 256 MiB).
    pub max_stuck: usize,
    /// Who keeps us waiting for this long is disconnected when that memory is short.
    pub stall_timeout: Duration,
    /// Sends of a peer that is ahead of us by more than this time are refused (`waitTimeMillsInSendQueue`, 200 ms); zero
    /// for never.
    pub send_wait: Duration,
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
            max_held_together: 500_000,
            max_stuck: 256 << 20,
            stall_timeout: Duration::from_secs(10),
            send_wait: Duration::from_millis(200),
            idle_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(30),
        }
    }
}

static NEXT_CONNECTION_ID: AtomicU64 = AtomicU64::new(1);
const SWEEPS_PER_TIMEOUT: u64 = 12;

/// Serves one or more listeners with one [`Dispatch`].
pub struct Server<D: ?Sized> {
    dispatch: Arc<D>,
    shared: Arc<Shared>,
}

impl<D: Dispatch + ?Sized> Server<D> {
    /// A server that serves nothing yet.
    pub fn new(dispatch: Arc<D>, limits: Limits) -> Self {
        Self { dispatch, shared: Arc::new(Shared::new(limits)) }
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// What its connections come to, to be looked at while it runs.
    pub fn load(&self) -> Load {
        Load(Arc::clone(&self.shared))
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
        let mut sweep = tokio::time::interval(self.shared.limits.idle_timeout / SWEEPS_PER_TIMEOUT as u32);
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
        self.shared.for_each(Connection::close);
        while tasks.join_next().await.is_some() {}
    }

    fn admit(&self, stream: tokio::net::TcpStream, peer: SocketAddr, tasks: &mut JoinSet<()>) {
        let (open, limit) = (self.shared.connections(), self.shared.limits.max_connections);
        if open >= limit {
            warn!(%peer, open, limit, "connection refused: too many are open");
            return;
        }
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "TCP_NODELAY not set");
        }
        let local = stream.local_addr().unwrap_or(peer);
        let id = NEXT_CONNECTION_ID.fetch_add(1, Ordering::Relaxed);
        let (connection, outgoing) = Connection::new(id, peer, local);
        self.shared.joined(&connection);
        let task = Task::new(stream, connection, outgoing, Arc::clone(&self.dispatch), Arc::clone(&self.shared));
        tasks.spawn(task.run());
    }

    fn sweep(&self) {
        self.shared.for_each(|connection| {
            if connection.tick() > SWEEPS_PER_TIMEOUT {
                debug!(peer = %connection.peer(), "closed: no traffic within the idle time");
                connection.close();
            }
        });
    }
}

/// What the connections of a [`Server`] come to.
#[derive(Clone)]
pub struct Load(Arc<Shared>);

impl Load {
    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.0.connections()
    }

    /// Requests that wait for their reply.
    pub fn held(&self) -> usize {
        self.0.held()
    }

    /// Bytes held for peers that keep us waiting.
    pub fn stuck_bytes(&self) -> usize {
        self.0.stuck()
    }

    /// Sends refused because their peer was too far ahead, since the start.
    pub fn refused(&self) -> u64 {
        self.0.refused()
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
