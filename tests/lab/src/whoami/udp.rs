//! Datagrams: each is answered, from the address it was sent to.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::cmsg_space;
use nix::libc::in_pktinfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
    sockopt,
};

use crate::Server;

/// No datagram is longer.
const DATAGRAM_BYTES: usize = 65_536;

/// Starts answering on all addresses, until the process ends.
pub(crate) fn start(port: u16, server: Arc<Server>) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))
        .with_context(|| format!("opening port {port}/udp"))?;
    // Without it a wildcard socket does not know which of its addresses was meant.
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).context("asking for packet information")?;
    std::thread::spawn(move || {
        let mut buffer = vec![0; DATAGRAM_BYTES];
        loop {
            if let Err(error) = answer_one(&socket, port, &server, &mut buffer) {
                eprintln!("whoami: datagram: {error}");
            }
        }
    });
    Ok(())
}

fn answer_one(
    socket: &UdpSocket,
    port: u16,
    server: &Server,
    buffer: &mut [u8],
) -> nix::Result<()> {
    let mut space = cmsg_space!(in_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let fd = socket.as_raw_fd();
    let received = recvmsg::<SockaddrIn>(fd, &mut parts, Some(&mut space), MsgFlags::empty())?;
    let Some(remote) = received.address else { return Ok(()) };
    let mut local = Ipv4Addr::UNSPECIFIED;
    let mut source = None;
    for message in received.cmsgs()? {
        if let ControlMessageOwned::Ipv4PacketInfo(info) = message {
            local = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
            // The kernel chooses the way out; only the source is given.
            source = Some(in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: info.ipi_addr, ..info });
        }
    }
    let subject = format!("Datagram: {} bytes", received.bytes);
    let (local, peer) = ((IpAddr::V4(local), port), (IpAddr::V4(remote.ip()), remote.port()));
    let text = server.identity.answer(local, peer, &subject);
    let control: Vec<ControlMessage> = source.iter().map(ControlMessage::Ipv4PacketInfo).collect();
    let parts = [IoSlice::new(text.as_bytes())];
    sendmsg(fd, &parts, &control, MsgFlags::empty(), Some(&remote)).map(drop)
}
