//! The node of `world.rs` as the model knows it, and what all walks share.

use std::collections::{BTreeMap, BTreeSet};

use swarmnet_ebpf::abi::*;

use super::flows::{Client, Flows};
use super::packet::{ETHER, Packet, Piece, Reason, TCP, Tuple};
use super::verdict::{Chance, Place, Sent, Verdict};
use crate::world::{B, BG, OTHER, OVERLAY, T, T2, TG};

pub(crate) const fn addr(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

pub(crate) const NODE_AT: u32 = addr(10, 20, 20, 100);
pub(crate) const RESOLVER_AT: u32 = addr(169, 254, 77, 53);
pub(crate) const MESH_SELF_AT: u32 = addr(169, 254, 87, 1);
pub(crate) const STAND_IN_AT: u32 = addr(169, 254, 87, 2);
pub(crate) const ASKERS_AT: u32 = addr(169, 254, 192, 0);
/// Clients here are inside the overlay of the task behind `bg`.
pub(crate) const INSIDE: u32 = addr(10, 9, 0, 0);
/// What the tunnel to node 1 carries; that to node 2 is not known.
pub(crate) const NARROW: usize = 1400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Local { device: u32, lidx: u32 },
    Remote(u32),
    Vip,
    Gateway,
    Gone,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Attachment {
    pub vni: u32,
    pub addr: u32,
    pub lidx: u32,
    pub gateway: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Backend {
    pub addr: u32,
    pub node: u32,
    pub device: u32,
    pub state: u8,
}

pub(crate) fn attachment(device: u32) -> Option<Attachment> {
    let (vni, addr, lidx) = match device {
        T => (OVERLAY, addr(10, 0, 1, 3), 1),
        B => (OVERLAY, addr(10, 0, 1, 4), 2),
        T2 => (OTHER, addr(10, 0, 1, 3), 5),
        TG => (0, addr(172, 31, 0, 3), 3),
        BG => (0, addr(172, 31, 0, 4), 4),
        _ => return None,
    };
    Some(Attachment { vni, addr, lidx, gateway: vni == 0 })
}

pub(crate) fn endpoint(vni: u32, at: u32) -> Option<Endpoint> {
    let last = at.checked_sub(addr(10, 0, 1, 0))?;
    Some(match (vni, last) {
        (OVERLAY, 1) => Endpoint::Gateway,
        (OVERLAY, 2) => Endpoint::Vip,
        (OVERLAY, 3) => Endpoint::Local { device: T, lidx: 1 },
        (OVERLAY, 4) => Endpoint::Local { device: B, lidx: 2 },
        (OVERLAY, 5) => Endpoint::Remote(1),
        (OVERLAY, 9) => Endpoint::Gone,
        (OTHER, 3) => Endpoint::Local { device: T2, lidx: 5 },
        (OTHER, 4) => Endpoint::Remote(2),
        _ => return None,
    })
}

pub(crate) const fn is_multicast(at: u32) -> bool {
    at >> 28 == 0xe || at == u32::MAX
}

pub(crate) const fn is_pool(at: u32) -> bool {
    at >> 16 == addr(172, 31, 0, 0) >> 16
}

/// Link-local addresses that only the host may use.
pub(crate) const fn is_ours(at: u32) -> bool {
    let asker = at >> 13 == ASKERS_AT >> 13;
    at >> 8 == MESH_SELF_AT >> 8 || at == RESOLVER_AT || at == addr(169, 254, 1, 1) || asker
}

/// Clients that a reply could reach.
pub(crate) const fn is_client(at: u32) -> bool {
    at != 0 && at >> 24 != 127 && !is_multicast(at) && !is_pool(at)
}

type Datagram = (u32, u32, u32, u16, u8);

#[derive(Clone)]
pub(crate) struct Model {
    pub flows: Flows,
    /// Ports by network, addresses, identification and protocol.
    pub fragments: BTreeMap<Datagram, (u16, u16)>,
    /// Attachments whose replies may be a VIP_AT's.
    pub flagged: BTreeSet<u32>,
    pub vip: Option<u32>,
    pub mesh: Vec<u32>,
    pub backends: BTreeMap<u32, Backend>,
    pub chance: Chance,
    /// A port was chosen for a fragment that does not show it: the flow is not known any more.
    pub unseen: bool,
}

/// What a frame is, beside its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub bytes: &'a [u8],
    pub device: u32,
}

/// How a packet compares with a tunnel.
pub(crate) enum Length {
    Fits,
    Tell(u16),
    Pieces,
}

impl Frame<'_> {
    pub(crate) fn ethertype(&self) -> u16 {
        u16::from_be_bytes([self.bytes[12], self.bytes[13]])
    }

    pub(crate) fn source_mac(&self) -> &[u8] {
        &self.bytes[6..12]
    }
}

pub(crate) fn length(packet: &Packet, node: u32, sender_is_told: bool) -> Length {
    match node {
        1 if packet.length > NARROW && packet.df && sender_is_told => Length::Tell(NARROW as u16),
        1 if packet.length > NARROW => Length::Pieces,
        _ => Length::Fits,
    }
}

/// The sender learns why its packet does not arrive, unless nobody may be told.
pub(crate) fn answer(
    frame: &Frame<'_>,
    packet: &Packet,
    reason: Reason,
    (reset, mtu): (bool, u16),
) -> Verdict {
    let rst = packet.proto == TCP && packet.has(4);
    if packet.error || packet.piece == Piece::Later || rst || is_multicast(packet.to) {
        return Verdict::drop(reason);
    }
    let place = Place::Out(frame.device);
    if reset && packet.proto == TCP && mtu == 0 {
        let sent = reset_of(&frame.bytes[ETHER..], packet);
        return Verdict::send(place, sent).counting(Some(reason));
    }
    if frame.bytes.len() < ETHER + packet.header + 8 {
        return Verdict::drop(reason).counting(Some(DROP_MALFORMED));
    }
    let code = if mtu == 0 { 3 } else { 4 };
    let sent = Sent::Unreachable { from: packet.to, to: packet.from, code, mtu };
    Verdict::send(place, sent).counting(Some(reason))
}

/// RFC 9293, 3.10.7.1.
fn reset_of(ip: &[u8], packet: &Packet) -> Sent {
    let tcp = &ip[packet.header..];
    let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
    let flow = packet.flow.reversed();
    if packet.has(16) {
        return Sent::Reset { flow, sequence: word(8), ack: None };
    }
    let payload = (packet.length - packet.header) as u32;
    let used = payload.wrapping_sub(u32::from(tcp[12] >> 4) * 4);
    let used = used + u32::from(packet.has(2)) + u32::from(packet.has(1));
    Sent::Reset { flow, sequence: 0, ack: Some(word(4).wrapping_add(used)) }
}

/// What a packet becomes: its flow with other addresses and ports, or a reason why not.
pub(crate) fn rewritten(packet: &Packet, to: Tuple, ttl: u8) -> Result<Sent, Reason> {
    let old = packet.flow;
    let ported = packet.proto == TCP || packet.proto == super::packet::UDP;
    let same_ports = (old.sport, old.dport) == (to.sport, to.dport);
    if packet.error {
        // a router that reports keeps its own address; other protocols' quotes keep their ports
        let from = if packet.from == old.src { to.src } else { packet.from };
        let (sport, dport) = if ported { (to.sport, to.dport) } else { (old.sport, old.dport) };
        return Ok(Sent::Packet { from, to: to.dst, flow: Tuple { sport, dport, ..to }, ttl });
    }
    let flow = if packet.piece == Piece::Later { Tuple { sport: 0, dport: 0, ..to } } else { to };
    if !ported && !same_ports && packet.piece != Piece::Later {
        return Err(DROP_CT_INVALID);
    }
    Ok(Sent::Packet { from: to.src, to: to.dst, flow, ttl })
}

/// The packet as it is.
pub(crate) fn unchanged(packet: &Packet) -> Sent {
    let flow = if packet.piece == Piece::Later {
        Tuple { sport: 0, dport: 0, ..packet.flow }
    } else {
        packet.flow
    };
    Sent::Packet { from: packet.from, to: packet.to, flow, ttl: packet.ttl }
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            flows: Flows::default(),
            fragments: BTreeMap::new(),
            flagged: BTreeSet::new(),
            vip: None,
            mesh: Vec::new(),
            backends: BTreeMap::new(),
            chance: Chance::default(),
            unseen: false,
        }
    }

    /// Gives a later fragment the ports of its first one; false if that was not seen.
    pub(crate) fn ports_of_fragment(&mut self, packet: &mut Packet, vni: u32) -> bool {
        let key = (vni, packet.from, packet.to, packet.id, packet.proto);
        match packet.piece {
            _ if packet.error => true,
            Piece::Whole => true,
            Piece::First => {
                self.fragments.insert(key, (packet.flow.sport, packet.flow.dport));
                true
            }
            Piece::Later => match self.fragments.get(&key) {
                Some(ports) => {
                    (packet.flow.sport, packet.flow.dport) = *ports;
                    true
                }
                None => false,
            },
        }
    }

    /// To a backend on this node or another.
    pub(crate) fn place(backend: &Backend, vni: u32) -> Place {
        match backend.node {
            0 => Place::Task(backend.device),
            node => Place::Node { node, vni },
        }
    }

    /// Whether a flow may stay with its backend.
    pub(crate) fn usable(&self, half: &super::flows::Half, packet: &Packet) -> Use {
        let backend = self.backends.get(&half.backend);
        if packet.error {
            return if backend.is_some() { Use::Stay } else { Use::Choose };
        }
        let stream = packet.is_stream();
        match backend.map(|backend| backend.state) {
            _ if !stream && half.is_over() => Use::Choose,
            None if stream => Use::Reset,
            None => Use::Choose,
            Some(BE_DRAINING) if packet.is_syn() => Use::Choose,
            Some(BE_DOWN) if !stream => Use::Choose,
            Some(_) => Use::Stay,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Stay,
    Choose,
    Reset,
}

/// How a client came here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub device: u32,
    pub kind: Client,
}
