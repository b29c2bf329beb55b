//! What is said on standard output at start: where it listens, where the data is, and what to try next.
//!
//! The last line begins with `ready`, for scripts that wait for it.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use tenonmq_broker::config::{Config, LiveConfig};
use tenonmq_broker::lifecycle::Running;
use tenonmq_broker::route::address;

/// Tells where everything is; tries the advertised address first.
pub(crate) async fn print(config: &Config, running: &Running, started: Instant) {
    let addresses = running.addresses();
    let mut text = format!("TenonMQ {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |what: &str, value: String| text.push_str(&format!("  {what:<12} {value}\n"));
    match addresses.name_server {
        Some(address) => line("name server", address.to_string()),
        None => line("name server", "off".to_owned()),
    }
    match addresses.broker {
        Some(address) => {
            let second = addresses.fast.map_or(String::new(), |fast| format!(" and {}", fast.port()));
            let identity = &config.identity;
            line("broker", format!("{address}{second}: {} in {}", identity.name, identity.cluster));
        }
        None => line("broker", "off".to_owned()),
    }
    let http =
        [addresses.http.map(|at| format!("http://{at}/")), addresses.exporter.map(|at| format!("http://{at}/metrics"))];
    if http.iter().any(Option::is_some) {
        line("HTTP", http.into_iter().flatten().collect::<Vec<_>>().join(" "));
    }
    if !config.registration.name_servers.is_empty() {
        line("registers at", config.registration.name_servers.join(" "));
    }
    line("data", absolute(&config.data_directory));
    if let Some(advertised) = running.advertised() {
        let answers = advertised.check(config.registration.address_check_timeout).await;
        line("address", address::verdict(advertised, answers));
    }
    if let Some(hint) = hint(addresses.name_server, config) {
        line("try", hint);
    }
    text.push_str(&format!("ready in {} ms\n", started.elapsed().as_millis()));
    write(&text);
}

/// `--check`: every key with its value, as a file that could be used.
pub(crate) fn print_configuration(config: &LiveConfig) {
    let mut all = config.get_all();
    for (key, value) in config.get_all_of_name_server() {
        all.entry(key).or_insert(value);
    }
    write(&LiveConfig::text_of(&all));
}

fn hint(name_server: Option<SocketAddr>, config: &Config) -> Option<String> {
    let at = match name_server {
        Some(address) => format!("127.0.0.1:{}", address.port()),
        None => config.registration.name_servers.first()?.clone(),
    };
    Some(format!("mqadmin clusterList -n {at}"))
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).as_deref().unwrap_or(path).display().to_string()
}

/// Nobody may be reading; that is no reason to stop.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
