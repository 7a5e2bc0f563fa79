//! A frame as the model reads it. Written from the RFCs, not from `packet.h`.

/// Why a frame is not carried, by the number it is counted under.
pub(crate) type Reason = u32;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP: u8 = 1;
pub(crate) const SCTP: u8 = 132;
pub(crate) const ETHER: usize = 14;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Whole,
    First,
    Later,
}

/// Addresses and ports of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Tuple {
    pub src: u32,
    pub sport: u16,
    pub dst: u32,
    pub dport: u16,
}

impl Tuple {
    pub(crate) const fn reversed(self) -> Self {
        Self { src: self.dst, sport: self.dport, dst: self.src, dport: self.sport }
    }
}

/// An IPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Of the packet itself.
    pub from: u32,
    pub to: u32,
    /// Of the flow it belongs to: of the quoted packet, reversed, if it is an ICMP error.
    pub flow: Tuple,
    pub proto: u8,
    pub error: bool,
    pub piece: Piece,
    pub df: bool,
    pub ttl: u8,
    pub id: u16,
    pub header: usize,
    pub length: usize,
    pub tcp_flags: u8,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Malformed,
    BadQuote,
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The fixed part of a header; nothing of what follows.
fn header(bytes: &[u8]) -> Option<Packet> {
    let first = *bytes.first()?;
    let words = usize::from(first & 15);
    if bytes.len() < 20 || first >> 4 != 4 || words < 5 {
        return None;
    }
    let fragment = be16(bytes, 6)?;
    let piece = match (fragment & 0x1fff, fragment & 0x2000) {
        (0, 0) => Piece::Whole,
        (0, _) => Piece::First,
        _ => Piece::Later,
    };
    let (from, to) = (be32(bytes, 12)?, be32(bytes, 16)?);
    Some(Packet {
        from,
        to,
        flow: Tuple { src: from, dst: to, ..Tuple::default() },
        proto: bytes[9],
        error: false,
        piece,
        df: fragment & 0x4000 != 0,
        ttl: bytes[8],
        id: be16(bytes, 4)?,
        header: words * 4,
        length: usize::from(be16(bytes, 2)?),
        tcp_flags: 0,
    })
}

fn is_error(l4: &[u8]) -> bool {
    matches!(l4.first(), Some(3 | 11 | 12))
}

/// Ports, or an echo's identifier as both; `None` if they are cut off.
fn ports(packet: &Packet, l4: &[u8]) -> Option<(u16, u16)> {
    match packet.proto {
        _ if packet.piece == Piece::Later => Some((0, 0)),
        ICMP if l4.len() < 8 => None,
        ICMP if matches!(l4[0], 0 | 8) => Some((be16(l4, 4)?, be16(l4, 4)?)),
        TCP | UDP | SCTP => Some((be16(l4, 0)?, be16(l4, 2)?)),
        _ => Some((0, 0)),
    }
}

impl Packet {
    /// Reads what follows the Ethernet header.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut packet = header(bytes).ok_or(Unreadable::Malformed)?;
        let l4_header = match packet.proto {
            _ if packet.piece == Piece::Later => 0,
            TCP => 20,
            SCTP => 12,
            UDP | ICMP => 8,
            _ => 0,
        };
        if packet.length > bytes.len() || packet.length < packet.header + l4_header {
            return Err(Unreadable::Malformed);
        }
        let l4 = &bytes[packet.header..];
        let (sport, dport) = ports(&packet, l4).ok_or(Unreadable::Malformed)?;
        (packet.flow.sport, packet.flow.dport) = (sport, dport);
        if packet.piece != Piece::Later && packet.proto == TCP {
            packet.tcp_flags = l4[13];
        }
        if packet.piece != Piece::Later && packet.proto == ICMP && is_error(l4) {
            packet.quote(&l4[8..]).ok_or(Unreadable::BadQuote)?;
        }
        Ok(packet)
    }

    fn quote(&mut self, bytes: &[u8]) -> Option<()> {
        let mut quoted = header(bytes)?;
        let l4 = bytes.get(quoted.header..).unwrap_or_default();
        (quoted.flow.sport, quoted.flow.dport) = ports(&quoted, l4)?;
        if quoted.piece == Piece::Later || quoted.proto == ICMP && is_error(l4) {
            return None;
        }
        self.error = true;
        self.flow = quoted.flow.reversed();
        self.proto = quoted.proto;
        Some(())
    }

    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.tcp_flags & flag != 0
    }

    /// Opens a connection.
    pub(crate) const fn is_syn(&self) -> bool {
        self.proto == TCP && !self.error && self.has(2) && !self.has(16)
    }

    /// Belongs to a connection that was opened before.
    pub(crate) const fn is_stream(&self) -> bool {
        self.proto == TCP && !self.is_syn()
    }
}
