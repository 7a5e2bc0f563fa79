//! The sockets at which tasks ask for names: inherited from a supervisor, or bound here.
//!
//! The address becomes the host's when the data plane sets it up, which may be later: binding does not
//! wait for that. A supervisor must bind freely, too (`FreeBind=yes` of systemd). What comes from
//! anywhere but a task is dropped by the kernel before it reaches the socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::{Domain, SockFilter, SockRef, Socket, Type};
use swarmnet_agent::dataplane::DataPlane;
use swarmnet_agent::dns::{self, ASKERS, PORT, RESOLVER};
use tokio_util::sync::CancellationToken;

/// Connections that wait to be accepted; each belongs to a task of this node.
const BACKLOG: i32 = 512;
/// Another program may hold the port: it is tried again this often.
const RETRY: Duration = Duration::from_secs(5);

/// What the supervisor has passed.
#[derive(Debug, Default)]
pub(crate) struct DnsSockets {
    pub(crate) udp: Option<UdpSocket>,
    pub(crate) tcp: Option<TcpListener>,
}

/// Starts the resolver as soon as its sockets can be had.
pub(crate) async fn serve(inherited: DnsSockets, plane: DataPlane, stop: CancellationToken) {
    let mut told = false;
    loop {
        let started = match inherited.complete() {
            Ok(sockets) => tokio::select! {
                () = stop.cancelled() => return,
                started = plane.serve_names(sockets) => started,
            },
            Err(error) => Err(error),
        };
        let Err(error) = started else { return };
        if !std::mem::replace(&mut told, true) {
            tracing::error!(%error, "tasks cannot resolve names: no socket at {RESOLVER}:{PORT}; a DNS server of this host must not listen on all addresses");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

impl DnsSockets {
    /// Binds what was not passed.
    fn complete(&self) -> io::Result<dns::Sockets> {
        let address = SocketAddrV4::new(RESOLVER, PORT);
        let udp = match &self.udp {
            Some(socket) => socket.try_clone()?,
            None => bind(Type::DGRAM, address)?.into(),
        };
        let tcp = match &self.tcp {
            Some(socket) => socket.try_clone()?,
            None => bind(Type::STREAM, address)?.into(),
        };
        only_askers(SockRef::from(&udp), ASKERS)?;
        only_askers(SockRef::from(&tcp), ASKERS)?;
        Ok(dns::Sockets { udp, tcp })
    }
}

fn bind(kind: Type, address: SocketAddrV4) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, kind, None)?;
    socket.set_freebind_v4(true)?;
    if kind == Type::STREAM {
        // Connections of an earlier daemon may still be closing.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if kind == Type::STREAM {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

/// Lets the kernel drop what does not come from this prefix; connections inherit it.
fn only_askers(socket: SockRef<'_>, (network, length): (Ipv4Addr, u8)) -> io::Result<()> {
    let mask = u32::MAX << (32 - length);
    // Classic BPF: load the source address of the IP header; and mask; equal to the network? The return
    // value is how many bytes to keep.
    socket.attach_filter(&[
        SockFilter::new(0x20, 0, 0, 0xfff0_0000 + 12),
        SockFilter::new(0x54, 0, 0, mask),
        SockFilter::new(0x15, 0, 1, network.to_bits()),
        SockFilter::new(0x06, 0, 0, u32::MAX),
        SockFilter::new(0x06, 0, 0, 0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);

    fn from(source: Ipv4Addr) -> UdpSocket {
        bind(Type::DGRAM, SocketAddrV4::new(source, 0)).unwrap().into()
    }

    #[test]
    fn only_datagrams_of_askers_arrive() {
        let own: UdpSocket = bind(Type::DGRAM, LOOPBACK).unwrap().into();
        only_askers(SockRef::from(&own), (Ipv4Addr::new(127, 1, 0, 0), 16)).unwrap();
        own.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let to = own.local_addr().unwrap();
        for (source, text) in [([127, 0, 0, 1], "stranger"), ([127, 1, 0, 9], "asker")] {
            from(source.into()).send_to(text.as_bytes(), to).unwrap();
        }
        let mut buffer = [0; 16];
        let (length, _) = own.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"asker", "what was sent first was dropped");
    }

    #[test]
    fn only_askers_can_connect() {
        let own: TcpListener = bind(Type::STREAM, LOOPBACK).unwrap().into();
        only_askers(SockRef::from(&own), (Ipv4Addr::new(127, 1, 0, 0), 16)).unwrap();
        let to = socket2::SockAddr::from(own.local_addr().unwrap());
        let connect = |source: Ipv4Addr, patience| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddrV4::new(source, 0).into()).unwrap();
            socket.connect_timeout(&to, patience)
        };
        let refused = connect(Ipv4Addr::LOCALHOST, Duration::from_millis(50)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        connect(Ipv4Addr::new(127, 1, 0, 9), Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn an_address_that_the_host_has_not_got_yet_can_be_bound() {
        let socket = bind(Type::DGRAM, SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 0)).unwrap();
        let bound = socket.local_addr().unwrap().as_socket_ipv4().unwrap();
        assert_eq!(*bound.ip(), Ipv4Addr::new(192, 0, 2, 7));
    }
}
