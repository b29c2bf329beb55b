//! The compressed form of [`RegisterBrokerBody`]: one zlib stream of parts, each behind its length.
//!
//! ```text
//! dataVersion  count topic…  filterServers  count mapping…
//! topic: name read write perm filterType attributes, joined by blanks
//! ```
//!
//! Flag and order of a topic are not carried. The mappings are there for brokers of version 413 and later.

use bytes::{Buf, BufMut};

use super::json::{self, JsonError};
use super::topic::{RegisterBrokerBody, TopicConfig, TopicConfigAndMappingTable, TopicFilterType};
use crate::message::compression::{Compression, CompressionError};

/// Version from which on the mappings are part of the form.
pub const MAPPING_VERSION: i32 = 413;
/// Level that brokers compress with.
const LEVEL: u32 = 9;

/// Why a registration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The stream is broken, or too large when inflated.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// A JSON part is broken.
    #[error("{part}: {source}")]
    Json {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        #[source]
        source: JsonError,
    },
    /// The stream ends early, or a length is negative.
    #[error("registration ends inside {part}")]
    Truncated {
        /// Which part.
        part: &'static str,
    },
    /// A topic's line lacks a word or has a wrong one.
    #[error("topic line {line:?} is not `name read write perm filterType attributes`")]
    Topic {
        /// Its first 128 characters.
        line: String,
    },
}

impl RegisterBrokerBody {
    /// Reads a body in either form; JSON begins with a brace, zlib does not. `version` is the broker's, `limit` the
    /// most bytes that a compressed body may grow to.
    pub fn decode(body: &[u8], version: i32, limit: usize) -> Result<Self, RegisterError> {
        if body.first() == Some(&0x78) {
            return Self::decode_compressed(body, version, limit);
        }
        json::from_slice(body).map_err(|source| RegisterError::Json { part: "body", source })
    }

    fn decode_compressed(body: &[u8], version: i32, limit: usize) -> Result<Self, RegisterError> {
        let plain = Compression::Zlib.decompress(body, limit)?;
        let mut rest = plain.as_slice();
        let mut table =
            TopicConfigAndMappingTable { data_version: json_part(&mut rest, "dataVersion")?, ..Default::default() };
        for _ in 0..length(&mut rest, "topic count")? {
            let topic = topic_of(&text_part(&mut rest, "topic")?)?;
            table.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        let filter_server_list = json_part(&mut rest, "filterServerList")?;
        if version >= MAPPING_VERSION && !rest.is_empty() {
            for _ in 0..length(&mut rest, "mapping count")? {
                let mapping: super::route::TopicQueueMappingInfo = json_part(&mut rest, "mapping")?;
                table.topic_queue_mapping_info_map.insert(mapping.topic.clone(), mapping);
            }
        }
        Ok(Self { filter_server_list, topic_config_serialize_wrapper: table })
    }

    /// Writes the compressed form, mappings included.
    pub fn encode_compressed(&self) -> Result<Vec<u8>, RegisterError> {
        let table = &self.topic_config_serialize_wrapper;
        let mut out = Vec::new();
        put_part(&mut out, &json::to_vec(&table.data_version));
        out.put_i32(table.topic_config_table.len() as i32);
        for topic in table.topic_config_table.values() {
            put_part(&mut out, line_of(topic).as_bytes());
        }
        put_part(&mut out, &json::to_vec(&self.filter_server_list));
        out.put_i32(table.topic_queue_mapping_info_map.len() as i32);
        for mapping in table.topic_queue_mapping_info_map.values() {
            put_part(&mut out, &json::to_vec(mapping));
        }
        Ok(Compression::Zlib.compress(&out, LEVEL)?)
    }
}

fn line_of(topic: &TopicConfig) -> String {
    let TopicConfig { topic_name, read_queue_nums, write_queue_nums, perm, topic_filter_type, .. } = topic;
    let attributes = String::from_utf8_lossy(&json::to_vec(&topic.attributes)).into_owned();
    format!("{topic_name} {read_queue_nums} {write_queue_nums} {perm} {topic_filter_type} {attributes}")
}

fn topic_of(line: &str) -> Result<TopicConfig, RegisterError> {
    let mut words = line.splitn(6, ' ');
    let topic = (|| {
        let topic_name = words.next().filter(|name| !name.is_empty())?.to_owned();
        let mut number = || words.next()?.parse().ok();
        let (read_queue_nums, write_queue_nums, perm) = (number()?, number()?, number()?);
        let topic_filter_type = TopicFilterType::from_name(words.next()?)?;
        let attributes = words.next().map_or(Ok(Default::default()), json::from_str).ok()?;
        Some(TopicConfig {
            attributes,
            perm,
            read_queue_nums,
            topic_filter_type,
            topic_name,
            write_queue_nums,
            ..TopicConfig::default()
        })
    })();
    topic.ok_or_else(|| RegisterError::Topic { line: line.chars().take(128).collect() })
}

fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    out.put_i32(part.len() as i32);
    out.extend_from_slice(part);
}

fn length(rest: &mut &[u8], part: &'static str) -> Result<usize, RegisterError> {
    let length = rest.try_get_i32().ok().and_then(|length| usize::try_from(length).ok());
    length.ok_or(RegisterError::Truncated { part })
}

fn bytes_part<'a>(rest: &mut &'a [u8], part: &'static str) -> Result<&'a [u8], RegisterError> {
    let length = length(rest, part)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(RegisterError::Truncated { part })?;
    *rest = after;
    Ok(bytes)
}

fn text_part<'a>(rest: &mut &'a [u8], part: &'static str) -> Result<std::borrow::Cow<'a, str>, RegisterError> {
    bytes_part(rest, part).map(String::from_utf8_lossy)
}

fn json_part<T: serde::de::DeserializeOwned>(rest: &mut &[u8], part: &'static str) -> Result<T, RegisterError> {
    json::from_slice(bytes_part(rest, part)?).map_err(|source| RegisterError::Json { part, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn body() -> RegisterBrokerBody {
        let topic = TopicConfig {
            topic_name: "T".into(),
            attributes: [("message.type".to_owned(), "FIFO".to_owned())].into(),
            ..TopicConfig::default()
        };
        let mut body = RegisterBrokerBody::default();
        body.topic_config_serialize_wrapper.data_version.counter = 3;
        body.topic_config_serialize_wrapper.topic_config_table.insert("T".into(), topic);
        body
    }

    #[test]
    fn both_forms_read_alike() {
        let packed = body().encode_compressed().unwrap();
        assert_eq!(RegisterBrokerBody::decode(&packed, 479, LIMIT).unwrap(), body());
        assert_eq!(RegisterBrokerBody::decode(&packed, 400, LIMIT).unwrap(), body());
        assert_eq!(RegisterBrokerBody::decode(&json::to_vec(&body()), 479, LIMIT).unwrap(), body());
    }

    #[test]
    fn broken_registrations_say_which_part_is_broken() {
        let error = |plain: &[u8]| {
            let packed = Compression::Zlib.compress(plain, 9).unwrap();
            RegisterBrokerBody::decode(&packed, 479, 64).unwrap_err().to_string()
        };
        assert_eq!(error(&[0xFF; 4]), "registration ends inside dataVersion");
        assert_eq!(
            error(b"\0\0\0\x02{}\0\0\0\x01\0\0\0\x03T 4"),
            "topic line \"T 4\" is not `name read write perm filterType attributes`"
        );
        assert_eq!(
            error(b"\0\0\0\x02{}\0\0\0\0\0\0\0\x01["),
            "filterServerList: body is not JSON at byte 1: more text expected"
        );
        assert_eq!(error(&[0; 65]), "body decompresses to more than 64 bytes");
    }
}
