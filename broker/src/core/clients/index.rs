//! Which groups a connection belongs to, so that its end touches only these; and producers by client id.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{ConsumerGroup, ProducerGroup};
use crate::remoting::Connection;

/// The groups of one connection.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    pub(super) consumers: SmallVec<[Arc<ConsumerGroup>; 2]>,
    pub(super) producers: SmallVec<[Arc<ProducerGroup>; 2]>,
    /// Under which name it produces.
    producer_id: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Inner {
    connections: FxHashMap<u64, Memberships>,
    /// Connections of each producing client, oldest first.
    producer_clients: FxHashMap<Arc<str>, SmallVec<[Arc<Connection>; 1]>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index(Mutex<Inner>);

impl Index {
    /// Number of consumer and of producer groups that a connection belongs to.
    pub(super) fn memberships(&self, connection_id: u64) -> (usize, usize) {
        let inner = self.0.lock();
        inner.connections.get(&connection_id).map_or((0, 0), |of| (of.consumers.len(), of.producers.len()))
    }

    pub(super) fn consumes(&self, connection: &Connection, group: &Arc<ConsumerGroup>) {
        self.0.lock().connections.entry(connection.id()).or_default().consumers.push(Arc::clone(group));
    }

    pub(super) fn produces(&self, connection: &Arc<Connection>, client_id: &str, group: &Arc<ProducerGroup>) {
        let mut inner = self.0.lock();
        let inner = &mut *inner;
        let memberships = inner.connections.entry(connection.id()).or_default();
        memberships.producers.push(Arc::clone(group));
        if memberships.producer_id.is_none() {
            let client_id: Arc<str> = client_id.into();
            memberships.producer_id = Some(Arc::clone(&client_id));
            inner.producer_clients.entry(client_id).or_default().push(Arc::clone(connection));
        }
    }

    pub(super) fn consumes_no_more(&self, connection_id: u64, group: &Arc<ConsumerGroup>) {
        self.0.lock().change(connection_id, |of| of.consumers.retain(|found| !Arc::ptr_eq(found, group)));
    }

    pub(super) fn produces_no_more(&self, connection_id: u64, group: &Arc<ProducerGroup>) {
        self.0.lock().change(connection_id, |of| of.producers.retain(|found| !Arc::ptr_eq(found, group)));
    }

    /// Forgets a connection; the groups that it belonged to.
    pub(super) fn remove(&self, connection_id: u64) -> Option<Memberships> {
        let mut inner = self.0.lock();
        let mut memberships = inner.connections.remove(&connection_id)?;
        inner.forget_producer(connection_id, memberships.producer_id.take());
        Some(memberships)
    }

    pub(super) fn producer_client(&self, client_id: &str) -> Option<Arc<Connection>> {
        let inner = self.0.lock();
        inner.producer_clients.get(client_id)?.iter().rfind(|connection| connection.is_open()).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().connections.len()
    }
}

impl Inner {
    /// Changes what is known of a connection, and forgets what became empty by it.
    fn change(&mut self, connection_id: u64, edit: impl FnOnce(&mut Memberships)) {
        let Some(memberships) = self.connections.get_mut(&connection_id) else { return };
        edit(memberships);
        let producer_id = if memberships.producers.is_empty() { memberships.producer_id.take() } else { None };
        let is_empty = memberships.producers.is_empty() && memberships.consumers.is_empty();
        if is_empty {
            self.connections.remove(&connection_id);
        }
        self.forget_producer(connection_id, producer_id);
    }

    fn forget_producer(&mut self, connection_id: u64, client_id: Option<Arc<str>>) {
        let Some(client_id) = client_id else { return };
        let Some(connections) = self.producer_clients.get_mut(&client_id) else { return };
        connections.retain(|connection| connection.id() != connection_id);
        if connections.is_empty() {
            self.producer_clients.remove(&client_id);
        }
    }
}
