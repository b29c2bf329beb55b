//! The handle that takes a timer message back: URL-safe base64 of five words.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

use crate::error::HeaderError;

/// `v1 topic brokerName deliverTimestamp uniqKey`, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallHandle {
    /// The message's topic.
    pub topic: String,
    /// Broker group that holds it.
    pub broker_name: String,
    /// When it would be delivered, in milliseconds: `TIMER_OUT_MS` + 1.
    pub deliver_timestamp: i64,
    /// Its unique key.
    pub unique_key: String,
}

impl RecallHandle {
    /// Reads a handle; errors name the field `recallHandle`.
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        let plain = URL_SAFE.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let handle = plain.as_deref().and_then(|plain| {
            let mut words = plain.split(' ');
            let (Some("v1"), Some(topic), Some(broker_name), Some(time), Some(unique_key)) =
                (words.next(), words.next(), words.next(), words.next(), words.next())
            else {
                return None;
            };
            Some(Self {
                topic: topic.to_owned(),
                broker_name: broker_name.to_owned(),
                deliver_timestamp: time.parse().ok()?,
                unique_key: unique_key.to_owned(),
            })
        });
        handle.ok_or_else(|| HeaderError::invalid("recallHandle", text, "a recall handle"))
    }
}

impl fmt::Display for RecallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, broker_name, deliver_timestamp, unique_key } = self;
        f.pad(&URL_SAFE.encode(format!("v1 {topic} {broker_name} {deliver_timestamp} {unique_key}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_reference_reads_and_writes() {
        let text = "djEgVCBiMCAxNzAwMDAwMDAxMDAwIFVOSVE=";
        let handle = RecallHandle::parse(text).unwrap();
        assert_eq!((handle.topic.as_str(), handle.deliver_timestamp), ("T", 1_700_000_001_000));
        assert_eq!(handle.to_string(), text);
    }

    #[test]
    fn anything_else_is_an_error_that_names_the_field() {
        for text in ["", "!", "djEgVCBiMCAxNzAw"] {
            assert_eq!(RecallHandle::parse(text).unwrap_err().field(), "recallHandle");
        }
    }
}
