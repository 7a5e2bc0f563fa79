//! Pure: (desired, observed) → actions on host sides and their map entries.

use std::fmt;

use swarmnet_ebpf::abi::{Asker, Iface, NetnsValue};

use super::{HostSide, State};
use crate::edit::Edit;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Brings a device that exists into shape, or removes it.
    Link(Edit<String, HostSide>),
    Iface(Edit<u32, Iface>),
    Asker(Edit<u32, Asker>),
    Netns(Edit<u64, NetnsValue>),
}

impl Action {
    pub fn is_removal(&self) -> bool {
        match self {
            Self::Link(edit) => edit.is_removal(),
            Self::Iface(edit) => edit.is_removal(),
            Self::Asker(edit) => edit.is_removal(),
            Self::Netns(edit) => edit.is_removal(),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(edit) => write!(f, "host side {edit}"),
            Self::Iface(edit) => write!(f, "iface {edit}"),
            Self::Asker(edit) => write!(f, "asker {edit}"),
            Self::Netns(edit) => write!(f, "netns {edit}"),
        }
    }
}

/// Returns what turns `observed` into `desired`: entries first, so that a program finds its device.
pub fn plan(desired: &State, observed: &State) -> Vec<Action> {
    let ifaces = Edit::between(&desired.ifaces, &observed.ifaces).map(Action::Iface);
    let askers = Edit::between(&desired.askers, &observed.askers).map(Action::Asker);
    let links = Edit::between(&desired.links, &observed.links).map(Action::Link);
    let netns = Edit::between(&desired.netns, &observed.netns).map(Action::Netns);
    ifaces.chain(askers).chain(links).chain(netns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Reach;
    use expect_test::expect;
    use std::net::Ipv4Addr;
    use swarmnet_ebpf::abi::VMAC;

    fn side(variant: u8) -> HostSide {
        let addr = Ipv4Addr::new(172, 31, 240, 1);
        let reach = Reach { addr, source: None, mac: [2, 66, 172, 31, 240, 1] };
        HostSide {
            ifindex: 7,
            gateway: true,
            up: variant != 1,
            mac: VMAC,
            program: true,
            reach: (variant != 2).then_some(reach),
        }
    }

    fn states() -> Vec<State> {
        let mut states = vec![State::default()];
        for variant in 0..3 {
            let mut state = State::default();
            state.links.insert("swg00000001".to_owned(), side(variant));
            state.ifaces.insert(7, Iface { lidx: u32::from(variant), ..Iface::default() });
            state.askers.insert(variant.into(), Asker { ifindex: 7, ..Asker::default() });
            state.netns.insert(9, NetnsValue { n: u32::from(variant), ..NetnsValue::default() });
            states.push(state);
        }
        states
    }

    #[test]
    fn both_laws_hold_for_every_pair() {
        for desired in states() {
            assert!(plan(&desired, &desired).is_empty());
            for observed in states() {
                let mut state = observed.clone();
                for action in plan(&desired, &observed) {
                    match action {
                        Action::Link(edit) => edit.fold(&mut state.links),
                        Action::Iface(edit) => edit.fold(&mut state.ifaces),
                        Action::Asker(edit) => edit.fold(&mut state.askers),
                        Action::Netns(edit) => edit.fold(&mut state.netns),
                    }
                }
                assert_eq!(state, desired);
            }
        }
    }

    #[test]
    fn a_device_without_its_route_is_repaired_in_place() {
        let states = states();
        let text: Vec<_> =
            plan(&states[1], &states[3]).iter().take(4).map(ToString::to_string).collect();
        expect![[r#"
            iface set 7 0.0.0.0 outside overlays
            asker set 0 0.0.0.0 ifindex=7
            asker remove 2
            host side set swg00000001 gateway ifindex=7 up to 172.31.240.1"#]]
        .assert_eq(&text.join("\n"));
    }
}
