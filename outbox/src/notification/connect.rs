//! From a name to a connection, past addresses that may not be called.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use url::Host;

use super::{Reach, notice::Endpoint};

/// Most addresses of a name that are tried, one after the other.
const MOST_ADDRESSES: usize = 4;

/// Finds the addresses of a name. The default asks the system.
pub trait Resolver: Send + Sync + 'static {
    /// The name's addresses, in the order in which they are tried.
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect()) })
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The target's fault, or the network's.
    #[error("{step}: {source}")]
    Away { step: &'static str, source: io::Error },
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    #[error("{0} has no address")]
    Nowhere(String),
    /// Ours: it is not called.
    #[error("{name} is at {address}, which is not public; it is not called")]
    OutOfReach { name: String, address: IpAddr },
}

/// Bytes to and from the endpoint, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) resolver: std::sync::Arc<dyn Resolver>,
    pub(super) reach: Reach,
    pub(super) limit: Duration,
    #[cfg(feature = "notification-tls")]
    pub(super) tls: super::tls::Tls,
}

impl Dialer {
    pub(super) fn new(reach: Reach, limit: Duration) -> Self {
        Self {
            resolver: std::sync::Arc::new(SystemResolver),
            reach,
            limit,
            #[cfg(feature = "notification-tls")]
            tls: super::tls::Tls::default(),
        }
    }

    /// Connects to an address of the endpoint that may be called; the time limit covers all of it.
    pub(super) async fn dial(&self, endpoint: &Endpoint) -> Result<Box<dyn Stream>, DialError> {
        let dialing = async {
            let stream = self.connect(endpoint).await?;
            let _ = stream.set_nodelay(true); // only slower without
            self.secure(endpoint, stream).await
        };
        tokio::time::timeout(self.limit, dialing).await.unwrap_or(Err(DialError::TimedOut(self.limit)))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<TcpStream, DialError> {
        let mut failure = None;
        for address in self.addresses(endpoint).await? {
            match TcpStream::connect(SocketAddr::new(address, endpoint.port)).await {
                Ok(stream) => return Ok(stream),
                Err(source) => failure = Some(DialError::Away { step: "connect", source }),
            }
        }
        Err(failure.unwrap_or_else(|| DialError::Nowhere(endpoint.host.to_string())))
    }

    /// The addresses that may be called. These very addresses are connected to: the name is not asked again.
    async fn addresses(&self, endpoint: &Endpoint) -> Result<Vec<IpAddr>, DialError> {
        let found = match (&endpoint.host, endpoint.address()) {
            (_, Some(address)) => vec![address],
            (Host::Domain(name), None) => {
                self.resolver.resolve(name).await.map_err(|source| DialError::Away { step: "resolve", source })?
            }
            (_, None) => Vec::new(),
        };
        let (within, outside): (Vec<IpAddr>, Vec<IpAddr>) =
            found.into_iter().partition(|address| self.reach.covers(*address));
        match (within.is_empty(), outside.first()) {
            (true, Some(&address)) => Err(DialError::OutOfReach { name: endpoint.host.to_string(), address }),
            _ => Ok(within.into_iter().take(MOST_ADDRESSES).collect()),
        }
    }

    #[cfg(feature = "notification-tls")]
    async fn secure(&self, endpoint: &Endpoint, stream: TcpStream) -> Result<Box<dyn Stream>, DialError> {
        if !endpoint.is_tls {
            return Ok(Box::new(stream));
        }
        let secured = self.tls.secure(endpoint, stream).await;
        Ok(Box::new(secured.map_err(|source| DialError::Away { step: "TLS", source })?))
    }

    #[cfg(not(feature = "notification-tls"))]
    async fn secure(&self, _: &Endpoint, stream: TcpStream) -> Result<Box<dyn Stream>, DialError> {
        Ok(Box::new(stream)) // an https endpoint is refused when its URL is read
    }
}
