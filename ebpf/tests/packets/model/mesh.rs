//! Walks E, F, G, H, J: published ports, and what a task sends to its gateway.

use swarmnet_ebpf::abi::*;

use super::flows::{Client, Half, Key, Way, pair};
use super::node::*;
use super::overlay::answered;
use super::packet::{ETHER, Packet, Piece, Reason, TCP, Tuple, UDP, Unreadable};
use super::verdict::{Place, Verdict};
use crate::world::{BG, HOST, TG, UP};

/// The port inside the task, if the packet is for a published one.
fn published(packet: &Packet) -> Option<u16> {
    match (packet.proto, packet.flow.dport) {
        (TCP | UDP, 30000) | (super::packet::SCTP, 80) => Some(80),
        _ => None,
    }
}

/// A published task of this node, and whether it could not answer the client.
fn target(at: u32, port: u16, proto: u8) -> Option<(u32, u32, bool)> {
    let (device, lidx) = match at {
        at if at == addr(172, 31, 0, 3) => (TG, 3),
        at if at == addr(172, 31, 0, 4) => (BG, 4),
        _ => return None,
    };
    let known = port == 80 && (proto == TCP || proto == UDP);
    known.then_some((device, lidx, device == BG && proto == UDP))
}

/// The client's address as the task may see it.
fn visible(at: u32, port: u16, proto: u8, client: u32) -> u32 {
    let inside = client >> 16 == INSIDE >> 16;
    match target(at, port, proto) {
        Some((_, _, true)) if inside => STAND_IN_AT,
        _ => client,
    }
}

/// What a walk ends with when the packet belongs to nobody here.
enum Nobody {
    /// An ICMP error about a connection of the host itself.
    Foreign,
    Refused(Verdict),
}

impl Model {
    /// `sn_from_gw`, after the checks of every task's frame.
    pub(crate) fn gateway(&mut self, frame: &Frame<'_>, mut p: Packet, at: &Attachment) -> Verdict {
        if !self.ports_of_fragment(&mut p, 0) {
            return outside(&p);
        }
        let key = Key { way: Way::TaskBack, vni: 0, node: 0, proto: p.proto, flow: p.flow };
        match self.flows.0.get(&key).copied() {
            Some(half) if half.reaches == Client::Away => self.give_back(frame, &p, &key, &half),
            Some(half) => self.reply(&p, &key, &half),
            None if p.to != NODE_AT || published(&p).is_none() => outside(&p),
            None => {
                let arrived = Arrived { device: frame.device, kind: Client::Task };
                debug_assert_eq!(at.addr, p.from);
                self.entry(frame, &p, arrived).unwrap_or_else(|nobody| match nobody {
                    Nobody::Foreign => outside(&p),
                    Nobody::Refused(verdict) => verdict,
                })
            }
        }
    }

    /// `sn_from_uplink`.
    pub(crate) fn uplink(&mut self, frame: &Frame<'_>) -> Verdict {
        if frame.bytes[..6] != [0; 6] || frame.ethertype() != 0x0800 {
            return Verdict::pass();
        }
        // nobody outside may talk to the resolver, not even in pieces that the stack would join
        let header = frame.bytes.get(ETHER..ETHER + 20).filter(|b| b[0] >> 4 == 4 && b[0] & 15 > 4);
        if header.is_some_and(|b| b[16..20] == RESOLVER_AT.to_be_bytes()) {
            return Verdict::drop(DROP_RESOLVER_ONLY);
        }
        let Ok(mut p) = Packet::read(&frame.bytes[ETHER..]) else { return Verdict::pass() };
        if p.to != NODE_AT || p.piece == Piece::Later && !self.ports_of_fragment(&mut p, 0) {
            return Verdict::pass();
        }
        if published(&p).is_none() {
            return Verdict::pass();
        }
        if !is_client(p.from) || !is_client(p.flow.src) {
            return Verdict::drop(DROP_MESH_CLIENT);
        }
        self.ports_of_fragment(&mut p, 0);
        let arrived = Arrived { device: UP, kind: Client::Outside };
        self.entry(frame, &p, arrived).unwrap_or_else(|nobody| match nobody {
            Nobody::Foreign => Verdict::pass(),
            Nobody::Refused(verdict) => verdict,
        })
    }

    /// `sn_from_host`.
    pub(crate) fn host(&mut self, frame: &Frame<'_>) -> Verdict {
        match frame.ethertype() {
            0x8100 | 0x88a8 => return Verdict::drop(DROP_VLAN),
            0x86dd => return Verdict::drop(DROP_IPV6_OFF),
            0x0800 => {}
            _ => return Verdict::drop(DROP_ETHERTYPE),
        }
        let mut p = match Packet::read(&frame.bytes[ETHER..]) {
            Ok(packet) => packet,
            Err(Unreadable::Malformed) => return Verdict::drop(DROP_MALFORMED),
            Err(Unreadable::BadQuote) => return Verdict::drop(DROP_ICMP_BAD_INNER),
        };
        if p.to >> 13 == ASKERS_AT >> 13 {
            return answered(&p);
        }
        if !self.ports_of_fragment(&mut p, 0) {
            return Verdict::drop(DROP_FRAG_NO_FIRST);
        }
        match () {
            () if is_multicast(p.to) => Verdict::drop(DROP_MCAST_BCAST),
            () if p.to != MESH_SELF_AT => Verdict::drop(DROP_NO_ENDPOINT),
            () if p.from >> 24 == 127 => Verdict::drop(DROP_LOOPBACK_SRC),
            () if published(&p).is_none() => answer(frame, &p, DROP_PORT_NO_BACKEND, (true, 0)),
            () => {
                let arrived = Arrived { device: HOST, kind: Client::Host };
                self.entry(frame, &p, arrived).unwrap_or_else(|nobody| match nobody {
                    Nobody::Foreign => Verdict::drop(DROP_ICMP_BAD_INNER),
                    Nobody::Refused(verdict) => verdict,
                })
            }
        }
    }

    /// `sn_from_net`, from the sender's node index (if it is a node).
    pub(crate) fn tunnel(&mut self, frame: &Frame<'_>, vni: u32, from: Option<u32>) -> Verdict {
        let Some(from) = from else { return Verdict::drop(DROP_VTEP_PEER) };
        match frame.ethertype() {
            0x8100 | 0x88a8 => return Verdict::drop(DROP_VLAN),
            0x86dd => return Verdict::drop(DROP_IPV6_OFF),
            0x0800 => {}
            _ => return Verdict::drop(DROP_ETHERTYPE),
        }
        let mut p = match Packet::read(&frame.bytes[ETHER..]) {
            Ok(packet) => packet,
            Err(Unreadable::Malformed) => return Verdict::drop(DROP_MALFORMED),
            Err(Unreadable::BadQuote) => return Verdict::drop(DROP_ICMP_BAD_INNER),
        };
        match vni {
            VNI_MESH_FWD | VNI_MESH_RET if !self.ports_of_fragment(&mut p, vni) => {
                Verdict::drop(DROP_FRAG_NO_FIRST)
            }
            VNI_MESH_FWD => self.entry_node_sends(&p, from),
            VNI_MESH_RET => {
                let flow = p.flow;
                let key = Key { way: Way::EntryBack, vni: 0, node: from, proto: p.proto, flow };
                match self.flows.0.get(&key).copied() {
                    Some(half) => self.reply(&p, &key, &half),
                    None if p.error => Verdict::drop(DROP_ICMP_BAD_INNER),
                    None => Verdict::drop(DROP_CT_INVALID),
                }
            }
            4096 | 4097 => {
                if endpoint(vni, p.from) != Some(Endpoint::Remote(from)) {
                    return Verdict::drop(DROP_VTEP_SRC);
                }
                match endpoint(vni, p.to) {
                    Some(Endpoint::Gone) => Verdict::drop(DROP_ENDPOINT_GONE),
                    Some(Endpoint::Local { device, lidx }) => self.deliver(p, vni, device, lidx),
                    _ => Verdict::drop(DROP_VTEP_DST),
                }
            }
            _ => Verdict::drop(DROP_VTEP_VNI),
        }
    }

    /// A client's packet to a published port.
    fn entry(&mut self, frame: &Frame<'_>, p: &Packet, by: Arrived) -> Result<Verdict, Nobody> {
        if p.ttl <= 1 {
            return Ok(Verdict::drop(DROP_TTL_EXPIRED));
        }
        let key = Key { way: Way::Entry, vni: 0, node: 0, proto: p.proto, flow: p.flow };
        let half = match self.entry_flow(&key, p, by) {
            Ok(half) => half,
            Err(DROP_ICMP_BAD_INNER) => return Err(Nobody::Foreign),
            Err(reason @ (DROP_PORT_NO_BACKEND | DROP_ENDPOINT_GONE)) => {
                return Err(Nobody::Refused(answer(frame, p, reason, (true, 0))));
            }
            Err(reason) => return Ok(Verdict::drop(reason)),
        };
        let backend = self.backends[&half.backend];
        if !p.error {
            self.learn(&key, by);
        }
        self.flows.note(&key, p, false);
        let pieces = match length(p, backend.node, false) {
            Length::Pieces => Some(COUNT_OUTER_FRAG),
            Length::Fits | Length::Tell(_) => None,
        };
        let sent = rewritten(p, towards(&half), p.ttl - 1);
        let place = Self::place(&backend, VNI_MESH_FWD);
        Ok(sent.map_or_else(Verdict::drop, |sent| Verdict::send(place, sent)).counting(pieces))
    }

    fn learn(&mut self, key: &Key, by: Arrived) {
        let Some(half) = self.flows.0.get_mut(key) else { return };
        half.device = by.device;
        let other = pair(key, half);
        if let Some(other) = self.flows.0.get_mut(&other) {
            other.device = by.device;
        }
    }

    fn entry_flow(&mut self, key: &Key, p: &Packet, by: Arrived) -> Result<Half, Reason> {
        let known = self.flows.0.get(key).copied();
        let stays = known.map_or(Use::Choose, |half| self.usable(&half, p));
        match (stays, known) {
            (Use::Reset, _) => return Err(DROP_ENDPOINT_GONE),
            (Use::Stay, Some(half)) => return Ok(half),
            _ if p.error => return Err(DROP_ICMP_BAD_INNER),
            (_, Some(half)) => {
                self.flows.0.remove(&pair(key, &half));
            }
            _ => {}
        }
        let id = self.choose().ok_or(DROP_PORT_NO_BACKEND)?;
        let backend = *self.backends.get(&id).ok_or(DROP_PORT_NO_BACKEND)?;
        let (flow, port) = (key.flow, published(p).ok_or(DROP_PORT_NO_BACKEND)?);
        let mut seen = if by.kind == Client::Task { NODE_AT } else { flow.src };
        if backend.node == 0 {
            seen = visible(backend.addr, port, p.proto, seen);
        }
        let way = if backend.node == 0 { Way::TaskBack } else { Way::EntryBack };
        let mut half = Half {
            backend: id,
            other: (flow.dst, flow.dport),
            client: (flow.src, flow.sport),
            node: backend.node,
            device: by.device,
            reaches: by.kind,
            ..Half::default()
        };
        let back = Tuple { src: backend.addr, sport: port, dst: seen, dport: flow.sport };
        let back = Key { way, node: backend.node, flow: back, ..*key };
        let back = self.claim_client(back, &mut half, p.is_stream(), seen != flow.src)?;
        half.other = (back.flow.src, back.flow.sport);
        half.client = (back.flow.dst, back.flow.dport);
        self.flows.0.insert(*key, half);
        Ok(half)
    }

    /// Any backend of the set will do; which one was it?
    fn choose(&self) -> Option<u32> {
        let went = |id: &&u32| {
            let backend = self.backends.get(id);
            backend.is_none() || self.chance.to == backend.map(|backend| backend.addr)
        };
        self.mesh.iter().find(went).or(self.mesh.first()).copied()
    }

    /// Takes a reply's tuple; with any free port instead of the client's own if that is taken.
    fn claim_client(
        &mut self,
        mut key: Key,
        half: &mut Half,
        stream: bool,
        other_address: bool,
    ) -> Result<Key, Reason> {
        if !other_address && self.flows.claim(key, half, stream).is_ok() {
            return Ok(key);
        }
        if key.proto != TCP && key.proto != UDP {
            // ports that cannot change: the frame is dropped, and nobody sees which one it was
            key.flow.dport = 0;
            return Ok(key);
        }
        self.unseen |= self.chance.hidden;
        key.flow.dport = self.chance.port.filter(|port| *port >= 1024).ok_or(DROP_CT_COLLISION)?;
        let claimed = self.flows.claim(key, half, stream && other_address);
        claimed.map_err(|_| DROP_CT_COLLISION)?;
        Ok(key)
    }

    /// From an entry node to a published task of this node.
    fn entry_node_sends(&mut self, p: &Packet, from: u32) -> Verdict {
        let flow = p.flow;
        let Some((device, ..)) = target(flow.dst, flow.dport, p.proto) else {
            return Verdict::drop(DROP_MESH_NOT_PUBLISHED);
        };
        if !is_client(p.from) || !is_client(flow.src) {
            return Verdict::drop(DROP_MESH_CLIENT);
        }
        let key = Key { way: Way::Task, vni: 0, node: from, proto: p.proto, flow };
        let known = self.flows.0.get(&key).copied();
        let half = match known.filter(|half| p.error || p.is_stream() || !half.is_over()) {
            Some(half) => half,
            None if p.error => return Verdict::drop(DROP_ICMP_BAD_INNER),
            None => match self.back_flow(key, p) {
                Ok(half) => half,
                Err(reason) => return Verdict::drop(reason),
            },
        };
        self.flows.note(&key, p, false);
        match rewritten(p, towards(&half), p.ttl) {
            Ok(sent) => Verdict::send(Place::Task(device), sent),
            Err(reason) => Verdict::drop(reason),
        }
    }

    fn back_flow(&mut self, key: Key, p: &Packet) -> Result<Half, Reason> {
        let flow = key.flow;
        let seen = visible(flow.dst, flow.dport, p.proto, flow.src);
        let mut half = Half { client: (flow.src, flow.sport), node: key.node, ..Half::default() };
        let back = Tuple { dst: seen, ..flow.reversed() };
        let back = Key { way: Way::TaskBack, node: 0, flow: back, ..key };
        let back = self.claim_client(back, &mut half, p.is_stream(), seen != flow.src)?;
        half.other = (flow.dst, flow.dport);
        half.client = (back.flow.dst, back.flow.dport);
        self.flows.0.insert(key, half);
        Ok(half)
    }

    /// A reply at the entry node.
    fn reply(&mut self, p: &Packet, key: &Key, half: &Half) -> Verdict {
        self.flows.note(key, p, true);
        if p.ttl <= 1 {
            return Verdict::drop(DROP_TTL_EXPIRED);
        }
        let (src, dst) = (half.other, half.client);
        let to = Tuple { src: src.0, sport: src.1, dst: dst.0, dport: dst.1 };
        let place = match half.reaches {
            Client::Task => Place::Task(half.device),
            Client::Host => Place::Host,
            Client::Away | Client::Outside if key.way == Way::TaskBack => {
                Place::Neighbor(half.device)
            }
            Client::Away | Client::Outside => Place::Out(half.device),
        };
        match rewritten(p, to, p.ttl - 1) {
            Ok(sent) => Verdict::send(place, sent),
            Err(reason) => Verdict::drop(reason),
        }
    }

    /// A reply at the backend's node, back to the entry node.
    fn give_back(&mut self, frame: &Frame<'_>, p: &Packet, key: &Key, half: &Half) -> Verdict {
        let pieces = match length(p, half.node, true) {
            Length::Tell(mtu) => return answer(frame, p, DROP_TOO_BIG, (false, mtu)),
            Length::Pieces => Some(COUNT_OUTER_FRAG),
            Length::Fits => None,
        };
        self.flows.note(key, p, true);
        let to = Tuple { dst: half.client.0, dport: half.client.1, ..p.flow };
        let place = Place::Node { node: half.node, vni: VNI_MESH_RET };
        let sent = rewritten(p, to, p.ttl);
        sent.map_or_else(Verdict::drop, |sent| Verdict::send(place, sent)).counting(pieces)
    }
}

/// What a client's packet becomes.
const fn towards(half: &Half) -> Tuple {
    let (src, dst) = (half.client, half.other);
    Tuple { src: src.0, sport: src.1, dst: dst.0, dport: dst.1 }
}

/// A task's packet to the world, unless it is for another gateway or an address of the host's own.
fn outside(p: &Packet) -> Verdict {
    if is_pool(p.to) || is_ours(p.to) {
        return Verdict::drop(DROP_GW_ISOLATION);
    }
    Verdict::pass()
}
