//! What is bounded per second, what a run costs, and that every reason for a drop has a case.

use std::collections::BTreeMap;

use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::drops::REASONS;
use swarmnet_ebpf::map::*;
use swarmnet_ebpf::testing::Arrival;

use crate::frame;
use crate::world::World;

/// Generated packets per second and CPU, `MAX_REPLIES` in `guard.h`.
const REPLIES: u32 = 1000;

#[test]
fn generated_answers_are_bounded_and_the_drop_is_counted_all_the_same() {
    let world = World::new();
    let refused = "out t [ENDPOINT_GONE]: tcp 10.0.1.9:80 > 10.0.1.3:4000 RA";
    let spent = (0..100).any(|_| {
        let second = swarmnet_ebpf::conntrack::now_s();
        let used = Budget { second, replies: REPLIES - 1, ..Budget::default() };
        world.maps.set::<BudgetMap>(&0, &used).unwrap();
        let syn = "t: tcp 10.0.1.3:4000 > 10.0.1.9:80 S => ";
        world.check(&format!("{syn}{refused}"));
        let next = world.step("t: udp 10.0.1.3:4000 > 10.0.1.9:80 len=42");
        // another second or another CPU may have come between
        next == "drop ENDPOINT_GONE" && swarmnet_ebpf::conntrack::now_s() == second
    });
    assert!(spent, "the answer after the last one of a second is not made");
}

#[test]
fn another_second_has_a_budget_of_its_own() {
    let world = World::new();
    let used = Budget { second: 1, replies: REPLIES, flows: u32::MAX, ..Budget::default() };
    world.maps.set::<BudgetMap>(&0, &used).unwrap();
    world.check(
        "t: udp 10.0.1.3:1 > 10.0.1.9:2 => out t [ENDPOINT_GONE]: unreach 10.0.1.9 > 10.0.1.3 about (udp 10.0.1.3:1 > 10.0.1.9:2)",
    );
}

#[test]
fn what_a_run_of_each_program_costs_is_printed() {
    let world = World::new();
    world.vip_to(&[41]);
    world.mesh_to(&[51]);
    world.check("net 1 1: udp 10.20.20.60:4000 > 172.31.0.3:80 => peer tg: udp 10.20.20.60:4000 > 172.31.0.3:80");
    for (walk, place, packet) in [
        ("A, to a task of this node", "t", "tcp 10.0.1.3:4000 > 10.0.1.4:80 A len=1000"),
        ("B, into the tunnel", "t", "tcp 10.0.1.3:4000 > 10.0.1.5:80 A len=1000"),
        ("B, out of the tunnel", "net 1 4096", "tcp 10.0.1.5:80 > 10.0.1.3:4000 A len=1000"),
        ("F, back to the entry node", "tg", "udp 172.31.0.3:80 > 10.20.20.60:4000 len=1000"),
        ("F, from the entry node", "net 1 1", "udp 10.20.20.60:4000 > 172.31.0.3:80 len=1000"),
        ("H, to the outside", "tg", "tcp 172.31.0.3:4000 > 8.8.8.8:443 A len=1000"),
        ("no published port", "up", "tcp 10.20.20.50:4000 > 10.20.20.100:22 A len=1000"),
        ("not for the mesh", "host", "udp 10.20.20.100:4000 > 169.254.87.9:1 len=1000"),
    ] {
        let (hook, input, src, dst) = world.place(place);
        let arrival = Arrival { frame: frame::frame(packet, src, dst), input, gso_size: 0 };
        let runner = world.plane.runner(hook, false).unwrap();
        let cost = runner.duration_ns(&arrival, 20_000).unwrap();
        println!("{:<16} {walk:<28} {cost:>5} ns", hook.program());
        assert!(cost > 0);
    }
    for program in world.plane.costs().unwrap() {
        println!(
            "{:<16} {:>6} instructions checked, {:>6} bytes of BPF",
            program.name, program.checked, program.bytes
        );
        assert!(program.checked < 1_000_000, "the verifier's limit");
    }
}

/// Reasons that no frame can provoke while the maps are as the agent writes them.
const NOT_BY_FRAMES: &[&str] = &[
    "CT_FULL",       // an LRU map makes room
    "HELPER_FAILED", // every length is checked before a helper is called
];

#[test]
fn every_drop_reason_has_a_case() {
    let tables = [
        include_str!("checksums.rs"),
        include_str!("fragments.rs"),
        include_str!("guards.rs"),
        include_str!("malformed.rs"),
        include_str!("mesh.rs"),
        include_str!("mtu.rs"),
        include_str!("overlay.rs"),
        include_str!("probe.rs"),
        include_str!("resolver.rs"),
        include_str!("vip.rs"),
    ]
    .concat();
    let mut cases: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in REASONS {
        let forms = [format!("drop {}", reason.name), format!("[{}]", reason.name)];
        let count = forms.iter().map(|form| tables.matches(form.as_str()).count()).sum();
        cases.insert(reason.name, count);
    }
    println!("{} cases; by reason: {cases:?}", tables.matches(" => ").count());
    let missing: Vec<_> = cases.iter().filter(|(_, n)| **n == 0).map(|(name, _)| *name).collect();
    assert_eq!(missing, NOT_BY_FRAMES);
}
