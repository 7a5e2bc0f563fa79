//! Who votes: brings Raft's membership in line with the nodes that are managers.
//!
//! A manager that joins is written to its node (`Node::manager`) first; this loop of the leader then
//! adds it as a learner, makes it a voter once it has nearly caught up, and takes it out again
//! when its node is gone or is to be a worker. Only when Raft has confirmed that it is out, this is
//! written to the node, which then stops its manager: before, its vote may be needed. One change at
//! a time; each pass starts from what Raft says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use swarmnet_model::{NodeId, Role, Tables};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::types::{Member, Metrics, Raft};
use crate::store::{Change, Store};

/// Entries a learner may lag and still become a voter.
const CAUGHT_UP_ENTRIES: u64 = 100;
/// How often progress of learners is looked at while a change is due.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// A change of the membership needs a quorum; without one the next pass tries again.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The next change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It hears the log from now on, without a vote.
    AddLearner { id: u64, member: Member },
    /// It votes from now on.
    Promote { id: u64 },
    /// It neither votes nor hears the log any more.
    Remove { id: u64 },
    /// It is out of Raft: its manager may stop.
    Release { node: NodeId },
    /// A leader ended halfway through a change: settle on the later half.
    FinishJoint { voters: BTreeSet<u64> },
    /// A learner has not caught up yet, or a change is not confirmed yet.
    Wait,
}

/// What Raft's metrics say of the membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Observed {
    /// This manager, which leads.
    pub(super) own: u64,
    pub(super) voters: BTreeSet<u64>,
    /// The voters of the later half while a change is half done.
    pub(super) joint: Option<BTreeSet<u64>>,
    pub(super) members: BTreeMap<u64, Member>,
    /// Last entry known to be on each member's disk.
    pub(super) matched: BTreeMap<u64, u64>,
    pub(super) last_index: u64,
    /// False while the newest membership waits for a quorum.
    pub(super) confirmed: bool,
}

/// Who should be in Raft, and who was and may be told that it is not any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Desired {
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) leaving: BTreeMap<u64, NodeId>,
}

/// Returns the members that the tables ask for.
pub(super) fn desired(tables: &Tables) -> Desired {
    let mut desired = Desired::default();
    for node in tables.nodes.values() {
        let Some(manager) = &node.manager else { continue };
        if node.spec.role == Role::Worker {
            desired.leaving.insert(manager.raft_id, node.id.clone());
        } else {
            let member = Member { node_id: node.id.clone(), addr: manager.addr.clone() };
            desired.members.insert(manager.raft_id, member);
        }
    }
    desired
}

/// Returns the next step from `observed` to `desired`; `None` if there is nothing to do.
///
/// The leader takes itself out last, when the others can do without it; it leads until that is
/// confirmed, and the next leader goes on.
pub(super) fn plan(desired: &Desired, observed: &Observed) -> Option<Step> {
    let Desired { members: desired, leaving } = desired;
    if desired.is_empty() {
        // Before the cluster's first entry.
        return None;
    }
    if let Some(voters) = &observed.joint {
        return Some(Step::FinishJoint { voters: voters.clone() });
    }
    let gone = observed.members.keys().find(|id| !desired.contains_key(id) && **id != observed.own);
    if let Some(id) = gone {
        return Some(Step::Remove { id: *id });
    }
    if let Some(node) = leaving.iter().find(|(id, _)| !observed.members.contains_key(id)) {
        let release = Step::Release { node: node.1.clone() };
        return Some(if observed.confirmed { release } else { Step::Wait });
    }
    let learners = desired.iter().filter(|(id, _)| !observed.voters.contains(id));
    let mut waits = false;
    for (id, member) in learners {
        if !observed.members.contains_key(id) {
            return Some(Step::AddLearner { id: *id, member: member.clone() });
        }
        match observed.matched.get(id) {
            Some(matched) if matched + CAUGHT_UP_ENTRIES >= observed.last_index => {
                return Some(Step::Promote { id: *id });
            }
            Some(_) | None => waits = true,
        }
    }
    if waits {
        return Some(Step::Wait);
    }
    leaving.contains_key(&observed.own).then_some(Step::Remove { id: observed.own })
}

/// Reads what Raft says.
pub(super) fn observe(metrics: &Metrics) -> Observed {
    let membership = metrics.membership_config.membership();
    let progress = metrics.replication.iter().flatten();
    Observed {
        own: metrics.id,
        voters: membership.voter_ids().collect(),
        joint: match membership.get_joint_config().as_slice() {
            [_, .., later] => Some(later.clone()),
            [] | [_] => None,
        },
        members: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
        matched: progress
            .filter_map(|(id, matched)| matched.map(|log_id| (*id, log_id.index)))
            .collect(),
        last_index: metrics.last_log_index.unwrap_or(0),
        confirmed: *metrics.membership_config.log_id() <= metrics.last_applied,
    }
}

/// Runs on the leader until cancelled.
pub(super) async fn run(raft: Raft, store: Store, cancel: CancellationToken) {
    let mut tables = store.watch();
    loop {
        let wanted = desired(&tables.borrow_and_update());
        let observed = observe(&raft.metrics().borrow());
        let step = plan(&wanted, &observed);
        let settled = step.is_none();
        if let Some(step) = step {
            tokio::select! {
                // A change under way is finished by the next leader.
                () = cancel.cancelled() => return,
                () = take(&raft, &store, step) => {}
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = tables.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_AGAIN), if !settled => {}
        }
    }
}

async fn take(raft: &Raft, store: &Store, step: Step) {
    let change = match step.clone() {
        Step::Wait => return,
        Step::Release { node } => return release(store, node).await,
        Step::AddLearner { id, member } => ChangeMembers::AddNodes(BTreeMap::from([(id, member)])),
        Step::FinishJoint { voters } => ChangeMembers::ReplaceAllVoters(voters),
        Step::Promote { id } => ChangeMembers::AddVoterIds(BTreeSet::from([id])),
        Step::Remove { id } => {
            let voter = observe(&raft.metrics().borrow()).voters.contains(&id);
            if voter {
                // With `retain` false it does not stay as a learner either.
                ChangeMembers::RemoveVoters(BTreeSet::from([id]))
            } else {
                ChangeMembers::RemoveNodes(BTreeSet::from([id]))
            }
        }
    };
    match timeout(CHANGE_TIMEOUT, raft.change_membership(change, false)).await {
        Ok(Ok(_)) => tracing::info!(action = ?step, "manager membership changed"),
        Ok(Err(error)) => tracing::warn!(action = ?step, %error, "membership not changed yet"),
        Err(_) => tracing::warn!(action = ?step, "membership not changed yet: no quorum in time"),
    }
}

async fn release(store: &Store, node: NodeId) {
    let change = Change::SetManager { id: node.clone(), member: None };
    match store.propose(vec![change]).await {
        Ok(_) => tracing::info!(node.id = %node, "manager has left Raft"),
        Err(error) => tracing::warn!(node.id = %node, %error, "node not told yet to be a worker"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(ids: &[u64]) -> Desired {
        Desired { members: members(ids), leaving: BTreeMap::new() }
    }

    fn leaving(ids: &[u64], leaving: u64) -> Desired {
        let leaving = BTreeMap::from([(leaving, NodeId::from_text(format!("n{leaving}")))]);
        Desired { members: members(ids), leaving }
    }

    fn members(ids: &[u64]) -> BTreeMap<u64, Member> {
        let member = |id: &u64| Member {
            node_id: NodeId::from_text(format!("n{id}")),
            addr: format!("10.20.20.{id}:2377"),
        };
        ids.iter().map(|id| (*id, member(id))).collect()
    }

    fn observed(voters: &[u64], learners: &[u64], matched: &[(u64, u64)]) -> Observed {
        Observed {
            own: 1,
            voters: voters.iter().copied().collect(),
            joint: None,
            members: members(&[voters, learners].concat()),
            matched: matched.iter().copied().collect(),
            last_index: 1_000,
            confirmed: true,
        }
    }

    #[test]
    fn a_right_membership_needs_no_step() {
        assert_eq!(plan(&wanted(&[1, 2]), &observed(&[1, 2], &[], &[])), None);
        assert_eq!(plan(&Desired::default(), &observed(&[1], &[], &[])), None);
    }

    #[test]
    fn a_new_manager_learns_before_it_votes() {
        let two = wanted(&[1, 2]);
        let add = Step::AddLearner { id: 2, member: two.members[&2].clone() };
        assert_eq!(plan(&two, &observed(&[1], &[], &[])), Some(add));
        assert_eq!(plan(&two, &observed(&[1], &[2], &[])), Some(Step::Wait));
        assert_eq!(plan(&two, &observed(&[1], &[2], &[(2, 10)])), Some(Step::Wait));
        let promote = Some(Step::Promote { id: 2 });
        assert_eq!(plan(&two, &observed(&[1], &[2], &[(2, 950)])), promote);
    }

    #[test]
    fn a_half_done_change_is_finished_first() {
        let voters = BTreeSet::from([1, 2]);
        let half = Observed { joint: Some(voters.clone()), ..observed(&[1, 2], &[3], &[]) };
        assert_eq!(plan(&wanted(&[1]), &half), Some(Step::FinishJoint { voters }));
    }

    #[test]
    fn a_slow_learner_holds_nobody_up() {
        let three = wanted(&[1, 2, 3]);
        let promote = Some(Step::Promote { id: 3 });
        assert_eq!(plan(&three, &observed(&[1], &[2, 3], &[(3, 1_000)])), promote);
    }

    #[test]
    fn a_manager_whose_node_is_gone_is_taken_out_by_another_one() {
        let remove = Some(Step::Remove { id: 2 });
        assert_eq!(plan(&wanted(&[1]), &observed(&[1, 2], &[], &[])), remove);
        assert_eq!(plan(&wanted(&[2]), &observed(&[1, 2], &[], &[])), None);
    }

    #[test]
    fn a_demoted_manager_is_released_when_raft_has_confirmed_that_it_is_out() {
        let demoted = leaving(&[1], 2);
        let remove = Some(Step::Remove { id: 2 });
        assert_eq!(plan(&demoted, &observed(&[1, 2], &[], &[])), remove);
        let out = observed(&[1], &[], &[]);
        let waiting = Observed { confirmed: false, ..out.clone() };
        assert_eq!(plan(&demoted, &waiting), Some(Step::Wait));
        let node = NodeId::from_text("n2");
        assert_eq!(plan(&demoted, &out), Some(Step::Release { node }));
        assert_eq!(plan(&wanted(&[1]), &out), None, "released");
    }

    #[test]
    fn a_demoted_leader_takes_itself_out_when_the_others_vote() {
        let demoted = leaving(&[2, 3], 1);
        let learning = observed(&[1, 2], &[3], &[(2, 1_000), (3, 10)]);
        assert_eq!(plan(&demoted, &learning), Some(Step::Wait));
        let all = observed(&[1, 2, 3], &[], &[(2, 1_000), (3, 1_000)]);
        assert_eq!(plan(&demoted, &all), Some(Step::Remove { id: 1 }));
    }
}
