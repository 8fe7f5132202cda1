//! Listening on all addresses, of a system that may have no IPv6.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// No address family of that name: the kernel was started without IPv6.
const EAFNOSUPPORT: i32 = 97;

/// What to listen on after `[::]`, which stands for all addresses of both kinds, was refused for want of IPv6.
pub fn without_ipv6(address: SocketAddr, refused: &io::Error) -> Option<SocketAddr> {
    let is_any = address.is_ipv6() && address.ip().is_unspecified();
    let lacks_ipv6 = refused.raw_os_error() == Some(EAFNOSUPPORT);
    (is_any && lacks_ipv6).then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_addresses_of_a_system_without_ipv6_become_those_of_ipv4() {
        let none = io::Error::from_raw_os_error(EAFNOSUPPORT);
        let taken = io::Error::from_raw_os_error(98);
        let any: SocketAddr = "[::]:8080".parse().unwrap();
        assert_eq!(without_ipv6(any, &none), Some("0.0.0.0:8080".parse().unwrap()));
        assert_eq!(without_ipv6(any, &taken), None);
        for one in ["[::1]:8080", "0.0.0.0:8080"] {
            assert_eq!(without_ipv6(one.parse().unwrap(), &none), None, "{one}");
        }
    }
}
