//! One question to one upstream: by UDP from a port of its own, by TCP if that is too small.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use super::{Found, Question, random_id};
use crate::dns::message::UDP_MAX;
use crate::dns::name::labels;
use crate::netlink::netns;

/// A datagram that got no reply is sent again after this.
const RESEND: Duration = Duration::from_secs(1);
/// Longest reply that is taken by UDP; upstreams were told less.
const DATAGRAM_MAX: usize = 4_096;

/// Asks and waits; the caller has a deadline.
///
/// # Errors
/// The upstream cannot be reached, or says what cannot be understood.
pub(super) async fn ask(question: &Question, server: IpAddr) -> io::Result<Found> {
    let to = SocketAddr::new(server, question.port);
    let id = random_id();
    let packet = encode(question, id)?;
    if let Some(found) = by_udp(question, to, id, &packet).await? {
        return Ok(found);
    }
    by_tcp(question, to, id, &packet).await
}

/// Returns the reply, or `None` if the upstream has more than fits a datagram.
async fn by_udp(
    question: &Question,
    to: SocketAddr,
    id: u16,
    packet: &[u8],
) -> io::Result<Option<Found>> {
    let socket = open(question, to, Type::DGRAM).await?;
    let socket = UdpSocket::from_std(socket.into())?;
    // Connected: the kernel takes datagrams of this upstream only, and tells if nobody is there.
    socket.connect(to).await?;
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        socket.send(packet).await?;
        let sent = Instant::now();
        while let Some(left) = RESEND.checked_sub(sent.elapsed()) {
            let Ok(received) = timeout(left, socket.recv(&mut buffer)).await else { break };
            let bytes = &buffer[..received?];
            match accept(question, id, bytes) {
                Accepted::Reply(found) if found.message.metadata.truncation => return Ok(None),
                Accepted::Reply(found) => return Ok(Some(*found)),
                Accepted::Unreadable => return Ok(None),
                Accepted::Foreign => {}
            }
        }
    }
}

async fn by_tcp(question: &Question, to: SocketAddr, id: u16, packet: &[u8]) -> io::Result<Found> {
    let socket = open(question, to, Type::STREAM).await?;
    let mut stream = TcpSocket::from_std_stream(socket.into()).connect(to).await?;
    let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], packet].concat()).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    match accept(question, id, &reply) {
        Accepted::Reply(found) => Ok(*found),
        Accepted::Unreadable | Accepted::Foreign => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Opens a socket in the namespace of the question.
async fn open(question: &Question, to: SocketAddr, kind: Type) -> io::Result<Socket> {
    let make = move || {
        let protocol = if kind == Type::DGRAM { Protocol::UDP } else { Protocol::TCP };
        let socket = Socket::new(Domain::for_address(to), kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let Some(sandbox) = question.sandbox.clone() else { return make() };
    let joined = tokio::task::spawn_blocking(move || netns::inside(&sandbox, make)).await;
    joined.map_err(io::Error::other)?
}

fn encode(question: &Question, id: u16) -> io::Result<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = question.checking_disabled;
    let asked = question_of(&question.name, question.kind);
    message.add_query(asked.ok_or(io::ErrorKind::InvalidInput)?);
    if let Some(dnssec_ok) = question.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_MAX).set_dnssec_ok(dnssec_ok);
        message.set_edns(edns);
    }
    message.to_vec().map_err(io::Error::other)
}

/// Returns the question of a name as it stands in a message; `None` if it is no name.
pub(super) fn question_of(name: &[u8], kind: u16) -> Option<Query> {
    let mut name = Name::from_labels(labels(name)).ok()?;
    name.set_fqdn(true);
    Some(Query::query(name, RecordType::from(kind)))
}

/// What a datagram is.
enum Accepted {
    Reply(Box<Found>),
    /// The reply to the question, but it cannot be read: it was cut.
    Unreadable,
    /// Somebody guesses, or it is late.
    Foreign,
}

fn accept(question: &Question, id: u16, bytes: &[u8]) -> Accepted {
    if bytes.get(..2) != Some(&id.to_be_bytes()[..]) {
        return Accepted::Foreign;
    }
    let Ok(message) = Message::from_vec(bytes) else { return Accepted::Unreadable };
    let metadata = &message.metadata;
    let refused = message.queries.is_empty() && metadata.response_code != ResponseCode::NoError;
    let same = message.queries.len() == 1
        && message.queries.first() == question_of(&question.name, question.kind).as_ref();
    if metadata.message_type != MessageType::Response || !(same || refused) {
        return Accepted::Foreign;
    }
    Accepted::Reply(Box::new(Found { size: bytes.len(), message, at: Instant::now() }))
}

/// What would be taken as the reply.
#[cfg(test)]
pub(super) fn accepted(question: &Question, id: u16, bytes: &[u8]) -> Option<Found> {
    match accept(question, id, bytes) {
        Accepted::Reply(found) => Some(*found),
        Accepted::Unreadable | Accepted::Foreign => None,
    }
}
