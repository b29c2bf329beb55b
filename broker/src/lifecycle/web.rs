//! The HTTP port, and metrics where Apache's exporter has them.
//!
//! Neither is worth a broker that does not start: a port that is taken is told in the log, and everything else goes on.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, lookup_host};
use tracing::{info, warn};

use super::Addresses;
use super::part::Part;
use crate::config::{Config, MetricsExporter};
use crate::core::Core;
use crate::http::{self, Site};
use crate::route::address::Candidates;

pub(super) struct Web {
    part: Part,
    site: Arc<Site>,
    exporter: Arc<Site>,
}

impl Web {
    /// Serves what is configured and can be; the pages say that there is no broker yet.
    pub(super) async fn start(settings: &Config, addresses: &mut Addresses) -> Self {
        let of = |site: Site| Arc::new(if settings.roles.broker { site } else { site.without_broker() });
        let mut web = Self { part: Part::new(), site: of(Site::new()), exporter: of(Site::exporter()) };
        if let Some(port) = settings.http.port {
            let listener = TcpListener::bind((settings.http.bind, port)).await;
            let site = Arc::clone(&web.site);
            let hint = "set httpPort to another port, or httpEnable=false";
            addresses.http = web.serve(listener, site, settings, &format!("{}:{port}", settings.http.bind), hint);
        }
        match settings.metrics.exporter {
            MetricsExporter::None => {}
            _ if !settings.roles.broker => {} // the port is for the broker that may be beside us
            MetricsExporter::Prometheus => {
                let (host, port) = (exporter_host(settings), settings.metrics.exporter_port);
                let listener = listen_at(&host, port).await;
                let site = Arc::clone(&web.exporter);
                let hint = "set metricsPromExporterHost to an address of this machine, or metricsPromExporterPort";
                addresses.exporter = web.serve(listener, site, settings, &format!("{host}:{port}"), hint);
            }
            MetricsExporter::NotSupported(kind) => {
                warn!(
                    "metricsExporterType={kind} is not supported: no metrics are sent anywhere. Use PROM, or the HTTP port"
                );
            }
        }
        for piece in &settings.metrics.bad_labels {
            warn!("metricsLabel: {piece:?} is not name:value, and is left out");
        }
        web
    }

    /// The broker serves from now on.
    pub(super) fn broker_serves(&self, core: &Arc<Core>) {
        self.site.set_core(core);
        self.exporter.set_core(core);
    }

    pub(super) async fn stop(self) {
        self.part.stop().await;
    }

    /// Where it listens; `None` if it cannot.
    fn serve(
        &mut self,
        listener: io::Result<TcpListener>,
        site: Arc<Site>,
        settings: &Config,
        wanted: &str,
        hint: &str,
    ) -> Option<SocketAddr> {
        let listening = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = match listening {
            Ok(listening) => listening,
            Err(error) => {
                warn!(%error, "no HTTP at {wanted}; the broker goes on without. {hint}");
                return None;
            }
        };
        let limits = http::Limits { connections: settings.http.max_connections, timeout: settings.http.timeout };
        self.part.spawn(|stop| http::serve(listener, site, limits, stop));
        info!(%address, "HTTP");
        Some(address)
    }
}

/// As in Apache: `metricsPromExporterHost`, or else the address that clients are told.
fn exporter_host(settings: &Config) -> String {
    let ours = || Candidates::of_this_machine().choose(IpAddr::from([0, 0, 0, 0])).0.to_string();
    settings.metrics.exporter_host.clone().unwrap_or_else(ours)
}

async fn listen_at(host: &str, port: u16) -> io::Result<TcpListener> {
    let host = host.trim_matches(['[', ']']);
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    TcpListener::bind(&*addresses).await
}
