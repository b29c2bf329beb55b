//! The names that a client gives itself and its messages.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::atomic::{AtomicU32, Ordering},
};

use tenonmq_protocol::message::UniqueKeyGenerator;

use crate::{config::ClientConfig, session::now_ms};

/// What tells one client from another.
pub(crate) struct Identity {
    /// `ip@instance`.
    pub(crate) client_id: String,
    pub(crate) keys: UniqueKeyGenerator,
}

impl Identity {
    pub(crate) fn new(config: &ClientConfig) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let ip = local_ip(config.name_servers.first().map_or("", String::as_str));
        let process = std::process::id();
        let started_ms = now_ms();
        let instance = config.instance.clone().unwrap_or_else(|| format!("{process}#{started_ms}#{count}"));
        // two clients of one process, or of two processes with one recycled id, must not make equal keys
        let discriminator = (started_ms as u32).rotate_left(8) ^ count.wrapping_mul(0x9E37_79B9);
        Self { client_id: format!("{ip}@{instance}"), keys: UniqueKeyGenerator::new(ip, process, discriminator) }
    }
}

/// The address that this machine uses towards `peer`. No packet is sent.
fn local_ip(peer: &str) -> IpAddr {
    let towards = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(peer)?;
        Ok(socket.local_addr()?.ip())
    };
    towards().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clients_of_one_process_have_different_names_and_make_different_keys() {
        let config = ClientConfig::new("127.0.0.1:9876");
        let (one, two) = (Identity::new(&config), Identity::new(&config));
        assert_ne!(one.client_id, two.client_id);
        assert_ne!(one.keys.next(0).as_str(), two.keys.next(0).as_str());
        assert!(one.client_id.starts_with("127.0.0.1@"));
    }
}
