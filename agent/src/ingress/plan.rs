//! Pure: (desired, observed) → actions for published ports.

use std::fmt;

use swarmnet_ebpf::abi::{Be32, ConfValue, Iface, MeshKey, MeshTarget, Port, PortKey};

use super::{Pair, State};
use crate::edit::Edit;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Pair(Pair),
    Conf(ConfValue),
    Forwarding,
    LocalAddr(Edit<Be32, u32>),
    UplinkIface(Edit<u32, Iface>),
    Uplink(Edit<u32, String>),
    MeshTarget(Edit<MeshKey, MeshTarget>),
    Port(Edit<PortKey, Port>),
    Hold((u8, u16)),
    LetGo((u8, u16)),
    /// The whole set: the kernel knows no smaller change.
    Reserve(std::collections::BTreeSet<u16>),
}

impl Action {
    pub fn is_removal(&self) -> bool {
        match self {
            Self::Pair(_) | Self::Conf(_) | Self::Forwarding | Self::Hold(_) | Self::Reserve(_) => {
                false
            }
            Self::LetGo(_) => true,
            Self::LocalAddr(edit) => edit.is_removal(),
            Self::UplinkIface(edit) => edit.is_removal(),
            Self::Uplink(edit) => edit.is_removal(),
            Self::MeshTarget(edit) => edit.is_removal(),
            Self::Port(edit) => edit.is_removal(),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair(pair) => write!(f, "host pair set {pair:?}"),
            Self::Conf(conf) => write!(f, "conf set {conf:?}"),
            Self::Forwarding => f.write_str("forwarding set"),
            Self::LocalAddr(edit) => write!(f, "local address {edit}"),
            Self::UplinkIface(edit) => write!(f, "uplink iface {edit}"),
            Self::Uplink(edit) => write!(f, "uplink program {edit}"),
            Self::MeshTarget(edit) => write!(f, "mesh target {edit}"),
            Self::Port(Edit::Set(key, port)) => write!(
                f,
                "port set {}/{} service={} target={}",
                key.port, key.proto, port.svc, port.target_port
            ),
            Self::Port(Edit::Remove(key)) => write!(f, "port remove {}/{}", key.port, key.proto),
            Self::Hold((proto, port)) => write!(f, "placeholder set {port}/{proto}"),
            Self::LetGo((proto, port)) => write!(f, "placeholder remove {port}/{proto}"),
            Self::Reserve(ports) => write!(f, "reserved ports set {ports:?}"),
        }
    }
}

/// Returns what turns `observed` into `desired`: settings and targets before the ports that lead
/// to them; the program on an uplink after its entry in `ifaces`.
pub fn plan(desired: &State, observed: &State) -> Vec<Action> {
    let mut actions = Vec::new();
    if desired.pair != observed.pair {
        actions.extend(desired.pair.map(Action::Pair));
    }
    if desired.conf != observed.conf {
        actions.extend(desired.conf.map(Action::Conf));
    }
    if desired.forwarding && !observed.forwarding {
        actions.push(Action::Forwarding);
    }
    let edits = Edit::between(&desired.local_addrs, &observed.local_addrs);
    actions.extend(edits.map(Action::LocalAddr));
    let edits = Edit::between(&desired.uplink_ifaces, &observed.uplink_ifaces);
    actions.extend(edits.map(Action::UplinkIface));
    let edits = Edit::between(&desired.uplinks, &observed.uplinks);
    actions.extend(edits.map(Action::Uplink));
    let edits = Edit::between(&desired.mesh_local, &observed.mesh_local);
    actions.extend(edits.map(Action::MeshTarget));
    let edits = Edit::between(&desired.ports, &observed.ports);
    actions.extend(edits.map(Action::Port));
    actions.extend(desired.held.difference(&observed.held).copied().map(Action::Hold));
    actions.extend(observed.held.difference(&desired.held).copied().map(Action::LetGo));
    if desired.reserved != observed.reserved {
        actions.push(Action::Reserve(desired.reserved.clone()));
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use swarmnet_ebpf::abi::Be16;

    fn key(port: u16) -> PortKey {
        PortKey { port: Be16::new(port), proto: 6, ..PortKey::default() }
    }

    fn states() -> Vec<State> {
        let mut states = Vec::new();
        for bits in 0..32_u16 {
            let bit = |n: u16| bits >> n & 1;
            let mut state = State { forwarding: true, ..State::default() };
            let program = bit(0) == 1;
            state.pair = Some(Pair { up: true, program, source: None, resolver: !program });
            state.conf = Some(ConfValue { vx_if: u32::from(bit(1)), ..ConfValue::default() });
            if bit(2) == 1 {
                state.ports.insert(key(30_000), Port { svc: 1, ..Port::default() });
                state.held.insert((6, 30_000));
                state.reserved.insert(30_000);
            }
            if bit(3) == 1 {
                state.uplinks.insert(2, "eth0".to_owned());
                state.uplink_ifaces.insert(2, Iface::default());
                state.local_addrs.insert(Be32::ZERO, 2);
            }
            if bit(4) == 1 {
                state.mesh_local.insert(MeshKey::default(), MeshTarget::default());
            }
            states.push(state);
        }
        states
    }

    fn fold(state: &mut State, action: Action) {
        match action {
            Action::Pair(pair) => state.pair = Some(pair),
            Action::Conf(conf) => state.conf = Some(conf),
            Action::Forwarding => state.forwarding = true,
            Action::LocalAddr(edit) => edit.fold(&mut state.local_addrs),
            Action::UplinkIface(edit) => edit.fold(&mut state.uplink_ifaces),
            Action::Uplink(edit) => edit.fold(&mut state.uplinks),
            Action::MeshTarget(edit) => edit.fold(&mut state.mesh_local),
            Action::Port(edit) => edit.fold(&mut state.ports),
            Action::Hold(port) => {
                state.held.insert(port);
            }
            Action::LetGo(port) => {
                state.held.remove(&port);
            }
            Action::Reserve(ports) => state.reserved = ports,
        }
    }

    #[test]
    fn both_laws_hold_for_every_pair() {
        for desired in states() {
            assert!(plan(&desired, &desired).is_empty());
            for observed in states() {
                let mut state = observed.clone();
                for action in plan(&desired, &observed) {
                    fold(&mut state, action);
                }
                assert_eq!(state, desired);
            }
        }
    }

    #[test]
    fn a_published_port_is_mapped_held_and_reserved() {
        let states = states();
        let text: Vec<_> = plan(&states[4], &states[0]).iter().map(ToString::to_string).collect();
        expect![[r#"
            port set 30000/6 service=1 target=0
            placeholder set 30000/6
            reserved ports set {30000}"#]]
        .assert_eq(&text.join("\n"));
    }
}
