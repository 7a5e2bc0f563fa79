//! The programs against a second implementation: random frames, equal verdicts.
//!
//! `SWARMNET_MODEL_FRAMES` sets the number of frames, `SWARMNET_MODEL_SEED` the first seed. A
//! failure names the seed of its epoch; with that as first seed it comes first.
//!
//! Equal means: the same fate, the same place, the same drop reasons, the same flow in the frame
//! that leaves, nothing else in it changed, its sums as right as before. What is left to chance
//! (which of several backends, which free port) is taken from the program and must be allowed.

mod flows;
mod generate;
mod mesh;
mod node;
mod overlay;
mod packet;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};

use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::conntrack::now_s;
use swarmnet_ebpf::map::*;
use swarmnet_ebpf::program::Hook;
use swarmnet_ebpf::testing::{Arrival, Outcome, Runner};

use crate::step::{has_checksum_complete, reasons};
use crate::world::*;
use crate::{frame, outer};
use generate::{At, Random};
use node::{Backend, Frame, Model};
use packet::{ETHER, Packet};
use verdict::{Chance, Fate, Place, Sent, Verdict};

/// Frames with one set of flows. Short, so that no timeout passes and no budget is spent.
const EPOCH: usize = 400;
/// Frames between two changes of backends.
const CHANGE: usize = 40;

/// What a frame turned into, as the program did it.
fn observed(outcome: &Outcome, before: &[u8]) -> Result<Verdict, String> {
    let counted = (0..64).filter(|bit| outcome.out.reasons & 1 << bit != 0).collect();
    let frame = &outcome.frame;
    let fate = match outcome.verdict {
        0 | u32::MAX if frame == before => Fate::Pass,
        2 => Fate::Drop,
        7 => Fate::Send(place(&outcome.out)?, sent(frame, before)?),
        other => return Err(format!("verdict {other} with a changed frame")),
    };
    Ok(Verdict { counted, fate })
}

fn place(out: &TestOut) -> Result<Place, String> {
    let node = match u32::from_be_bytes(out.remote.addr().octets()) {
        addr if addr == generate::outer(1) => 1,
        addr if addr == generate::outer(2) => 2,
        _ => 0,
    };
    Ok(match out.action {
        ACT_PEER => Place::Task(out.ifindex),
        ACT_TUNNEL if out.ifindex == VX => Place::Node { node, vni: out.vni },
        ACT_INGRESS if out.ifindex == HOST => Place::Host,
        ACT_EGRESS => Place::Out(out.ifindex),
        ACT_NEIGH => Place::Neighbor(out.ifindex),
        _ => return Err(format!("{out:?}")),
    })
}

fn sent(frame: &[u8], before: &[u8]) -> Result<Sent, String> {
    let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    if frame[12..14] == [8, 6] {
        let mac = frame[22..28].try_into().unwrap();
        return Ok(Sent::ArpReply { mac, of: word(28) });
    }
    let after = Packet::read(&frame[ETHER..]).map_err(|error| format!("{error:?}"))?;
    let same = frame.len() == before.len() && frame::fixed_part(frame) == frame::fixed_part(before);
    let l4 = ETHER + after.header;
    // our own packets have no options, an identification of 0, and DF
    let ours = frame[14] == 0x45 && frame[18..22] == [0, 0, 0x40, 0] && !same;
    if same {
        let (from, to) = (after.from, after.to);
        return Ok(Sent::Packet { from, to, flow: after.flow, ttl: after.ttl });
    }
    if !sums_hold(&frame[ETHER..], &after) {
        return Err("an answer with a wrong sum".to_owned());
    }
    match (ours, after.proto, after.error) {
        (true, packet::TCP, false) if after.has(4) => {
            let ack = after.has(16).then(|| word(l4 + 8));
            Ok(Sent::Reset { flow: after.flow, sequence: word(l4 + 4), ack })
        }
        (true, _, true) if before[ETHER..].starts_with(&frame[l4 + 8..]) => {
            let mtu = u16::from_be_bytes([frame[l4 + 6], frame[l4 + 7]]);
            let (from, to, code) = (after.from, after.to, frame[l4 + 1]);
            Ok(Sent::Unreachable { from, to, code, mtu })
        }
        _ => Err("more than the flow was changed".to_owned()),
    }
}

/// Whether both sums of a whole packet of ours are right.
fn sums_hold(ip: &[u8], packet: &Packet) -> bool {
    let (head, l4) = ip.split_at(packet.header);
    let (src, dst) = (packet.from.to_be_bytes(), packet.to.to_be_bytes());
    let proto = ip[9];
    let pseudo = frame::pseudo(src, dst, proto, l4.len());
    let pseudo = if proto == packet::ICMP { &[] } else { pseudo.as_slice() };
    frame::checksum(&[head]) == 0 && frame::checksum(&[pseudo, l4]) == 0
}

fn expected(model: &mut Model, at: &At, arrival: &Arrival) -> Verdict {
    let frame = Frame { bytes: &arrival.frame, device: at.device };
    match at.hook {
        Hook::Task => model.task_sends(&frame, false),
        Hook::Gateway => model.task_sends(&frame, true),
        Hook::Uplink => model.uplink(&frame),
        Hook::HostPair => model.host(&frame),
        Hook::Tunnel => model.tunnel(&frame, at.vni, (at.node < 9).then_some(at.node)),
    }
}

/// Other backends, in the maps and in the model.
fn change(world: &World, model: &mut Model, random: &mut Random) {
    model.backends = BTreeMap::new();
    for (id, addr, node, device) in [
        (41, "10.0.1.4", 0, B),
        (42, "10.0.1.5", 1, 0),
        (43, "10.0.1.3", 0, T),
        (51, "172.31.0.4", 0, BG),
        (52, "172.31.0.8", 1, 0),
        (53, "172.31.0.3", 0, TG),
    ] {
        let state =
            random.one(&[BE_ACTIVE, BE_ACTIVE, BE_ACTIVE, BE_ACTIVE, BE_DRAINING, BE_DOWN, 0]);
        if state == 0 {
            world.maps.delete::<Backends>(&id).unwrap();
            continue;
        }
        if id < 50 {
            world.vip_backend(id, addr, node, device, state);
        } else {
            world.mesh_backend(id, addr, node, device, state);
        }
        let addr = u32::from_be_bytes(ip(addr).addr().octets());
        model.backends.insert(id, Backend { addr, node, device, state });
    }
    let vip: &[u32] = random.one(&[&[41], &[41], &[42], &[42], &[43], &[]]);
    world.vip_to(vip);
    model.vip = vip.first().copied();
    let mesh: &[u32] = random.one(&[&[51], &[52], &[53], &[51], &[52], &[]]);
    world.mesh_to(mesh);
    model.mesh = mesh.to_vec();
}

/// A node without memories.
fn forget(world: &World) {
    for key in world.maps.entries::<Ct>().unwrap().keys() {
        world.maps.delete::<Ct>(key).unwrap();
    }
    for key in world.maps.entries::<Frags>().unwrap().keys() {
        world.maps.delete::<Frags>(key).unwrap();
    }
    for lidx in [1, 2, 3, 4, 5] {
        world.maps.set::<Lflags>(&lidx, &0).unwrap();
    }
    world.maps.set::<BudgetMap>(&0, &Budget::default()).unwrap();
}

/// The program's choices in the frame that left.
fn chance(outcome: &Outcome) -> Chance {
    let packet = Packet::read(outcome.frame.get(ETHER..).unwrap_or_default()).ok();
    let packet = packet.filter(|_| outcome.verdict == 7);
    let hidden = packet.is_some_and(|p| p.piece == packet::Piece::Later);
    Chance { port: packet.map(|p| p.flow.sport), hidden, to: packet.map(|p| p.to) }
}

#[derive(Default)]
struct Tally {
    frames: usize,
    refused_by_kernel: usize,
    /// Frames from the tunnel that left their outer packet on the uplink.
    by_uplink: usize,
    /// Epochs that ended with a choice that no frame shows.
    cut_short: usize,
    fates: BTreeMap<String, usize>,
}

impl Tally {
    fn add(&mut self, at: &At, verdict: &Verdict) {
        self.frames += 1;
        let bits = verdict.counted.iter().fold(0_u64, |bits, reason| bits | 1 << reason);
        let kind = match &verdict.fate {
            Fate::Pass => "pass".to_owned(),
            Fate::Drop => "drop".to_owned(),
            Fate::Send(place, _) => {
                let text = format!("{place:?}");
                text.split([' ', '(']).next().unwrap_or_default().to_owned()
            }
        };
        let key = format!("{:?} {kind} {}", at.hook, reasons(bits).join("+"));
        *self.fates.entry(key).or_default() += 1;
    }
}

type Run = std::io::Result<Outcome>;

/// Which programs run over frames that come with a sum of the whole packet, and which without.
struct Runners<'a>(Vec<(Hook, Runner<'a>, Runner<'a>)>);

impl<'a> Runners<'a> {
    fn new(world: &'a World) -> Self {
        let runner = |hook, complete| world.plane.runner(hook, complete).unwrap();
        let complete = has_checksum_complete();
        Self(Hook::ALL.iter().map(|h| (*h, runner(*h, complete), runner(*h, false))).collect())
    }

    fn of(&self, hook: Hook, complete: bool) -> &Runner<'a> {
        let (_, with, without) = self.0.iter().find(|(h, ..)| *h == hook).unwrap();
        if complete { with } else { without }
    }
}

/// Runs a frame from the tunnel as it arrives on the uplink; `None` if it stays in its outer packet
/// there, for the VXLAN device.
fn by_uplink(runners: &Runners<'_>, arrival: &Arrival, complete: bool) -> Option<Run> {
    let TestIn { remote, vni, .. } = arrival.input;
    let frame = outer::wrap(&arrival.frame, remote.addr().octets(), vni);
    let on_uplink =
        Arrival { frame, input: TestIn { ifindex: UP, ..TestIn::default() }, ..*arrival };
    let run = runners.of(Hook::Uplink, complete).run(&on_uplink);
    let stays = |outcome: &Outcome| outcome.verdict == u32::MAX && outcome.frame == on_uplink.frame;
    if run.as_ref().is_ok_and(stays) { None } else { Some(run) }
}

/// Runs one epoch; the error tells everything about the frame that differs.
fn epoch(world: &World, runners: &Runners<'_>, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut model = Model::new();
    forget(world);
    for number in 0..EPOCH {
        if number % CHANGE == 0 {
            change(world, &mut model, &mut random);
        }
        let (at, arrival) = generate::next(&mut random, &model.flows);
        let complete = random.percent(25) && keeps_sum(&model, &at, &arrival);
        let wrapped = at.hook == Hook::Tunnel && random.percent(50);
        let run = if wrapped { by_uplink(runners, &arrival, complete) } else { None };
        tally.by_uplink += usize::from(run.is_some());
        let run = run.unwrap_or_else(|| runners.of(at.hook, complete).run(&arrival));
        let outcome = match run {
            Ok(outcome) => outcome,
            Err(error) if error.raw_os_error() == Some(22) => {
                tally.refused_by_kernel += 1;
                continue;
            }
            Err(error) => return Err(tell(seed, number, &at, &arrival, &format!("{error}"))),
        };
        let got = observed(&outcome, &arrival.frame);
        model.chance = chance(&outcome);
        let want = expected(&mut model, &at, &arrival);
        if model.unseen {
            tally.cut_short += 1;
            return Ok(());
        }
        if got.as_ref() != Ok(&want) {
            let text = format!(
                "program: {got:?}\nmodel:   {want:?}\n{}",
                flows_of(world, &model, &arrival)
            );
            return Err(tell(seed, number, &at, &arrival, &text));
        }
        tally.add(&at, &want);
    }
    Ok(())
}

/// False if one of ours takes the frame's place: shortened, it loses the sum of the whole packet.
fn keeps_sum(model: &Model, at: &At, arrival: &Arrival) -> bool {
    let fate = expected(&mut model.clone(), at, arrival).fate;
    !matches!(fate, Fate::Send(_, Sent::Reset { .. } | Sent::Unreachable { .. }))
}

/// Flows with an address of the packet, as both keep them.
fn flows_of(world: &World, model: &Model, arrival: &Arrival) -> String {
    let packet = Packet::read(arrival.frame.get(ETHER..).unwrap_or_default()).ok();
    let Some(packet) = packet else { return String::new() };
    let near = |proto: u8, at: u32| {
        proto == packet.proto && [packet.flow.src, packet.flow.dst].contains(&at)
    };
    let number = |addr: Be32| u32::from_be_bytes(addr.addr().octets());
    let theirs = world.maps.entries::<Ct>().unwrap();
    let theirs: Vec<_> = theirs.iter().filter(|(k, _)| near(k.proto, number(k.src))).collect();
    let ours: Vec<_> = model.flows.0.iter().filter(|(k, _)| near(k.proto, k.flow.src)).collect();
    format!(
        "flows of the program: {theirs:#?}\nflows of the model: {ours:#?}\n{:?}",
        model.backends
    )
}

fn tell(seed: u64, number: usize, at: &At, arrival: &Arrival, what: &str) -> String {
    let hex: String = arrival.frame.iter().take(160).map(|byte| format!("{byte:02x}")).collect();
    let packet = Packet::read(arrival.frame.get(ETHER..).unwrap_or_default());
    format!(
        "seed {seed}, frame {number} of the epoch, {at:?}, {} bytes: {hex}\n{packet:?}\n{what}",
        arrival.frame.len()
    )
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn the_programs_and_the_model_agree_on_every_random_frame() {
    let frames = setting("SWARMNET_MODEL_FRAMES", 200_000);
    let first = setting("SWARMNET_MODEL_SEED", 1);
    let world = World::with_flows(16_384);
    world.publish(80, 132, 80, 0);
    let node = Node { addr: ip("10.20.20.110"), mtu: node::NARROW as u32, ..Node::default() };
    world.maps.set::<Nodes>(&1, &node).unwrap();
    let inside = Net { addr: ip("10.9.0.0"), mask: Be32::mask(16) };
    world.mesh_target("172.31.0.4", BG, 4, 17, &[inside]);
    let runners = Runners::new(&world);
    let mut tally = Tally::default();
    let mut seed = first;
    while (tally.frames as u64) < frames {
        let second = now_s();
        let mut result = epoch(&world, &runners, seed, &mut tally);
        // Flows note the time once per second; a frame at its edge may find them otherwise.
        for _ in 0..3 {
            if result.is_ok() || now_s() == second {
                break;
            }
            result = epoch(&world, &runners, seed, &mut tally);
        }
        result.unwrap_or_else(|text| panic!("{text}"));
        seed += 1;
    }
    println!("{} frames, seeds {first} to {}", tally.frames, seed - 1);
    for (kind, count) in &tally.fates {
        println!("{count:>8} {kind}");
    }
    assert!(tally.cut_short * EPOCH * 20 < tally.frames, "{} epochs", tally.cut_short);
    assert!(tally.refused_by_kernel * 100 < tally.frames, "{}", tally.refused_by_kernel);
    assert!(tally.by_uplink * 20 > tally.frames, "{} by the uplink", tally.by_uplink);
    let kinds: BTreeSet<_> = tally.fates.keys().collect();
    assert!(frames < 100_000 || kinds.len() > 80, "{} kinds of fates", kinds.len());
}
