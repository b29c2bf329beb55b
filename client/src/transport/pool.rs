//! Connections by address, made on first use and re-made with back-off.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tenonmq_protocol::command::Command;
use tokio::time::Instant;
use tracing::{debug, info};

use super::connection::Connection;
use crate::{config::ClientConfig, error::Error};

/// What a peer is; brokers are greeted with a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    NameServer,
    Broker,
}

/// What the owner of the connections does with what happens on them. Called on the connection's tasks: must not block.
pub(crate) trait Hooks: Send + Sync + 'static {
    /// A new connection to a broker, before anybody else can use it.
    fn greet(&self, connection: &Arc<Connection>);
    /// A request from the peer.
    fn request(&self, connection: &Arc<Connection>, request: Command);
    /// The connection is gone.
    fn closed(&self, connection: &Arc<Connection>);
}

/// All connections of one client.
pub(crate) struct Pool {
    config: ClientConfig,
    hooks: Arc<dyn Hooks>,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    closed: AtomicBool,
}

/// One address. The async mutex makes concurrent callers share one attempt.
struct Slot {
    current: ArcSwapOption<Connection>,
    attempts: tokio::sync::Mutex<Backoff>,
    /// When the next attempt may start; copied out of `attempts` for readers that must not wait.
    not_before: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Backoff {
    pause: Duration,
}

impl Pool {
    pub(crate) fn new(config: ClientConfig, hooks: Arc<dyn Hooks>) -> Self {
        Self { config, hooks, slots: Mutex::default(), closed: AtomicBool::new(false) }
    }

    /// The connection to `address`, made if there is none. Waits out the back-off pause, so callers bound the wait.
    pub(crate) async fn get(&self, address: &str, peer: Peer) -> Result<Arc<Connection>, Error> {
        let slot = self.slot(address)?;
        if let Some(connection) = slot.open_connection() {
            return Ok(connection);
        }
        let mut backoff = slot.attempts.lock().await;
        if let Some(connection) = slot.open_connection() {
            return Ok(connection);
        }
        let wait_until = *slot.not_before.lock();
        if let Some(at) = wait_until {
            tokio::time::sleep_until(at).await;
        }
        self.connect(&slot, &mut backoff, address, peer).await
    }

    /// Whether the last attempts to reach `address` failed and the next is not due.
    pub(crate) fn is_unreachable(&self, address: &str) -> bool {
        let slot = self.slots.lock().get(address).cloned();
        slot.is_some_and(|slot| {
            slot.open_connection().is_none() && slot.not_before.lock().is_some_and(|at| at > Instant::now())
        })
    }

    /// Connections that are open now.
    pub(crate) fn open_connections(&self) -> Vec<Arc<Connection>> {
        self.slots.lock().values().filter_map(|slot| slot.open_connection()).collect()
    }

    /// Closes everything; later calls fail.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let slots = std::mem::take(&mut *self.slots.lock());
        slots.values().filter_map(|slot| slot.open_connection()).for_each(|connection| connection.close());
    }

    async fn connect(
        &self,
        slot: &Slot,
        backoff: &mut Backoff,
        address: &str,
        peer: Peer,
    ) -> Result<Arc<Connection>, Error> {
        let config = &self.config;
        let opened = Connection::open(
            address,
            config.serialization,
            config.connect_timeout,
            config.max_frame,
            Arc::clone(&self.hooks),
        )
        .await;
        match opened {
            Ok(connection) => {
                info!(peer = address, kind = ?peer, local = %connection.local(), "connected");
                *backoff = Backoff::default();
                *slot.not_before.lock() = None;
                if peer == Peer::Broker {
                    self.hooks.greet(&connection);
                }
                slot.current.store(Some(Arc::clone(&connection)));
                if self.closed.load(Ordering::Acquire) {
                    connection.close();
                    return Err(Error::Closed);
                }
                Ok(connection)
            }
            Err(error) => {
                backoff.pause = (backoff.pause * 2).clamp(config.backoff_first, config.backoff_max);
                *slot.not_before.lock() = Some(Instant::now() + backoff.pause);
                debug!(peer = address, %error, pause = ?backoff.pause, "cannot connect");
                Err(error)
            }
        }
    }

    fn slot(&self, address: &str) -> Result<Arc<Slot>, Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(address) {
            return Ok(Arc::clone(slot));
        }
        let slot = Arc::new(Slot {
            current: ArcSwapOption::empty(),
            attempts: tokio::sync::Mutex::default(),
            not_before: Mutex::default(),
        });
        slots.insert(address.to_owned(), Arc::clone(&slot));
        Ok(slot)
    }
}

impl Slot {
    fn open_connection(&self) -> Option<Arc<Connection>> {
        self.current.load_full().filter(|connection| connection.is_open())
    }
}
