//! Big-endian reads that cannot panic, and host addresses as Apache stores them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The `N` bytes at `at`, or zeros when they are not all there. Callers check lengths first.
fn array_at<const N: usize>(buf: &[u8], at: usize) -> [u8; N] {
    buf.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

pub(crate) fn i16_at(buf: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(array_at(buf, at))
}

pub(crate) fn i32_at(buf: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(array_at(buf, at))
}

pub(crate) fn i64_at(buf: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(array_at(buf, at))
}

/// Bytes that a host takes: address and a 32-bit port.
pub(crate) const fn host_len(v6: bool) -> usize {
    if v6 { 20 } else { 8 }
}

/// The host at `at`. A port that does not fit 16 bits reads as its low half.
pub(crate) fn host_at(buf: &[u8], at: usize, v6: bool) -> SocketAddr {
    let (ip, port_at) = if v6 {
        (IpAddr::V6(Ipv6Addr::from(array_at::<16>(buf, at))), at + 16)
    } else {
        (IpAddr::V4(Ipv4Addr::from(array_at::<4>(buf, at))), at + 4)
    };
    SocketAddr::new(ip, i32_at(buf, port_at) as u16)
}

/// The address as Java would hold it: an IPv4-mapped IPv6 address is IPv4 there.
pub(crate) fn canonical(host: SocketAddr) -> SocketAddr {
    SocketAddr::new(host.ip().to_canonical(), host.port())
}
