//! Runs steps written as text: `where: frame => result`.
//!
//! Where: `t b t2` (tasks), `tg bg` (their gateways), `up` (uplink), `host` (swn-hostp),
//! `net NODE VNI` (the tunnel), `vxlan NODE VNI` (the same on the uplink, inside its outer packet). Result: `pass`, `drop REASON`, `peer t: …`, `node 1 vni 4096: …`,
//! `out up: …`, `neigh up: …`, `host: …`; `[REASON]` follows the place if the original counts under
//! a reason (a refusal). `gso=N` at the end of a frame makes it a train of N byte segments.
//!
//! Every step also verifies all checksums of the frame that leaves, that nothing but the flow was
//! rewritten, and (Linux 6.15) that the sum a NIC computed over the whole packet still holds.

use std::collections::BTreeMap;

use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::drops;
use swarmnet_ebpf::map::*;
use swarmnet_ebpf::program::Hook;
use swarmnet_ebpf::testing::{Arrival, Runner};

use crate::world::*;
use crate::{frame, outer};

impl World {
    /// Runs steps in order and compares each result.
    pub(crate) fn check(&self, steps: &str) {
        for line in steps.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (input, want) = line.split_once("=>").expect("a step has a =>");
            let got = self.step_as(input.trim(), has_checksum_complete() && !want.contains('['));
            assert_eq!(got, want.trim(), "\nstep: {line}\nflows: {:#?}", self.flows());
        }
    }

    pub(crate) fn flows(&self) -> BTreeMap<CtKey, CtValue> {
        self.maps.entries::<Ct>().unwrap()
    }

    /// Runs one step and renders what happened.
    pub(crate) fn step(&self, input: &str) -> String {
        self.step_as(input, has_checksum_complete())
    }

    /// A frame that is replaced by a shorter one loses the NIC's sum: nothing to check there.
    fn step_as(&self, input: &str, checksum_complete: bool) -> String {
        let (place, packet) = input.split_once(": ").expect("a step has a place");
        let (hook, input, src, dst) = self.place(place);
        let (packet, gso_size) = match packet.split_once(" gso=") {
            Some((packet, size)) => (packet, size.parse().unwrap()),
            None => (packet, 0),
        };
        let inner = frame::frame(packet, src, dst);
        let frame = match place.strip_prefix("vxlan ") {
            Some(_) => outer::wrap(&inner, input.remote.addr().octets(), input.vni),
            None => inner.clone(),
        };
        let arrival = Arrival { frame, input, gso_size };
        self.run_inner(&self.plane.runner(hook, checksum_complete).unwrap(), arrival, &inner)
    }

    pub(crate) fn place(&self, place: &str) -> (Hook, TestIn, [u8; 6], [u8; 6]) {
        let on = |ifindex| TestIn { ifindex, ..TestIn::default() };
        let task = |addr: [u8; 4]| [2, 0x42, addr[0], addr[1], addr[2], addr[3]];
        // test_run's device is lo, whose MAC is zero: only such frames are PACKET_HOST.
        let me = [0; 6];
        match place.split_whitespace().collect::<Vec<_>>()[..] {
            ["t"] => (Hook::Task, on(T), task([10, 0, 1, 3]), [2; 6]),
            ["b"] => (Hook::Task, on(B), task([10, 0, 1, 4]), [2; 6]),
            ["t2"] => (Hook::Task, on(T2), task([10, 0, 1, 3]), [2; 6]),
            ["tg"] => (Hook::Gateway, on(TG), task([172, 31, 0, 3]), VMAC),
            ["bg"] => (Hook::Gateway, on(BG), task([172, 31, 0, 4]), VMAC),
            ["up"] => (Hook::Uplink, on(UP), CLIENT_MAC, me),
            ["up-other"] => (Hook::Uplink, on(UP), CLIENT_MAC, [8; 6]),
            ["up-router"] => (Hook::Uplink, on(UP), [9; 6], me),
            ["host"] => (Hook::HostPair, on(HOSTP), HOST_MAC, VMAC),
            ["evil"] => (Hook::Task, on(T), [6; 6], [2; 6]),
            ["evil-gw"] => (Hook::Gateway, on(TG), [6; 6], VMAC),
            ["unknown"] => (Hook::Task, on(99), task([10, 0, 1, 3]), [2; 6]),
            ["unknown-gw"] => (Hook::Gateway, on(99), task([10, 0, 1, 3]), [2; 6]),
            ["net-nokey"] => (Hook::Tunnel, on(VX), VMAC, [2; 6]),
            [way @ ("net" | "vxlan"), node, vni] => {
                let remote = match node {
                    "1" => ip("10.20.20.110"),
                    "2" => ip("10.20.20.120"),
                    other => ip(other),
                };
                let vni = vni.parse().unwrap();
                let (hook, ifindex, has_key) =
                    if way == "net" { (Hook::Tunnel, VX, 1) } else { (Hook::Uplink, UP, 0) };
                (hook, TestIn { ifindex, has_key, vni, remote }, VMAC, [2; 6])
            }
            _ => panic!("unknown place {place}"),
        }
    }

    pub(crate) fn run(&self, runner: &Runner<'_>, arrival: Arrival) -> String {
        let inner = arrival.frame.clone();
        self.run_inner(runner, arrival, &inner)
    }

    /// Runs a frame that carries `inner`, or is it.
    fn run_inner(&self, runner: &Runner<'_>, arrival: Arrival, inner: &[u8]) -> String {
        let outcome = runner.run(&arrival).expect("the run, and the sum of the whole packet");
        let frame = arrival.frame;
        let reason = reasons(outcome.out.reasons).join("+");
        match outcome.verdict {
            // TC_ACT_OK on our own devices, TC_ACT_UNSPEC where others may listen
            0 | u32::MAX if outcome.frame == frame && reason.is_empty() => "pass".to_owned(),
            0 | u32::MAX => format!("pass CHANGED {reason}: {}", frame::text(&outcome.frame)),
            2 => format!("drop {reason}"),
            7 => {
                let ours = outcome.out.reasons & !(1 << COUNT_OUTER_FRAG) != 0;
                if !ours && inner[12..14] == [8, 0] {
                    let (before, after) = (frame::fixed_part(inner), outcome.frame.as_slice());
                    assert_eq!(before, frame::fixed_part(after), "only the flow is rewritten");
                }
                self.redirect(&outcome.out, &outcome.frame, &reason)
            }
            other => format!("verdict {other}"),
        }
    }

    fn redirect(&self, out: &TestOut, frame: &[u8], reason: &str) -> String {
        let reason = if reason.is_empty() { String::new() } else { format!(" [{reason}]") };
        let text = frame::text(frame);
        let device = |ifindex| match ifindex {
            T => "t",
            B => "b",
            T2 => "t2",
            TG => "tg",
            BG => "bg",
            UP => "up",
            HOSTP => "hostp",
            _ => "?",
        };
        match out.action {
            ACT_PEER => {
                let mac = self.maps.get::<Ifaces>(&out.ifindex).unwrap().map(|i| i.mac);
                assert_eq!(Some(&frame[..6]), mac.as_ref().map(|m| &m[..]), "destination MAC");
                assert_eq!(frame[6..12], VMAC, "source MAC");
                format!("peer {}{reason}: {text}", device(out.ifindex))
            }
            ACT_TUNNEL => {
                assert_eq!(out.ifindex, VX);
                let node = self.maps.get::<Peers>(&out.remote).unwrap().map_or(0, |p| p.node);
                format!("node {node} vni {}{reason}: {text}", out.vni)
            }
            ACT_EGRESS => {
                if out.ifindex == UP && reason.is_empty() {
                    assert_eq!(frame[6..12], UP_MAC, "source MAC on the uplink");
                    assert_ne!(frame[..6], UP_MAC, "destination MAC on the uplink");
                }
                format!("out {}{reason}: {text}", device(out.ifindex))
            }
            ACT_INGRESS => {
                assert_eq!((out.ifindex, &frame[..6]), (HOST, &HOST_MAC[..]));
                format!("host{reason}: {text}")
            }
            ACT_NEIGH => format!("neigh {}{reason}: {text}", device(out.ifindex)),
            other => format!("redirect {other} nowhere"),
        }
    }
}

/// Names of counted reasons.
pub(crate) fn reasons(bits: u64) -> Vec<&'static str> {
    let counted = drops::REASONS.iter().filter(|r| bits & 1 << r.number != 0);
    counted.map(|reason| reason.name).collect()
}

/// Whether the kernel can check the sum of the whole packet after each run (6.15).
pub(crate) fn has_checksum_complete() -> bool {
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let mut parts = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(6), Some(15))
}
