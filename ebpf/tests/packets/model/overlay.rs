//! Walks A, B, C, I, K, N: what a task sends into an overlay, and what comes out of the tunnel for it.

use swarmnet_ebpf::abi::*;

use super::flows::{Half, Key, Way, pair};
use super::node::*;
use super::packet::{ETHER, Packet, Piece, Reason, TCP, Tuple, UDP, Unreadable};
use super::verdict::{Place, Sent, Verdict};

/// What any frame of a task must fulfil; the attachment if it does.
fn check_sender(frame: &Frame<'_>, at: &Attachment) -> Result<(), Reason> {
    let mac = [&[2, 0x42][..], &at.addr.to_be_bytes()].concat();
    match frame.ethertype() {
        0x8100 | 0x88a8 => Err(DROP_VLAN),
        _ if frame.source_mac() != mac => Err(DROP_SPOOF_MAC),
        0x86dd => Err(DROP_IPV6_OFF),
        0x0800 | 0x0806 => Ok(()),
        _ => Err(DROP_ETHERTYPE),
    }
}

/// A plain question by the owner of the attachment.
fn question(frame: &Frame<'_>, at: &Attachment) -> Result<(u32, u32), Reason> {
    let arp = frame.bytes.get(ETHER..ETHER + 28).ok_or(DROP_MALFORMED)?;
    let ip = |from: usize| u32::from_be_bytes(arp[from..from + 4].try_into().unwrap());
    let (asker, target) = (ip(14), ip(24));
    if arp[..6] != [0, 1, 8, 0, 6, 4] {
        return Err(DROP_MALFORMED);
    }
    let mac = [&[2, 0x42][..], &at.addr.to_be_bytes()].concat();
    let foreign = asker != 0 && (asker != at.addr || asker == target);
    if arp[6..8] != [0, 1] || arp[8..14] != mac || foreign {
        return Err(DROP_SPOOF_ARP);
    }
    Ok((asker, target))
}

fn arp(frame: &Frame<'_>, at: &Attachment) -> Verdict {
    let target = match question(frame, at) {
        Ok((_, target)) => target,
        Err(reason) => return Verdict::drop(reason),
    };
    let mac = if at.gateway {
        (target == addr(169, 254, 1, 1)).then_some(VMAC)
    } else {
        let anyone = target == RESOLVER_AT || endpoint(at.vni, target).is_some();
        let known = target != at.addr && anyone;
        let [a, b, c, d] = target.to_be_bytes();
        known.then_some([2, 0x42, a, b, c, d])
    };
    match mac {
        Some(mac) => Verdict::send(Place::Out(frame.device), Sent::ArpReply { mac, of: target }),
        None => Verdict::drop(DROP_ARP_UNKNOWN),
    }
}

impl Model {
    /// `sn_from_task` and the head of `sn_from_gw`.
    pub(crate) fn task_sends(&mut self, frame: &Frame<'_>, gateway: bool) -> Verdict {
        let Some(at) = attachment(frame.device).filter(|at| at.gateway == gateway) else {
            return Verdict::drop(DROP_NO_IFACE);
        };
        if let Err(reason) = check_sender(frame, &at) {
            return Verdict::drop(reason);
        }
        if frame.ethertype() == 0x0806 {
            return arp(frame, &at);
        }
        let packet = match Packet::read(&frame.bytes[ETHER..]) {
            Ok(packet) => packet,
            Err(Unreadable::Malformed) => return Verdict::drop(DROP_MALFORMED),
            Err(Unreadable::BadQuote) => return Verdict::drop(DROP_ICMP_BAD_INNER),
        };
        let broadcast = !gateway && packet.to == at.addr | 0xff;
        match () {
            () if packet.from != at.addr => Verdict::drop(DROP_SPOOF_IP),
            // one can only complain about packets that one was sent
            () if packet.error && packet.flow.src != at.addr => Verdict::drop(DROP_ICMP_BAD_INNER),
            () if is_multicast(packet.to) || broadcast => Verdict::drop(DROP_MCAST_BCAST),
            () if gateway => self.gateway(frame, packet, &at),
            () if packet.to == RESOLVER_AT => ask(&packet, &at),
            () => self.route(frame, packet, &at),
        }
    }

    fn route(&mut self, frame: &Frame<'_>, packet: Packet, at: &Attachment) -> Verdict {
        match endpoint(at.vni, packet.to) {
            None | Some(Endpoint::Gateway) => Verdict::drop(DROP_NO_ENDPOINT),
            Some(Endpoint::Gone) => answer(frame, &packet, DROP_ENDPOINT_GONE, (true, 0)),
            Some(Endpoint::Vip) => self.call_vip(frame, packet, at),
            Some(Endpoint::Local { device, lidx }) => self.deliver(packet, at.vni, device, lidx),
            Some(Endpoint::Remote(node)) => {
                let sent = Verdict::send(Place::Node { node, vni: at.vni }, unchanged(&packet));
                match length(&packet, node, true) {
                    Length::Fits => sent,
                    Length::Tell(mtu) => answer(frame, &packet, DROP_TOO_BIG, (false, mtu)),
                    Length::Pieces => sent.counting(Some(COUNT_OUTER_FRAG)),
                }
            }
        }
    }

    /// Into a task; a reply of a VIP_AT's backend comes from the VIP_AT.
    pub(crate) fn deliver(&mut self, packet: Packet, vni: u32, device: u32, lidx: u32) -> Verdict {
        let mut known = packet;
        let as_it_is = Verdict::send(Place::Task(device), unchanged(&packet));
        if !self.flagged.contains(&lidx) || !self.ports_of_fragment(&mut known, vni) {
            return as_it_is;
        }
        let flow = known.flow;
        let key = Key { way: Way::VipBack, vni, node: 0, proto: known.proto, flow };
        let Some(half) = self.flows.0.get(&key).copied() else { return as_it_is };
        self.flows.note(&key, &known, true);
        match rewritten(&known, Tuple { src: half.other.0, ..flow }, known.ttl) {
            Ok(sent) => Verdict::send(Place::Task(device), sent),
            Err(reason) => Verdict::drop(reason),
        }
    }

    fn call_vip(&mut self, frame: &Frame<'_>, mut packet: Packet, at: &Attachment) -> Verdict {
        if !self.ports_of_fragment(&mut packet, at.vni) {
            return Verdict::drop(DROP_FRAG_NO_FIRST);
        }
        let flow = packet.flow;
        let key = Key { way: Way::Vip, vni: at.vni, node: 0, proto: packet.proto, flow };
        let half = match self.vip_flow(&key, &packet) {
            Ok(half) => half,
            Err(DROP_VIP_NO_BACKEND) => {
                return answer(frame, &packet, DROP_VIP_NO_BACKEND, (false, 0));
            }
            Err(DROP_ENDPOINT_GONE) => {
                return answer(frame, &packet, DROP_ENDPOINT_GONE, (true, 0));
            }
            Err(reason) => return Verdict::drop(reason),
        };
        let backend = self.backends[&half.backend];
        self.flows.note(&key, &packet, half.serves);
        let pieces = match length(&packet, backend.node, true) {
            Length::Tell(mtu) => return answer(frame, &packet, DROP_TOO_BIG, (false, mtu)),
            Length::Pieces => Some(COUNT_OUTER_FRAG),
            Length::Fits => None,
        };
        self.flagged.insert(at.lidx);
        let src = if half.hairpin { flow.dst } else { flow.src };
        let to = Tuple { src, dst: half.other.0, ..flow };
        match rewritten(&packet, to, packet.ttl) {
            Ok(sent) => Verdict::send(Self::place(&backend, at.vni), sent).counting(pieces),
            Err(reason) => Verdict::drop(reason).counting(pieces),
        }
    }

    fn vip_flow(&mut self, key: &Key, packet: &Packet) -> Result<Half, Reason> {
        let known = self.flows.0.get(key).copied();
        let stays = known.map_or(Use::Choose, |half| self.usable(&half, packet));
        match (stays, known) {
            (Use::Reset, _) => return Err(DROP_ENDPOINT_GONE),
            (Use::Stay, Some(half)) => return Ok(half),
            _ if packet.error => return Err(DROP_ICMP_BAD_INNER),
            (_, Some(half)) => {
                self.flows.0.remove(&pair(key, &half));
            }
            _ => {}
        }
        let chosen = self.vip.and_then(|id| Some((id, *self.backends.get(&id)?)));
        let (id, backend) = chosen.ok_or(DROP_VIP_NO_BACKEND)?;
        let flow = key.flow;
        let mut half = Half { backend: id, other: (backend.addr, 0), ..Half::default() };
        if backend.addr == flow.src {
            half.hairpin = true;
            self.flows.0.insert(pair(key, &half), Half { serves: true, ..half });
        } else {
            let back = pair(key, &half);
            half.other.0 = flow.dst;
            self.flows.claim(back, &mut half, false).map_err(|_| DROP_CT_COLLISION)?;
            half.other.0 = backend.addr;
        }
        self.flows.0.insert(*key, half);
        Ok(half)
    }
}

/// Only whole DNS packets pass between a task and the resolver.
fn is_dns(packet: &Packet, port: u16) -> bool {
    let dns = port == 53 && (packet.proto == UDP || packet.proto == TCP);
    dns && !packet.error && packet.piece == Piece::Whole
}

fn ask(packet: &Packet, at: &Attachment) -> Verdict {
    if !is_dns(packet, packet.flow.dport) {
        return Verdict::drop(DROP_RESOLVER_ONLY);
    }
    let flow = Tuple { src: ASKERS_AT + at.lidx, ..packet.flow };
    let sent = Sent::Packet { from: flow.src, to: flow.dst, flow, ttl: packet.ttl };
    Verdict::send(Place::Host, sent)
}

/// What the host sends to an asker's stand-in address.
pub(crate) fn answered(packet: &Packet) -> Verdict {
    if packet.from != RESOLVER_AT || !is_dns(packet, packet.flow.sport) {
        return Verdict::drop(DROP_RESOLVER_ONLY);
    }
    let device = match packet.to - ASKERS_AT {
        1 => crate::world::T,
        5 => crate::world::T2,
        _ => return Verdict::drop(DROP_ASKER_GONE),
    };
    let at = attachment(device).unwrap();
    let flow = Tuple { dst: at.addr, ..packet.flow };
    let sent = Sent::Packet { from: flow.src, to: flow.dst, flow, ttl: packet.ttl };
    Verdict::send(Place::Task(device), sent)
}
