//! Pure: (desired, observed) → actions on services and backends.

use std::fmt;

use swarmnet_ebpf::abi::{BE_DOWN, Backend};

use super::{ServiceEntry, State};
use crate::edit::Edit;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Backend(Edit<u32, Backend>),
    Service(Edit<u32, ServiceEntry>),
    AttachSockets,
    DetachSockets,
}

impl Action {
    pub fn is_removal(&self) -> bool {
        match self {
            Self::Backend(edit) => edit.is_removal(),
            Self::Service(edit) => edit.is_removal(),
            Self::AttachSockets => false,
            Self::DetachSockets => true,
        }
    }

    /// True if connected sockets may lead nowhere after it.
    pub fn strands_sockets(&self) -> bool {
        match self {
            Self::Backend(Edit::Set(_, backend)) => backend.state == BE_DOWN,
            Self::Service(Edit::Set(..)) | Self::AttachSockets | Self::DetachSockets => false,
            Self::Backend(Edit::Remove(_)) | Self::Service(Edit::Remove(_)) => true,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(edit) => write!(f, "backend {edit}"),
            Self::Service(Edit::Set(index, entry)) => write!(
                f,
                "service set {index} vni={} vip={} vip_slots={} mesh_slots={}",
                entry.vni,
                entry.vip,
                entry.vip_slots.len(),
                entry.mesh_slots.len()
            ),
            Self::Service(Edit::Remove(index)) => write!(f, "service remove {index}"),
            Self::AttachSockets => f.write_str("socket programs attach"),
            Self::DetachSockets => f.write_str("socket programs detach"),
        }
    }
}

/// Returns what turns `observed` into `desired`: backends before the services that name them, and
/// services gone before the backends they named.
pub fn plan(desired: &State, observed: &State) -> Vec<Action> {
    let set = Edit::sets(&desired.backends, &observed.backends).map(Action::Backend);
    let services = Edit::between(&desired.services, &observed.services).map(Action::Service);
    let gone = Edit::removals(&desired.backends, &observed.backends).map(Action::Backend);
    let sockets = match (desired.sockets, observed.sockets) {
        (true, false) => Some(Action::AttachSockets),
        (false, true) => Some(Action::DetachSockets),
        (true, true) | (false, false) => None,
    };
    set.chain(services).chain(gone).chain(sockets).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use swarmnet_ebpf::abi::{BE_ACTIVE, BE_DRAINING};

    fn state(ids: &[u32], draining: u32) -> State {
        let entry = |id: &u32| {
            let state = if *id == draining { BE_DRAINING } else { BE_ACTIVE };
            (*id, Backend { state, ..Backend::default() })
        };
        let slots: Vec<u32> = ids.iter().copied().filter(|id| *id != draining).collect();
        let service = ServiceEntry { vip_slots: slots, ..ServiceEntry::default() };
        let services = if ids.is_empty() { [].into() } else { [(1, service)].into() };
        let backends = ids.iter().map(entry).collect();
        State { services, backends, sockets: draining != 9 }
    }

    fn fold(state: &mut State, action: &Action) {
        match action {
            Action::Backend(edit) => edit.fold(&mut state.backends),
            Action::Service(edit) => edit.fold(&mut state.services),
            Action::AttachSockets => state.sockets = true,
            Action::DetachSockets => state.sockets = false,
        }
    }

    #[test]
    fn both_laws_hold_and_no_step_leaves_a_slot_without_its_backend() {
        let states = [
            state(&[], 0),
            state(&[1, 2], 0),
            state(&[1, 2], 1),
            state(&[2, 3], 0),
            state(&[3], 9),
        ];
        for desired in &states {
            assert!(plan(desired, desired).is_empty());
            for observed in &states {
                let mut state = observed.clone();
                for action in plan(desired, observed) {
                    fold(&mut state, &action);
                    let mut slots = state.services.values().flat_map(|s| &s.vip_slots);
                    assert!(slots.all(|id| state.backends.contains_key(id)), "{action}");
                }
                assert_eq!(state, *desired);
            }
        }
    }

    #[test]
    fn a_draining_backend_leaves_the_slots_and_stays_known() {
        let text: Vec<_> =
            plan(&state(&[1, 2], 1), &state(&[1, 2], 0)).iter().map(ToString::to_string).collect();
        expect![[r#"
            backend set 1 0.0.0.0 vni=0 here draining
            service set 1 vni=0 vip=0.0.0.0 vip_slots=1 mesh_slots=0"#]]
        .assert_eq(&text.join("\n"));
    }
}
