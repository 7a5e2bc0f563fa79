//! The machine's network interfaces, as `advertise` decides on them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::advertise::Interface;

/// Returns the interfaces that are up with their global IPv4 addresses, loopback left out.
///
/// # Errors
/// The kernel's.
pub(crate) fn list() -> io::Result<Vec<Interface>> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for entry in getifaddrs()? {
        let usable = entry.flags.contains(InterfaceFlags::IFF_UP)
            && !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let address = entry.address.as_ref().and_then(|address| address.as_sockaddr_in());
        let Some(addr) = address.map(|address| address.ip()).filter(|_| usable) else { continue };
        if addr.is_link_local() {
            continue;
        }
        match interfaces.iter_mut().find(|known| known.name == entry.interface_name) {
            Some(known) => known.addrs.push(addr),
            None => interfaces.push(Interface { name: entry.interface_name, addrs: vec![addr] }),
        }
    }
    Ok(interfaces)
}

/// Returns the address this machine uses towards `addr` (`host:port`); sends nothing.
pub(crate) fn source_towards(addr: &str) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(addr).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(local) => Some(*local.ip()),
        SocketAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_never_listed() {
        let listed = list().unwrap();
        assert!(listed.iter().all(|found| found.name != "lo"), "{listed:?}");
    }

    #[test]
    fn the_source_towards_loopback_is_loopback() {
        assert_eq!(source_towards("127.0.0.1:9"), Some(Ipv4Addr::LOCALHOST));
    }
}
