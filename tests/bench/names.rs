//! The load of the `dns` row: queries for addresses, many under way, every answer looked at.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Queries under way.
const WINDOW: usize = 64;
/// What has not been answered after this is lost.
const LOST_AFTER_MS: u16 = 200;
/// From one name to the next: coprime to their number, so that neighbours are far apart.
const STRIDE: usize = 7_919;

/// Asks for `PREFIX0`, `PREFIX1`, … or, if `count` is 0, for `PREFIX` alone. The finding is
/// `ANSWERED LOST MICROSECONDS`; an answer without an address is an error.
pub(crate) fn ask(
    target: &str,
    length: Duration,
    prefix: &str,
    count: usize,
) -> Result<String, String> {
    let queries: Vec<_> = match count {
        0 => vec![query(prefix)],
        _ => (0..count).map(|number| query(&format!("{prefix}{number}"))).collect(),
    };
    let socket = connected(target).map_err(|error| format!("{target}: {error}"))?;
    let (mut next, mut under_way, mut answered, mut lost) = (0, 0, 0, 0);
    let began = Instant::now();
    while began.elapsed() < length {
        while under_way < WINDOW {
            // A full buffer is a lost query, as anywhere.
            let _sent = socket.send(&queries[next]);
            next = (next + STRIDE) % queries.len();
            under_way += 1;
        }
        let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::from(LOST_AFTER_MS)).map_err(|e| e.to_string())?;
        match drain(&socket)? {
            0 => lost += std::mem::take(&mut under_way),
            received => {
                answered += received;
                // A late answer to what counted as lost.
                under_way = under_way.saturating_sub(received);
            }
        }
    }
    Ok(format!("{answered} {lost} {}", began.elapsed().as_micros()))
}

fn connected(target: &str) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn drain(socket: &UdpSocket) -> Result<usize, String> {
    let mut reply = [0; 1_500];
    let mut received = 0;
    loop {
        match socket.recv(&mut reply) {
            Ok(length) if has_answer(&reply[..length]) => received += 1,
            Ok(length) => return Err(format!("not an address: {:02x?}", &reply[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(received),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// A reply without an error, with an answer.
fn has_answer(reply: &[u8]) -> bool {
    reply.len() > 12 && reply[2] & 0x80 != 0 && reply[3] & 0x0f == 0 && reply[6..8] != [0, 0]
}

/// Returns the address that ends a reply with a single answer; `None` if there is no such name.
pub(crate) fn answered_address(reply: &[u8]) -> Option<Ipv4Addr> {
    let address = reply.last_chunk::<4>().filter(|_| has_answer(reply))?;
    Some(Ipv4Addr::from(*address))
}

pub(crate) fn query(name: &str) -> Vec<u8> {
    let mut bytes = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("labels are short"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(b"\x00\x00\x01\x00\x01");
    bytes
}
