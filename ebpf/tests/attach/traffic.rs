//! Small servers and clients over real sockets; they run inside a namespace.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::RwLock;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Reads a request to its end, answers with who sent it, how long it was, and the request; not as long
/// as answers are held back.
pub(crate) fn answer(mut stream: TcpStream, peer: SocketAddr, held: &RwLock<()>) {
    let mut sink = Vec::new();
    let read = stream.read_to_end(&mut sink).unwrap_or(0);
    drop(held.read());
    stream.write_all(format!("{} {read}", peer.ip()).as_bytes()).ok();
    // As much back, so that both directions carry large segments.
    stream.write_all(&sink).ok();
}

/// Sends `bytes`; returns the client as the server saw it, and the server as the client sees it.
pub(crate) fn call(to: SocketAddr, bytes: usize) -> Result<(String, String), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&to, DEADLINE).map_err(text)?;
    stream.set_read_timeout(Some(DEADLINE)).map_err(text)?;
    stream.set_write_timeout(Some(DEADLINE)).map_err(text)?;
    let seen = stream.peer_addr().map_err(text)?.to_string();
    stream.write_all(&vec![b'x'; bytes]).map_err(text)?;
    stream.shutdown(std::net::Shutdown::Write).map_err(text)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(text)?;
    let head = String::from_utf8_lossy(&answer[..answer.len().saturating_sub(bytes)]).into_owned();
    match head.split_once(' ') {
        Some((client, read)) if read == bytes.to_string() => Ok((client.to_owned(), seen)),
        _ => Err(format!("answer {head:?} of {} bytes", answer.len())),
    }
}

/// Whether an ICMP echo is answered within a second.
pub(crate) fn echo(to: Ipv4Addr, sequence: u8) -> bool {
    let raw = (SockType::Raw, SockFlag::empty(), SockProtocol::Icmp);
    let socket = socket(AddressFamily::Inet, raw.0, raw.1, raw.2).expect("a raw socket");
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(1)).unwrap();
    // type 8, id 0x7777; the sum of the four words is 0xffff less the sequence number
    let sum = !(0x0800_u16 + 0x7777 + u16::from(sequence));
    let sum = sum.to_be_bytes();
    let packet = [8, 0, sum[0], sum[1], 0x77, 0x77, 0, sequence];
    let target = SockaddrIn::from(std::net::SocketAddrV4::new(to, 0));
    if sendto(socket.as_raw_fd(), &packet, &target, MsgFlags::empty()).is_err() {
        return false;
    }
    let mut buffer = [0; 256];
    while let Ok((len, Some(peer))) = recvfrom::<SockaddrIn>(socket.as_raw_fd(), &mut buffer) {
        let answer = buffer.get(20..len).unwrap_or_default();
        if peer.ip() == to && answer.first() == Some(&0) && answer.get(4..8) == packet.get(4..8) {
            return true;
        }
    }
    false
}
