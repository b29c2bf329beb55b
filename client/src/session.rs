//! What every client is made of: connections, routes, heartbeats, and an orderly end.
//!
//! A [`Session`] belongs to one producer or consumer. Its [`Role`] says what the heartbeat tells brokers and what is
//! done with the brokers' own requests.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::future::join_all;
use tenonmq_protocol::{
    Command, RequestCode, ResponseCode,
    body::{heartbeat::HeartbeatData, json, route::TopicRoute as RouteBody},
    header::{GetRoute, RequestHeader, UnregisterClient},
    message::{UniqueKeyGenerator, id::UniqueKey},
};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    config::ClientConfig,
    error::Error,
    identity::Identity,
    transport::{Connection, Hooks, Peer, Pool, Reply, Routes, TopicRoute, expect_success, name_of},
    wire::Heartbeat,
};

/// The topic whose route stands in for topics that do not exist yet.
pub(crate) const TEMPLATE_TOPIC: &str = "TBW102";
/// Queues that a topic created by its first message gets, at most.
pub(crate) const TEMPLATE_QUEUES: i32 = 4;

/// What a session is for.
pub(crate) trait Role: Send + Sync + 'static {
    /// What the broker is told about this client.
    fn heartbeat(&self, client_id: &str) -> HeartbeatData;
    /// The groups to leave at the end: (producer group, consumer group).
    fn groups(&self) -> (Option<&str>, Option<&str>);
    /// A request from a broker. Called on the connection's task: must not block.
    fn request(&self, connection: &Arc<Connection>, request: Command);
    /// A topic's queues or brokers changed.
    fn route_changed(&self) {}
}

/// The shared inside of one client.
pub(crate) struct Session {
    pub(crate) config: ClientConfig,
    pub(crate) client_id: String,
    pub(crate) routes: Routes,
    pub(crate) closing: CancellationToken,
    pool: Pool,
    /// Told when a broker did not answer in time.
    suspect: Arc<Notify>,
    role: Arc<dyn Role>,
    keys: UniqueKeyGenerator,
    name_server: AtomicUsize,
    route_lookup: tokio::sync::Mutex<()>,
}

impl Session {
    /// Checks that a name server answers, then starts the periodic work.
    pub(crate) async fn start(config: ClientConfig, role: Arc<dyn Role>) -> Result<Arc<Self>, Error> {
        config.validate()?;
        let session = Self::detached(config, role);
        session.reach_a_name_server().await?;
        tokio::spawn(refresh_routes(Arc::downgrade(&session), session.closing.clone(), session.config.route_refresh));
        tokio::spawn(beat(
            Arc::downgrade(&session),
            session.closing.clone(),
            Arc::clone(&session.suspect),
            session.config.heartbeat_interval,
        ));
        Ok(session)
    }

    /// A session that does nothing of its own accord, and may know no name server.
    pub(crate) fn detached(config: ClientConfig, role: Arc<dyn Role>) -> Arc<Self> {
        let identity = Identity::new(&config);
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            pool: Pool::new(config.clone(), Arc::new(SessionHooks(this.clone()))),
            client_id: identity.client_id,
            routes: Routes::default(),
            closing: CancellationToken::new(),
            suspect: Arc::default(),
            role,
            keys: identity.keys,
            name_server: AtomicUsize::new(0),
            route_lookup: tokio::sync::Mutex::default(),
            config,
        })
    }

    pub(crate) fn next_key(&self) -> UniqueKey {
        self.keys.next(now_ms())
    }

    /// The address of this machine, as it stands in the client id.
    pub(crate) fn host(&self) -> &str {
        self.client_id.split('@').next().unwrap_or_default()
    }

    /// A connection to a broker; waits for a reconnect pause, at most `limit`.
    pub(crate) async fn broker(&self, address: &str, limit: Duration) -> Result<Arc<Connection>, Error> {
        let unreachable =
            || Error::Connect { address: address.to_owned(), source: std::io::ErrorKind::TimedOut.into() };
        timeout(limit, self.pool.get(address, Peer::Broker)).await.unwrap_or_else(|_| Err(unreachable()))
    }

    /// Connects, sends one request and waits, all within `limit`.
    pub(crate) async fn call<'h, H, T>(
        &self,
        address: &str,
        header: &H,
        body: &[u8],
        limit: Duration,
        decode: impl FnOnce(Reply<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error>
    where
        H: RequestHeader<'h>,
        T: Send + 'static,
    {
        let deadline = Instant::now() + limit;
        let connection = self.broker(address, limit).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let answered = connection.call(header, body, left, decode).await;
        match answered {
            // the peer is shutting down: the next attempt connects anew
            Err(Error::Refused { code: ResponseCode::GO_AWAY, .. }) => connection.close(),
            // slow, or gone without a word: a heartbeat tells, and closes the connection if it is not answered either
            Err(Error::Timeout { .. }) => self.suspect.notify_one(),
            _ => {}
        }
        answered
    }

    /// As [`call`](Self::call), for requests whose answer is only yes or no.
    pub(crate) async fn order<'h, H: RequestHeader<'h>>(
        &self,
        address: &str,
        header: &H,
        body: &[u8],
    ) -> Result<(), Error> {
        let limit = self.config.request_timeout;
        self.call(address, header, body, limit, |reply| expect_success(H::CODE, &reply)).await
    }

    pub(crate) fn is_unreachable(&self, address: &str) -> bool {
        self.pool.is_unreachable(address)
    }

    /// The route of a topic that exists; asked for when it is not known.
    pub(crate) async fn route(&self, topic: &str) -> Result<Arc<TopicRoute>, Error> {
        match self.routes.get(topic) {
            Some(route) => Ok(route),
            None => self.look_up(topic, false).await,
        }
    }

    /// The route to publish to; for a topic that does not exist, the one that its first message will create.
    pub(crate) async fn publish_route(&self, topic: &str) -> Result<Arc<TopicRoute>, Error> {
        match self.routes.get(topic) {
            Some(route) => Ok(route),
            None => self.look_up(topic, true).await,
        }
    }

    /// The address that takes writes for a broker name.
    pub(crate) fn master(&self, broker: &str) -> Result<String, Error> {
        self.routes.master(broker).ok_or_else(|| Error::NoBroker { broker: broker.to_owned() })
    }

    /// Asks for one topic's route now.
    pub(crate) async fn refresh_route(&self, topic: &str) -> Result<Arc<TopicRoute>, Error> {
        let data = self.ask_route(topic).await?;
        Ok(self.keep_route(topic, TopicRoute::from_data(topic, data)))
    }

    async fn look_up(&self, topic: &str, may_create: bool) -> Result<Arc<TopicRoute>, Error> {
        let _one_at_a_time = self.route_lookup.lock().await;
        if let Some(route) = self.routes.get(topic) {
            return Ok(route);
        }
        match self.refresh_route(topic).await {
            Err(Error::NoRoute { .. }) if may_create => {
                let template = self.ask_route(TEMPLATE_TOPIC).await.map_err(|error| match error {
                    Error::NoRoute { .. } => Error::NoRoute { topic: topic.to_owned() },
                    other => other,
                })?;
                Ok(self.keep_route(topic, TopicRoute::from_template(topic, template, TEMPLATE_QUEUES)))
            }
            other => other,
        }
    }

    fn keep_route(&self, topic: &str, route: TopicRoute) -> Arc<TopicRoute> {
        let (route, changed) = self.routes.put(topic, route);
        if changed {
            debug!(topic, publish = route.publish.len(), subscribe = route.subscribe.len(), "route");
            self.role.route_changed();
        }
        route
    }

    async fn ask_route(&self, topic: &str) -> Result<RouteBody, Error> {
        let header = GetRoute { topic, standard_json_only: true };
        let reply = self
            .ask_name_server(&header, |reply| {
                expect_success(RequestCode::GET_ROUTEINFO_BY_TOPIC, &reply)?;
                Ok(reply.body)
            })
            .await;
        match reply {
            Ok(body) => from_json("GET_ROUTEINFO_BY_TOPIC", &body),
            Err(Error::Refused { code: ResponseCode::TOPIC_NOT_EXIST, .. }) => {
                Err(Error::NoRoute { topic: topic.to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    /// Asks the name server that answered last, then the others.
    pub(crate) async fn ask_name_server<'h, H, T>(
        &self,
        header: &H,
        decode: impl FnOnce(Reply<'_>) -> Result<T, Error> + Clone + Send + 'static,
    ) -> Result<T, Error>
    where
        H: RequestHeader<'h>,
        T: Send + 'static,
    {
        let servers = &self.config.name_servers;
        let first = self.name_server.load(Ordering::Relaxed);
        let mut last = Error::Closed;
        for step in 0..servers.len() {
            let index = (first + step) % servers.len();
            let Some(address) = servers.get(index) else { break };
            let limit = self.config.request_timeout;
            let connection = match timeout(limit, self.pool.get(address, Peer::NameServer)).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    last = error;
                    continue;
                }
                Err(_) => {
                    last = Error::Timeout { operation: name_of(H::CODE), after: limit };
                    continue;
                }
            };
            match connection.call(header, &[], limit, decode.clone()).await {
                Err(error @ (Error::Timeout { .. } | Error::Disconnected { .. })) => last = error,
                answered => {
                    self.name_server.store(index, Ordering::Relaxed);
                    return answered;
                }
            }
        }
        Err(last)
    }

    /// One heartbeat to every known broker; the answers are waited for.
    pub(crate) async fn heartbeat(&self) {
        let (_, consumer) = self.role.groups();
        let addresses = self.routes.broker_addresses(consumer.is_some());
        let body = self.heartbeat_body();
        let limit = self.config.request_timeout;
        join_all(addresses.iter().map(|address| self.heartbeat_to(address, &body, limit))).await;
    }

    async fn heartbeat_to(&self, address: &str, body: &[u8], limit: Duration) {
        let Ok(connection) = self.broker(address, limit).await else { return };
        let answered = connection.call(&Heartbeat, body, limit, |r| expect_success(Heartbeat::CODE, &r)).await;
        if let Err(error) = answered {
            warn!(peer = address, %error, "heartbeat");
            if matches!(error, Error::Timeout { .. }) {
                connection.close();
            }
        }
    }

    fn heartbeat_body(&self) -> Vec<u8> {
        json::to_vec(&self.role.heartbeat(&self.client_id))
    }

    /// Fails only when no name server is reachable at all: what it answers does not matter.
    async fn reach_a_name_server(&self) -> Result<(), Error> {
        let header = GetRoute { topic: TEMPLATE_TOPIC, standard_json_only: true };
        self.ask_name_server(&header, |_| Ok(())).await
    }

    /// Leaves the groups and closes the connections. What must be saved has been saved by the owner.
    pub(crate) async fn stop(&self) {
        if self.closing.is_cancelled() {
            return;
        }
        self.closing.cancel();
        let (producer_group, consumer_group) = self.role.groups();
        let header = UnregisterClient { client_id: &self.client_id, producer_group, consumer_group };
        let connections = self.pool.open_connections();
        let name_servers = &self.config.name_servers;
        let brokers = connections.iter().filter(|c| !name_servers.iter().any(|ns| ns == c.address()));
        let limit = self.config.request_timeout;
        let leaving = brokers.map(|c| c.call(&header, &[], limit, |r| expect_success(UnregisterClient::CODE, &r)));
        for error in join_all(leaving).await.into_iter().filter_map(Result::err) {
            debug!(%error, "unregister");
        }
        self.pool.close();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.closing.cancel();
        self.pool.close();
    }
}

/// The pool's view of its session; weak, because the session owns the pool.
struct SessionHooks(Weak<Session>);

impl Hooks for SessionHooks {
    fn greet(&self, connection: &Arc<Connection>) {
        let Some(session) = self.0.upgrade() else { return };
        let body = session.heartbeat_body();
        let posted = connection.post(&Heartbeat, &body, |reply| {
            if let Some(Err(error)) = reply.map(|reply| expect_success(Heartbeat::CODE, &reply)) {
                warn!(%error, "first heartbeat");
            }
        });
        drop(posted); // a connection that is lost already is found out by its user
    }

    fn request(&self, connection: &Arc<Connection>, request: Command) {
        if let Some(session) = self.0.upgrade() {
            session.role.request(connection, request);
        }
    }

    fn closed(&self, connection: &Arc<Connection>) {
        debug!(peer = connection.address(), "connection closed");
    }
}

async fn refresh_routes(session: Weak<Session>, closing: CancellationToken, period: Duration) {
    let mut ticks = ticker(period);
    loop {
        tokio::select! { _ = ticks.tick() => {} () = closing.cancelled() => return }
        let Some(session) = session.upgrade() else { return };
        for topic in session.routes.topics() {
            match session.refresh_route(&topic).await {
                Ok(_) | Err(Error::NoRoute { .. } | Error::Closed) => {}
                Err(error) => warn!(%topic, %error, "route refresh"),
            }
        }
    }
}

async fn beat(session: Weak<Session>, closing: CancellationToken, suspect: Arc<Notify>, period: Duration) {
    let mut ticks = ticker(period);
    loop {
        tokio::select! { _ = ticks.tick() => {} () = suspect.notified() => {} () = closing.cancelled() => return }
        let Some(session) = session.upgrade() else { return };
        session.heartbeat().await;
    }
}

/// Ticks every `period`, first after one period, and does not catch up on missed ticks.
pub(crate) fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64)
}

/// Reads a JSON body.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(operation: &'static str, body: &Bytes) -> Result<T, Error> {
    json::from_slice(body).map_err(|error| Error::Protocol { operation, reason: error.to_string() })
}
