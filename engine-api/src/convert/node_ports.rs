//! Pure: host-mode ports, which the data plane serves, among the ports of a task's container.
//!
//! The engine binds nothing for tasks, so its answers name exposed ports only.

use serde_json::{Value, json};
use swarmnet_model::PortSpec;

use crate::control_plane::LocalNetworks;

const TASK_LABEL: &str = "com.docker.swarm.task.id";
/// A host-mode port is served on every address of the node.
const ANY_ADDRESS: &str = "0.0.0.0";

/// Adds the ports to one container, of a list or of an inspection; one that does not run has none.
pub(crate) fn add(container: &mut Value, local: &LocalNetworks) {
    let listed = container["Labels"][TASK_LABEL].as_str();
    let inspected = container["Config"]["Labels"][TASK_LABEL].as_str();
    let task = listed.or(inspected).unwrap_or_default();
    let served = local.host_ports.iter().find(|(id, _)| id.as_str() == task);
    let Some((_, served)) = served else { return };
    if container["State"] == "running" {
        add_to_listed(container, served);
    } else if container["State"]["Running"] == true {
        add_to_inspected(container, served);
    }
}

fn add_to_listed(container: &mut Value, served: &[PortSpec]) {
    let Some(ports) = container["Ports"].as_array_mut() else { return };
    for port in served {
        let (private, kind) = (json!(port.target_port), port.protocol.as_str());
        let exposed = |shown: &Value| {
            shown["PrivatePort"] == private
                && shown["Type"] == kind
                && shown.get("PublicPort").is_none()
        };
        ports.retain(|shown| !exposed(shown));
        ports.push(json!({
            "IP": ANY_ADDRESS,
            "PrivatePort": private,
            "PublicPort": port.published_port,
            "Type": kind,
        }));
    }
}

fn add_to_inspected(container: &mut Value, served: &[PortSpec]) {
    let Some(settings) = container["NetworkSettings"].as_object_mut() else { return };
    let ports = settings.entry("Ports").or_insert_with(|| json!({}));
    for port in served {
        let key = format!("{}/{}", port.target_port, port.protocol);
        let binding = json!({"HostIp": ANY_ADDRESS, "HostPort": port.published_port.to_string()});
        match ports[&key].as_array_mut() {
            Some(bindings) => bindings.push(binding),
            None => ports[&key] = json!([binding]),
        }
    }
}

#[cfg(test)]
mod tests {
    use swarmnet_model::{Protocol, PublishMode, TaskId};

    use super::*;

    fn local() -> LocalNetworks {
        let port = |published_port, protocol| PortSpec {
            name: String::new(),
            protocol,
            target_port: 80,
            published_port,
            mode: PublishMode::Host,
        };
        let ports = vec![port(8080, Protocol::Tcp), port(8081, Protocol::Udp)];
        LocalNetworks {
            host_ports: [(TaskId::from_text("t1"), ports)].into(),
            ..LocalNetworks::default()
        }
    }

    #[test]
    fn a_listed_container_shows_what_its_node_serves() {
        let mut container = json!({
            "State": "running",
            "Labels": {"com.docker.swarm.task.id": "t1"},
            "Ports": [{"PrivatePort": 80, "Type": "tcp"}, {"PrivatePort": 443, "Type": "tcp"}],
        });
        add(&mut container, &local());
        assert_eq!(
            container["Ports"],
            json!([
                {"PrivatePort": 443, "Type": "tcp"},
                {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8081, "Type": "udp"},
            ])
        );
    }

    #[test]
    fn an_inspected_container_shows_them_by_target() {
        let mut container = json!({
            "State": {"Running": true},
            "Config": {"Labels": {"com.docker.swarm.task.id": "t1"}},
            "NetworkSettings": {"Ports": {"80/tcp": null}},
        });
        add(&mut container, &local());
        assert_eq!(
            container["NetworkSettings"]["Ports"],
            json!({
                "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
                "80/udp": [{"HostIp": "0.0.0.0", "HostPort": "8081"}],
            })
        );
    }

    #[test]
    fn other_containers_and_those_that_do_not_run_are_left_alone() {
        for container in [
            json!({"State": "exited", "Labels": {"com.docker.swarm.task.id": "t1"}, "Ports": []}),
            json!({"State": "running", "Labels": {"com.docker.swarm.task.id": "t2"}, "Ports": []}),
            json!({"State": "running", "Labels": {}, "Ports": []}),
            json!({"State": {"Running": false}, "Config": {"Labels": null}}),
            json!("text"),
            json!(null),
        ] {
            let mut same = container.clone();
            add(&mut same, &local());
            assert_eq!(same, container);
        }
    }
}
