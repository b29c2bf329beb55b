//! What somebody is notified of, and where.

use bytes::Bytes;
use url::{Host, Url};

use super::address::Reach;
use crate::{
    error::Error,
    message::{LONGEST_KEY, key_fault},
};

/// Longest URL, in bytes.
const LONGEST_URL: usize = 2_000;
/// Longest name of a host, in bytes: with the port it fits in an index.
const LONGEST_HOST: usize = 240;

/// A notification: one event, told to one receiver.
///
/// Business type and business id name the *event*, and the receiver recognises copies by them: `order-42/paid`, not
/// `order-42`, which will have other events.
///
/// ```
/// use tenonmq_outbox::notification::Notification;
/// let notification = Notification::to("merchant-7", "https://merchant.example/paid")
///     .about("paid", "order-42/paid")
///     .json(r#"{"order":42}"#);
/// assert_eq!(notification.business_id(), "order-42/paid");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub(super) receiver: String,
    pub(super) url: String,
    pub(super) business_type: String,
    pub(super) business_id: String,
    pub(super) content_type: String,
    pub(super) content: Bytes,
}

impl Notification {
    /// To whom, and where they are called. The receiver's name chooses the key that it is signed with. Nothing is checked
    /// before it is [written](super::Notifier::notify).
    pub fn to(receiver: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            receiver: receiver.into(),
            url: url.into(),
            business_type: String::new(),
            business_id: String::new(),
            content_type: "application/octet-stream".to_owned(),
            content: Bytes::new(),
        }
    }

    /// Of what: the type, which chooses the [strategy](super::Courier::strategy), and the event's id.
    #[must_use]
    pub fn about(mut self, business_type: impl Into<String>, business_id: impl Into<String>) -> Self {
        self.business_type = business_type.into();
        self.business_id = business_id.into();
        self
    }

    /// A body that is JSON.
    #[must_use]
    pub fn json(self, content: impl Into<Bytes>) -> Self {
        self.body("application/json", content)
    }

    /// A body of any type.
    #[must_use]
    pub fn body(mut self, content_type: impl Into<String>, content: impl Into<Bytes>) -> Self {
        self.content_type = content_type.into();
        self.content = content.into();
        self
    }

    /// Who is told.
    pub fn receiver(&self) -> &str {
        &self.receiver
    }

    /// What kind of event it is.
    pub fn business_type(&self) -> &str {
        &self.business_type
    }

    /// What identifies the event.
    pub fn business_id(&self) -> &str {
        &self.business_id
    }

    /// The body.
    pub fn content(&self) -> &Bytes {
        &self.content
    }

    /// Whether it can be written and called; returns where.
    pub(super) fn check(&self, largest: usize, reach: &Reach) -> Result<Endpoint, Error> {
        if self.content.len() > largest {
            return Err(Error::TooLarge {
                topic: self.shown_topic(),
                business_id: shown(&self.business_id),
                part: "content",
                len: self.content.len(),
                limit: largest,
            });
        }
        self.checked(reach).map_err(|reason| Error::Message {
            topic: self.shown_topic(),
            business_id: shown(&self.business_id),
            reason,
        })
    }

    fn checked(&self, reach: &Reach) -> Result<Endpoint, String> {
        let keys =
            [("receiver", &self.receiver), ("business type", &self.business_type), ("business id", &self.business_id)];
        if let Some(fault) = keys.into_iter().find_map(|(what, key)| key_fault(what, key)) {
            return Err(fault);
        }
        let is_visible = self.content_type.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
        if self.content_type.is_empty() || self.content_type.len() > LONGEST_KEY || !is_visible {
            return Err(format!("the content type {:?} is no value of a header", shown(&self.content_type)));
        }
        let endpoint = Endpoint::parse(&self.url)?;
        match endpoint.address() {
            Some(address) if !reach.covers(address) => Err(format!("the url's address {address} is not public")),
            _ => Ok(endpoint),
        }
    }

    /// For messages about it.
    fn shown_topic(&self) -> String {
        format!("{} to {}", shown(&self.business_type), shown(&self.receiver))
    }
}

fn shown(key: &str) -> String {
    key.chars().take(LONGEST_KEY).collect()
}

/// A URL that can be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Host and port, as the header `Host` has them where the port is not the scheme's own.
    pub(super) target: String,
    pub(super) host: Host<String>,
    pub(super) port: u16,
    pub(super) is_tls: bool,
    /// Path and query.
    pub(super) path: String,
}

impl Endpoint {
    /// The error says what is wrong with the URL.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST_URL {
            return Err(format!("the url takes {} bytes of {LONGEST_URL}", text.len()));
        }
        let url = Url::parse(text).map_err(|error| format!("the url {text:?}: {error}"))?;
        let is_tls = match url.scheme() {
            "http" => false,
            "https" if cfg!(feature = "notification-tls") => true,
            "https" => return Err("https endpoints need the feature notification-tls".to_owned()),
            other => return Err(format!("the url's scheme {other:?} is neither http nor https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the url has a user name or password".to_owned());
        }
        let (Some(host), Some(port)) = (url.host().map(|host| host.to_owned()), url.port_or_known_default()) else {
            return Err(format!("the url {text:?} has no host"));
        };
        let named = host.to_string();
        if named.len() > LONGEST_HOST {
            return Err(format!("the url's host takes {} bytes of {LONGEST_HOST}", named.len()));
        }
        let path = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        path.parse::<hyper::Uri>().map_err(|error| format!("the url's path: {error}"))?;
        Ok(Self { target: format!("{named}:{port}"), host, port, is_tls, path })
    }

    /// Its address, when the URL has one in place of a name.
    pub(super) fn address(&self) -> Option<std::net::IpAddr> {
        match self.host {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    /// The header `Host`.
    pub(super) fn host_header(&self) -> String {
        match (self.is_tls, self.port) {
            (false, 80) | (true, 443) => self.host.to_string(),
            _ => self.target.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(url: &str) -> Notification {
        Notification::to("merchant-7", url).about("paid", "order-42").json("{}")
    }

    #[test]
    fn an_endpoint_is_what_the_url_says_in_one_form() {
        let endpoint = Endpoint::parse("http://Shop.Example/a b?x=1#part").unwrap();
        assert_eq!((endpoint.target.as_str(), endpoint.path.as_str()), ("shop.example:80", "/a%20b?x=1"));
        assert_eq!(endpoint.host_header(), "shop.example");
        let by_address = Endpoint::parse("http://[::1]:8080").unwrap();
        assert_eq!((by_address.host_header().as_str(), by_address.path.as_str()), ("[::1]:8080", "/"));
    }

    #[test]
    fn an_address_is_refused_in_every_disguise() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://169.254.169.254/latest/meta-data",
        ] {
            let error = paid(url).check(10, &Reach::public()).unwrap_err().to_string();
            assert!(error.contains("is not public") && error.contains("paid to merchant-7"), "{url}: {error}");
        }
        let reach = Reach::public().and("127.0.0.0/8".parse().unwrap());
        assert_eq!(paid("http://0x7f.1:81/").check(10, &reach).unwrap().target, "127.0.0.1:81");
    }

    #[test]
    fn what_could_not_be_delivered_is_refused_before_it_is_written() {
        let url = "http://shop.example/";
        assert!(paid(url).check(2, &Reach::public()).is_ok());
        assert!(matches!(paid(url).check(1, &Reach::public()), Err(Error::TooLarge { len: 2, limit: 1, .. })));
        for (wrong, told) in [
            (paid("ftp://shop.example/"), "ftp"),
            (paid("shop.example"), "url"),
            (paid("http://"), "url"),
            (paid("http://me:pass@shop.example/"), "user name"),
            (paid(&format!("http://shop.example/{}", "x".repeat(2_000))), "2020 bytes of 2000"),
            (paid(url).about("", "1"), "business type is empty"),
            (paid(url).about("paid", "a\nb"), "blank or control"),
            (paid(url).about("paid", "x".repeat(256)), "256 bytes of 255"),
            (Notification::to("", url).about("paid", "1"), "receiver is empty"),
            (paid(url).body("text/plain\r\nX-Evil: 1", ""), "content type"),
        ] {
            let error = wrong.check(10, &Reach::public()).expect_err(told).to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
