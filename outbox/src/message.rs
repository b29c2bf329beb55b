//! The messages that the tables hold, on their way out and on their way in.

use std::collections::BTreeMap;

use bytes::Bytes;
use tenonmq_client::{Message, ReceivedMessage};

use crate::error::Error;

/// Longest business id, order key or tag, in bytes: what an index of every database takes.
pub(crate) const LONGEST_KEY: usize = 255;
/// Bytes of headers; the wire's limit for all properties is 32767, and the protocol needs some itself.
const MOST_HEADERS: usize = 30_000;

/// A message to be published.
///
/// Its business id names the *event*, not the thing it is about: `order-42/paid`, not `order-42`, which will have other
/// events. Receivers recognise copies by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub(crate) topic: String,
    pub(crate) business_id: String,
    pub(crate) tag: Option<String>,
    pub(crate) order_key: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) content: Bytes,
    pub(crate) deliver_at_ms: Option<i64>,
}

impl Outgoing {
    /// A message about one event. Nothing is checked until it is published.
    pub fn new(topic: impl Into<String>, business_id: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            business_id: business_id.into(),
            tag: None,
            order_key: None,
            headers: BTreeMap::new(),
            content: content.into(),
            deliver_at_ms: None,
        }
    }

    /// The tag that consumers filter by.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// A property of the application's own.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sends messages of one key in the order in which their rows were written, to one queue. Others do not wait for them.
    /// One that is given up lets the next pass.
    #[must_use]
    pub fn in_order_of(mut self, key: impl Into<String>) -> Self {
        self.order_key = Some(key.into());
        self
    }

    /// Has the broker deliver it not before that time, in ms since the Unix epoch.
    #[must_use]
    pub fn deliver_at_ms(mut self, at: i64) -> Self {
        self.deliver_at_ms = Some(at);
        self
    }

    /// What identifies the event.
    pub fn business_id(&self) -> &str {
        &self.business_id
    }

    /// Where it goes.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its body.
    pub fn content(&self) -> &Bytes {
        &self.content
    }

    /// The key whose messages keep their order.
    pub fn order_key(&self) -> Option<&str> {
        self.order_key.as_deref()
    }

    /// The message as the client sends it: the business id is its key.
    pub fn to_message(&self) -> Message {
        let message = Message::new(self.topic.as_str(), self.content.clone()).key(&self.business_id);
        let message = self.headers.iter().fold(message, |message, (name, value)| message.property(name, value));
        let message = self.tag.iter().fold(message, Message::tag);
        match self.deliver_at_ms.and_then(|at| u64::try_from(at).ok()) {
            Some(at) => message.deliver_at(std::time::UNIX_EPOCH + std::time::Duration::from_millis(at)),
            None => message,
        }
    }

    /// Whether a broker that takes `limit` bytes of body will take it.
    ///
    /// # Errors
    /// [`Error::Message`] or [`Error::TooLarge`], saying what is wrong with which part.
    pub fn check(&self, limit: usize) -> Result<(), Error> {
        let too_large = |part, len, limit| {
            Err(Error::TooLarge { topic: self.topic.clone(), business_id: self.business_id.clone(), part, len, limit })
        };
        if self.content.len() > limit {
            return too_large("content", self.content.len(), limit);
        }
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        if headers > MOST_HEADERS {
            return too_large("headers", headers, MOST_HEADERS);
        }
        let keys = [Some(&self.business_id), self.order_key.as_ref(), self.tag.as_ref()];
        let fault =
            ["business id", "order key", "tag"].into_iter().zip(keys).find_map(|(what, key)| key_fault(what, key?));
        let fault = fault.or_else(|| self.to_message().check().err().map(|error| error.to_string()));
        match fault {
            None => Ok(()),
            Some(reason) => Err(Error::Message {
                topic: self.topic.chars().take(LONGEST_KEY).collect(),
                business_id: self.business_id.chars().take(LONGEST_KEY).collect(),
                reason,
            }),
        }
    }
}

/// A message that was received, as the inbox keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    pub(crate) topic: String,
    pub(crate) business_key: String,
    pub(crate) tag: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) content: Bytes,
}

impl Incoming {
    /// A message that came some other way than by our client.
    pub fn new(topic: impl Into<String>, business_key: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            business_key: business_key.into(),
            tag: None,
            headers: BTreeMap::new(),
            content: content.into(),
        }
    }

    /// Recognises copies by another key than the message's first one.
    #[must_use]
    pub fn keyed_by(mut self, key: impl Into<String>) -> Self {
        self.business_key = key.into();
        self
    }

    /// What copies of it have in common.
    pub fn business_key(&self) -> &str {
        &self.business_key
    }

    /// Where it came from.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Its body.
    pub fn content(&self) -> &Bytes {
        &self.content
    }

    /// A property, the protocol's own included.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Whether it can be recorded.
    ///
    /// # Errors
    /// [`Error::Message`], saying what is wrong with its key.
    pub fn check(&self) -> Result<(), Error> {
        let fault = match self.business_key.as_str() {
            "" => Some("it has no key: neither a producer's nor one given by `keyed_by`".to_owned()),
            key => key_fault("business key", key),
        };
        match fault {
            None => Ok(()),
            Some(reason) => Err(Error::Message {
                topic: self.topic.clone(),
                business_id: self.business_key.chars().take(LONGEST_KEY).collect(),
                reason,
            }),
        }
    }
}

impl From<&Outgoing> for Incoming {
    /// As it will arrive, without what the protocol adds: for messages that take another way, and for tests.
    fn from(message: &Outgoing) -> Self {
        Self {
            topic: message.topic.clone(),
            business_key: message.business_id.clone(),
            tag: message.tag.clone(),
            headers: message.headers.clone(),
            content: message.content.clone(),
        }
    }
}

impl From<&ReceivedMessage> for Incoming {
    /// Its key is the message's first key; the broker's id is none, since it differs between copies.
    fn from(message: &ReceivedMessage) -> Self {
        Self {
            topic: message.topic().to_owned(),
            business_key: message.keys().next().unwrap_or_default().to_owned(),
            tag: message.tags().map(str::to_owned),
            headers: message.properties().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            content: message.body().clone(),
        }
    }
}

/// What databases would store cut off or equal to something else.
pub(crate) fn key_fault(what: &str, key: &str) -> Option<String> {
    if key.is_empty() {
        Some(format!("the {what} is empty"))
    } else if key.len() > LONGEST_KEY {
        Some(format!("the {what} takes {} bytes of {LONGEST_KEY}", key.len()))
    } else if key.contains(|c: char| c.is_whitespace() || c.is_control()) {
        Some(format!("the {what} {key:?} has a blank or control character"))
    } else {
        None
    }
}

/// Headers as a table holds them.
pub(crate) fn headers_to_text(headers: &BTreeMap<String, String>) -> String {
    serde_json::to_string(headers).unwrap_or_else(|_| "{}".to_owned()) // a map of texts is always JSON
}

/// The reverse; the error says what is wrong.
pub(crate) fn headers_from_text(text: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_would_refuse_is_refused_before_it_is_written() {
        let fine = Outgoing::new("paid", "order-42/paid", "x");
        assert!(fine.check(1).is_ok());
        assert!(matches!(fine.check(0), Err(Error::TooLarge { part: "content", len: 1, limit: 0, .. })));
        let large = fine.clone().header("h", "y".repeat(MOST_HEADERS));
        assert!(matches!(large.check(10), Err(Error::TooLarge { part: "headers", .. })));
        for (wrong, told) in [
            (Outgoing::new("p q", "b", "x"), "p q"),
            (Outgoing::new("paid", "", "x"), "business id is empty"),
            (Outgoing::new("paid", "a b", "x"), "blank"),
            (Outgoing::new("paid", "b", ""), "body is empty"),
            (fine.clone().header("DELAY", "1"), "DELAY"),
            (fine.clone().in_order_of("k".repeat(256)), "order key takes 256 bytes of 255"),
        ] {
            let error = wrong.check(10).expect_err(told).to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
