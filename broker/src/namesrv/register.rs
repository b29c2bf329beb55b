//! Reads the body of a registration, in every form that brokers send.
//!
//! | form | who sends it |
//! |---|---|
//! | `{"filterServerList":[…],"topicConfigSerializeWrapper":{…}}` | brokers since 3.0.11 |
//! | `{"dataVersion":{…},"topicConfigTable":{…}}` | older ones |
//! | one zlib stream of length-prefixed parts | `compressedRegister=true` |
//!
//! The compressed form is told by its first byte and not by the header: upstream 5.3.3 sends it with
//! `compressed=false`.

use tenonmq_protocol::body::{RegisterBrokerBody, RegisterError, json};

/// Since this version the body has a filter server list around the topics.
const WRAPPED_SINCE: i32 = 37;
/// Largest compressed body that is unpacked, in bytes.
const UNPACKED_LIMIT: usize = 64 << 20;

/// Reads the body of REGISTER_BROKER (103). No body at all registers a broker without topics.
///
/// # Errors
/// [`RegisterError`] says which part is not what it should be.
pub fn registration(body: &[u8], version: i32) -> Result<RegisterBrokerBody, RegisterError> {
    if body.is_empty() {
        return Ok(RegisterBrokerBody::default());
    }
    if version >= WRAPPED_SINCE || !body.starts_with(b"{") {
        return RegisterBrokerBody::decode(body, version, UNPACKED_LIMIT);
    }
    let table = json::from_slice(body).map_err(|source| RegisterError::Json { part: "topic table", source })?;
    Ok(RegisterBrokerBody { topic_config_serialize_wrapper: table, ..RegisterBrokerBody::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_form_is_the_topic_table_alone() {
        let body = "{\"dataVersion\":{\"counter\":2},\"topicConfigTable\":{\"T\":{\"perm\":4}}}";
        let old = registration(body.as_bytes(), 36).unwrap().topic_config_serialize_wrapper;
        assert_eq!(old.data_version.counter, 2);
        assert_eq!((old.topic_config_table["T"].perm, old.topic_config_table["T"].read_queue_nums), (4, 16));
        assert!(
            registration(body.as_bytes(), 37).unwrap().topic_config_serialize_wrapper.topic_config_table.is_empty()
        );
    }

    #[test]
    fn the_compressed_form_is_known_by_its_first_byte() {
        let body = RegisterBrokerBody { filter_server_list: vec!["f:1".into()], ..RegisterBrokerBody::default() };
        assert_eq!(registration(&body.encode_compressed().unwrap(), 479).unwrap(), body);
    }

    #[test]
    fn no_body_is_no_topics_and_a_broken_one_is_an_error() {
        assert_eq!(registration(b"", 479).unwrap(), RegisterBrokerBody::default());
        for broken in [&b"{"[..], b"\x78\xda\x00", b"[1]"] {
            assert!(registration(broken, 479).is_err(), "{broken:?}");
        }
    }
}
