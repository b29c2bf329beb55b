//! Which addresses may be called.
//!
//! Whoever chooses a URL chooses where this process connects to. So only addresses of the public internet are called
//! unless others are allowed, and what is checked is the address that is connected to, not the name: a name that resolves
//! to one thing when it is checked and to another when it is used passes nothing.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Networks whose addresses are called, besides the public ones.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    allowed: Vec<Network>,
}

impl Reach {
    /// Public addresses only.
    pub fn public() -> Self {
        Self::default()
    }

    /// Allows a network too.
    #[must_use]
    pub fn and(mut self, network: Network) -> Self {
        self.allowed.push(network);
        self
    }

    /// Whether that address may be called.
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical(); // ::ffff:10.0.0.1 is 10.0.0.1
        is_public(address) || self.allowed.iter().any(|network| network.contains(address))
    }
}

/// A network: `10.1.0.0/16`, `fd00::/8`, or a single address.
///
/// ```
/// let network: tenonmq_outbox::notification::Network = "10.1.0.0/16".parse().unwrap();
/// assert!(network.contains("10.1.2.3".parse().unwrap()) && !network.contains("10.2.0.0".parse().unwrap()));
/// assert!("10.1.0.0/33".parse::<tenonmq_outbox::notification::Network>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// A text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network such as 10.1.0.0/16 or fd00::/8")]
pub struct NotANetwork(String);

impl Network {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (of, own, other) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (32, u128::from(own.to_bits()), u128::from(other.to_bits())),
            (IpAddr::V6(own), IpAddr::V6(other)) => (128, own.to_bits(), other.to_bits()),
            _ => return false,
        };
        (own ^ other).checked_shr(of - self.bits).unwrap_or(0) == 0
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotANetwork(text.chars().take(80).collect());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > most {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

/// Whether an address is one of the public internet, by the registries of special addresses (RFC 6890 and its successors).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let octets = address.octets();
    let is_special = match octets {
        [0 | 10 | 127 | 224.., ..] => true, // this network, private, loopback, multicast and reserved
        [100, second, ..] => second & 0xc0 == 64, // shared by carriers
        [169, 254, ..] => true,             // link-local: the metadata of clouds
        [172, second, ..] => second & 0xf0 == 16,
        [192, 168, ..] => true,
        [192, 0, 0 | 2, _] | [192, 88, 99, _] => true, // protocols, examples, 6to4 relays
        [198, 18 | 19, ..] => true,                    // measurements
        [198, 51, 100, _] | [203, 0, 113, _] => true,  // examples
        _ => false,
    };
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x2001, second, ..] => second >= 0x200 && second != 0xdb8, // protocols (Teredo too), examples
        [0x2002, ..] => false,                                      // 6to4: any IPv4 address within
        [0x3fff, second, ..] => second >= 0x1000,                   // examples
        [first, ..] => first & 0xe000 == 0x2000,                    // the rest of what is assigned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(address: &str) -> bool {
        Reach::public().covers(address.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_covered_and_all_others_are_not() {
        for address in
            ["8.8.8.8", "100.63.0.1", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.1"]
        {
            assert!(covers(address), "{address}");
        }
        for address in ["2606:4700::1", "2a00:1450:4001::1", "2001:4860:4860::8888", "::ffff:8.8.8.8"] {
            assert!(covers(address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.1.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!covers(address), "{address}");
            assert!(!covers(&format!("::ffff:{address}")), "mapped {address}");
            assert!(!covers(&format!("64:ff9b::{address}")), "translated {address}");
        }
        for address in [
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "4000::1",
            "::127.0.0.1",
        ] {
            assert!(!covers(address), "{address}");
        }
    }

    #[test]
    fn what_is_allowed_is_covered_as_far_as_it_is_allowed() {
        let reach = Reach::public().and("127.0.0.0/8".parse().unwrap()).and("fd00::/8".parse().unwrap());
        for (address, is_covered) in
            [("127.0.0.1", true), ("::ffff:127.0.0.1", true), ("fdab::1", true), ("10.0.0.1", false), ("::1", false)]
        {
            assert_eq!(reach.covers(address.parse().unwrap()), is_covered, "{address}");
        }
        let everything = Reach::public().and("0.0.0.0/0".parse().unwrap());
        assert!(everything.covers("10.0.0.1".parse().unwrap()) && !everything.covers("::1".parse().unwrap()));
        let one: Network = "10.0.0.7".parse().unwrap();
        assert!(one.contains("10.0.0.7".parse().unwrap()) && !one.contains("10.0.0.6".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_says_so() {
        for text in ["", "10.0.0.0/", "10.0.0.0/-1", "fd00::/129", "ten/8", "10.0.0/8"] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork(text.to_owned())));
        }
    }
}
