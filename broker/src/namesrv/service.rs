//! The name server as a service: one lock around the table, keys and values, and an answer to each request.
//!
//! No sockets: a request comes as its code, fields and body, and the answer is a value. The broker of this
//! process calls [`NameServer::register`] directly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use tenonmq_protocol::body::{
    BrokerMemberGroup, BrokerMemberGroupBody, DataVersion, JsonError, KvTable, RegisterBrokerBody, RegisterError,
    TopicList, TopicRoute, json,
};
use tenonmq_protocol::header as h;
use tenonmq_protocol::{Fields, HeaderError, RequestCode, RequestHeader as _, ResponseCode};
use tenonmq_storage::fs::{FileSystem, RealFs};
use tracing::{debug, info, warn};

use super::kv::{Kv, ORDER_NAMESPACE};
use super::model::{Origin, Refused, Registered, Registrant, keep_zone};
use super::register;
use super::table::{RouteTable, Rules, UnitTopics};
use crate::config::{self, ConfigError, LiveConfig};

/// Since this version (4.9.4) clients want standard JSON.
const STANDARD_JSON_SINCE: i32 = 401;

/// A request as far as the name server looks at it.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// What is asked.
    pub code: RequestCode,
    /// The version of who asks.
    pub version: i32,
    /// Its header fields.
    pub fields: Fields<'a>,
    /// Its body.
    pub body: &'a [u8],
    /// The connection that it came over.
    pub origin: Origin,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Outcome.
    pub code: ResponseCode,
    /// Text for people.
    pub remark: Option<String>,
    /// Header fields.
    pub fields: Vec<(&'static str, String)>,
    /// Body, perhaps empty.
    pub body: Bytes,
}

impl Answer {
    fn ok() -> Self {
        Self { code: ResponseCode::SUCCESS, remark: None, fields: Vec::new(), body: Bytes::new() }
    }

    fn error(code: ResponseCode, remark: impl Into<String>) -> Self {
        Self { code, remark: Some(remark.into()), ..Self::ok() }
    }

    fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = bytes.into();
        self
    }

    fn field(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }
}

impl From<HeaderError> for Answer {
    fn from(error: HeaderError) -> Self {
        Self::error(ResponseCode::SYSTEM_ERROR, error.to_string())
    }
}

impl From<RegisterError> for Answer {
    fn from(error: RegisterError) -> Self {
        Self::error(ResponseCode::SYSTEM_ERROR, error.to_string())
    }
}

impl From<JsonError> for Answer {
    fn from(error: JsonError) -> Self {
        Self::error(ResponseCode::SYSTEM_ERROR, error.to_string())
    }
}

type Outcome = Result<Answer, Answer>;

/// The name-server role of this process.
#[derive(Debug)]
pub struct NameServer {
    table: RwLock<RouteTable>,
    kv: Kv,
    config: Arc<LiveConfig>,
    started_ms: i64,
    /// Set once a route was given or the wait is over, when `needWaitForService`.
    ready: AtomicBool,
}

impl NameServer {
    /// A name server that knows nobody yet.
    ///
    /// # Errors
    /// The file of keys and values exists and cannot be read.
    pub fn open(config: Arc<LiveConfig>, now_ms: i64) -> std::io::Result<Self> {
        Self::open_on(Arc::new(RealFs), config, now_ms)
    }

    /// The same, on another disk: for tests that break it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(disk: Arc<dyn FileSystem>, config: Arc<LiveConfig>, now_ms: i64) -> std::io::Result<Self> {
        let kv = Kv::open_on(disk, config.load().name_server.kv_path.clone())?;
        let table = RwLock::default();
        Ok(Self { table, kv, config, started_ms: now_ms, ready: AtomicBool::new(false) })
    }

    /// Takes a registration; also what the broker of this process calls.
    ///
    /// # Errors
    /// [`Refused`] says why it was not taken.
    pub fn register(&self, who: &Registrant, what: RegisterBrokerBody, now_ms: i64) -> Result<Registered, Refused> {
        let rules = self.rules();
        let mut table = self.table.write();
        let is_known = table.version(&who.cluster, &who.address).is_some();
        let told = table.register(who, what, rules, now_ms)?;
        if !is_known {
            info!(cluster = who.cluster, broker = who.name, id = who.id, address = who.address, "broker registered");
        }
        Ok(told)
    }

    /// Ends a registration.
    pub fn unregister(&self, cluster: &str, name: &str, address: &str) {
        info!(cluster, broker = name, address, "broker unregistered");
        self.table.write().unregister(cluster, name, address);
    }

    /// Looks at the table; held from changing meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&RouteTable) -> T) -> T {
        look(&self.table.read())
    }

    /// Where a topic is; `None` when no known broker has it.
    pub fn route_of(&self, topic: &str) -> Option<TopicRoute> {
        self.table.read().route(topic, self.rules())
    }

    /// Ends the registrations of a connection that closed.
    pub fn connection_closed(&self, id: u64) {
        self.table.write().connection_closed(id);
    }

    /// Ends the registrations of brokers that were silent for too long; returns their connections, to be closed.
    pub fn expire(&self, now_ms: i64) -> Vec<u64> {
        let gone = self.table.write().expire(now_ms);
        if !gone.is_empty() {
            warn!(connections = ?gone, "brokers expired: no registration or heartbeat in time");
        }
        gone
    }

    /// Whether answering this request writes a file, and so must not be done where sockets are served.
    pub fn writes_files(code: RequestCode) -> bool {
        matches!(code, RequestCode::PUT_KV_CONFIG | RequestCode::DELETE_KV_CONFIG | RequestCode::UPDATE_NAMESRV_CONFIG)
    }

    /// Answers one request.
    pub fn answer(&self, call: &Call<'_>, now_ms: i64) -> Answer {
        self.try_answer(call, now_ms).unwrap_or_else(|refusal| refusal)
    }

    fn rules(&self) -> Rules {
        let config = self.config.load();
        let config = &config.name_server;
        Rules {
            acting_master: config.acting_master,
            delete_missing_topics: config.delete_missing_topics,
            max_brokers: config.max_brokers,
            max_topics: config.max_topics,
        }
    }

    fn try_answer(&self, call: &Call<'_>, now_ms: i64) -> Outcome {
        match call.code {
            RequestCode::GET_ROUTEINFO_BY_TOPIC => self.route(call, now_ms),
            RequestCode::REGISTER_BROKER => self.register_broker(call, now_ms),
            RequestCode::UNREGISTER_BROKER => self.unregister_broker(call),
            RequestCode::BROKER_HEARTBEAT => self.heartbeat(call, now_ms),
            RequestCode::QUERY_DATA_VERSION => self.data_version(call, now_ms),
            RequestCode::REGISTER_TOPIC_IN_NAMESRV => self.register_topic(call),
            RequestCode::DELETE_TOPIC_IN_NAMESRV => self.delete_topic(call),
            RequestCode::WIPE_WRITE_PERM_OF_BROKER => self.wipe_write(call),
            RequestCode::ADD_WRITE_PERM_OF_BROKER => self.add_write(call),
            RequestCode::GET_BROKER_CLUSTER_INFO => {
                Ok(Answer::ok().body(json::to_vec(&self.table.read().cluster_info())))
            }
            RequestCode::GET_BROKER_MEMBER_GROUP => self.member_group(call),
            RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER
            | RequestCode::GET_TOPICS_BY_CLUSTER
            | RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS
            | RequestCode::GET_UNIT_TOPIC_LIST
            | RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST
            | RequestCode::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => self.topic_list(call),
            RequestCode::PUT_KV_CONFIG => self.put_kv(call),
            RequestCode::GET_KV_CONFIG => self.get_kv(call),
            RequestCode::DELETE_KV_CONFIG => self.delete_kv(call),
            RequestCode::GET_KVLIST_BY_NAMESPACE => self.list_kv(call),
            RequestCode::UPDATE_NAMESRV_CONFIG => self.update_config(call),
            RequestCode::GET_NAMESRV_CONFIG => {
                Ok(Answer::ok().body(LiveConfig::text_of(&self.config.get_all_of_name_server())))
            }
            RequestCode(code) => {
                let remark = format!(" request type {code} not supported");
                Err(Answer::error(ResponseCode::REQUEST_CODE_NOT_SUPPORTED, remark))
            }
        }
    }

    fn route(&self, call: &Call<'_>, now_ms: i64) -> Outcome {
        let header = h::GetRoute::decode(&call.fields)?;
        let config = self.config.load();
        let config = &config.name_server;
        if let Some(wait) = config.wait_before_routes
            && !self.ready.load(Ordering::Relaxed)
            && now_ms.saturating_sub(self.started_ms) < wait.as_millis() as i64
        {
            return Err(Answer::error(ResponseCode::SYSTEM_ERROR, "name server not ready"));
        }
        let Some(mut route) = self.table.read().route(header.topic, self.rules()) else {
            let remark = format!(
                "No topic route info in name server for the topic: {}\n\
                 See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.",
                header.topic
            );
            return Err(Answer::error(ResponseCode::TOPIC_NOT_EXIST, remark));
        };
        self.ready.store(true, Ordering::Relaxed);
        if config.order_messages {
            route.order_topic_conf = self.kv.get(ORDER_NAMESPACE, header.topic);
        }
        if call.fields.flag("__ZONE_MODE")
            && let Some(zone) = call.fields.get("__ZONE_NAME").filter(|zone| !zone.trim().is_empty())
        {
            keep_zone(&mut route, zone);
        }
        let standard = call.version >= STANDARD_JSON_SINCE || header.standard_json_only;
        Ok(Answer::ok().body(route.to_json(standard)))
    }

    fn register_broker(&self, call: &Call<'_>, now_ms: i64) -> Outcome {
        let header = h::RegisterBroker::decode(&call.fields)?;
        if header.body_crc32 != 0 && header.body_crc32 as u32 != crc32fast::hash(call.body) & 0x7fff_ffff {
            return Err(Answer::error(ResponseCode::SYSTEM_ERROR, "crc32 not match"));
        }
        let who = Registrant {
            cluster: header.cluster_name.to_owned(),
            name: header.broker_name.to_owned(),
            id: header.broker_id,
            address: header.broker_address.to_owned(),
            ha_address: header.ha_server_address.unwrap_or_default().to_owned(),
            zone: header.zone_name.map(str::to_owned),
            acting_master: header.enable_acting_master,
            timeout_ms: header.heartbeat_timeout_millis,
            origin: call.origin,
        };
        let what = register::registration(call.body, call.version)?;
        debug!(broker = who.name, id = who.id, address = who.address, "registration");
        let told = self.register(&who, what, now_ms).map_err(|refused| {
            warn!(broker = who.name, address = who.address, %refused, "registration refused");
            Answer::error(ResponseCode::SYSTEM_ERROR, refused.to_string())
        })?;
        let mut answer = Answer::ok();
        if let Some(address) = told.ha_address {
            answer = answer.field("haServerAddr", address);
        }
        if let Some(address) = told.master_address {
            answer = answer.field("masterAddr", address);
        }
        if self.config.load().name_server.return_order_config
            && let Some(table) = self.kv.list(ORDER_NAMESPACE)
        {
            answer = answer.body(json::to_vec(&KvTable { table }));
        }
        Ok(answer)
    }

    fn unregister_broker(&self, call: &Call<'_>) -> Outcome {
        let header = h::UnregisterBroker::decode(&call.fields)?;
        self.unregister(header.cluster_name, header.broker_name, header.broker_address);
        Ok(Answer::ok())
    }

    fn heartbeat(&self, call: &Call<'_>, now_ms: i64) -> Outcome {
        let header = h::BrokerHeartbeat::decode(&call.fields)?;
        self.table.write().seen(header.cluster_name, header.broker_address, now_ms);
        Ok(Answer::ok())
    }

    fn data_version(&self, call: &Call<'_>, now_ms: i64) -> Outcome {
        let header = h::QueryDataVersion::decode(&call.fields)?;
        let theirs: DataVersion = json::from_slice(call.body)?;
        let mut table = self.table.write();
        table.seen(header.cluster_name, header.broker_address, now_ms);
        let ours = table.version(header.cluster_name, header.broker_address);
        let answer = Answer::ok().field("changed", ours != Some(theirs));
        Ok(match ours {
            Some(ours) => answer.body(json::to_vec(&ours)),
            None => answer,
        })
    }

    fn register_topic(&self, call: &Call<'_>) -> Outcome {
        let header = h::RegisterTopic::decode(&call.fields)?;
        let route: TopicRoute = json::from_slice(call.body)?;
        self.table.write().register_topic(header.topic, &route.queues, self.rules());
        Ok(Answer::ok())
    }

    fn delete_topic(&self, call: &Call<'_>) -> Outcome {
        let header = h::DeleteTopicRoute::decode(&call.fields)?;
        let cluster = header.cluster_name.filter(|name| !name.is_empty());
        self.table.write().delete_topic(header.topic, cluster);
        Ok(Answer::ok())
    }

    fn wipe_write(&self, call: &Call<'_>) -> Outcome {
        let header = h::WipeWritePerm::decode(&call.fields)?;
        let count = self.table.write().wipe_write(header.broker_name);
        Ok(Answer::ok().field("wipeTopicCount", count))
    }

    fn add_write(&self, call: &Call<'_>) -> Outcome {
        let header = h::AddWritePerm::decode(&call.fields)?;
        let count = self.table.write().add_write(header.broker_name);
        Ok(Answer::ok().field("addTopicCount", count))
    }

    fn member_group(&self, call: &Call<'_>) -> Outcome {
        let header = h::GetBrokerMemberGroup::decode(&call.fields)?;
        let found = self.table.read().broker(header.broker_name).cloned().unwrap_or_default();
        let broker_member_group = BrokerMemberGroup {
            broker_addrs: found.broker_addrs,
            broker_name: header.broker_name.to_owned(),
            cluster: header.cluster_name.to_owned(),
        };
        Ok(Answer::ok().body(json::to_vec(&BrokerMemberGroupBody { broker_member_group })))
    }

    fn topic_list(&self, call: &Call<'_>) -> Outcome {
        let config = self.config.load();
        let enabled = match call.code {
            RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => config.name_server.all_topic_list,
            RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS => true,
            _ => config.name_server.topic_list,
        };
        if !enabled {
            return Err(Answer::error(ResponseCode::SYSTEM_ERROR, "disable"));
        }
        let table = self.table.read();
        let mut broker = None;
        let topics = match call.code {
            RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS => {
                broker = table.any_address();
                table.system_topics()
            }
            RequestCode::GET_TOPICS_BY_CLUSTER => {
                table.topics_of_cluster(h::GetTopicsByCluster::decode(&call.fields)?.cluster)
            }
            RequestCode::GET_UNIT_TOPIC_LIST => table.unit_topics(UnitTopics::Own),
            RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST => table.unit_topics(UnitTopics::Subscribed),
            RequestCode::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => table.unit_topics(UnitTopics::SubscribedOnly),
            _ => table.topics(),
        };
        let list = TopicList {
            broker_addr: broker.map(str::to_owned),
            topic_list: topics.into_iter().map(str::to_owned).collect(),
        };
        Ok(Answer::ok().body(json::to_vec(&list)))
    }

    fn put_kv(&self, call: &Call<'_>) -> Outcome {
        let header = h::PutKvConfig::decode(&call.fields)?;
        self.kv.put(header.namespace, header.key, header.value).map_err(|error| unwritten(&error))?;
        Ok(Answer::ok())
    }

    fn delete_kv(&self, call: &Call<'_>) -> Outcome {
        let header = h::DeleteKvConfig::decode(&call.fields)?;
        self.kv.delete(header.namespace, header.key).map_err(|error| unwritten(&error))?;
        Ok(Answer::ok())
    }

    fn get_kv(&self, call: &Call<'_>) -> Outcome {
        let h::GetKvConfig { namespace, key } = h::GetKvConfig::decode(&call.fields)?;
        match self.kv.get(namespace, key) {
            Some(value) => Ok(Answer::ok().field("value", value)),
            None => {
                let remark = format!("No config item, Namespace: {namespace} Key: {key}");
                Err(Answer::error(ResponseCode::QUERY_NOT_FOUND, remark))
            }
        }
    }

    fn list_kv(&self, call: &Call<'_>) -> Outcome {
        let h::GetKvList { namespace } = h::GetKvList::decode(&call.fields)?;
        match self.kv.list(namespace) {
            Some(table) => Ok(Answer::ok().body(json::to_vec(&KvTable { table }))),
            None => {
                let remark = format!("No config item, Namespace: {namespace}");
                Err(Answer::error(ResponseCode::QUERY_NOT_FOUND, remark))
            }
        }
    }

    fn update_config(&self, call: &Call<'_>) -> Outcome {
        let text = config::properties::decode(call.body);
        match self.config.apply(&text) {
            Ok(changed) => {
                for change in changed {
                    info!(key = change.key, from = change.from, to = change.to, "configuration changed");
                }
                Ok(Answer::ok())
            }
            Err(error @ ConfigError::Refused { .. }) => {
                Err(Answer::error(ResponseCode::NO_PERMISSION, error.to_string()))
            }
            Err(error) => Err(Answer::error(ResponseCode::SYSTEM_ERROR, error.to_string())),
        }
    }
}

fn unwritten(error: &std::io::Error) -> Answer {
    Answer::error(ResponseCode::SYSTEM_ERROR, format!("the value was not kept: {error}"))
}

#[cfg(test)]
mod tests;
