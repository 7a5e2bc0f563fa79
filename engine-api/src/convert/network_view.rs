//! Pure: who is on a network, as far as the managers have told this node.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use swarmnet_model::view::{Backend, BackendState, NetworkItem, Peer, ServiceItem};
use swarmnet_model::{Item, ItemKey, NetworkId, NodeId, NodeView};

/// Characters of an id by which lists name a node.
const SHORT_ID: usize = 12;

/// Returns the network that stands for the routing mesh.
pub(crate) fn ingress(view: &NodeView) -> Option<&NetworkItem> {
    match view.get(&ItemKey::Settings) {
        Some(Item::Settings(settings)) => settings.ingress.as_ref(),
        _ => None,
    }
}

/// Returns a network this node has a task on.
pub(crate) fn network<'a>(view: &'a NodeView, id: &NetworkId) -> Option<&'a NetworkItem> {
    match view.get(&ItemKey::Network(id.clone())) {
        Some(Item::Network(network)) => Some(network),
        _ => None,
    }
}

/// Renders the nodes that have something on the network; every node is on the ingress network.
pub(crate) fn peers(view: &NodeView, id: &NetworkId) -> Value {
    let everywhere = ingress(view).is_some_and(|network| network.id == *id);
    let there: BTreeSet<&NodeId> =
        backends(view).filter(|backend| on(backend, id)).map(|backend| &backend.node_id).collect();
    let peers = view
        .values()
        .filter_map(|item| if let Item::Peer(peer) = item { Some(peer) } else { None });
    let on_network = |peer: &&Peer| everywhere || there.contains(&peer.node_id);
    let shown = |peer: &Peer| {
        let name: String = peer.node_id.as_str().chars().take(SHORT_ID).collect();
        json!({"Name": name, "IP": peer.addr.to_string()})
    };
    peers.filter(on_network).map(shown).collect()
}

/// Renders the services of a network and their tasks on all nodes.
pub(crate) fn services(view: &NodeView, id: &NetworkId) -> Value {
    let mut all = Map::new();
    for item in view.values() {
        let Item::Service(service) = item else { continue };
        let vip = service.vips.iter().find(|vip| vip.network_id == *id);
        if vip.is_some() || service.networks.iter().any(|network| network.network_id == *id) {
            let vip = vip.map(|vip| vip.address.ip().to_string()).unwrap_or_default();
            all.insert(service.name.clone(), service_shown(vip, tasks(view, service, id)));
        }
    }
    let plain = backends(view).filter(|backend| backend.service_id.is_none());
    let containers = plain.filter_map(|backend| shown(view, backend, &backend.task_name, id));
    add_plain(&mut all, containers.collect());
    Value::Object(all)
}

/// Adds the plain containers, under no name, as Docker does.
pub(crate) fn add_plain(services: &mut Map<String, Value>, containers: Vec<Value>) {
    if !containers.is_empty() {
        services.insert(String::new(), service_shown(String::new(), containers));
    }
}

/// Renders one service of a network.
pub(crate) fn service_shown(vip: String, tasks: Vec<Value>) -> Value {
    json!({"VIP": vip, "Ports": [], "LocalLBIndex": 0, "Tasks": tasks})
}

/// Renders one task of a service of a network.
pub(crate) fn task_shown(name: &str, address: String, host: String) -> Value {
    json!({"Name": name, "EndpointID": "", "EndpointIP": address, "Info": {"Host IP": host}})
}

fn tasks(view: &NodeView, service: &ServiceItem, id: &NetworkId) -> Vec<Value> {
    let of_service =
        backends(view).filter(|backend| backend.service_id.as_ref() == Some(&service.id));
    let named = |backend: &Backend| {
        shown(view, backend, &format!("{}.{}", backend.task_name, backend.task_id), id)
    };
    of_service.filter_map(named).collect()
}

/// Renders a backend that lives on the network.
fn shown(view: &NodeView, backend: &Backend, name: &str, id: &NetworkId) -> Option<Value> {
    if matches!(backend.state, BackendState::Draining | BackendState::Down) {
        return None;
    }
    let attachment = backend.attachments.iter().find(|held| held.network_id == *id)?;
    let host = match view.get(&ItemKey::Peer(backend.node_id.clone())) {
        Some(Item::Peer(peer)) => peer.addr.to_string(),
        _ => String::new(),
    };
    Some(task_shown(name, attachment.address.ip().to_string(), host))
}

fn backends(view: &NodeView) -> impl Iterator<Item = &Backend> {
    view.values()
        .filter_map(|item| if let Item::Backend(backend) = item { Some(backend) } else { None })
}

fn on(backend: &Backend, id: &NetworkId) -> bool {
    backend.attachments.iter().any(|held| held.network_id == *id)
}

#[cfg(test)]
mod tests {
    use swarmnet_model::view::Settings;
    use swarmnet_model::{
        Attachment, ClusterId, EndpointMode, ServiceId, Subnet, TaskId, Vip, Vni,
    };

    use super::*;

    fn item(id: &str) -> NetworkItem {
        NetworkItem {
            id: NetworkId::from_text(id),
            name: id.to_owned(),
            vni: Vni::new(4097).unwrap(),
            subnet: Subnet {
                subnet: "10.0.1.0/24".parse().unwrap(),
                range: None,
                gateway: [10, 0, 1, 1].into(),
            },
            internal: false,
            attachable: false,
            mtu: None,
            shown: Default::default(),
        }
    }

    fn backend(id: &str, node: &str, last: u8, state: BackendState) -> (ItemKey, Item) {
        let backend = Backend {
            task_id: TaskId::from_text(id),
            task_name: "web.1".to_owned(),
            service_id: Some(ServiceId::from_text("svc")),
            node_id: NodeId::from_text(node),
            state,
            attachments: vec![Attachment {
                network_id: NetworkId::from_text("net"),
                address: format!("10.0.1.{last}/24").parse().unwrap(),
                aliases: vec![],
            }],
            gateway: None,
        };
        (ItemKey::Backend(backend.task_id.clone()), Item::Backend(backend))
    }

    fn view() -> NodeView {
        let settings = Settings {
            cluster_id: ClusterId::from_text("c"),
            data_path_port: 4789,
            ingress: Some(item("mesh")),
        };
        let peer = |id: &str, last: u8| {
            let node_id = NodeId::from_text(id);
            let addr = [10, 20, 20, last].into();
            let peer = Peer { node_id: node_id.clone(), hostname: String::new(), addr };
            (ItemKey::Peer(node_id), Item::Peer(peer))
        };
        let service = ServiceItem {
            id: ServiceId::from_text("svc"),
            name: "web".to_owned(),
            mode: EndpointMode::Vip,
            vips: vec![Vip {
                network_id: NetworkId::from_text("net"),
                address: "10.0.1.2/24".parse().unwrap(),
            }],
            networks: vec![],
            ports: vec![],
        };
        [
            (ItemKey::Settings, Item::Settings(settings)),
            peer("node1aaaaaaaaaaaaa", 1),
            peer("node2bbbbbbbbbbbbb", 2),
            (ItemKey::Network(NetworkId::from_text("net")), Item::Network(item("net"))),
            (ItemKey::Service(service.id.clone()), Item::Service(service)),
            backend("t1", "node1aaaaaaaaaaaaa", 3, BackendState::Active),
            backend("t2", "node1aaaaaaaaaaaaa", 4, BackendState::Draining),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn peers_are_the_nodes_with_tasks_and_all_nodes_for_the_mesh() {
        let peers = |id: &str| peers(&view(), &NetworkId::from_text(id));
        assert_eq!(peers("net"), json!([{"Name": "node1aaaaaaa", "IP": "10.20.20.1"}]));
        assert_eq!(peers("mesh").as_array().unwrap().len(), 2);
        assert_eq!(peers("other"), json!([]));
    }

    #[test]
    fn services_are_shown_with_their_living_tasks_and_plain_containers_under_no_name() {
        let net = NetworkId::from_text("net");
        assert_eq!(
            services(&view(), &net),
            json!({"web": {
                "VIP": "10.0.1.2",
                "Ports": [],
                "LocalLBIndex": 0,
                "Tasks": [{
                    "Name": "web.1.t1",
                    "EndpointID": "",
                    "EndpointIP": "10.0.1.3",
                    "Info": {"Host IP": "10.20.20.1"},
                }],
            }})
        );
        assert_eq!(services(&view(), &NetworkId::from_text("other")), json!({}));
        let mut view = view();
        let (key, item) = backend("t3", "node2bbbbbbbbbbbbb", 5, BackendState::Active);
        let Item::Backend(plain) = item else { unreachable!() };
        let name = "cache".to_owned();
        let plain = Backend { service_id: None, task_name: name, ..plain };
        view.insert(key, Item::Backend(plain));
        let all = services(&view, &net);
        assert_eq!(all["web"]["Tasks"].as_array().unwrap().len(), 1);
        let plain = &all[""]["Tasks"][0];
        assert_eq!((&plain["Name"], &plain["EndpointIP"]), (&json!("cache"), &json!("10.0.1.5")));
        assert_eq!(plain["Info"]["Host IP"], "10.20.20.2");
        assert_eq!(network(&view, &net).map(|found| found.name.as_str()), Some("net"));
    }
}
