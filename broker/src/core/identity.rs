//! Who this broker is. Data, because a role or an address may change while it runs.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::{ArcSwap, Guard};

/// Names and addresses of this broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker: String,
    /// `brokerId`; 0 is the master.
    pub broker_id: i64,
    /// What clients are told to connect to (`brokerIP1` and the port); part of every message id.
    pub address: SocketAddr,
    /// What slaves are told to connect to (`brokerIP2` and the HA port).
    pub ha_address: SocketAddr,
}

/// The current [`Who`].
#[derive(Clone)]
pub struct Identity(Arc<ArcSwap<Who>>);

impl Identity {
    /// An identity that starts as `who`.
    pub fn new(who: Who) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(who)))
    }

    /// Who this broker is now.
    pub fn get(&self) -> Guard<Arc<Who>> {
        self.0.load()
    }

    /// Becomes `who`.
    pub fn set(&self, who: Who) {
        self.0.store(Arc::new(who));
    }
}
