//! Pure: what the node answers in states where it cannot do what is asked, in Docker's words.

use swarmnet_model::{CallError, Code};

fn unavailable(text: &str) -> CallError {
    CallError::api(Code::Unavailable, text)
}

pub(crate) fn already_in_a_swarm() -> CallError {
    unavailable(
        "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm \
         and join another one.",
    )
}

pub(crate) fn not_in_a_swarm() -> CallError {
    unavailable("This node is not part of a swarm")
}

/// A call for a manager on a node outside any swarm.
pub(crate) fn no_swarm() -> CallError {
    unavailable(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
         connect this node to swarm and try again.",
    )
}

/// A call for a manager on a worker.
pub(crate) fn worker() -> CallError {
    unavailable(
        "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster \
         state. Please run this command on a manager node or promote the current node to a \
         manager.",
    )
}

/// A call for a manager whose manager has not started (yet).
pub(crate) fn manager_not_ready() -> CallError {
    unavailable(
        "This node is not a swarm manager. Manager is being prepared or has trouble connecting \
         to the cluster.",
    )
}

pub(crate) fn join_goes_on() -> CallError {
    unavailable(
        "Timeout was reached before node joined. The attempt to join the swarm will continue in \
         the background. Use the \"docker info\" command to see the current swarm status of your \
         node.",
    )
}

/// How the managers are, for a manager that wants to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Managers {
    /// Reachable ones and all, this one included.
    Known {
        reachable: usize,
        all: usize,
    },
    NoQuorum,
}

/// A manager leaves only by force, and is told what that does.
pub(crate) fn leaving_manager(managers: Managers) -> CallError {
    let what = match managers {
        Managers::Known { all: 0 | 1, .. } => {
            return unavailable(
                "You are attempting to leave the swarm on a node that is participating as a \
                 manager. Removing the last manager erases all current state of the swarm. Use \
                 `--force` to ignore this message. ",
            );
        }
        Managers::Known { reachable, all } if reachable.saturating_sub(1) <= all / 2 => format!(
            "Removing this node leaves {} managers out of {all}. Without a Raft quorum your \
             swarm will be inaccessible. ",
            reachable.saturating_sub(1)
        ),
        Managers::Known { .. } => String::new(),
        Managers::NoQuorum => "Doing so may lose the consensus of your cluster. ".to_owned(),
    };
    unavailable(&format!(
        "You are attempting to leave the swarm on a node that is participating as a manager. \
         {what}The only way to restore a swarm that has lost consensus is to reinitialize it with \
         `--force-new-cluster`. Use `--force` to suppress this message."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaving_manager_is_told_what_is_lost() {
        let text = |managers| leaving_manager(managers).to_string();
        let last = text(Managers::Known { reachable: 1, all: 1 });
        assert!(last.ends_with(
            "manager. Removing the last manager erases all current state of the swarm. Use \
             `--force` to ignore this message. "
        ));
        // Recorded from an engine.
        assert_eq!(
            text(Managers::Known { reachable: 2, all: 2 }),
            "You are attempting to leave the swarm on a node that is participating as a manager. \
             Removing this node leaves 1 managers out of 2. Without a Raft quorum your swarm will \
             be inaccessible. The only way to restore a swarm that has lost consensus is to \
             reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message."
        );
        assert!(text(Managers::NoQuorum).contains("manager. Doing so may lose the consensus"));
        let safe = text(Managers::Known { reachable: 3, all: 3 });
        assert!(safe.contains("manager. The only way to restore"), "{safe}");
    }
}
