//! Tells name servers what this broker serves.
//!
//! The embedded name server is called; those elsewhere are told over a kept connection each. Everything is told at
//! start, on a period, and at once after a connection was lost; one topic is told as soon as it changed, before the
//! change is answered to whoever asked for it, so that a client that creates a topic finds its route.
//!
//! ```text
//! register_all ─┐                       ┌─► embedded: in place
//! topic_changed ┼─► table of topics ────┤
//! period, loss ─┘   (version of all)    └─► elsewhere: one at a time for each name server, oldest first
//! ```
//!
//! Invariant: a name server is never told an older table after a newer one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tenonmq_protocol::body::{
    PERM_READ, PERM_WRITE, RegisterBrokerBody, TopicConfigAndMappingTable, TopicConfigTable, json,
};
use tenonmq_protocol::header::{BrokerHeartbeat, RegisterBroker, UnregisterBroker};
use tenonmq_protocol::{Command, ResponseCode};
use tokio::sync::{Mutex, watch};
use tracing::{info, warn};

use super::link::Link;
use crate::config::LiveConfig;
use crate::core::clock::Clock;
use crate::namesrv::{NameServer, Registered, Registrant};

/// Time to the second registration; later ones come on the configured period.
const FIRST_REPEAT: Duration = Duration::from_secs(10);
/// Time to the next attempt after a failed one, doubled up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// How long a changed topic may hold back the answer to whoever changed it.
const CHANGE_DEADLINE: Duration = Duration::from_secs(3);

/// The topics of the broker, as far as registrations need them.
pub trait TopicSource: Send + Sync + 'static {
    /// The whole table.
    fn all(&self) -> TopicConfigTable;

    /// That topic alone, or nothing if it does not exist, with the version of the whole table.
    fn only(&self, topic: &str) -> TopicConfigTable {
        let mut table = self.all();
        table.topic_config_table.retain(|name, _| name == topic);
        table
    }
}

/// Who this broker is to name servers; asked for each registration, because it may change.
pub type Who = Box<dyn Fn() -> Registrant + Send + Sync>;

/// Keeps every name server informed.
pub struct Registrar {
    who: Who,
    topics: Arc<dyn TopicSource>,
    config: Arc<LiveConfig>,
    clock: Clock,
    embedded: Option<Arc<NameServer>>,
    elsewhere: Vec<Remote>,
    /// Added to the version of the table: what is told can change although the table does not.
    told_otherwise: AtomicI64,
}

/// A name server elsewhere.
struct Remote {
    link: Link,
    /// Held from reading the table to the answer, so that tables arrive in their order.
    order: Mutex<()>,
    /// Whether the last registration was taken. One that is down is told everything when it is back.
    is_up: AtomicBool,
}

impl Registrar {
    /// A registrar for the embedded name server, if there is one, and those that `namesrvAddr` names. Must be called
    /// inside a runtime; nothing is sent yet.
    #[must_use]
    pub fn new(
        who: Who,
        topics: Arc<dyn TopicSource>,
        config: Arc<LiveConfig>,
        clock: Clock,
        embedded: Option<Arc<NameServer>>,
    ) -> Self {
        let remote = |address: &String| Remote {
            link: Link::new(address),
            order: Mutex::new(()),
            is_up: AtomicBool::new(false),
        };
        let elsewhere = config.load().registration.name_servers.iter().map(remote).collect();
        Self { who, topics, config, clock, embedded, elsewhere, told_otherwise: AtomicI64::new(0) }
    }

    /// Tells everything to every name server; what each said, by address, the embedded one first and without one.
    pub async fn register_all(&self) -> Vec<(Option<String>, Result<Registered, String>)> {
        let embedded = self.register_embedded(self.topics.all());
        let elsewhere = self.elsewhere.iter().map(|remote| async move {
            let deadline = self.config.load().registration.timeout;
            (Some(remote.link.address().to_owned()), self.tell(remote, deadline, || self.topics.all()).await)
        });
        let elsewhere = join_all(elsewhere).await;
        embedded.map(|outcome| (None, outcome)).into_iter().chain(elsewhere).collect()
    }

    /// Tells one topic that was created or changed. The embedded name server knows when this returns, the others when
    /// the future resolves, which takes three seconds at most.
    pub fn topic_changed(self: &Arc<Self>, topic: &str) -> impl Future<Output = ()> + Send + 'static {
        self.register_embedded(self.topics.only(topic));
        let (this, topic) = (self.clone(), topic.to_owned());
        async move {
            let up = this.elsewhere.iter().filter(|remote| remote.is_up.load(Ordering::Relaxed));
            join_all(up.map(|remote| this.tell(remote, CHANGE_DEADLINE, || this.topics.only(&topic)))).await;
        }
    }

    /// The name server in this process.
    pub(super) fn embedded(&self) -> Option<&NameServer> {
        self.embedded.as_deref()
    }

    /// Name servers elsewhere.
    pub(super) fn links(&self) -> impl Iterator<Item = &Link> {
        self.elsewhere.iter().map(|remote| &remote.link)
    }

    /// Repeats registrations until `shutdown` turns true.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        let elsewhere = join_all(self.elsewhere.iter().map(|remote| self.keep_informed(remote, shutdown.clone())));
        tokio::join!(
            elsewhere,
            self.keep_embedded_informed(shutdown.clone()),
            self.follow_configuration(shutdown.clone()),
            self.beat(shutdown)
        );
    }

    /// Ends the registration everywhere, so that clients are no longer sent here.
    pub async fn unregister(&self, deadline: Duration) {
        let who = (self.who)();
        if let Some(server) = &self.embedded {
            server.unregister(&who.cluster, &who.name, &who.address);
        }
        let header = UnregisterBroker {
            broker_name: &who.name,
            broker_address: &who.address,
            cluster_name: &who.cluster,
            broker_id: who.id,
        };
        let up = self.elsewhere.iter().filter(|remote| remote.is_up.load(Ordering::Relaxed));
        let told = up.map(|remote| remote.link.request(Command::with_header(&header), deadline));
        for error in join_all(told).await.into_iter().filter_map(Result::err) {
            warn!(%error, "not unregistered; the name server notices by itself");
        }
    }

    /// Tells everybody when the permission of the broker was changed.
    async fn follow_configuration(&self, mut shutdown: watch::Receiver<bool>) {
        let mut changes = self.config.subscribe();
        let mut told = self.config.load().identity.permission;
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            let permission = self.config.load().identity.permission;
            if permission != told {
                told = permission;
                self.told_otherwise.fetch_add(1, Ordering::Relaxed);
                self.register_all().await;
            }
        }
    }

    /// Shows that the broker is alive between registrations, when it asked to be forgotten soon after it is not.
    async fn beat(&self, mut shutdown: watch::Receiver<bool>) {
        while self.config.load().registration.acting_master {
            tokio::select! {
                () = self.clock.sleep(self.config.load().registration.heartbeat_interval) => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            let who = (self.who)();
            let header = BrokerHeartbeat {
                cluster_name: &who.cluster,
                broker_address: &who.address,
                broker_name: &who.name,
                broker_id: Some(who.id),
                ..BrokerHeartbeat::default()
            };
            for remote in self.elsewhere.iter().filter(|remote| remote.is_up.load(Ordering::Relaxed)) {
                remote.link.send_oneway(Command::with_header(&header));
            }
        }
    }

    async fn keep_embedded_informed(&self, mut shutdown: watch::Receiver<bool>) {
        while self.embedded.is_some() {
            tokio::select! {
                () = self.clock.sleep(self.config.load().registration.period) => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            self.register_embedded(self.topics.all());
        }
    }

    async fn keep_informed(&self, remote: &Remote, mut shutdown: watch::Receiver<bool>) {
        let (mut wait, mut retry) = (FIRST_REPEAT, FIRST_RETRY);
        if !remote.is_up.load(Ordering::Relaxed) {
            wait = FIRST_RETRY;
        }
        loop {
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                () = remote.link.lost() => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            let settings = self.config.load();
            let told = self.tell(remote, settings.registration.timeout, || self.topics.all());
            let told = tokio::select! {
                told = told => told,
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            wait = match told {
                Ok(_) => {
                    retry = FIRST_RETRY;
                    settings.registration.period
                }
                Err(_) => {
                    retry = (retry * 2).min(LONGEST_RETRY);
                    retry
                }
            };
        }
    }

    fn register_embedded(&self, table: TopicConfigTable) -> Option<Result<Registered, String>> {
        let server = self.embedded.as_ref()?;
        if table.topic_config_table.is_empty() {
            return Some(Ok(Registered::default()));
        }
        let outcome = server.register(&(self.who)(), self.body(table), self.clock.now_ms());
        Some(outcome.map_err(|refused| refused.to_string()))
    }

    /// What name servers are told about these topics.
    fn body(&self, table: TopicConfigTable) -> RegisterBrokerBody {
        let permission = self.config.load().identity.permission.cast_signed();
        let mut data_version = table.data_version;
        data_version.counter = data_version.counter.wrapping_add(self.told_otherwise.load(Ordering::Relaxed));
        let mut topics = table.topic_config_table;
        for config in topics.values_mut() {
            config.perm = mask(config.perm, permission);
        }
        RegisterBrokerBody {
            topic_config_serialize_wrapper: TopicConfigAndMappingTable {
                data_version,
                topic_config_table: topics,
                ..TopicConfigAndMappingTable::default()
            },
            ..RegisterBrokerBody::default()
        }
    }

    async fn tell(
        &self,
        remote: &Remote,
        deadline: Duration,
        table: impl Fn() -> TopicConfigTable,
    ) -> Result<Registered, String> {
        let in_order = async {
            let _order = remote.order.lock().await;
            let table = table();
            if table.topic_config_table.is_empty() {
                return Ok(Registered::default());
            }
            let answer = remote.link.request(self.registration(table), deadline).await.map_err(|e| e.to_string())?;
            if answer.code == ResponseCode::SUCCESS.0 {
                let text = |name| answer.field(name).map(str::to_owned);
                Ok(Registered { master_address: text("masterAddr"), ha_address: text("haServerAddr") })
            } else {
                Err(format!("{}: {}", ResponseCode(answer.code), answer.remark.unwrap_or_default()))
            }
        };
        let outcome = match tokio::time::timeout(deadline, in_order).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("{}: no answer within {deadline:?}", remote.link.address())),
        };
        let was_up = remote.is_up.swap(outcome.is_ok(), Ordering::Relaxed);
        match &outcome {
            Ok(_) if !was_up => info!(name_server = remote.link.address(), "registered"),
            Err(error) if was_up => warn!(name_server = remote.link.address(), error, "not registered; trying again"),
            _ => {}
        }
        outcome
    }

    fn registration(&self, table: TopicConfigTable) -> Command {
        let who = (self.who)();
        let body = json::to_vec(&self.body(table));
        let settings = self.config.load();
        let acting = settings.registration.acting_master;
        let header = RegisterBroker {
            broker_name: &who.name,
            broker_address: &who.address,
            cluster_name: &who.cluster,
            ha_server_address: Some(&who.ha_address),
            broker_id: who.id,
            heartbeat_timeout_millis: acting.then(|| settings.registration.not_active_timeout.as_millis() as i64),
            enable_acting_master: Some(acting),
            compressed: false,
            body_crc32: (crc32fast::hash(&body) & 0x7fff_ffff) as i32,
            zone_name: who.zone.as_deref(),
        };
        Command::with_header(&header).with_body(body)
    }
}

/// What a topic allows on a broker that may not be read or written itself.
fn mask(topic: i32, broker: i32) -> i32 {
    let both = PERM_READ | PERM_WRITE;
    if broker & both == both { topic } else { topic & broker }
}

#[cfg(test)]
mod tests;
