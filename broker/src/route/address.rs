//! The address that clients are told.
//!
//! A broker that registers an address its clients cannot reach looks healthy and serves nobody. So the
//! address is given (`brokerIP1`, `bindAddress`) or chosen by a rule that can be read here, it is printed at
//! start, and it is tried: [`Advertised::check`] connects to it as a client would.
//!
//! ```text
//! brokerIP1 ─► bindAddress, if it is one ─► source of the default route ─► first address of an interface ─► 127.0.0.1
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use tokio::net::TcpStream;

/// Where the addresses of this machine are listed on Linux.
const FIB: &str = "/proc/net/fib_trie";

/// Why an address was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Somebody set `brokerIP1`.
    Configured,
    /// `bindAddress` leaves no choice.
    Bound,
    /// It is what this machine talks to the world with.
    DefaultRoute,
    /// It is the first address of an interface that is not loopback.
    Interface,
    /// There is no other.
    Loopback,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configured => "from brokerIP1",
            Self::Bound => "from bindAddress",
            Self::DefaultRoute => "the address of the default route; set brokerIP1 for another",
            Self::Interface => "the first address of an interface; set brokerIP1 for another",
            Self::Loopback => "no network found, so only this machine can connect; set brokerIP1 for another",
        })
    }
}

/// What the machine offers to choose from.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    /// The source address of packets to the world.
    pub default_route: Option<IpAddr>,
    /// Addresses of interfaces, in the system's order.
    pub interfaces: Vec<Ipv4Addr>,
}

impl Candidates {
    /// Asks the system. Sends nothing: connecting a datagram socket only looks up the route.
    #[must_use]
    pub fn of_this_machine() -> Self {
        // Addresses reserved for documentation: nobody is there, and the default route leads to them.
        let v4 = (Ipv4Addr::UNSPECIFIED.into(), IpAddr::from([192, 0, 2, 1]));
        let v6 = (Ipv6Addr::UNSPECIFIED.into(), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]));
        let source = |(from, to): (IpAddr, IpAddr)| -> Option<IpAddr> {
            let socket = UdpSocket::bind((from, 0)).ok()?;
            socket.connect((to, 9)).ok()?;
            Some(socket.local_addr().ok()?.ip()).filter(is_useful)
        };
        let interfaces = std::fs::read_to_string(FIB).map(|text| local_addresses(&text)).unwrap_or_default();
        Self { default_route: source(v4).or_else(|| source(v6).filter(|_| interfaces.is_empty())), interfaces }
    }

    /// The address for clients when the broker listens on `bind` and nobody configured one.
    #[must_use]
    pub fn choose(&self, bind: IpAddr) -> (IpAddr, Reason) {
        let is_local = |ip: &&Ipv4Addr| is_useful(&IpAddr::V4(**ip));
        if !bind.is_unspecified() {
            (bind, Reason::Bound)
        } else if let Some(address) = self.default_route {
            (address, Reason::DefaultRoute)
        } else if let Some(address) = self.interfaces.iter().find(is_local) {
            (IpAddr::V4(*address), Reason::Interface)
        } else {
            (IpAddr::V4(Ipv4Addr::LOCALHOST), Reason::Loopback)
        }
    }
}

fn is_useful(address: &IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !is_link_local
}

/// The addresses that the system's routing trie marks as its own: a line with the address, then one that says so.
fn local_addresses(fib: &str) -> Vec<Ipv4Addr> {
    let mut addresses = Vec::new();
    let mut last = None;
    for line in fib.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = last.take()
            && !address.is_loopback()
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    addresses
}

/// The address that name servers hand to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// `host:port`. The host is a name if `brokerIP1` is one.
    pub text: String,
    /// What it resolves to here; part of message ids.
    pub socket: SocketAddr,
    /// Where it comes from.
    pub reason: Reason,
}

impl Advertised {
    /// The address for clients of a broker that listens on `bind` and `port`.
    ///
    /// A configured name that does not resolve here may still resolve where the clients are: it is told as it
    /// is, and message ids get the address that would have been chosen.
    #[must_use]
    pub fn new(configured: Option<&str>, bind: IpAddr, port: u16, candidates: &Candidates) -> Self {
        let (chosen, reason) = candidates.choose(bind);
        match configured {
            Some(host) => Self {
                text: join(host, port),
                socket: resolve(host, port).unwrap_or(SocketAddr::new(chosen, port)),
                reason: Reason::Configured,
            },
            None => Self { text: join(&chosen.to_string(), port), socket: SocketAddr::new(chosen, port), reason },
        }
    }

    /// Connects as a client would; whether anybody answered within `deadline`.
    pub async fn check(&self, deadline: Duration) -> bool {
        let connected = tokio::time::timeout(deadline, TcpStream::connect(self.text.as_str())).await;
        matches!(connected, Ok(Ok(_)))
    }
}

/// The sentence for the operator.
#[must_use]
pub fn verdict(advertised: &Advertised, answers: bool) -> String {
    let Advertised { text, reason, .. } = advertised;
    let outcome = if answers { "answers" } else { "DOES NOT ANSWER from here" };
    format!("clients will be told {text} ({reason}); {text} {outcome}")
}

fn resolve(host: &str, port: u16) -> Option<SocketAddr> {
    let host = host.trim_matches(['[', ']']);
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().ok()?.collect();
    addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied()
}

fn join(host: &str, port: u16) -> String {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn candidates(default_route: Option<&str>, interfaces: &[&str]) -> Candidates {
        Candidates {
            default_route: default_route.map(|address| address.parse().unwrap()),
            interfaces: interfaces.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    fn chosen(candidates: &Candidates, bind: IpAddr) -> (String, Reason) {
        let (address, reason) = candidates.choose(bind);
        (address.to_string(), reason)
    }

    #[test]
    fn the_source_of_the_default_route_is_told_before_any_other_interface() {
        let both = candidates(Some("10.0.0.5"), &["172.17.0.1", "10.0.0.5"]);
        assert_eq!(chosen(&both, ANY), ("10.0.0.5".into(), Reason::DefaultRoute));
    }

    #[test]
    fn without_a_default_route_the_first_useful_interface_is_told() {
        let some = candidates(None, &["169.254.7.7", "192.168.1.9", "10.0.0.5"]);
        assert_eq!(chosen(&some, ANY), ("192.168.1.9".into(), Reason::Interface));
        assert_eq!(chosen(&candidates(None, &[]), ANY), ("127.0.0.1".into(), Reason::Loopback));
    }

    #[test]
    fn an_address_that_is_bound_is_the_one_to_tell() {
        let some = candidates(Some("10.0.0.5"), &[]);
        assert_eq!(chosen(&some, [127, 0, 0, 1].into()), ("127.0.0.1".into(), Reason::Bound));
    }

    #[test]
    fn a_configured_name_is_told_as_it_is_and_a_configured_address_is_used_for_message_ids() {
        let some = candidates(Some("10.0.0.5"), &[]);
        let name = Advertised::new(Some("no-such-host.invalid"), ANY, 10911, &some);
        assert_eq!(name.text, "no-such-host.invalid:10911");
        assert_eq!(name.socket, "10.0.0.5:10911".parse().unwrap());
        let address = Advertised::new(Some("10.9.9.9"), ANY, 1, &some);
        assert_eq!((address.text.as_str(), address.socket), ("10.9.9.9:1", "10.9.9.9:1".parse().unwrap()));
        let v6 = Advertised::new(Some("::1"), ANY, 1, &some);
        assert_eq!(v6.text, "[::1]:1");
        assert_eq!(v6.reason, Reason::Configured);
    }

    #[test]
    fn addresses_of_interfaces_are_read_from_the_routing_trie() {
        let fib = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                   Local:\n     +-- 10.0.2.0/24 2 0 2\n        |-- 10.0.2.0\n           /24 link UNICAST\n        \
                   |-- 10.0.2.15\n           /32 host LOCAL\n        |-- 10.0.2.255\n           /32 link BROADCAST\n     \
                   |-- 127.0.0.1\n           /32 host LOCAL\n        |-- 10.0.2.15\n           /32 host LOCAL\n";
        assert_eq!(local_addresses(fib), [Ipv4Addr::new(10, 0, 2, 15)]);
    }

    #[tokio::test]
    async fn the_check_tells_a_listening_port_from_a_closed_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let advertised = Advertised::new(Some("127.0.0.1"), ANY, port, &Candidates::default());
        let deadline = Duration::from_secs(5);
        assert!(advertised.check(deadline).await);
        assert!(verdict(&advertised, true).ends_with(&format!("127.0.0.1:{port} answers")));
        drop(listener);
        assert!(!advertised.check(deadline).await);
        assert!(verdict(&advertised, false).ends_with("DOES NOT ANSWER from here"));
    }
}
