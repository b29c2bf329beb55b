//! The message that an application sends.
//!
//! It keeps its properties as the wire's text (`name \u{1} value \u{2} …`): it is built by appending to one string, and
//! sending it builds no map.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tenonmq_protocol::message::properties::names;

use crate::{
    error::Error,
    text::PropertyText,
    transaction::{ID_PROPERTY, PART_PROPERTY},
};

/// A message to be sent: a topic, a body, and properties.
///
/// The builder methods consume and return it. Nothing is checked until it is sent; a message that cannot be right
/// then fails with [`Error::InvalidMessage`] before anything leaves the process.
///
/// ```
/// use tenonmq_client::Message;
/// let message = Message::new("paid", "order 42").tag("card").key("42").property("member", "7");
/// assert_eq!(message.tags(), Some("card"));
/// ```
#[derive(Clone)]
pub struct Message {
    topic: String,
    body: Bytes,
    flag: i32,
    properties: PropertyText,
    /// The first thing that was wrong with a builder call.
    fault: Option<Box<str>>,
}

impl Message {
    /// A message for `topic` with no properties. The body is kept by reference.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), body: body.into(), flag: 0, properties: PropertyText::default(), fault: None }
    }

    /// The tag that consumers filter by. One word.
    #[must_use]
    pub fn tag(self, tag: impl AsRef<str>) -> Self {
        self.set(names::TAGS, tag.as_ref())
    }

    /// Adds a business key under which the broker indexes the message. May be called several times; a key holds no
    /// blank, because the wire separates keys by blanks.
    #[must_use]
    pub fn key(self, key: impl AsRef<str>) -> Self {
        let key = key.as_ref();
        match self.properties.get(names::KEYS).map(|keys| format!("{keys} {key}")) {
            Some(keys) => self.set(names::KEYS, &keys),
            None => self.set(names::KEYS, key),
        }
    }

    /// Sets a property of the application's own. Names that the protocol uses itself are refused when the message is
    /// sent.
    #[must_use]
    pub fn property(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        if is_reserved(name) {
            self.blame(|| format!("the property name {name:?} belongs to the protocol"));
            return self;
        }
        self.set(name, value.as_ref())
    }

    /// A number that is stored beside the body untouched. Default 0.
    #[must_use]
    pub fn flag(mut self, flag: i32) -> Self {
        self.flag = flag;
        self
    }

    /// Delivers the message once `delay` has passed, to the millisecond (a timer message).
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        self.set(names::TIMER_DELAY_MS, &delay.as_millis().to_string())
    }

    /// Delivers the message at `due`, by the broker's clock (a timer message).
    #[must_use]
    pub fn deliver_at(self, due: SystemTime) -> Self {
        let ms = due.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        self.set(names::TIMER_DELIVER_MS, &ms.to_string())
    }

    /// Delivers the message after one of the broker's delay levels, 1 to 18 (1 s, 5 s, 10 s, 30 s, 1 m, … 2 h).
    #[must_use]
    pub fn delay_level(self, level: u8) -> Self {
        self.set(names::DELAY, &level.to_string())
    }

    /// Groups messages whose order matters; brokers hand it on, and queue choosers may hash it.
    #[must_use]
    pub fn sharding_key(self, key: impl AsRef<str>) -> Self {
        self.set(names::SHARDING_KEY, key.as_ref())
    }

    /// Whether the send waits until the broker's durability policy is met. Default true.
    #[must_use]
    pub fn wait_durable(self, wait: bool) -> Self {
        self.set(names::WAIT, if wait { "true" } else { "false" })
    }

    /// For a transactional message: how old it must be before the broker asks for its outcome, in whole seconds.
    #[must_use]
    pub fn check_immunity(self, age: Duration) -> Self {
        self.set(names::CHECK_IMMUNITY_TIME_IN_SECONDS, &age.as_secs().to_string())
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The body as the application gave it, or, in a transaction check, as the broker holds it (decompressed).
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The tag, if one was set.
    pub fn tags(&self) -> Option<&str> {
        self.properties.get(names::TAGS)
    }

    /// The business keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.properties.get(names::KEYS).unwrap_or_default().split_ascii_whitespace()
    }

    /// The value of any property, the protocol's included.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name)
    }

    /// The client-side id (`UNIQ_KEY`). Assigned when the message is sent; in a transaction check it is the
    /// transaction's id.
    pub fn id(&self) -> Option<&str> {
        self.properties.get(names::UNIQ_KEY)
    }

    /// A half message that a broker asks about.
    pub(crate) fn from_half(topic: &str, body: Bytes, flag: i32, properties: &str) -> Self {
        let properties = PropertyText::from_wire(properties);
        Self { flag, properties, ..Self::new(topic, body) }
    }

    pub(crate) fn flag_value(&self) -> i32 {
        self.flag
    }

    pub(crate) fn property_text(&self) -> &str {
        self.properties.as_str()
    }

    /// Sets a property without asking whether its name is reserved.
    pub(crate) fn put(&mut self, name: &str, value: &str) {
        if let Err(fault) = self.properties.set(name, value) {
            self.blame(|| format!("property {name:?} {fault}"));
        }
    }

    /// Topic, body and property text.
    pub(crate) fn into_parts(self) -> (String, Bytes, String) {
        (self.topic, self.body, self.properties.into_string())
    }

    /// Whether it can be sent, as far as can be said here: what a send checks before anything leaves the process, but for
    /// the size of the body, whose limit is the producer's.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`].
    pub fn check(&self) -> Result<(), Error> {
        self.validate()
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let invalid = |reason: String| Err(Error::InvalidMessage { reason });
        if let Some(fault) = &self.fault {
            return invalid(fault.to_string());
        }
        if self.body.is_empty() {
            return invalid("the body is empty".into());
        }
        if self.properties.as_str().len() > i16::MAX as usize {
            return invalid(format!("the properties take {} bytes of 32767", self.properties.as_str().len()));
        }
        validate_topic(&self.topic)
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.put(name, value);
        self
    }

    fn blame(&mut self, fault: impl FnOnce() -> String) {
        self.fault.get_or_insert_with(|| fault().into());
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("body_len", &self.body.len())
            .field("properties", &self.properties)
            .finish()
    }
}

/// Upstream's rule for topic and group names: `%`, `|`, `-`, `_`, ASCII letters and digits.
pub(crate) fn validate_topic(topic: &str) -> Result<(), Error> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'%' | b'|' | b'-' | b'_');
    let reason = match topic {
        "" => "the topic is empty".to_owned(),
        _ if topic.len() > 255 => format!("the topic takes {} bytes of 255", topic.len()),
        _ if !topic.bytes().all(legal) => format!("the topic {topic:?} has characters outside [%|a-zA-Z0-9_-]"),
        _ => return Ok(()),
    };
    Err(Error::InvalidMessage { reason })
}

/// Names that [`Message::property`] refuses, because setting them would change what the broker does. Upstream's list,
/// and the transaction's own.
fn is_reserved(name: &str) -> bool {
    const OF_TRANSACTIONS: &[&str] = &[
        names::TRANSACTION_ID,
        names::TRANSACTION_CHECK_TIMES,
        names::CHECK_IMMUNITY_TIME_IN_SECONDS,
        ID_PROPERTY,
        PART_PROPERTY,
    ];
    names::SYSTEM.contains(&name) || OF_TRANSACTIONS.contains(&name) || name.starts_with(names::TRANSIENT_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_protocol_are_refused_as_properties() {
        let fault = |message: Message| message.validate().err().map(|error| error.to_string());
        assert_eq!(fault(Message::new("T", "x").property("member", "7")), None);
        let reserved = fault(Message::new("T", "x").property("TRAN_MSG", "true"));
        assert!(reserved.is_some_and(|text| text.contains("TRAN_MSG")));
        assert!(fault(Message::new("T", "x").property("a", "\u{1}")).is_some());
    }

    #[test]
    fn what_cannot_be_sent_is_told_before_sending() {
        for wrong in [Message::new("", "x"), Message::new("T", ""), Message::new("T T", "x"), Message::new("Ü", "x")] {
            assert!(matches!(wrong.validate(), Err(Error::InvalidMessage { .. })), "{wrong:?}");
        }
        let bulky = Message::new("T", "x").property("p", "y".repeat(40_000));
        assert!(bulky.validate().is_err());
    }

    #[test]
    fn keys_are_several_and_tags_one() {
        let message = Message::new("T", "x").key("a").key("b").tag("one").tag("two");
        assert_eq!(message.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(message.tags(), Some("two"));
    }
}
