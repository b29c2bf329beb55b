//! Start and stop, in order.
//!
//! ```text
//! start: take the ports ─► HTTP, name server serve ─► store opens, recovers ─► broker serves ─► registers ─► ready
//! stop:  no HTTP ─► unregister ─► no requests ─► no checks and scans ─► save the tables ─► close the store ─► name server
//! ```
//!
//! Ports are taken before anything else, so a port in use costs no recovery. The name server is the first to serve
//! and the last to stop, because brokers elsewhere may depend on it.
//!
//! The program and tests start the same way: [`Running::start`] with port 0 gives a broker of its own to each test.

mod broker;
mod part;
mod web;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tenonmq_storage::fs::{FileSystem, RealFs};
use tokio::net::TcpListener;

use self::broker::BrokerRole;
pub use self::broker::close;
use self::part::{Part, limits, listen};
use self::web::Web;
use crate::config::{Config, LiveConfig};
use crate::core::clock::Clock;
use crate::core::{Core, CoreError};
use crate::namesrv::{Handler, NameServer};
use crate::remoting::Server;
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
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}", .path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: CoreError,
    },
    /// A step of the start ended without a result.
    #[error("the start was interrupted: {0}")]
    Interrupted(String),
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
    /// The HTTP port.
    pub http: Option<SocketAddr>,
    /// Metrics where Apache's exporter has them.
    pub exporter: Option<SocketAddr>,
}

/// Ports that were taken before anything else was started.
struct Listeners {
    name_server: Option<TcpListener>,
    broker: Option<TcpListener>,
    fast: Option<TcpListener>,
}

impl Listeners {
    fn take(settings: &Config) -> Result<Self, StartError> {
        let (identity, name_server, roles) = (&settings.identity, &settings.name_server, settings.roles);
        let on = |enabled: bool, what, bind, port| {
            enabled.then(|| listen(what, bind, port, settings.remoting.backlog)).transpose()
        };
        let second = identity.port.saturating_sub(2);
        Ok(Self {
            broker: on(roles.broker, "the broker", identity.bind, identity.port)?,
            fast: on(roles.broker, "the broker's second port", identity.bind, second)?,
            name_server: on(roles.name_server, "the name server", name_server.bind, name_server.port)?,
        })
    }

    fn addresses(&self) -> Addresses {
        let address = |listener: &Option<TcpListener>| listener.as_ref()?.local_addr().ok();
        Addresses {
            name_server: address(&self.name_server),
            broker: address(&self.broker),
            fast: address(&self.fast),
            ..Addresses::default()
        }
    }
}

/// A running program, or one inside a test. Dropping it without [`Running::shutdown`] ends nothing in order: the tasks
/// go on until the runtime ends, and the next start recovers.
pub struct Running {
    addresses: Addresses,
    web: Web,
    broker: Option<BrokerRole>,
    name_server: Option<(Part, Arc<NameServer>)>,
}

impl Running {
    /// Starts every enabled part and returns once all of them serve.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(config: Arc<LiveConfig>, clock: Clock) -> Result<Self, StartError> {
        Self::start_on(Arc::new(RealFs), config, clock).await
    }

    /// As [`start`](Self::start), with the data on another file system: for tests that break it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_on(fs: Arc<dyn FileSystem>, config: Arc<LiveConfig>, clock: Clock) -> Result<Self, StartError> {
        let listeners = Listeners::take(&config.load())?;
        let mut addresses = listeners.addresses();
        let web = Web::start(&config.load(), &mut addresses).await;
        let mut running = Self { addresses, web, broker: None, name_server: None };
        if let Some(listener) = listeners.name_server {
            running.name_server = Some(serve_name_server(listener, &fs, &config, &clock)?);
        }
        if let (Some(main), Some(fast)) = (listeners.broker, listeners.fast) {
            let embedded = running.name_server().cloned();
            match BrokerRole::start(main, fast, fs, &config, &clock, embedded).await {
                Ok(broker) => {
                    running.web.broker_serves(broker.core());
                    running.broker = Some(broker);
                }
                Err(error) => {
                    running.shutdown().await;
                    return Err(error);
                }
            }
        }
        Ok(running)
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The address that clients of the broker are told; `None` without the broker role.
    #[must_use]
    pub fn advertised(&self) -> Option<&Advertised> {
        self.broker.as_ref().map(BrokerRole::advertised)
    }

    /// The state that the broker's services share; `None` without the broker role.
    #[must_use]
    pub fn core(&self) -> Option<&Arc<Core>> {
        self.broker.as_ref().map(BrokerRole::core)
    }

    /// The embedded name server, when there is one.
    #[must_use]
    pub fn name_server(&self) -> Option<&Arc<NameServer>> {
        self.name_server.as_ref().map(|(_, server)| server)
    }

    /// Stops every part in order. What was answered before is kept.
    pub async fn shutdown(self) {
        self.web.stop().await;
        if let Some(broker) = self.broker {
            broker.stop().await;
        }
        if let Some((part, _)) = self.name_server {
            part.stop().await;
        }
    }
}

fn serve_name_server(
    listener: TcpListener,
    fs: &Arc<dyn FileSystem>,
    config: &Arc<LiveConfig>,
    clock: &Clock,
) -> Result<(Part, Arc<NameServer>), StartError> {
    let settings = config.load();
    let server = NameServer::open_on(fs.clone(), config.clone(), clock.now_ms())
        .map_err(|source| StartError::KeysAndValues { path: settings.name_server.kv_path.clone(), source })?;
    let server = Arc::new(server);
    let handler = Arc::new(Handler::new(server.clone(), clock.clone()));
    let front = Server::new(handler.clone(), limits(&settings));
    let period = settings.name_server.scan_interval;
    let mut part = Part::new();
    part.spawn(|stop| async move { front.run(vec![listener], stop).await });
    part.spawn(|stop| async move { handler.scan(period, stop).await });
    Ok((part, server))
}
