use std::future::Future;

use tenonmq_protocol::body::{DataVersion, TopicConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::core::clock::ManualClock;
use crate::namesrv::{Handler, Origin, Rules};
use crate::remoting::{Limits, Server};

/// Topics that a test changes.
#[derive(Default)]
struct Topics(parking_lot::Mutex<TopicConfigTable>);

impl Topics {
    fn with(names: &[&str]) -> Arc<Self> {
        let topics = Arc::new(Self::default());
        names.iter().for_each(|name| topics.put(name));
        topics
    }

    fn put(&self, name: &str) {
        let mut table = self.0.lock();
        let DataVersion { counter, .. } = table.data_version;
        table.data_version.counter = counter + 1;
        let config = TopicConfig { topic_name: name.to_owned(), ..TopicConfig::default() };
        table.topic_config_table.insert(name.to_owned(), config);
    }
}

impl TopicSource for Topics {
    fn all(&self) -> TopicConfigTable {
        self.0.lock().clone()
    }
}

fn config(settings: &[(&str, &str)]) -> (tempfile::TempDir, Arc<LiveConfig>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let settings = [("storePathRootDir", path.as_str())].into_iter().chain(settings.iter().copied());
    let config = LiveConfig::embedded(settings).unwrap();
    (folder, config)
}

/// A name server on a port of this machine.
struct NameServerElsewhere {
    server: Arc<NameServer>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl NameServerElsewhere {
    fn on(listener: TcpListener, clock: &Clock) -> Self {
        let (folder, config) = config(&[]);
        let server = Arc::new(NameServer::open(config, 0).unwrap());
        let handler = Arc::new(Handler::new(server.clone(), clock.clone()));
        let (stop, stopped) = watch::channel(false);
        let front = Server::new(handler, Limits::default());
        let task = tokio::spawn(async move { front.run(vec![listener], stopped).await });
        Self { server, stop, task, _folder: folder }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn who() -> Registrant {
    Registrant {
        cluster: "c".into(),
        name: "b".into(),
        id: 0,
        address: "h:10911".into(),
        ha_address: "h:10912".into(),
        zone: None,
        acting_master: None,
        timeout_ms: None,
        origin: Origin::InProcess,
    }
}

fn registrar(
    topics: &Arc<Topics>,
    settings: &[(&str, &str)],
    clock: &Clock,
    embedded: Option<Arc<NameServer>>,
) -> (tempfile::TempDir, Arc<Registrar>) {
    let (folder, config) = config(settings);
    (folder, Arc::new(Registrar::new(Box::new(who), topics.clone(), config, clock.clone(), embedded)))
}

fn has_route(server: &NameServer, topic: &str) -> bool {
    server.read(|table| table.route(topic, Rules::default()).is_some())
}

fn permission(server: &NameServer, topic: &str) -> i32 {
    server.read(|table| table.route(topic, Rules::default()).unwrap().queues[0].perm)
}

/// Lets tasks and the clock run until it holds.
async fn eventually(manual: &ManualClock, what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            manual.advance(Duration::from_millis(10));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn start(registrar: &Arc<Registrar>) -> (watch::Sender<bool>, JoinHandle<()>) {
    let (stop, stopped) = watch::channel(false);
    let registrar = registrar.clone();
    (stop, tokio::spawn(async move { registrar.run(stopped).await }))
}

fn is_send<F: Future + Send>(future: F) -> F {
    future
}

#[tokio::test]
async fn a_changed_topic_is_routed_everywhere_before_the_change_is_answered() {
    let clock = Clock::manual(ManualClock::at(0));
    let (listener, address) = listener().await;
    let elsewhere = NameServerElsewhere::on(listener, &clock);
    let (_f, own) = config(&[]);
    let embedded = Arc::new(NameServer::open(own, 0).unwrap());
    let topics = Topics::with(&["t", "u"]);
    let (_g, registrar) = registrar(&topics, &[("namesrvAddr", &address)], &clock, Some(embedded.clone()));
    let told = is_send(registrar.register_all()).await;
    assert!(told.iter().all(|(_, outcome)| outcome.is_ok()) && told.len() == 2, "{told:?}");

    topics.put("new");
    let elsewhere_told = registrar.topic_changed("new");
    assert!(has_route(&embedded, "new"), "the embedded one knows at once");
    elsewhere_told.await;
    assert!(has_route(&elsewhere.server, "new") && has_route(&elsewhere.server, "t"));
}

#[tokio::test]
async fn a_name_server_that_restarted_is_told_everything_again() {
    let manual = ManualClock::at(0);
    let clock = Clock::manual(manual.clone());
    let (listener, address) = listener().await;
    let first = NameServerElsewhere::on(listener, &clock);
    let topics = Topics::with(&["t", "u"]);
    let (_folder, registrar) = registrar(&topics, &[("namesrvAddr", &address)], &clock, None);
    let (stop, task) = start(&registrar);
    eventually(&manual, "registered", || has_route(&first.server, "t")).await;
    first.stop().await;

    let again = TcpListener::bind(&address).await.unwrap();
    let second = NameServerElsewhere::on(again, &clock);
    eventually(&manual, "registered again", || has_route(&second.server, "u")).await;
    stop.send_replace(true);
    task.await.unwrap();
}

#[tokio::test]
async fn a_broker_that_unregisters_is_no_longer_in_routes() {
    let clock = Clock::manual(ManualClock::at(0));
    let (listener, address) = listener().await;
    let elsewhere = NameServerElsewhere::on(listener, &clock);
    let topics = Topics::with(&["t", "u"]);
    let (_folder, registrar) = registrar(&topics, &[("namesrvAddr", &address)], &clock, None);
    registrar.register_all().await;
    assert!(has_route(&elsewhere.server, "t"));
    registrar.unregister(Duration::from_secs(10)).await;
    assert!(!has_route(&elsewhere.server, "t"));
}

#[tokio::test]
async fn a_topic_allows_no_more_than_its_broker() {
    let clock = Clock::manual(ManualClock::at(0));
    let (listener, address) = listener().await;
    let elsewhere = NameServerElsewhere::on(listener, &clock);
    let (_f, own) = config(&[]);
    let embedded = Arc::new(NameServer::open(own, 0).unwrap());
    let topics = Topics::with(&["t", "u"]);
    let settings = [("namesrvAddr", address.as_str()), ("brokerPermission", "4")];
    let (_folder, registrar) = registrar(&topics, &settings, &clock, Some(embedded.clone()));
    registrar.register_all().await;
    assert_eq!(permission(&embedded, "t"), PERM_READ);
    assert_eq!(permission(&elsewhere.server, "t"), PERM_READ);
}

#[tokio::test]
async fn a_name_server_that_is_down_holds_nothing_back() {
    let clock = Clock::manual(ManualClock::at(0));
    let (unused, address) = listener().await;
    drop(unused);
    let topics = Topics::with(&["t", "u"]);
    let (_folder, registrar) = registrar(&topics, &[("namesrvAddr", &address)], &clock, None);
    let told = registrar.register_all().await;
    assert!(told[0].1.as_ref().unwrap_err().starts_with(&address), "{told:?}");
    let change = registrar.topic_changed("t");
    assert!(futures_util::FutureExt::now_or_never(change).is_some(), "one that is down is not even asked");
}

#[tokio::test]
async fn a_changed_permission_of_the_broker_is_told_although_no_topic_changed() {
    let manual = ManualClock::at(0);
    let clock = Clock::manual(manual.clone());
    let (_f, own) = config(&[]);
    let embedded = Arc::new(NameServer::open(own, 0).unwrap());
    let topics = Topics::with(&["t", "u"]);
    let (_folder, registrar) = registrar(&topics, &[], &clock, Some(embedded.clone()));
    registrar.register_all().await;
    let (stop, task) = start(&registrar);
    tokio::task::yield_now().await;
    registrar.config.apply("brokerPermission=4").unwrap();
    eventually(&manual, "read only", || permission(&embedded, "t") == PERM_READ).await;
    stop.send_replace(true);
    task.await.unwrap();
}

#[tokio::test]
async fn a_broker_that_asked_to_be_forgotten_soon_beats_in_between() {
    let manual = ManualClock::at(0);
    let clock = Clock::manual(manual.clone());
    let (listener, address) = listener().await;
    let elsewhere = NameServerElsewhere::on(listener, &clock);
    let topics = Topics::with(&["t", "u"]);
    let settings = [("namesrvAddr", address.as_str()), ("enableSlaveActingMaster", "true")];
    let (_folder, registrar) = registrar(&topics, &settings, &clock, None);
    registrar.register_all().await;
    let registered_ms = clock.now_ms();
    let (stop, task) = start(&registrar);
    let was_seen_later = || {
        let after = registered_ms + 10_001; // without a heartbeat it would be gone by then
        elsewhere.server.read(|table| table.is_alive("c", "h:10911", after))
    };
    assert!(!was_seen_later());
    eventually(&manual, "a heartbeat", was_seen_later).await;
    assert!(clock.now_ms() - registered_ms < 10_000, "told by a heartbeat and not by the next registration");
    stop.send_replace(true);
    task.await.unwrap();
}
