//! Pure: which tasks are on a network of the engine's own instead of ours.

use swarmnet_model::{PredefinedNetwork, Task};

use crate::engine::facts::EngineFacts;

/// Returns the engine's own network that holds a task's container; `None`: ours do.
///
/// A task that asks for nothing goes on the engine's bridge, as a plain container does: for any other
/// network the engine sets up a resolver in the container, which takes longer than all the rest of
/// its start. What is published or on an overlay needs the gateway network, which is a way out too.
pub(super) fn predefined(task: &Task, facts: &EngineFacts) -> Option<PredefinedNetwork> {
    let alone = task.attachments.is_empty() && task.endpoint_spec.ports.is_empty();
    match task.spec.predefined {
        Some(PredefinedNetwork::Host) => Some(PredefinedNetwork::Host),
        Some(PredefinedNetwork::Bridge) | None => {
            (alone && facts.has_bridge).then_some(PredefinedNetwork::Bridge)
        }
    }
}

#[cfg(test)]
mod tests {
    use swarmnet_model::{PortSpec, Protocol, PublishMode};

    use super::*;
    use crate::task::fixture::task;

    fn plain() -> Task {
        Task { attachments: Vec::new(), ..task("web", 1) }
    }

    fn on(task: &Task, has_bridge: bool) -> Option<PredefinedNetwork> {
        predefined(task, &EngineFacts { has_bridge, ..Default::default() })
    }

    #[test]
    fn a_task_without_networks_and_ports_is_on_the_bridge_if_the_engine_has_one() {
        assert_eq!(on(&plain(), true), Some(PredefinedNetwork::Bridge));
        assert_eq!(on(&plain(), false), None);
        assert_eq!(on(&task("web", 1), true), None);
        let mut published = plain();
        published.endpoint_spec.ports = vec![PortSpec {
            name: String::new(),
            protocol: Protocol::Tcp,
            target_port: 80,
            published_port: 8080,
            mode: PublishMode::Ingress,
        }];
        assert_eq!(on(&published, true), None);
    }

    #[test]
    fn the_nodes_own_network_is_asked_for_by_name_only() {
        let mut task = plain();
        task.spec.predefined = Some(PredefinedNetwork::Host);
        assert_eq!(on(&task, false), Some(PredefinedNetwork::Host));
    }
}
