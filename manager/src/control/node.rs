//! Pure: node calls: update, remove.

use swarmnet_model::{CallError, Code, Node, NodeId, NodeSpec, NodeState, Role, Tables, Version};

use super::call::Decision;
use crate::store::Change;

/// Writes availability, labels and name. The role stays: managers join as such.
pub(super) fn update(
    tables: &Tables,
    id: &NodeId,
    version: Version,
    spec: &NodeSpec,
) -> Result<Decision, CallError> {
    let present = find(tables, id)?;
    // Status fields move the version of the object; only a newer spec makes the caller's outdated.
    if !(present.spec_version..=present.version).contains(&version) {
        return Err(CallError::out_of_sequence());
    }
    check_role(tables, present, spec.role)?;
    let mut node = present.clone();
    node.spec = spec.clone();
    let expected = present.spec_version;
    Ok(Decision::done(Change::UpdateNode { node: Box::new(node), expected }))
}

fn check_role(tables: &Tables, present: &Node, wanted: Role) -> Result<(), CallError> {
    if wanted == present.spec.role {
        return Ok(());
    }
    let managers = tables.nodes.values().filter(|node| node.spec.role == Role::Manager).count();
    if wanted == Role::Worker && managers == 1 {
        let message = "attempting to demote the last manager of the swarm";
        return Err(CallError::manager(Code::FailedPrecondition, message));
    }
    let message = "changing the role of a node is not supported by this version of swarmnet: let it \
                   leave and join again with the token of the other role";
    Err(CallError::manager(Code::Unimplemented, message))
}

/// Removes a worker that is down, or any worker by force. Its certificate is refused from then on.
pub(super) fn remove(tables: &Tables, id: &NodeId, force: bool) -> Result<Decision, CallError> {
    let node = find(tables, id)?;
    let refused = |message| Err(CallError::manager(Code::FailedPrecondition, message));
    if node.spec.role == Role::Manager || node.manager.is_some() {
        return refused(format!(
            "node {id} is a cluster manager and is a member of the raft cluster. It must be \
             demoted to worker before removal"
        ));
    }
    if node.status.state == NodeState::Ready && !force {
        return refused(format!("node {id} is not down and can't be removed"));
    }
    Ok(Decision::done(Change::RemoveNode { id: id.clone() }))
}

fn find<'a>(tables: &'a Tables, id: &NodeId) -> Result<&'a Node, CallError> {
    tables.nodes.get(id).map(AsRef::as_ref).ok_or_else(|| CallError::not_found("node", id.as_str()))
}

#[cfg(test)]
mod tests {
    use swarmnet_model::Availability;

    use super::*;
    use crate::world::World;

    const GIVEN: &str = "
        node m1 manager
        node n1
        node n2 down";

    fn text(outcome: Result<Decision, CallError>) -> String {
        outcome.map_or_else(|error| error.to_string(), |_| "fine".to_owned())
    }

    fn updated(given: &str, id: &str, version: u64, edit: impl FnOnce(&mut NodeSpec)) -> String {
        let tables = World::given(given).tables;
        let id = NodeId::from_text(id);
        let mut spec = tables.nodes.get(&id).map(|node| node.spec.clone()).unwrap_or_default();
        edit(&mut spec);
        text(update(&tables, &id, Version(version), &spec))
    }

    #[test]
    fn availability_and_labels_can_be_changed() {
        let drain = |spec: &mut NodeSpec| spec.availability = Availability::Drain;
        assert_eq!(updated(GIVEN, "n1", 1, drain), "fine");
        let label = |spec: &mut NodeSpec| {
            spec.labels.insert("disk".to_owned(), "ssd".to_owned());
        };
        assert_eq!(updated(GIVEN, "m1", 1, label), "fine");
        assert_eq!(updated(GIVEN, "n9", 1, drain), "node n9 not found");
        assert!(updated(GIVEN, "n1", 2, drain).ends_with("update out of sequence"));
    }

    #[test]
    fn roles_are_not_changed_yet() {
        assert_eq!(
            updated(GIVEN, "m1", 1, |spec| spec.role = Role::Worker),
            "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of \
             the swarm"
        );
        let promoted = updated(GIVEN, "n1", 1, |spec| spec.role = Role::Manager);
        assert!(promoted.starts_with("rpc error: code = Unimplemented desc = "), "{promoted}");
    }

    #[test]
    fn only_workers_that_are_down_are_removed_without_force() {
        let tables = World::given(GIVEN).tables;
        let removed = |id: &str, force| text(remove(&tables, &NodeId::from_text(id), force));
        assert_eq!(removed("n2", false), "fine");
        assert_eq!(
            removed("n1", false),
            "rpc error: code = FailedPrecondition desc = node n1 is not down and can't be removed"
        );
        assert_eq!(removed("n1", true), "fine");
        assert_eq!(
            removed("m1", true),
            "rpc error: code = FailedPrecondition desc = node m1 is a cluster manager and is a \
             member of the raft cluster. It must be demoted to worker before removal"
        );
    }
}
