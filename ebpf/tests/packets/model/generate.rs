//! Random frames: from small sets of addresses and ports, so that flows meet; as part of a flow that
//! the model knows; then damaged now and then.

use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::program::Hook;
use swarmnet_ebpf::testing::Arrival;

use super::flows::{Flows, Key, Way};
use super::node::{INSIDE, MESH_SELF_AT, NODE_AT, RESOLVER_AT, STAND_IN_AT, addr, attachment};
use super::packet::{ICMP, SCTP, TCP, Tuple, UDP};
use crate::frame::checksum;
use crate::world::{B, BG, CLIENT_MAC, HOST_MAC, HOSTP, OVERLAY, T, T2, TG, UP, VX, ip};

/// A small generator (splitmix64): the same seed gives the same frames on every machine.
pub(crate) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn one<X: Copy>(&mut self, of: &[X]) -> X {
        of[self.below(of.len())]
    }
}

/// Where a frame arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub hook: Hook,
    pub device: u32,
    pub vni: u32,
    /// Index of the sending node; 9 is none of ours.
    pub node: u32,
}

pub(crate) fn outer(node: u32) -> u32 {
    match node {
        1 => addr(10, 20, 20, 110),
        2 => addr(10, 20, 20, 120),
        _ => addr(10, 20, 20, 99),
    }
}

const fn on(hook: Hook, device: u32) -> At {
    At { hook, device, vni: 0, node: 0 }
}

const CLIENTS: [u32; 5] =
    [addr(10, 20, 20, 50), addr(10, 20, 20, 51), INSIDE + 7, INSIDE + 8, addr(10, 20, 20, 1)];
const ODD: [u32; 8] = [
    0,
    u32::MAX,
    addr(127, 0, 0, 1),
    addr(224, 0, 0, 1),
    addr(8, 8, 8, 8),
    addr(172, 31, 0, 9),
    addr(169, 254, 1, 1),
    addr(10, 0, 1, 255),
];
const GATEWAYS: [u32; 3] = [addr(172, 31, 0, 3), addr(172, 31, 0, 4), addr(172, 31, 0, 8)];
const PORTS: [u16; 7] = [80, 80, 4000, 4001, 30000, 53, 22];

fn overlay(random: &mut Random) -> u32 {
    addr(10, 0, 1, 0) + random.one(&[1, 2, 2, 2, 3, 4, 5, 9, 77])
}

fn place(random: &mut Random) -> At {
    let hook = random.one(&[Hook::Task, Hook::Gateway, Hook::Tunnel, Hook::Uplink, Hook::HostPair]);
    match hook {
        Hook::Task => on(hook, random.one(&[T, T, T, B, B, T2, TG, 99])),
        Hook::Gateway => on(hook, random.one(&[TG, BG, TG, BG, TG, BG, TG, BG, T, 99])),
        Hook::Uplink => on(hook, UP),
        Hook::HostPair => on(hook, HOSTP),
        Hook::Tunnel => At {
            vni: random.one(&[
                OVERLAY,
                OVERLAY,
                4097,
                VNI_MESH_FWD,
                VNI_MESH_FWD,
                VNI_MESH_RET,
                5000,
            ]),
            node: random.one(&[1, 1, 1, 1, 2, 2, 2, 2, 9]),
            ..on(hook, VX)
        },
    }
}

/// Addresses that make sense at a place, most of the time.
fn tuple(random: &mut Random, at: &At) -> Tuple {
    let (mut src, mut dst) = match at.hook {
        Hook::Task => (overlay(random), overlay(random)),
        Hook::Gateway => {
            (random.one(&GATEWAYS), random.one(&[NODE_AT, CLIENTS[0], CLIENTS[2], STAND_IN_AT]))
        }
        Hook::Uplink => (random.one(&CLIENTS), NODE_AT),
        Hook::HostPair => (NODE_AT, MESH_SELF_AT),
        Hook::Tunnel if at.vni == VNI_MESH_FWD => (random.one(&CLIENTS), random.one(&GATEWAYS)),
        Hook::Tunnel if at.vni == VNI_MESH_RET => (random.one(&GATEWAYS), random.one(&CLIENTS)),
        Hook::Tunnel => (overlay(random), overlay(random)),
    };
    if let Some(attachment) = attachment(at.device).filter(|_| random.percent(95)) {
        src = attachment.addr;
    }
    if random.percent(5) {
        src = random.one(&ODD);
    }
    if random.percent(8) {
        dst = random.one(&ODD);
    }
    if random.percent(6) {
        dst = random.one(&[
            RESOLVER_AT,
            MESH_SELF_AT,
            super::node::ASKERS_AT + 1,
            super::node::ASKERS_AT + 6,
        ]);
    }
    if at.hook == Hook::HostPair && random.percent(15) {
        (src, dst) = (RESOLVER_AT, super::node::ASKERS_AT + random.one(&[1, 5, 2]));
    }
    let dport = match at.hook {
        Hook::Uplink | Hook::HostPair if random.percent(80) => 30000,
        Hook::Uplink | Hook::HostPair | Hook::Task | Hook::Gateway | Hook::Tunnel => {
            random.one(&PORTS)
        }
    };
    Tuple { src, sport: random.one(&PORTS), dst, dport }
}

/// A packet of a flow that the model knows, and where it arrives.
fn known(random: &mut Random, flows: &Flows) -> Option<(At, Tuple, u8)> {
    let (key, _) = flows.0.iter().nth(random.below(flows.0.len().max(1)))?;
    Some((arrives(key), key.flow, key.proto))
}

fn arrives(key: &Key) -> At {
    let by_address = |at: u32| match at {
        at if at == addr(10, 0, 1, 3) => on(Hook::Task, T),
        at if at == addr(10, 0, 1, 4) => on(Hook::Task, B),
        at if at == GATEWAYS[0] => on(Hook::Gateway, TG),
        at if at == GATEWAYS[1] => on(Hook::Gateway, BG),
        at if at == NODE_AT => on(Hook::HostPair, HOSTP),
        _ => on(Hook::Uplink, UP),
    };
    let tunnel = |vni, node| At { hook: Hook::Tunnel, device: VX, vni, node };
    match key.way {
        Way::VipBack if key.flow.src == addr(10, 0, 1, 5) => tunnel(OVERLAY, 1),
        Way::Vip | Way::VipBack | Way::Entry | Way::TaskBack => by_address(key.flow.src),
        Way::EntryBack => tunnel(VNI_MESH_RET, key.node),
        Way::Task => tunnel(VNI_MESH_FWD, key.node),
    }
}

fn transport(random: &mut Random, proto: u8, flow: Tuple, payload: usize) -> Vec<u8> {
    let ports = [flow.sport.to_be_bytes(), flow.dport.to_be_bytes()].concat();
    let payload: Vec<u8> = (0..payload).map(|_| random.next() as u8).collect();
    let flags = random.one(&[2, 2, 16, 16, 16, 18, 17, 17, 20, 4, 0]);
    match proto {
        TCP => {
            let word = (random.next() as u32).to_be_bytes();
            let rest = [0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
            [&ports[..], &word, &word, &rest, &payload].concat()
        }
        UDP => {
            let length = (8 + payload.len() as u16).to_be_bytes();
            [&ports[..], &length, &[0, 0], &payload].concat()
        }
        SCTP => [&ports[..], &[0; 8], &payload].concat(),
        ICMP => {
            let kind = random.one(&[8, 8, 0, 0, 13]);
            [&[kind, 0, 0, 0][..], &flow.sport.to_be_bytes(), &[0, 1], &payload].concat()
        }
        _ => payload,
    }
}

fn sum_at(proto: u8) -> Option<usize> {
    match proto {
        TCP => Some(16),
        UDP => Some(6),
        ICMP => Some(2),
        _ => None,
    }
}

/// An IP packet with right sums, unless chance will have it otherwise.
fn packet(random: &mut Random, proto: u8, flow: Tuple, mut l4: Vec<u8>, fragment: u16) -> Vec<u8> {
    let (src, dst) = (flow.src.to_be_bytes(), flow.dst.to_be_bytes());
    if let Some(at) = sum_at(proto) {
        let length = (l4.len() as u16).to_be_bytes();
        let pseudo = [&src[..], &dst, &[0, proto], &length].concat();
        let sum = checksum(&[if proto == ICMP { &[] } else { &pseudo }, &l4]);
        let sum = match proto {
            _ if random.percent(2) => random.next() as u16,
            UDP if random.percent(5) => 0,
            UDP if sum == 0 => 0xffff,
            _ => sum,
        };
        if fragment & 0x1fff == 0 {
            l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
    }
    let words = if random.percent(8) { 1 + random.below(10) } else { 0 };
    let total = ((20 + words * 4 + l4.len()) as u16).to_be_bytes();
    let id = (random.below(3) as u16).to_be_bytes();
    let ttl = random.one(&[64, 64, 64, 64, 64, 255, 2, 1, 0]);
    let fragment = fragment.to_be_bytes();
    let first = 0x45 + words as u8;
    let head = [&[first, 0][..], &total, &id, &fragment, &[ttl, proto, 0, 0], &src, &dst];
    let mut head = [head.concat(), [1, 1, 1, 0].repeat(words)].concat();
    let sum = checksum(&[&head]) ^ u16::from(random.percent(1));
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    [head, l4].concat()
}

fn error(random: &mut Random, flow: Tuple, proto: u8) -> Vec<u8> {
    let fragment = if random.percent(5) { 0x0010 } else { 0x4000 };
    let inner_l4 = transport(random, proto, flow.reversed(), 12);
    let mut quoted = packet(random, proto, flow.reversed(), inner_l4, fragment);
    let whole = usize::from(quoted[0] & 15) * 4 + 8;
    quoted.truncate(if random.percent(5) { random.below(whole) } else { whole });
    let (kind, code) = random.one(&[(3, 3), (3, 4), (11, 0), (12, 0), (3, 1)]);
    let l4 = [&[kind, code, 0, 0, 0, 0, 5, 120], &quoted[..]].concat();
    // a router may report; mostly it is the flow's end
    let src = if random.percent(15) { addr(10, 20, 20, 1) } else { flow.src };
    packet(random, ICMP, Tuple { src, ..flow }, l4, 0)
}

fn arp(random: &mut Random, at: &At) -> Vec<u8> {
    let own = attachment(at.device).map_or(addr(10, 0, 1, 3), |attachment| attachment.addr);
    let asker = random.one(&[own, own, own, 0, addr(10, 0, 1, 5)]);
    let any = overlay(random);
    let target = random.one(&[any, addr(169, 254, 1, 1), own]);
    let op = random.one(&[1, 1, 1, 1, 2]);
    let owner = if random.percent(90) { own } else { asker };
    let mac = [&[2, 0x42][..], &owner.to_be_bytes()].concat();
    let head = [0, 1, 8, 0, 6, 4, 0, op];
    [&head[..], &mac, &asker.to_be_bytes(), &[0; 6], &target.to_be_bytes()].concat()
}

fn body(random: &mut Random, flow: Tuple, proto: u8) -> Vec<u8> {
    if random.percent(15) {
        return error(random, flow, proto);
    }
    let size = random.one(&[0, 1, 4, 8, 64, 300, 1355, 1372, 1373, 1480]);
    let fragment = match random.below(100) {
        0..5 => 0x2000,
        5..11 => 0x2010,
        11..14 => 0x0020,
        14..60 => 0x4000,
        _ => 0,
    };
    let l4 = transport(random, proto, flow, size);
    packet(random, proto, flow, l4, fragment)
}

/// Bytes turned over, the end cut off, another type.
fn damage(random: &mut Random, frame: &mut Vec<u8>) {
    if random.percent(6) {
        for _ in 0..1 + random.below(3) {
            let at = 14 + random.below((frame.len() - 14).min(60));
            frame[at] ^= 1 << random.below(8);
        }
    }
    if random.percent(3) {
        frame.truncate(34 + random.below(40));
    }
    if random.percent(2) {
        let strange: u16 = random.one(&[0x86dd, 0x8100, 0x88a8, 0x88cc, 0x0806, 0x0800]);
        frame[12..14].copy_from_slice(&strange.to_be_bytes());
        frame.resize(frame.len().max(80), 0);
    }
    if random.percent(1) {
        frame[6 + random.below(6)] ^= 1;
    }
}

/// The next frame, and where it arrives.
pub(crate) fn next(random: &mut Random, flows: &Flows) -> (At, Arrival) {
    let mut at = place(random);
    let mut flow = tuple(random, &at);
    let mut proto = random.one(&[TCP, TCP, TCP, UDP, UDP, UDP, ICMP, SCTP, 47]);
    if random.percent(45)
        && let Some(of_flow) = known(random, flows)
    {
        (at, flow, proto) = of_flow;
    }
    let question = matches!(at.hook, Hook::Task | Hook::Gateway) && random.percent(5);
    let (kind, body) =
        if question { (0x0806_u16, arp(random, &at)) } else { (0x0800, body(random, flow, proto)) };
    let (src, dst) = match at.hook {
        Hook::Task | Hook::Gateway => {
            let own = attachment(at.device).map_or(0, |attachment| attachment.addr);
            let [a, b, c, d] = own.to_be_bytes();
            ([2, 0x42, a, b, c, d], VMAC)
        }
        Hook::Uplink => (CLIENT_MAC, if random.percent(98) { [0; 6] } else { VMAC }),
        Hook::HostPair => (HOST_MAC, VMAC),
        Hook::Tunnel => (VMAC, [2; 6]),
    };
    let mut frame = [&dst[..], &src, &kind.to_be_bytes(), &body].concat();
    damage(random, &mut frame);
    let remote = ip(&std::net::Ipv4Addr::from(outer(at.node)).to_string());
    let has_key = u32::from(at.hook == Hook::Tunnel);
    let input = TestIn { ifindex: at.device, has_key, vni: at.vni, remote };
    (at, Arrival { frame, input, gso_size: 0 })
}
