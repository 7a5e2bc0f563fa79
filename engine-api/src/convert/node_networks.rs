//! Pure: containers' networks as the engine shows them → as users know them.

use serde_json::{Map, Value, json};

use crate::control_plane::{LocalNetwork, LocalNetworks};
use crate::convert::attachment::{hide_options, hide_resolv_conf};

/// Rewrites one container, of a list or of an inspection.
pub(crate) fn rewrite(container: &mut Value, local: &LocalNetworks) {
    let mut first = None;
    let networks = container.pointer_mut("/NetworkSettings/Networks");
    if let Some(networks) = networks.and_then(Value::as_object_mut) {
        let engine = std::mem::take(networks);
        for (name, endpoint) in engine {
            add(networks, name, endpoint, local);
        }
        let swarm = |name: &&String| local.networks.iter().any(|network| network.name == **name);
        first = networks.keys().find(swarm).or_else(|| networks.keys().next()).cloned();
    }
    hide_resolv_conf(container);
    let Some(mode) = container["HostConfig"]["NetworkMode"].as_str() else { return };
    if local.is_gateway(mode) {
        container["HostConfig"]["NetworkMode"] = json!(first.unwrap_or_else(|| "none".to_owned()));
    } else if let Some(network) = local.by_engine(mode) {
        container["HostConfig"]["NetworkMode"] = json!(network.name);
    }
}

fn add(
    networks: &mut Map<String, Value>,
    name: String,
    mut endpoint: Value,
    local: &LocalNetworks,
) {
    if local.is_gateway(&name) {
        return;
    }
    let by_id = endpoint["NetworkID"].as_str().and_then(|id| local.by_engine(id));
    match by_id.or_else(|| local.by_engine(&name)) {
        None => {
            networks.insert(name, endpoint);
        }
        Some(network) => {
            present(&mut endpoint, network);
            networks.insert(network.name.clone(), endpoint);
        }
    }
}

/// Puts the swarm network's data in place of the engine's, which serves wiring only.
fn present(endpoint: &mut Value, network: &LocalNetwork) {
    if let Some(members) = endpoint.as_object_mut() {
        members.insert("NetworkID".to_owned(), json!(network.id));
    }
    hide_options(endpoint);
}

/// Returns false if nothing in the answer can concern a swarm network, which is the usual case.
pub(crate) fn concerns(answer: &[u8], local: &LocalNetworks) -> bool {
    let holds = |text: &str| {
        !text.is_empty() && answer.windows(text.len()).any(|window| window == text.as_bytes())
    };
    holds(&local.gateway_engine_name)
        || local
            .networks
            .iter()
            .any(|network| holds(&network.engine_id) || holds(&network.engine_name))
}

#[cfg(test)]
mod tests {
    use swarmnet_model::NetworkId;

    use super::*;

    fn local() -> LocalNetworks {
        LocalNetworks {
            networks: vec![LocalNetwork {
                id: NetworkId::from_text("vby3ukx1ii312sevyorhpn6y8"),
                name: "dca-overlay".to_owned(),
                internal: false,
                attachable: false,
                subnet: "10.0.1.0/24".parse().unwrap(),
                gateway: "10.0.1.1".parse().unwrap(),
                vni: 4097,
                engine_id: "e".repeat(64),
                engine_name: "swarmnet-vby3".to_owned(),
            }],
            gateway_engine_name: "swarmnet-gw".to_owned(),
            ..LocalNetworks::default()
        }
    }

    #[test]
    fn engine_networks_get_their_swarm_names_and_gateways_vanish() {
        let mut container = json!({
            "HostConfig": {"NetworkMode": "swarmnet-gw"},
            "NetworkSettings": {"Networks": {
                "swarmnet-gw": {"NetworkID": "f"},
                "swarmnet-vby3": {"NetworkID": "e".repeat(64), "IPAddress": "10.0.1.3"},
                "bridge": {"NetworkID": "b"},
            }},
        });
        let text = container.to_string();
        assert!(concerns(text.as_bytes(), &local()));
        assert!(!concerns(br#"{"bridge":1}"#, &local()));
        rewrite(&mut container, &local());
        assert_eq!(
            container,
            json!({
                "HostConfig": {"NetworkMode": "dca-overlay"},
                "NetworkSettings": {"Networks": {
                    "bridge": {"NetworkID": "b"},
                    "dca-overlay":
                        {"NetworkID": "vby3ukx1ii312sevyorhpn6y8", "IPAddress": "10.0.1.3"},
                }},
            })
        );
        let mut other = json!({"HostConfig": {"NetworkMode": "host"}, "x": 1});
        rewrite(&mut other, &local());
        assert_eq!(other, json!({"HostConfig": {"NetworkMode": "host"}, "x": 1}));
        for odd in [json!("text"), json!(null), json!({"NetworkSettings": []})] {
            let mut same = odd.clone();
            rewrite(&mut same, &local());
            assert_eq!(same, odd);
        }
    }
}
