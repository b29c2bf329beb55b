//! What every kind of client is told: where the name servers are, how long to wait, how to write headers.

use std::time::Duration;

pub use tenonmq_protocol::{frame::Serialization, message::Compression};

use crate::error::Error;

/// Settings that producers, consumers and the admin helper share. A string of name-server addresses
/// (`host:port;host:port`) converts into one, so most programs never name this type.
///
/// ```
/// use std::time::Duration;
/// use tenonmq_client::{ClientConfig, Producer, Serialization};
/// let config = ClientConfig::new("10.0.0.1:9876;10.0.0.2:9876")
///     .serialization(Serialization::Binary)
///     .request_timeout(Duration::from_secs(5));
/// let builder = Producer::builder(config).group("orders");
/// ```
#[derive(Debug, Clone)]
pub struct ClientConfig {
    pub(crate) name_servers: Vec<String>,
    pub(crate) instance: Option<String>,
    pub(crate) serialization: Serialization,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) route_refresh: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) max_frame: usize,
    pub(crate) backoff_first: Duration,
    pub(crate) backoff_max: Duration,
}

impl ClientConfig {
    /// Apache's defaults for the given name servers: `host:port`, several separated by `;`.
    pub fn new(name_servers: impl AsRef<str>) -> Self {
        let list = name_servers.as_ref().split(';').map(str::trim).filter(|one| !one.is_empty());
        Self {
            name_servers: list.map(str::to_owned).collect(),
            instance: None,
            serialization: Serialization::Json,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(3),
            route_refresh: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(30),
            max_frame: tenonmq_protocol::frame::DEFAULT_MAX_FRAME,
            backoff_first: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
        }
    }

    /// The middle part of the client id `ip@instance`. Must differ between clients of one group on one machine; the
    /// default (process id and a counter) does.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// How request headers are written; answers are read in either form. Default JSON. The binary form cannot carry
    /// codes above 32767.
    #[must_use]
    pub fn serialization(mut self, serialization: Serialization) -> Self {
        self.serialization = serialization;
        self
    }

    /// Longest wait for a TCP connection. Default 3 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Longest wait for an answer to anything but sends and pulls, which have settings of their own. Default 3 s.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How often routes of known topics are asked for again. Default 30 s.
    #[must_use]
    pub fn route_refresh(mut self, period: Duration) -> Self {
        self.route_refresh = period;
        self
    }

    /// How often brokers are told that this client lives. Default 30 s; brokers forget a client after 120 s.
    #[must_use]
    pub fn heartbeat_interval(mut self, period: Duration) -> Self {
        self.heartbeat_interval = period;
        self
    }

    /// Pauses between attempts to reach a peer that is gone: `first`, doubled each time up to `max`.
    /// Default 50 ms and 5 s.
    #[must_use]
    pub fn reconnect_backoff(mut self, first: Duration, max: Duration) -> Self {
        self.backoff_first = first;
        self.backoff_max = max;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let config = |text: &str| Err(Error::Config(text.to_owned()));
        if self.name_servers.is_empty() {
            return config("no name server address is given (host:port;host:port)");
        }
        if let Some(bad) = self.name_servers.iter().find(|one| !one.contains(':')) {
            return Err(Error::Config(format!("the name server address {bad:?} lacks a port")));
        }
        if self.route_refresh.is_zero() || self.heartbeat_interval.is_zero() {
            return config("periods must not be zero");
        }
        Ok(())
    }
}

impl<T: AsRef<str>> From<T> for ClientConfig {
    fn from(name_servers: T) -> Self {
        Self::new(name_servers)
    }
}

/// Upstream's rule for group names, and the names that it keeps for itself.
pub(crate) fn validate_group(group: &str) -> Result<(), Error> {
    if group.is_empty() {
        return Err(Error::Config("a group is required".into()));
    }
    crate::message::validate_topic(group).map_err(|_| {
        Error::Config(format!("the group {group:?} has characters outside [%|a-zA-Z0-9_-] or is too long"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_name_servers_are_separated_by_semicolons() {
        let config = ClientConfig::from("a:1; b:2;");
        assert_eq!(config.name_servers, ["a:1", "b:2"]);
        assert!(config.validate().is_ok());
    }

    #[test]
    fn an_address_without_a_port_is_a_configuration_error() {
        assert!(matches!(ClientConfig::new("localhost").validate(), Err(Error::Config(_))));
        assert!(matches!(ClientConfig::new("").validate(), Err(Error::Config(_))));
    }
}
