//! Pure: services and backends of the view → map entries and slots.

use swarmnet_ebpf::abi::{self, Backend, Be32};
use swarmnet_model::view::{self, BackendState};
use swarmnet_model::{Attachment, TaskId};

use super::active::{Active, AllActive};
use super::{ServiceEntry, State, maglev};
use crate::inputs::Inputs;
use crate::lookup::{Cursor, Directory};
use crate::netlink::link::Link;
use crate::numbers::{BackendKey, ServiceKey};
use crate::plugin::journal::Endpoint;

/// Returns services with their active backends; draining ones are entries without a slot.
pub fn desired(inputs: &Inputs) -> State {
    let mut state = State { sockets: inputs.has_cgroup2, ..State::default() };
    let mut active = Vec::new();
    // One walk for all services, and one look for each number: a view may hold a hundred thousand.
    let directory = Directory::of(&inputs.view);
    let mut numbers = Cursor::new(&inputs.numbers.backends);
    for backend in inputs.serving() {
        let (service, item) = directory.service_of(backend).unzip();
        for (key, attachment) in inputs.ways_to(backend, item, &directory) {
            let Some(id) = numbers.find(&key).copied() else { continue };
            let Some(value) = entry(inputs, backend, key.vni, attachment) else { continue };
            state.backends.insert(id, value);
            if let Some(service) = service.filter(|_| backend.state == BackendState::Active) {
                active.push(Active { service, vni: key.vni, task: &backend.task_id, id });
            }
        }
    }
    let active = active.into_iter().collect();
    add_vips(inputs, &active, &mut state);
    add_mesh(inputs, &active, &mut state);
    add_host_ports(inputs, &mut state);
    state
}

/// Returns the map entry of a backend at one of its attachments, or in the mesh.
fn entry(
    inputs: &Inputs,
    backend: &view::Backend,
    vni: u32,
    attachment: Option<&Attachment>,
) -> Option<Backend> {
    let place = match (inputs.node_index(&backend.node_id)?, attachment) {
        (0, Some(_)) => local(inputs, &backend.task_id, vni).map(place),
        (0, None) => inputs.gateway_of(&backend.task_id).map(place),
        (node, attachment) => attachment
            .map(|a| a.address.ip())
            .or(backend.gateway)
            .map(|addr| Backend { addr: Be32::new(addr), node, ..Backend::default() }),
    };
    let kind = if attachment.is_some() { abi::BE_VIP } else { abi::BE_MESH };
    Some(Backend { vni, kind, state: map_state(backend.state), ..place? })
}

fn add_vips(inputs: &Inputs, active: &AllActive<'_>, state: &mut State) {
    for (place, service) in (0..).zip(inputs.services()) {
        for vip in &service.vips {
            let key = ServiceKey::Vip(service.id.clone(), vip.network_id.clone());
            let found = inputs.network(&vip.network_id).zip(inputs.numbers.services.get(&key));
            let Some((network, index)) = found else { continue };
            let vni = network.vni.get();
            let entry = ServiceEntry {
                vni,
                vip: Be32::new(vip.address.ip()),
                vip_slots: active.of(place, vni).iter().map(|active| active.id).collect(),
                mesh_slots: Vec::new(),
            };
            state.services.insert(*index, entry);
        }
    }
}

fn add_mesh(inputs: &Inputs, active: &AllActive<'_>, state: &mut State) {
    let services = (0..).zip(inputs.services());
    for (place, service) in services.filter(|(_, service)| !service.ports.is_empty()) {
        let key = ServiceKey::Mesh(service.id.clone());
        let Some(index) = inputs.numbers.services.get(&key) else { continue };
        let mesh_slots = mesh_slots(active.of(place, abi::VNI_HOST));
        let entry = ServiceEntry { mesh_slots, ..ServiceEntry::default() };
        state.services.insert(*index, entry);
    }
}

fn mesh_slots(active: &[Active<'_>]) -> Vec<u32> {
    let names: Vec<_> = active.iter().map(|active| active.task).collect();
    let table = maglev::table(&names);
    table.into_iter().filter_map(|index| active.get(index)).map(|active| active.id).collect()
}

/// Host-mode ports serve as soon as the task is wired: they are the business of this node alone.
fn add_host_ports(inputs: &Inputs, state: &mut State) {
    for task in inputs.host_tasks() {
        let id = &task.task.id;
        let Some(gateway) =
            inputs.gateway_of(id).filter(|_| !task.task.desired_state.is_terminal())
        else {
            continue;
        };
        let key = ServiceKey::Host(id.clone());
        let numbers = inputs.numbers.services.get(&key);
        let Some((index, backend)) = numbers.zip(backend_id(inputs, id, abi::VNI_HOST)) else {
            continue;
        };
        let (be_state, kind) = (abi::BE_ACTIVE, abi::BE_MESH);
        let value = Backend { state: be_state, kind, ..place(gateway) };
        state.backends.entry(backend).or_insert(value);
        let vni = abi::VNI_HOST;
        let mesh_slots = mesh_slots(&[Active { service: 0, vni, task: id, id: backend }]);
        state.services.insert(*index, ServiceEntry { mesh_slots, ..ServiceEntry::default() });
    }
}

fn backend_id(inputs: &Inputs, task: &TaskId, vni: u32) -> Option<u32> {
    inputs.numbers.backends.get(&BackendKey { task: task.clone(), vni }).copied()
}

fn local<'a>(inputs: &'a Inputs, task: &TaskId, vni: u32) -> Option<(&'a Endpoint, &'a Link)> {
    inputs.endpoints_of(task).find(|(e, _)| !e.is_gateway() && e.vni == vni)
}

fn place((endpoint, link): (&Endpoint, &Link)) -> Backend {
    Backend {
        addr: Be32::new(endpoint.address.ip()),
        ifindex: link.index,
        lidx: endpoint.lidx,
        mac: endpoint.mac,
        ..Backend::default()
    }
}

fn map_state(state: BackendState) -> u8 {
    match state {
        BackendState::Placed | BackendState::Draining => abi::BE_DRAINING,
        BackendState::Active => abi::BE_ACTIVE,
        BackendState::Down => abi::BE_DOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use swarmnet_model::{
        Attachment, EndpointMode, Item, ItemKey, NetworkId, NodeId, NodeView, ServiceId, Subnet,
        Vip, Vni,
    };

    use crate::brief::Brief;
    use crate::numbers::Numbers;

    fn service(vips: Vec<Vip>, published: bool) -> view::ServiceItem {
        let port = swarmnet_model::PublishedPort {
            name: String::new(),
            protocol: swarmnet_model::Protocol::Tcp,
            target_port: 80,
            published_port: 30_000,
            mode: swarmnet_model::PublishMode::Ingress,
        };
        view::ServiceItem {
            id: ServiceId::from_text("s"),
            name: "web".to_owned(),
            mode: if vips.is_empty() { EndpointMode::Dnsrr } else { EndpointMode::Vip },
            vips,
            networks: Vec::new(),
            ports: published.then_some(port).into_iter().collect(),
        }
    }

    fn vip() -> Vec<Vip> {
        let address = "10.0.1.2/24".parse().unwrap();
        vec![Vip { network_id: NetworkId::from_text("n"), address }]
    }

    fn backend(task: &str, last: u8, state: BackendState) -> view::Backend {
        let address = format!("10.0.1.{last}/24").parse().unwrap();
        view::Backend {
            task_id: TaskId::from_text(task),
            task_name: format!("web.{last}"),
            service_id: Some(ServiceId::from_text("s")),
            node_id: NodeId::from_text("far"),
            state,
            attachments: vec![Attachment {
                network_id: NetworkId::from_text("n"),
                address,
                aliases: Vec::new(),
            }],
            gateway: Some(Ipv4Addr::new(172, 31, 240, last)),
        }
    }

    fn view(service: Option<view::ServiceItem>, backends: &[view::Backend]) -> NodeView {
        let network = view::NetworkItem {
            id: NetworkId::from_text("n"),
            name: "front".to_owned(),
            vni: Vni::new(4097).unwrap(),
            subnet: Subnet {
                subnet: "10.0.1.0/24".parse().unwrap(),
                range: None,
                gateway: Ipv4Addr::new(10, 0, 1, 1),
            },
            internal: false,
            attachable: false,
            mtu: None,
            shown: Default::default(),
        };
        let peer = view::Peer {
            node_id: NodeId::from_text("far"),
            hostname: "far".to_owned(),
            addr: Ipv4Addr::new(10, 20, 20, 110),
        };
        let mut view: NodeView = [
            (ItemKey::Peer(peer.node_id.clone()), Item::Peer(peer)),
            (ItemKey::Network(network.id.clone()), Item::Network(network)),
        ]
        .into_iter()
        .collect();
        view.extend(service.map(|s| (ItemKey::Service(s.id.clone()), Item::Service(s))));
        let item =
            |b: &view::Backend| (ItemKey::Backend(b.task_id.clone()), Item::Backend(b.clone()));
        view.extend(backends.iter().map(item));
        view
    }

    /// As a pass does it: numbers first, then what the maps should hold.
    fn holds(view: NodeView, numbers: &mut Numbers) -> String {
        let mut inputs = Inputs {
            node_id: NodeId::from_text("here"),
            view: Arc::new(view),
            journal: Arc::default(),
            pool: "172.31.240.0/20".parse().unwrap(),
            snapshot: Arc::default(),
            ways: Arc::default(),
            cookies: Arc::default(),
            host_cookie: 1,
            numbers: Arc::new(numbers.clone()),
            has_cgroup2: true,
        };
        numbers.missing(&inputs.wanted()).entries.iter().for_each(|entry| numbers.take(entry));
        inputs.numbers = Arc::new(numbers.clone());
        let state = desired(&inputs);
        let services = state.services.values().map(|s| {
            format!("service vip={} slots={:?} mesh={}", s.vip, s.vip_slots, s.mesh_slots.len())
        });
        let backends = state.backends.iter().map(|(id, b)| format!("{id} {}", b.brief()));
        services.chain(backends).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn only_active_backends_have_slots_and_those_of_lost_nodes_are_down() {
        let states = [BackendState::Active, BackendState::Draining, BackendState::Down];
        let backends: Vec<_> =
            (4..).zip(states).map(|(last, s)| backend(&format!("t{last}"), last, s)).collect();
        let held = holds(view(Some(service(vip(), false)), &backends), &mut Numbers::default());
        expect![[r#"
            service vip=10.0.1.2 slots=[1] mesh=0
            1 10.0.1.4 vni=4097 on node 1 active
            2 10.0.1.5 vni=4097 on node 1 draining
            3 10.0.1.6 vni=4097 on node 1 down"#]]
        .assert_eq(&held);
    }

    #[test]
    fn nothing_is_held_of_a_service_without_vip_and_ports() {
        let tasks = [backend("t4", 4, BackendState::Active)];
        let mut numbers = Numbers::default();
        let held = |service, numbers: &mut Numbers| holds(view(Some(service), &tasks), numbers);
        assert_eq!(held(service(vec![], false), &mut numbers), "");
        expect![[r#"
            service vip=0.0.0.0 slots=[] mesh=251
            1 172.31.240.4 mesh on node 1 active"#]]
        .assert_eq(&held(service(vec![], true), &mut numbers));
        assert!(held(service(vip(), false), &mut numbers).contains("slots=[2]"));
        assert_eq!(held(service(vec![], false), &mut numbers), "", "back to dnsrr: no leftovers");
    }

    #[test]
    fn tasks_of_a_removed_service_end_in_peace() {
        let mut numbers = Numbers::default();
        holds(
            view(Some(service(vip(), false)), &[backend("t4", 4, BackendState::Active)]),
            &mut numbers,
        );
        let going = view(None, &[backend("t4", 4, BackendState::Draining)]);
        assert_eq!(holds(going.clone(), &mut numbers), "1 10.0.1.4 vni=4097 on node 1 draining");
        assert_eq!(holds(going, &mut Numbers::default()), "", "what was never led to is not begun");
    }
}
