//! Whose word is taken for who the other side is.

use std::{io, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use super::notice::Endpoint;

/// A PEM text that cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no authority to trust: {0}")]
pub struct NoAuthority(String);

/// Settings of TLS. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls {
    authorities: Arc<RootCertStore>,
    config: Arc<ClientConfig>,
}

impl Default for Tls {
    /// Trusts the authorities that Mozilla does.
    fn default() -> Self {
        let authorities = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self { config: trusting(&authorities), authorities: Arc::new(authorities) }
    }
}

impl From<Arc<ClientConfig>> for Tls {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self { config, ..Self::default() }
    }
}

impl Tls {
    /// Trusts the authorities in a PEM text too.
    pub(super) fn trust(&mut self, pem: &[u8]) -> Result<(), NoAuthority> {
        let authorities = Arc::make_mut(&mut self.authorities);
        let before = authorities.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| NoAuthority(error.to_string()))?;
            authorities.add(certificate).map_err(|error| NoAuthority(error.to_string()))?;
        }
        if authorities.len() == before {
            return Err(NoAuthority("there is no certificate in the text".to_owned()));
        }
        self.config = trusting(authorities);
        Ok(())
    }

    /// Encrypts a connection, if the endpoint's certificate is for its host and by an authority that is trusted.
    pub(super) async fn secure(&self, endpoint: &Endpoint, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = match endpoint.address() {
            Some(address) => ServerName::from(address),
            None => ServerName::try_from(endpoint.host.to_string())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }
}

fn trusting(authorities: &RootCertStore) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(ring::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().expect("ring has the suites of TLS 1.2 and 1.3");
    builder.with_root_certificates(authorities.clone()).with_no_client_auth().into()
}
