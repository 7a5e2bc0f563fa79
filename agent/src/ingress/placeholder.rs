//! Sockets that keep published ports from other programs: bound, never listening.
//!
//! The kernel answers a missed connection attempt with a reset, and another program that wants the
//! port gets "address in use". A port that another program has already is a conflict: the mesh
//! still serves it from outside, and the conflict is reported until the program lets go.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The sockets in hand, by (protocol number, port).
#[derive(Debug, Default)]
pub struct Placeholders {
    held: BTreeMap<(u8, u16), Option<Socket>>,
    conflicts: BTreeSet<(u8, u16)>,
}

impl Placeholders {
    /// Returns what is held.
    pub fn held(&self) -> BTreeSet<(u8, u16)> {
        self.held.keys().copied().collect()
    }

    /// Returns the ports that another program has.
    pub fn conflicts(&self) -> &BTreeSet<(u8, u16)> {
        &self.conflicts
    }

    /// Takes a port.
    ///
    /// # Errors
    /// Another program has it.
    pub fn hold(&mut self, key: (u8, u16)) -> io::Result<()> {
        match bind(key) {
            Ok(socket) => {
                self.held.insert(key, socket);
                self.conflicts.remove(&key);
                Ok(())
            }
            Err(error) => {
                self.conflicts.insert(key);
                Err(error)
            }
        }
    }

    /// Gives a port back.
    pub fn let_go(&mut self, key: (u8, u16)) {
        self.held.remove(&key);
        self.conflicts.remove(&key);
    }

    /// Forgets conflicts about ports that are no longer wanted.
    pub fn keep_conflicts(&mut self, wanted: &BTreeSet<(u8, u16)>) {
        self.conflicts.retain(|key| wanted.contains(key));
    }
}

/// `None` for protocols without such sockets.
fn bind((proto, port): (u8, u16)) -> io::Result<Option<Socket>> {
    let (kind, protocol) = match proto {
        TCP => (Type::STREAM, Protocol::TCP),
        UDP => (Type::DGRAM, Protocol::UDP),
        _ => return Ok(None),
    };
    let socket = Socket::new(Domain::IPV4, kind, Some(protocol))?;
    if proto == UDP {
        // Nobody reads what strays here; the kernel rounds the size up to its minimum.
        socket.set_recv_buffer_size(1)?;
    }
    let address = SockAddr::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    match socket.bind(&address) {
        // Closed connections of a program that is gone keep its port for a minute; a program that
        // is there keeps it in spite of the option.
        Err(error) if proto == TCP && error.kind() == io::ErrorKind::AddrInUse => {
            socket.set_reuse_address(true)?;
            socket.bind(&address)?;
            // From here on nobody shares it with us.
            socket.set_reuse_address(false)?;
        }
        bound => bound?,
    }
    Ok(Some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_held_port_is_refused_to_others_and_a_conflict_is_remembered() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut placeholders = Placeholders::default();
        assert!(placeholders.hold((TCP, port)).is_err());
        assert_eq!(placeholders.conflicts(), &[(TCP, port)].into());
        drop(listener);
        placeholders.hold((TCP, port)).unwrap();
        assert!(placeholders.conflicts().is_empty());
        assert!(TcpListener::bind(("0.0.0.0", port)).is_err());
        placeholders.let_go((TCP, port));
        TcpListener::bind(("0.0.0.0", port)).unwrap();
    }

    #[test]
    fn closed_connections_of_a_program_that_is_gone_do_not_keep_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let (served, _) = listener.accept().unwrap();
        let mut placeholders = Placeholders::default();
        let key = (TCP, address.port());
        assert!(placeholders.hold(key).is_err(), "it is there");
        // The side that closes first waits.
        drop(served);
        drop(client);
        drop(listener);
        placeholders.hold(key).unwrap();
        let other = TcpListener::bind(("0.0.0.0", address.port()));
        assert!(other.is_err(), "the port is ours");
    }
}
