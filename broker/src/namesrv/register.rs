//! The bodies of a registration, in every form that brokers send.
//!
//! | form | who sends it |
//! |---|---|
//! | `{"filterServerList":[…],"topicConfigSerializeWrapper":{…}}` | brokers since 3.0.11 |
//! | `{"dataVersion":{…},"topicConfigTable":{…}}` | older ones |
//! | one zlib stream of length-prefixed parts | `compressedRegister=true` |
//!
//! The compressed form is told by its first byte and not by the header: upstream 5.3.3 sends it with
//! `compressed=false`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tenonmq_protocol::message::compression::Compression;

use super::model::{Queues, Served, Version};

/// Since this version the body has a filter server list around the topics.
const WRAPPED_SINCE: i32 = 37;
/// Largest compressed body that is unpacked, in bytes.
const UNPACKED_LIMIT: usize = 64 << 20;

/// Why a body is not a registration.
#[derive(Debug, thiserror::Error)]
#[error("registration body: {0}")]
pub struct BodyError(String);

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    filter_server_list: Option<Vec<String>>,
    topic_config_serialize_wrapper: Wrapper,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Wrapper {
    data_version: VersionBody,
    topic_config_table: BTreeMap<String, TopicBody>,
    topic_queue_mapping_info_map: BTreeMap<String, Value>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "camelCase", default)]
struct VersionBody {
    counter: i64,
    state_version: i64,
    timestamp: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TopicBody {
    perm: u32,
    read_queue_nums: i32,
    write_queue_nums: i32,
    topic_sys_flag: i32,
}

/// As upstream's class starts.
impl Default for TopicBody {
    fn default() -> Self {
        Self { perm: 6, read_queue_nums: 16, write_queue_nums: 16, topic_sys_flag: 0 }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct QueueBody {
    broker_name: String,
    #[serde(flatten)]
    topic: TopicBody,
}

impl Default for QueueBody {
    fn default() -> Self {
        Self {
            broker_name: String::new(),
            topic: TopicBody { read_queue_nums: 0, write_queue_nums: 0, ..TopicBody::default() },
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RouteBody {
    queue_datas: Vec<QueueBody>,
}

impl From<VersionBody> for Version {
    fn from(body: VersionBody) -> Self {
        Self { state: body.state_version, timestamp: body.timestamp, counter: body.counter }
    }
}

impl From<TopicBody> for Queues {
    fn from(body: TopicBody) -> Self {
        Self {
            read: body.read_queue_nums,
            write: body.write_queue_nums,
            permission: body.perm,
            system_flag: body.topic_sys_flag,
        }
    }
}

impl Wrapper {
    fn served(self, filter_servers: Vec<String>) -> Served {
        let topics = self.topic_config_table.into_iter().map(|(topic, body)| (topic, body.into()));
        let mappings = self.topic_queue_mapping_info_map.into_iter();
        Served {
            version: self.data_version.into(),
            topics: topics.collect(),
            mappings: mappings
                .filter_map(|(topic, mapping)| Some((topic, broker_of(&mapping)?, mapping.to_string())))
                .collect(),
            filter_servers,
        }
    }
}

/// The broker that a mapping belongs to.
fn broker_of(mapping: &Value) -> Option<String> {
    mapping.get("bname")?.as_str().map(str::to_owned)
}

/// Reads the body of REGISTER_BROKER (103). No body at all registers a broker without topics.
///
/// # Errors
/// [`BodyError`] says which part is not what it should be.
pub fn registration(body: &[u8], version: i32) -> Result<Served, BodyError> {
    match body.first() {
        None => Ok(Served::default()),
        Some(0x78) => unpacked(body),
        Some(_) if version >= WRAPPED_SINCE => {
            let body: Body = json(body)?;
            let filter_servers = body.filter_server_list.unwrap_or_default();
            Ok(body.topic_config_serialize_wrapper.served(filter_servers))
        }
        Some(_) => Ok(json::<Wrapper>(body)?.served(Vec::new())),
    }
}

/// Reads the body of QUERY_DATA_VERSION (322).
///
/// # Errors
/// [`BodyError`] when it is not one.
pub fn data_version(body: &[u8]) -> Result<Version, BodyError> {
    Ok(json::<VersionBody>(body)?.into())
}

/// Reads the queues in the body of REGISTER_TOPIC_IN_NAMESRV (217), by broker name.
///
/// # Errors
/// [`BodyError`] when it is not a route.
pub fn queues(body: &[u8]) -> Result<Vec<(String, Queues)>, BodyError> {
    let route: RouteBody = json(body)?;
    Ok(route.queue_datas.into_iter().map(|queue| (queue.broker_name, queue.topic.into())).collect())
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BodyError> {
    serde_json::from_slice(bytes).map_err(|error| BodyError(error.to_string()))
}

fn unpacked(body: &[u8]) -> Result<Served, BodyError> {
    let bytes = Compression::Zlib.decompress(body, UNPACKED_LIMIT).map_err(|error| BodyError(error.to_string()))?;
    let mut parts = Parts(&bytes);
    let version: VersionBody = json(parts.text("data version")?)?;
    let mut topics = BTreeMap::new();
    for _ in 0..parts.number("topic count")? {
        let (name, body) = packed_topic(parts.text("topic")?)?;
        topics.insert(name, body);
    }
    let filter_servers: Vec<String> = json(parts.text("filter servers")?)?;
    let mut mappings = BTreeMap::new();
    // Brokers before 5.0 stop here.
    let count = if parts.0.is_empty() { 0 } else { parts.number("mapping count")? };
    for _ in 0..count {
        let mapping: Value = json(parts.text("mapping")?)?;
        if let Some(topic) = mapping.get("topic").and_then(Value::as_str) {
            mappings.insert(topic.to_owned(), mapping);
        }
    }
    let wrapper = Wrapper { data_version: version, topic_config_table: topics, topic_queue_mapping_info_map: mappings };
    Ok(wrapper.served(filter_servers))
}

/// `name read write perm filterType attributesJson`; the last is absent from brokers before 5.0.
fn packed_topic(text: &[u8]) -> Result<(String, TopicBody), BodyError> {
    let text = std::str::from_utf8(text).map_err(|error| BodyError(error.to_string()))?;
    let mut words = text.split(' ');
    let name = words.next().filter(|name| !name.is_empty());
    let mut number = || words.next().and_then(|word| word.parse::<i32>().ok());
    let numbers = (number(), number(), number());
    match (name, numbers) {
        (Some(name), (Some(read_queue_nums), Some(write_queue_nums), Some(perm))) => {
            let perm = u32::try_from(perm).unwrap_or(0);
            Ok((name.to_owned(), TopicBody { perm, read_queue_nums, write_queue_nums, topic_sys_flag: 0 }))
        }
        _ => Err(BodyError(format!("{text:?} is not a topic"))),
    }
}

/// What is left of a sequence of big-endian numbers and length-prefixed texts.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn number(&mut self, what: &str) -> Result<usize, BodyError> {
        let (head, rest) = self.0.split_first_chunk::<4>().ok_or_else(|| cut_off(what))?;
        self.0 = rest;
        usize::try_from(i32::from_be_bytes(*head)).map_err(|_| BodyError(format!("{what} is negative")))
    }

    fn text(&mut self, what: &str) -> Result<&'a [u8], BodyError> {
        let len = self.number(what)?;
        let (text, rest) = self.0.split_at_checked(len).ok_or_else(|| cut_off(what))?;
        self.0 = rest;
        Ok(text)
    }
}

fn cut_off(what: &str) -> BodyError {
    BodyError(format!("ends inside {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "{\"filterServerList\":[],\"topicConfigSerializeWrapper\":{\"dataVersion\":{\"counter\":1,\
        \"stateVersion\":0,\"timestamp\":5},\"topicConfigTable\":{\"T\":{\"attributes\":{\"queue.type\":\"BatchCQ\"},\
        \"order\":false,\"perm\":6,\"readQueueNums\":3,\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"T\",\
        \"topicSysFlag\":0,\"writeQueueNums\":4}},\"topicQueueMappingInfoMap\":{\"T\":{\"bname\":\"b\",\"epoch\":1}}}}";

    fn packed(parts: &[&[u8]]) -> Vec<u8> {
        Compression::Zlib.compress(&parts.concat(), 9).unwrap()
    }

    fn text(text: &str) -> Vec<u8> {
        let mut part = i32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        part.extend_from_slice(text.as_bytes());
        part
    }

    #[test]
    fn the_present_form_has_topics_version_and_mappings() {
        let served = registration(FULL.as_bytes(), 479).unwrap();
        assert_eq!(served.version, Version { counter: 1, timestamp: 5, state: 0 });
        assert_eq!(served.topics, [("T".to_owned(), Queues { read: 3, write: 4, permission: 6, system_flag: 0 })]);
        assert_eq!(served.mappings, [("T".to_owned(), "b".to_owned(), "{\"bname\":\"b\",\"epoch\":1}".to_owned())]);
    }

    #[test]
    fn the_old_form_is_the_topic_table_alone() {
        let body = "{\"dataVersion\":{\"counter\":2},\"topicConfigTable\":{\"T\":{\"perm\":4}}}";
        let served = registration(body.as_bytes(), 36).unwrap();
        assert_eq!(served.version.counter, 2);
        assert_eq!(served.topics[0].1, Queues { read: 16, write: 16, permission: 4, system_flag: 0 });
    }

    #[test]
    fn the_compressed_form_is_read_with_and_without_mappings() {
        let version = text("{\"counter\":7,\"stateVersion\":0,\"timestamp\":9}");
        let two = 2i32.to_be_bytes();
        let (a, b) = (text("A 4 8 6 SINGLE_TAG {}"), text("B 1 1 4 SINGLE_TAG"));
        let servers = text("[\"f:1\"]");
        let old = registration(&packed(&[&version, &two, &a, &b, &servers]), 399).unwrap();
        assert_eq!(old.version.counter, 7);
        assert_eq!(old.topics[0], ("A".to_owned(), Queues { read: 4, write: 8, permission: 6, system_flag: 0 }));
        assert_eq!(old.filter_servers, ["f:1"]);
        let mapping = text("{\"bname\":\"b\",\"topic\":\"A\"}");
        let one = 1i32.to_be_bytes();
        let new = registration(&packed(&[&version, &two, &a, &b, &servers, &one, &mapping]), 479).unwrap();
        assert_eq!(new.mappings.len(), 1);
    }

    #[test]
    fn a_broken_body_is_an_error_that_says_where() {
        for (body, said) in [
            (b"{".to_vec(), "EOF"),
            (b"\x78\xda\x00".to_vec(), "registration body"),
            (packed(&[&text("{}"), &[0, 0, 0, 1]]), "ends inside topic"),
            (packed(&[&text("{}"), &[0xff; 4]]), "topic count is negative"),
            (packed(&[&text("{}"), &1i32.to_be_bytes(), &text("A 4")]), "\"A 4\" is not a topic"),
        ] {
            let error = registration(&body, 479).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn queues_of_one_topic_come_by_broker_name() {
        let body = "{\"brokerDatas\":[],\"queueDatas\":[{\"brokerName\":\"b\",\"perm\":6,\"readQueueNums\":2,\
                    \"topicSysFlag\":0,\"writeQueueNums\":2}]}";
        let queues = queues(body.as_bytes()).unwrap();
        assert_eq!(queues, [("b".to_owned(), Queues { read: 2, write: 2, permission: 6, system_flag: 0 })]);
    }
}
