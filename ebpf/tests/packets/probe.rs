//! Frames of the connectivity test: sent back by the node asked, believed by the node that asks.

use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::map::*;
use swarmnet_ebpf::testing::{Arrival, Outcome};

use crate::world::World;

const TEST: u64 = 77;
const NONCE: u64 = 0x0123_4567_89ab_cdef;

fn frame(kind: u8, nonce: u64, len: usize) -> Vec<u8> {
    let header = ProbeHeader { kind, pad: [0; 7], nonce, test: TEST };
    let mut frame = [&[2; 12][..], &ETH_PROBE.to_be_bytes(), header.as_bytes()].concat();
    frame.resize(14 + len, 0xee);
    frame
}

fn from(world: &World, node: &str, frame: &[u8]) -> Outcome {
    let (hook, input, _, _) = world.place(&format!("net {node} {VNI_PROBE}"));
    let arrival = Arrival { frame: frame.to_vec(), input, gso_size: 0 };
    world.plane.runner(hook, false).unwrap().run(&arrival).unwrap()
}

fn dropped(world: &World, node: &str, frame: &[u8]) -> String {
    let (hook, input, _, _) = world.place(&format!("net {node} {VNI_PROBE}"));
    let arrival = Arrival { frame: frame.to_vec(), input, gso_size: 0 };
    world.run(&world.plane.runner(hook, false).unwrap(), arrival)
}

#[test]
fn a_frame_goes_back_to_the_node_it_came_from() {
    let world = World::new();
    for (kind, len) in [(PROBE_REQUEST, 24), (PROBE_WHOLE, 1450)] {
        let outcome = from(&world, "2", &frame(kind, NONCE, 1450));
        assert_eq!((outcome.out.action, outcome.out.vni), (ACT_TUNNEL, VNI_PROBE));
        assert_eq!(outcome.out.remote.addr().to_string(), "10.20.20.120");
        assert_eq!(outcome.frame, frame(PROBE_REPLY, NONCE, len));
    }
    assert_eq!(world.maps.get::<Heard>(&2).unwrap(), Some(TEST));
    assert_eq!(world.maps.get::<Heard>(&1).unwrap(), Some(0));
}

#[test]
fn an_answer_counts_once_and_from_the_node_that_was_asked() {
    let world = World::new();
    let asked = Probe { node: 1, pad: 0, answered_ns: 0 };
    world.maps.set::<Probes>(&NONCE, &asked).unwrap();
    let answer = frame(PROBE_REPLY, NONCE, 24);
    assert_eq!(dropped(&world, "1", &frame(PROBE_REPLY, NONCE + 1, 24)), "drop PROBE");
    assert_eq!(dropped(&world, "2", &answer), "drop PROBE");
    assert_eq!(world.maps.get::<Probes>(&NONCE).unwrap(), Some(asked));
    assert_eq!(dropped(&world, "1", &answer), "pass", "to a stack that knows no such ethertype");
    let answered = world.maps.get::<Probes>(&NONCE).unwrap().unwrap();
    assert_ne!(answered.answered_ns, 0);
    from(&world, "1", &answer);
    assert_eq!(world.maps.get::<Probes>(&NONCE).unwrap(), Some(answered));
}

#[test]
fn what_is_no_frame_of_the_test_is_dropped() {
    let world = World::new();
    assert_eq!(dropped(&world, "1", &frame(0, NONCE, 24)), "drop MALFORMED");
    assert_eq!(dropped(&world, "1", &frame(PROBE_REQUEST, NONCE, 64)[..20]), "drop MALFORMED");
    assert_eq!(dropped(&world, "10.20.20.99", &frame(PROBE_REQUEST, NONCE, 24)), "drop VTEP_PEER");
}
