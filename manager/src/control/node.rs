//! Pure: node calls: update, remove.

use swarmnet_model::{
    Call, CallError, Code, Node, NodeId, NodeSpec, NodeState, Role, Tables, Version,
};

use super::call::Decision;
use crate::raft::{RaftView, Reachability};
use crate::store::Change;

/// Writes the spec. A role is a wish: the node gets a certificate of it, and joins or leaves Raft.
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
    match wanted {
        Role::Worker if managers(tables) == 1 => {
            let message = "attempting to demote the last manager of the swarm";
            Err(CallError::manager(Code::FailedPrecondition, message))
        }
        // Its manager still runs under an id that Raft has forgotten.
        Role::Manager if present.role == Role::Manager && present.manager.is_none() => {
            let id = &present.id;
            let message = format!("node {id} is still being demoted: try again in a moment");
            Err(CallError::manager(Code::FailedPrecondition, message))
        }
        Role::Worker | Role::Manager => Ok(()),
    }
}

fn managers(tables: &Tables) -> usize {
    tables.nodes.values().filter(|node| node.spec.role == Role::Manager).count()
}

/// Refuses the demotion of a manager without which too few of the others could be reached.
pub(super) fn check_quorum(tables: &Tables, view: &RaftView, call: &Call) -> Result<(), CallError> {
    let Call::UpdateNode { id, spec, .. } = call else { return Ok(()) };
    let is_member = tables.nodes.get(id).is_some_and(|node| node.manager.is_some());
    // The last manager is told so by `update`.
    if spec.role == Role::Manager || !is_member || managers(tables) == 1 {
        return Ok(());
    }
    let stays =
        |node: &Node| node.manager.is_some() && node.spec.role == Role::Manager && node.id != *id;
    let others = tables.nodes.values().filter(|node| stays(node));
    let (mut members, mut reachable) = (0, 0);
    for node in others {
        members += 1;
        if view.managers.get(&node.id) == Some(&Reachability::Reachable) {
            reachable += 1;
        }
    }
    if members > 0 && reachable > members / 2 {
        return Ok(());
    }
    let message = "can't remove member from the raft: this would result in a loss of quorum";
    Err(CallError::manager(Code::FailedPrecondition, message))
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
    fn a_worker_may_be_promoted_and_the_last_manager_may_not_be_demoted() {
        let to = |role| move |spec: &mut NodeSpec| spec.role = role;
        assert_eq!(updated(GIVEN, "n1", 1, to(Role::Manager)), "fine");
        assert_eq!(
            updated(GIVEN, "m1", 1, to(Role::Worker)),
            "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of \
             the swarm"
        );
        let two = format!("{GIVEN}\nnode m2 manager");
        assert_eq!(updated(&two, "m1", 1, to(Role::Worker)), "fine");
    }

    #[test]
    fn a_node_is_promoted_again_only_after_its_manager_has_ended() {
        let mut world = World::given("node m1 manager\nnode m2 manager");
        let id = NodeId::from_text("m2");
        let mut demoted = Node::clone(&world.tables.nodes[&id]);
        demoted.spec.role = Role::Worker;
        let promoted = NodeSpec { role: Role::Manager, ..demoted.spec.clone() };
        let expected = demoted.spec_version;
        world.write(vec![Change::UpdateNode { node: Box::new(demoted), expected }]);
        let again =
            |world: &World| text(update(&world.tables, &id, world.tables.version, &promoted));
        assert_eq!(again(&world), "fine", "while it is in Raft it simply stays");
        world.write(vec![Change::SetManager { id: id.clone(), member: None }]);
        let refused = again(&world);
        assert!(refused.ends_with("node m2 is still being demoted: try again in a moment"));
        world.write(vec![Change::SetNodeRole { id: id.clone(), role: Role::Worker }]);
        assert_eq!(again(&world), "fine");
    }

    #[test]
    fn a_demotion_that_would_lose_the_quorum_is_refused() {
        let tables = World::given("node m1 manager\nnode m2 manager\nnode m3 manager").tables;
        let demotion = |id: &str| Call::UpdateNode {
            id: NodeId::from_text(id),
            version: Version(1),
            spec: NodeSpec::default(),
        };
        let seen = |up: &[&str]| RaftView {
            leader: None,
            managers: up
                .iter()
                .map(|id| (NodeId::from_text(*id), Reachability::Reachable))
                .collect(),
        };
        let refused = |id: &str, up: &[&str]| {
            check_quorum(&tables, &seen(up), &demotion(id)).err().map(|error| error.to_string())
        };
        assert_eq!(refused("m3", &["m1", "m2", "m3"]), None);
        assert_eq!(refused("m3", &["m1", "m2"]), None, "one that is down may go");
        assert_eq!(
            refused("m2", &["m1", "m2"]).as_deref(),
            Some(
                "rpc error: code = FailedPrecondition desc = can't remove member from the raft: \
                 this would result in a loss of quorum"
            )
        );
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
