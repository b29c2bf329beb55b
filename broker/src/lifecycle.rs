//! Start and stop, in order.
//!
//! ```text
//! start: listen ─► name server serves ─► store opens, recovers ─► broker serves ─► registers ─► ready
//! stop:  unregister ─► no new connections, what is in flight is answered ─► flush, save, close the store ─► name server
//! ```
//!
//! Ports are taken before anything else, so a port in use costs no recovery. The name server is the first to serve
//! and the last to stop, because brokers elsewhere may depend on it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{Config, LiveConfig};
use crate::core::clock::Clock;
use crate::namesrv::{Handler, NameServer};
use crate::remoting::{Limits, Server};
use crate::route::address::Advertised;

/// Why the program could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A port cannot be listened on.
    #[error("{what} cannot listen on {address}")]
    Listen {
        /// Which part wanted it.
        what: &'static str,
        /// The address and port.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The name server's keys and values cannot be read.
    #[error("cannot read the name server's keys and values in {}", .path.display())]
    KeysAndValues {
        /// The file.
        path: std::path::PathBuf,
        /// What was wrong.
        #[source]
        source: io::Error,
    },
}

/// Where the parts of a running program listen. With port 0 configured, the port that the system chose.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// The name server.
    pub name_server: Option<SocketAddr>,
    /// The broker.
    pub broker: Option<SocketAddr>,
    /// The broker's second port, two below the first, which old clients send to.
    pub fast: Option<SocketAddr>,
}

/// A running program, or one started inside a test.
pub struct Running {
    addresses: Addresses,
    advertised: Option<Advertised>,
    name_server: Option<Part>,
}

/// One server with the tasks that belong to it.
struct Part {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Part {
    fn new() -> Self {
        Self { stop: watch::Sender::new(false), tasks: Vec::new() }
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, task: impl FnOnce(watch::Receiver<bool>) -> F) {
        self.tasks.push(tokio::spawn(task(self.stop.subscribe())));
    }

    /// Tells the tasks to stop and waits for them.
    async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task ended badly");
            }
        }
    }
}

impl Running {
    /// Starts every enabled part and returns once all of them serve.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(config: Arc<LiveConfig>, clock: Clock) -> Result<Self, StartError> {
        let settings = config.load();
        let mut addresses = Addresses::default();
        let mut name_server = None;
        if settings.roles.name_server {
            let listener = listen("name server", settings.name_server.bind, settings.name_server.port, &settings)?;
            addresses.name_server = listener.local_addr().ok();
            name_server = Some(serve_name_server(listener, &config, &clock)?);
        }
        Ok(Self { addresses, advertised: None, name_server })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The address that clients of the broker are told.
    #[must_use]
    pub fn advertised(&self) -> Option<&Advertised> {
        self.advertised.as_ref()
    }

    /// Stops every part in order. What was answered before is kept.
    pub async fn shutdown(self) {
        if let Some(part) = self.name_server {
            part.stop().await;
        }
    }
}

fn serve_name_server(listener: TcpListener, config: &Arc<LiveConfig>, clock: &Clock) -> Result<Part, StartError> {
    let settings = config.load();
    let server = NameServer::open(config.clone(), clock.now_ms())
        .map_err(|source| StartError::KeysAndValues { path: settings.name_server.kv_path.clone(), source })?;
    let handler = Arc::new(Handler::new(Arc::new(server), clock.clone()));
    let front = Server::new(handler.clone(), limits(&settings));
    let period = settings.name_server.scan_interval;
    let mut part = Part::new();
    part.spawn(|stop| async move { front.run(vec![listener], stop).await });
    part.spawn(|stop| async move { handler.scan(period, stop).await });
    Ok(part)
}

fn limits(settings: &Config) -> Limits {
    Limits {
        max_frame: settings.remoting.max_frame,
        max_connections: settings.remoting.max_connections,
        idle_timeout: settings.remoting.idle,
        ..Limits::default()
    }
}

fn listen(what: &'static str, bind: IpAddr, port: u16, settings: &Config) -> Result<TcpListener, StartError> {
    let address = SocketAddr::new(bind, port);
    let listening = || {
        let socket = if bind.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(settings.remoting.backlog)
    };
    listening().map_err(|source| StartError::Listen { what, address, source })
}
