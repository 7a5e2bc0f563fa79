//! Whether a node may leave without force.

use swarmnet_manager::raft::Reachability;
use swarmnet_model::CallError;

use crate::member::Member;
use crate::texts::{self, Managers};

/// Workers may; managers are told what it does to the swarm.
///
/// # Errors
/// Docker's text for managers.
pub(crate) fn may_leave(member: &Member) -> Result<(), CallError> {
    let Some(role) = member.manager() else {
        return match member.lacks_manager() {
            true => Err(texts::leaving_manager(Managers::NoQuorum)),
            false => Ok(()),
        };
    };
    let view = role.manager().raft_view();
    let managers = match view.leader {
        None => Managers::NoQuorum,
        Some(_) => {
            let lost = view.managers.values().filter(|is| **is == Reachability::Unreachable);
            let all = view.managers.len();
            Managers::Known { reachable: all - lost.count(), all }
        }
    };
    Err(texts::leaving_manager(managers))
}
