//! Pure: the engine's answers → the agent's words for them.

use std::error::Error as _;

use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerState as EngineState, ContainerStateStatusEnum as Status,
    ContainerSummary, ContainerSummaryStateEnum as SummaryState, EndpointSettings,
    HealthStatusEnum, Network,
};
use swarmnet_model::TaskId;
use swarmnet_model::container::DnsConfig;

use super::events::TASK_ID_LABEL;
use super::{
    ContainerDns, ContainerFacts, ContainerState, EngineError, EngineNetwork, Health,
    PlainContainer,
};
use crate::task::networks::NETWORK_LABEL;
use crate::task::resolv_files::TARGET;

/// Classifies an answer by its status.
pub(super) fn refusal(status: u16, message: &str) -> EngineError {
    let message = message.trim().to_owned();
    match status {
        404 => EngineError::Missing { message },
        409 => EngineError::Conflict { message },
        503 => EngineError::Away { reason: message },
        _ => EngineError::Refused { message },
    }
}

/// Classifies a failed call: what is not the engine's own word means that it is away.
#[expect(clippy::wildcard_enum_match_arm, reason = "only two of bollard's errors are the engine's")]
pub(super) fn engine_error(error: &Error) -> EngineError {
    match error {
        Error::DockerResponseServerError { status_code, message } => refusal(*status_code, message),
        Error::DockerStreamError { error } => {
            EngineError::Refused { message: error.trim().to_owned() }
        }
        other => EngineError::Away { reason: chain(other) },
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Returns `None` for an answer without an id, which no engine gives.
pub(super) fn container_facts(answer: ContainerInspectResponse) -> Option<ContainerFacts> {
    let labels = answer.config.and_then(|config| config.labels);
    let task_id = labels.and_then(|mut labels| labels.remove(TASK_ID_LABEL));
    let networks = answer.network_settings.and_then(|settings| settings.networks);
    let mut networks: Vec<String> = networks.into_iter().flatten().map(|(name, _)| name).collect();
    networks.sort();
    Some(ContainerFacts {
        id: answer.id?,
        task_id: task_id.map(TaskId::from_text),
        state: container_state(&answer.state.unwrap_or_default()),
        networks,
    })
}

fn container_state(state: &EngineState) -> ContainerState {
    let code = state.exit_code.unwrap_or_default();
    let error = state.error.clone().unwrap_or_default();
    let health = health(state);
    match state.status.unwrap_or(Status::EMPTY) {
        Status::CREATED if error.is_empty() => ContainerState::Created,
        Status::CREATED | Status::EXITED => ContainerState::Exited { code, error, health },
        Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING => {
            ContainerState::Running { pid: state.pid.unwrap_or_default(), health }
        }
        Status::REMOVING | Status::DEAD | Status::EMPTY => ContainerState::Dead,
    }
}

fn health(state: &EngineState) -> Health {
    match state.health.as_ref().and_then(|health| health.status) {
        None | Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) => Health::Unchecked,
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
    }
}

/// Returns where the container's names are kept.
pub(super) fn container_dns(answer: ContainerInspectResponse) -> ContainerDns {
    let host = answer.host_config.unwrap_or_default();
    ContainerDns {
        path: answer.resolv_conf_path.unwrap_or_default().into(),
        wishes: DnsConfig {
            nameservers: host.dns.unwrap_or_default(),
            search: host.dns_search.unwrap_or_default(),
            options: host.dns_options.unwrap_or_default(),
        },
    }
}

/// Returns `None` for the container of a task.
pub(super) fn plain_container(summary: ContainerSummary) -> Option<PlainContainer> {
    if summary.labels.is_some_and(|labels| labels.contains_key(TASK_ID_LABEL)) {
        return None;
    }
    let address = |endpoint: EndpointSettings| endpoint.ipam_config?.ipv4_address?.parse().ok();
    let networks = summary.network_settings.and_then(|settings| settings.networks);
    let mut endpoints: Vec<_> = networks
        .into_iter()
        .flatten()
        .filter_map(|(name, endpoint)| Some((name, address(endpoint)?)))
        .collect();
    endpoints.sort();
    let name = summary.names.into_iter().flatten().find_map(|name| own_name(&name));
    let mut mounted = summary.mounts.into_iter().flatten();
    let over = matches!(summary.state, Some(SummaryState::EXITED | SummaryState::DEAD));
    Some(PlainContainer {
        id: summary.id?,
        name: name.unwrap_or_default(),
        running: !over,
        endpoints,
        has_own_resolv_conf: mounted.any(|mount| mount.destination.as_deref() == Some(TARGET)),
    })
}

/// `/web` is a container's own name, `/other/link` one that another gave it.
fn own_name(name: &str) -> Option<String> {
    let name = name.strip_prefix('/')?;
    (!name.contains('/')).then(|| name.to_owned())
}

/// Returns `None` for a network without our label.
pub(super) fn engine_network(network: Network) -> Option<EngineNetwork> {
    let label = network.labels.and_then(|mut labels| labels.remove(NETWORK_LABEL))?;
    Some(EngineNetwork {
        id: network.id?,
        name: network.name?,
        driver: network.driver.unwrap_or_default(),
        label,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(state: serde_json::Value) -> ContainerFacts {
        let answer = serde_json::json!({
            "Id": "c1", "State": state,
            "Config": {"Labels": {"com.docker.swarm.task.id": "t1"}},
            "NetworkSettings": {"Networks": {"net-b": {}, "net-a": {}}}
        });
        container_facts(serde_json::from_value(answer).unwrap()).unwrap()
    }

    #[test]
    fn a_container_is_read_as_the_engine_shows_it() {
        let running = facts(serde_json::json!({
            "Status": "running", "Running": true, "Pid": 42, "Health": {"Status": "starting"}
        }));
        assert_eq!(running.state, ContainerState::Running { pid: 42, health: Health::Starting });
        assert_eq!(running.task_id, Some(TaskId::from_text("t1")));
        assert_eq!(running.networks, ["net-a", "net-b"]);
        let exited = facts(serde_json::json!({"Status": "exited", "ExitCode": 3}));
        let expected =
            ContainerState::Exited { code: 3, error: String::new(), health: Health::Unchecked };
        assert_eq!(exited.state, expected);
        assert_eq!(facts(serde_json::json!({"Status": "created"})).state, ContainerState::Created);
    }

    #[test]
    fn a_container_that_could_not_start_counts_as_ended() {
        let failed = facts(serde_json::json!({
            "Status": "created", "ExitCode": 127, "Error": "no such file"
        }));
        assert!(matches!(failed.state, ContainerState::Exited { code: 127, .. }));
    }

    #[test]
    fn refusals_are_classes_and_silence_is_temporary() {
        assert!(matches!(refusal(404, "No such image: x:1\n"),
            EngineError::Missing { message } if message == "No such image: x:1"));
        assert!(matches!(refusal(409, ""), EngineError::Conflict { .. }));
        assert!(!refusal(500, "boom").is_temporary());
        assert!(refusal(503, "starting").is_temporary());
        assert!(engine_error(&Error::RequestTimeoutError).is_temporary());
    }
}
