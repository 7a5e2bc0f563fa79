//! Pure: messages of sock_diag (`man 7 sock_diag`): UDP sockets in a dump, and the end of one.
//!
//! Integers are in host order, ports and addresses as on the wire.

use std::net::{Ipv4Addr, Ipv6Addr};

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// `struct inet_diag_sockid`: ports, addresses, device, cookie.
const ID: usize = 48;
/// Offset of the id in `struct inet_diag_msg`, which a dump answers with.
const ID_IN_ANSWER: usize = 4;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const UDP: u8 = 17;
/// A connected UDP socket has the state of an established TCP one.
const ESTABLISHED: u32 = 1 << 1;

/// Address families of sockets, as the kernel numbers them.
pub const AF_INET: u8 = 2;
pub const AF_INET6: u8 = 10;

/// A connected UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpSocket {
    pub cookie: u64,
    /// The far end; that of an IPv6 socket as the IPv4 address it maps.
    pub peer: (Ipv4Addr, u16),
    family: u8,
    id: [u8; ID],
}

/// One message from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    Socket(UdpSocket),
    /// A socket with an IPv6 peer, or a message that is none of ours.
    Other,
    /// The dump is complete.
    Done,
    /// Answer to a request: 0, or the number of an error.
    Answer(i32),
}

/// Asks for all connected UDP sockets of a family.
pub fn dump(family: u8) -> Vec<u8> {
    request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, ESTABLISHED, &[0; ID])
}

/// Asks for the end of a socket; the cookie in its id protects a later one with the same addresses.
pub fn destroy(socket: &UdpSocket) -> Vec<u8> {
    request(SOCK_DESTROY, NLM_F_ACK, socket.family, 0, &socket.id)
}

fn request(kind: u16, flags: u16, family: u8, states: u32, id: &[u8; ID]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    let length = u32::try_from(HEADER + REQUEST).expect("72 fits");
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]); // sequence and port: one request at a time on a socket of its own
    bytes.extend([family, UDP, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(id);
    bytes
}

/// Returns the messages of one datagram; a damaged rest is left out.
pub fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while let Some((message, rest)) = next(bytes) {
        found.push(message);
        bytes = rest;
    }
    found
}

fn next(bytes: &[u8]) -> Option<(Message, &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(array(bytes, 0)?)).ok()?;
    let kind = u16::from_ne_bytes(array(bytes, 4)?);
    let body = bytes.get(HEADER..length)?;
    let message = match kind {
        NLMSG_DONE => Message::Done,
        NLMSG_ERROR => Message::Answer(-i32::from_ne_bytes(array(body, 0)?)),
        SOCK_DIAG_BY_FAMILY => socket(body).map_or(Message::Other, Message::Socket),
        _ => Message::Other,
    };
    Some((message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn socket(body: &[u8]) -> Option<UdpSocket> {
    let family = *body.first()?;
    let id: [u8; ID] = array(body, ID_IN_ANSWER)?;
    let port = u16::from_be_bytes(array(&id, 2)?);
    let address = match family {
        AF_INET => Ipv4Addr::from(array::<4>(&id, 20)?),
        AF_INET6 => Ipv6Addr::from(array::<16>(&id, 20)?).to_ipv4_mapped()?,
        _ => return None,
    };
    let halves = [u32::from_ne_bytes(array(&id, 40)?), u32::from_ne_bytes(array(&id, 44)?)];
    let cookie = u64::from(halves[0]) | u64::from(halves[1]) << 32;
    Some(UdpSocket { cookie, peer: (address, port), family, id })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID_IN_REQUEST: usize = 8;

    fn answer(family: u8, peer: &[u8]) -> Vec<u8> {
        let mut body = vec![family, 1, 0, 0];
        body.extend([0x9c, 0x40, 0, 53]);
        body.extend([0; 16]);
        body.extend(peer.iter().copied().chain(std::iter::repeat(0)).take(16));
        body.extend([0; 4]);
        body.extend(7_u32.to_ne_bytes());
        body.extend(1_u32.to_ne_bytes());
        body.extend([0; 20]);
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn sockets_of_both_families_are_read_with_their_ipv4_peer() {
        let mut bytes = answer(AF_INET, &[10, 0, 1, 4]);
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 1, 5];
        bytes.extend(answer(AF_INET6, &mapped));
        bytes.extend(answer(AF_INET6, &[0x20, 1]));
        let found = messages(&bytes);
        let peers: Vec<_> = found
            .iter()
            .map(|message| match message {
                Message::Socket(socket) => Some((socket.peer, socket.cookie)),
                Message::Other | Message::Done | Message::Answer(_) => None,
            })
            .collect();
        let peer = |last| Some(((Ipv4Addr::new(10, 0, 1, last), 53), 7 | 1 << 32));
        assert_eq!(peers, [peer(4), peer(5), None]);
    }

    #[test]
    fn the_end_of_a_socket_names_it_as_the_dump_did() {
        let bytes = answer(AF_INET, &[10, 0, 1, 4]);
        let [Message::Socket(socket)] = messages(&bytes)[..] else { panic!("one socket") };
        let request = destroy(&socket);
        assert_eq!(request.len(), HEADER + REQUEST);
        let (id, told) = (HEADER + ID_IN_REQUEST, HEADER + ID_IN_ANSWER);
        assert_eq!(request[id..id + ID], bytes[told..told + ID]);
        assert_eq!(request[HEADER..HEADER + 2], [AF_INET, UDP]);
    }

    #[test]
    fn answers_carry_the_number_of_the_error() {
        let mut bytes = 36_u32.to_ne_bytes().to_vec();
        bytes.extend(NLMSG_ERROR.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend((-95_i32).to_ne_bytes());
        bytes.extend([0; 16]);
        assert_eq!(messages(&bytes), [Message::Answer(95)]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).len() <= bytes.len());
        }

        #[test]
        fn a_dump_cut_anywhere_ends_there(cut in 0_usize..200) {
            let bytes = answer(AF_INET, &[10, 0, 1, 4]).repeat(2);
            let whole = bytes.len() / 2;
            let expected = cut.min(bytes.len()) / whole;
            prop_assert_eq!(messages(&bytes[..cut.min(bytes.len())]).len(), expected);
        }
    }
}
