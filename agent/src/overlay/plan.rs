//! Pure: (desired, observed, now) → actions on the overlay.

use std::fmt;

use swarmnet_ebpf::abi::{Be32, Ep, EpKey, Node, Peer, VniValue};

use super::{Device, State, TOMBSTONE_S};
use crate::brief::Brief;
use crate::edit::Edit;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Device(Device),
    Peer(Edit<Be32, Peer>),
    Node(Edit<u32, Node>),
    Vni(Edit<u32, VniValue>),
    Endpoint(EpKey, Ep),
    /// The address is gone; until this second senders are told so.
    Bury(EpKey, u32),
    Forget(EpKey),
}

impl Action {
    pub fn is_removal(&self) -> bool {
        match self {
            Self::Device(_) | Self::Endpoint(..) => false,
            Self::Peer(edit) => edit.is_removal(),
            Self::Node(edit) => edit.is_removal(),
            Self::Vni(edit) => edit.is_removal(),
            Self::Bury(..) | Self::Forget(_) => true,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => write!(f, "device set {device:?}"),
            Self::Peer(edit) => write!(f, "peer {edit}"),
            Self::Node(edit) => write!(f, "node {edit}"),
            Self::Vni(edit) => write!(f, "vni {edit}"),
            Self::Endpoint(key, ep) => {
                write!(f, "endpoint set vni={} {} {}", key.vni, key.addr, ep.brief())
            }
            Self::Bury(key, until) => {
                write!(f, "endpoint remove vni={} {} until={until}", key.vni, key.addr)
            }
            Self::Forget(key) => write!(f, "endpoint forget vni={} {}", key.vni, key.addr),
        }
    }
}

/// Returns what turns `observed` into `desired`; `now_s` counts as the tombstones do.
pub fn plan(desired: &State, observed: &State, now_s: u32) -> Vec<Action> {
    let mut actions = Vec::new();
    if desired.device != observed.device {
        actions.extend(desired.device.map(Action::Device));
    }
    actions.extend(Edit::between(&desired.nodes, &observed.nodes).map(Action::Node));
    actions.extend(Edit::between(&desired.peers, &observed.peers).map(Action::Peer));
    actions.extend(Edit::between(&desired.vnis, &observed.vnis).map(Action::Vni));
    for edit in Edit::between(&desired.eps, &observed.eps) {
        actions.push(match edit {
            Edit::Set(key, ep) => Action::Endpoint(key, ep),
            Edit::Remove(key) => Action::Bury(key, now_s.saturating_add(TOMBSTONE_S)),
        });
    }
    let over = |until: u32| until <= now_s;
    let past = observed
        .tombstones
        .iter()
        .filter(|(key, until)| over(**until) && !desired.eps.contains_key(key));
    actions.extend(past.map(|(key, _)| Action::Forget(*key)));
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::net::Ipv4Addr;
    use swarmnet_ebpf::abi::{EP_LOCAL, EP_REMOTE};

    fn key(last: u8) -> EpKey {
        EpKey { vni: 4097, addr: Be32::new(Ipv4Addr::new(10, 0, 1, last)) }
    }

    fn remote(node: u32) -> Ep {
        Ep { kind: EP_REMOTE, node, addr: key(5).addr, ..Ep::default() }
    }

    fn fold(state: &mut State, action: &Action) {
        match action {
            Action::Device(device) => state.device = Some(*device),
            Action::Peer(edit) => edit.fold(&mut state.peers),
            Action::Node(edit) => edit.fold(&mut state.nodes),
            Action::Vni(edit) => edit.fold(&mut state.vnis),
            Action::Endpoint(key, ep) => {
                state.tombstones.remove(key);
                state.eps.insert(*key, *ep);
            }
            Action::Bury(key, until) => {
                state.eps.remove(key);
                state.tombstones.insert(*key, *until);
            }
            Action::Forget(key) => {
                state.tombstones.remove(key);
            }
        }
    }

    fn states() -> Vec<State> {
        let mut states = Vec::new();
        for port in [4789, 8472] {
            for eps in 0..4_u32 {
                let device = Device { port, up: true, program: eps != 3 };
                let mut state = State { device: Some(device), ..State::default() };
                state.nodes.insert(0, Node { flags: eps & 1, ..Node::default() });
                state.vnis.insert(4097 + eps, VniValue { flags: 0 });
                state.peers.insert(key(1).addr, Peer { node: eps, flags: 0 });
                if eps > 0 {
                    state.eps.insert(key(5), remote(eps));
                }
                states.push(state);
            }
        }
        states
    }

    #[test]
    fn both_laws_hold_for_every_pair_and_tombstones_pass_away() {
        for desired in states() {
            assert!(plan(&desired, &desired, 100).is_empty());
            for observed in states() {
                let mut state = observed.clone();
                for action in plan(&desired, &observed, 100) {
                    fold(&mut state, &action);
                }
                assert!(plan(&desired, &state, 100).is_empty(), "a second pass writes nothing");
                for action in plan(&desired, &state, 160) {
                    fold(&mut state, &action);
                }
                assert_eq!(state, desired);
            }
        }
    }

    #[test]
    fn a_moved_endpoint_is_replaced_in_place() {
        let observed = State { eps: [(key(5), remote(1))].into(), ..State::default() };
        let ep = Ep { kind: EP_LOCAL, ifindex: 7, addr: key(5).addr, ..Ep::default() };
        let desired = State { eps: [(key(5), ep)].into(), ..State::default() };
        let text: Vec<_> = plan(&desired, &observed, 0).iter().map(ToString::to_string).collect();
        expect!["endpoint set vni=4097 10.0.1.5 of a task here"].assert_eq(&text.join("\n"));
    }

    #[test]
    fn an_address_that_comes_back_is_not_forgotten_by_its_tombstone() {
        let observed = State { tombstones: [(key(5), 10)].into(), ..State::default() };
        let desired = State { eps: [(key(5), remote(1))].into(), ..State::default() };
        assert_eq!(plan(&desired, &observed, 50), [Action::Endpoint(key(5), remote(1))]);
    }
}
