//! The broker role: the store and its tables, two ports, and the registration at name servers.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tenonmq_protocol::body::{TopicConfig, TopicConfigTable};
use tenonmq_storage::{FileError, Store, fs::FileSystem};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{error, warn};

use super::StartError;
use super::part::{Part, limits};
use crate::config::{Config, LiveConfig};
use crate::core::Core;
use crate::core::announce::Announce;
use crate::core::clock::Clock;
use crate::core::identity::{Identity, Who};
use crate::core::routes::{Found, LookUp};
use crate::core::stats;
use crate::dead_letter;
use crate::delay;
use crate::filter;
use crate::group;
use crate::namesrv::{NameServer, Origin, Registrant};
use crate::offset;
use crate::pop;
use crate::remoting::{BrokerDispatch, Server};
use crate::route::address::{Advertised, Candidates};
use crate::route::{Registrar, TopicSource};
use crate::timer;
use crate::transaction;

/// How long the start waits for name servers elsewhere; one that is slower is told later.
const REGISTER_AT_START: Duration = Duration::from_secs(3);
/// How long the stop waits for them; one that is slower notices the closed connection.
const UNREGISTER_AT_STOP: Duration = Duration::from_secs(1);

/// A running broker.
pub(super) struct BrokerRole {
    core: Arc<Core>,
    advertised: Advertised,
    registrar: Arc<Registrar>,
    registering: Part,
    serving: Part,
    keeping: Part,
}

impl BrokerRole {
    /// Opens the data directory, serves, and registers.
    pub(super) async fn start(
        main: TcpListener,
        fast: TcpListener,
        fs: Arc<dyn FileSystem>,
        config: &Arc<LiveConfig>,
        clock: &Clock,
        embedded: Option<Arc<NameServer>>,
    ) -> Result<Self, StartError> {
        let settings = config.load();
        let port = main.local_addr().map_or(settings.identity.port, |address| address.port());
        let advertised = advertise(&settings, port);
        let identity = Identity::new(who(&settings, &advertised));
        let core = open(fs, config, clock, identity).await?;

        let mut serving = Part::new();
        let on_main = Server::new(Arc::new(BrokerDispatch::new(core.clone())), limits(&settings));
        let on_fast = Server::new(Arc::new(BrokerDispatch::fast_port(core.clone())), limits(&settings));
        core.loads.lock().extend([("main", on_main.load()), ("fast", on_fast.load())]);
        serving.spawn(|stop| async move { on_main.run(vec![main], stop).await });
        serving.spawn(|stop| async move { on_fast.run(vec![fast], stop).await });

        let mut keeping = Part::new();
        keeping.spawn(|stop| group::keep_alive(core.clone(), stop));
        keeping.spawn(|stop| group::keep_saved(core.clone(), stop));
        keeping.spawn(|stop| offset::keep_saved(core.clone(), stop));
        keeping.spawn(|stop| filter::keep_saved(core.clone(), stop));
        keeping.spawn(|stop| transaction::keep_checking(core.clone(), stop));
        keeping.spawn(|stop| delay::keep_delivering(core.clone(), stop));
        keeping.spawn(|stop| dead_letter::keep_redriving(core.clone(), stop));
        keeping.spawn(|stop| pop::keep_returning(core.clone(), stop));
        keeping.spawn(|stop| pop::keep_taking_over(core.clone(), stop));
        keeping.spawn(|stop| timer::keep_firing(core.clone(), stop));
        keeping.spawn(|stop| stats::keep_sampling(core.clone(), stop));

        let registrar = registrar(&core, &advertised, &settings, embedded);
        core.announcer.set(ToNameServers(Arc::downgrade(&registrar)));
        core.routes.set(ToNameServers(Arc::downgrade(&registrar)));
        if timeout(REGISTER_AT_START, registrar.register_all()).await.is_err() {
            warn!("not registered at every name server yet; trying again");
        }
        let mut registering = Part::new();
        let repeating = registrar.clone();
        registering.spawn(|stop| async move { repeating.run(stop).await });
        Ok(Self { core, advertised, registrar, registering, serving, keeping })
    }

    pub(super) fn advertised(&self) -> &Advertised {
        &self.advertised
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// No new clients, then no requests, then the data is made safe.
    pub(super) async fn stop(self) {
        self.registering.stop().await;
        self.registrar.unregister(UNREGISTER_AT_STOP).await;
        self.serving.stop().await;
        self.keeping.stop().await; // saves what the last requests changed
        let core = self.core;
        match spawn_blocking(move || close(&core)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "the store was not closed in order; the next start recovers"),
            Err(error) => error!(%error, "closing the store ended badly"),
        }
    }
}

/// Saves what transactions and delays have come to, and closes the store, when no request is served any more. Blocking.
///
/// # Errors
/// The store was not closed in order; the next start recovers.
pub fn close(core: &Core) -> Result<(), FileError> {
    transaction::save_finally(core);
    core.offset_history.write_gathered(core.clock.now_ms());
    core.topics.save();
    if let Err(error) = core.offsets.save(core.clock.now_ms()) {
        error!(%error, "consumer offsets not saved");
    }
    if let Err(error) = core.delays.save(&core.store, core.clock.now_ms()) {
        error!(%error, "delay offsets not saved; delayed messages may be delivered again");
    }
    if let Err(error) = core.pops.save_orders(core) {
        error!(%error, "ordered pops not saved");
    }
    if let Err(error) = core.timers.close(core) {
        error!(%error, "timers not saved; timer messages may be delivered again by another broker");
    }
    core.store.shutdown()
}

async fn open(
    fs: Arc<dyn FileSystem>,
    config: &Arc<LiveConfig>,
    clock: &Clock,
    identity: Identity,
) -> Result<Arc<Core>, StartError> {
    let (config, clock) = (config.clone(), clock.clone());
    let path = config.load().data_directory.clone();
    let opened = spawn_blocking(move || {
        let store = config.load().store.clone();
        Core::open_on(fs, Store::open, config, store, clock, identity)
    });
    match opened.await {
        Ok(Ok(core)) => Ok(Arc::new(core)),
        Ok(Err(source)) => Err(StartError::Data { path, source }),
        Err(error) => Err(StartError::Interrupted(error.to_string())),
    }
}

fn advertise(settings: &Config, port: u16) -> Advertised {
    let identity = &settings.identity;
    let candidates = Candidates::of_this_machine();
    Advertised::new(identity.advertised.as_deref(), identity.bind, port, &candidates)
}

/// What slaves are told: `brokerIP2`, or else the host that clients are told.
fn advertise_for_slaves(settings: &Config, advertised: &Advertised) -> Advertised {
    let identity = &settings.identity;
    let host = advertised.text.rsplit_once(':').map_or(advertised.text.as_str(), |(host, _)| host);
    let host = identity.advertised_for_slaves.as_deref().unwrap_or(host);
    Advertised::new(Some(host), identity.bind, identity.ha_port, &Candidates::default())
}

fn who(settings: &Config, advertised: &Advertised) -> Who {
    Who {
        cluster: settings.identity.cluster.clone(),
        broker: settings.identity.name.clone(),
        broker_id: settings.identity.id,
        address: advertised.socket,
        ha_address: advertise_for_slaves(settings, advertised).socket,
    }
}

fn registrar(
    core: &Arc<Core>,
    advertised: &Advertised,
    settings: &Config,
    embedded: Option<Arc<NameServer>>,
) -> Arc<Registrar> {
    let slaves = advertise_for_slaves(settings, advertised);
    let (advertised, identity, config) = (advertised.clone(), core.identity.clone(), core.config.clone());
    // The text that was configured, as long as the identity still has the address that it stands for.
    let text = |told: &Advertised, now: SocketAddr| {
        if told.socket == now { told.text.clone() } else { now.to_string() }
    };
    let registrant = move || {
        let who = identity.get();
        let settings = config.load();
        Registrant {
            cluster: who.cluster.clone(),
            name: who.broker.clone(),
            id: who.broker_id,
            address: text(&advertised, who.address),
            ha_address: text(&slaves, who.ha_address),
            zone: None,
            acting_master: Some(settings.registration.acting_master),
            timeout_ms: None,
            origin: Origin::InProcess,
        }
    };
    let topics = Arc::new(CoreTopics(core.clone()));
    let (config, clock) = (core.config.clone(), core.clock.clone());
    Arc::new(Registrar::new(Box::new(registrant), topics, config, clock, embedded))
}

/// The topic table as registrations read it.
struct CoreTopics(Arc<Core>);

impl TopicSource for CoreTopics {
    fn all(&self) -> TopicConfigTable {
        self.0.topics.snapshot()
    }

    fn only(&self, topic: &str) -> TopicConfigTable {
        let found = self.0.topics.get(topic);
        TopicConfigTable {
            data_version: self.0.topics.version(),
            topic_config_table: found.map(|found| (topic.to_owned(), found.config.clone())).into_iter().collect(),
        }
    }
}

/// Announces changed topics, and asks where others are, through the registrar. Weak, because the registrar holds the core, and the core this.
struct ToNameServers(Weak<Registrar>);

impl Announce for ToNameServers {
    fn topic_changed(&self, topic: &TopicConfig) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match self.0.upgrade() {
            Some(registrar) => Box::pin(registrar.topic_changed(&topic.topic_name)),
            None => Box::pin(std::future::ready(())),
        }
    }
}

impl LookUp for ToNameServers {
    fn route(&self, topic: &str) -> Pin<Box<dyn Future<Output = Found> + Send>> {
        match self.0.upgrade() {
            Some(registrar) => Box::pin(registrar.route(topic.to_owned())),
            None => Box::pin(std::future::ready(Found::NoAnswer)),
        }
    }
}
