use std::net::Ipv4Addr;
use std::path::PathBuf;

use proptest::prelude::*;
use swarmnet_model::view::{Backend, BackendState, NetworkItem, NetworkShown, Peer};
use swarmnet_model::{
    Attachment, EndpointMode, Protocol, PublishMode, PublishedPort, Subnet, Vip, Vni,
};

use super::*;
use crate::netlink::link::{Link, LinkKind};
use crate::netlink::snapshot::Snapshot;
use crate::numbers::Numbers;
use crate::plugin::journal::{Journal, NetworkKind, device_names};
use crate::{balancer, overlay};

const NODES: u8 = 3;
const NETWORKS: u8 = 2;

/// A cluster as node 0 sees it, in small numbers.
#[derive(Clone, Debug)]
struct World {
    peers: u8,
    networks: u8,
    /// Networks as bits, and whether a port is published; `None`: not there.
    services: Vec<Option<(u8, bool)>>,
    tasks: Vec<Option<Placed>>,
}

#[derive(Clone, Debug)]
struct Placed {
    service: u8,
    node: u8,
    state: u8,
    networks: u8,
    joined: bool,
}

fn placed() -> impl Strategy<Value = Placed> {
    (0..5_u8, 0..NODES, 0..3_u8, 0..4_u8, any::<bool>()).prop_map(
        |(service, node, state, networks, joined)| Placed {
            service,
            node,
            state,
            networks,
            joined,
        },
    )
}

prop_compose! {
    fn world()(
        peers in 0..8_u8,
        networks in 0..4_u8,
        services in prop::collection::vec(prop::option::of((0..4_u8, any::<bool>())), 4),
        tasks in prop::collection::vec(prop::option::of(placed()), 8),
    ) -> World {
        World { peers: peers | 1, networks, services, tasks }
    }
}

fn bits(of: u8) -> impl Iterator<Item = u8> {
    (0..8).filter(move |bit| of >> bit & 1 == 1)
}

fn network_id(n: u8) -> NetworkId {
    NetworkId::from_text(format!("net{n}"))
}

fn node_id(n: u8) -> NodeId {
    NodeId::from_text(format!("node{n}"))
}

fn service_id(n: u8) -> ServiceId {
    ServiceId::from_text(format!("service{n}"))
}

fn task_id(n: u8) -> TaskId {
    TaskId::from_text(format!("task{n}"))
}

fn address(network: u8, kind: u8, n: u8) -> String {
    format!("10.{network}.{kind}.{n}/16")
}

impl World {
    fn view(&self) -> NodeView {
        let mut view = NodeView::new();
        for n in bits(self.peers) {
            let addr = Ipv4Addr::new(10, 20, 20, n + 1);
            let peer = Peer { node_id: node_id(n), hostname: String::new(), addr };
            view.insert(ItemKey::Peer(node_id(n)), Item::Peer(peer));
        }
        for n in bits(self.networks) {
            view.insert(ItemKey::Network(network_id(n)), Item::Network(network(n)));
        }
        for (n, service) in (0..).zip(&self.services) {
            if let Some((networks, published)) = service {
                let item = service_item(n, *networks, *published);
                view.insert(ItemKey::Service(service_id(n)), Item::Service(item));
            }
        }
        for (n, task) in (0..).zip(&self.tasks) {
            if let Some(task) = task {
                view.insert(ItemKey::Backend(task_id(n)), Item::Backend(backend(n, task)));
            }
        }
        view
    }

    /// The tasks of this node that have joined, each with one interface per network.
    fn inputs(&self) -> Inputs {
        let (mut journal, mut snapshot) = (Journal::default(), Snapshot::default());
        for (n, task) in (0..).zip(&self.tasks) {
            let Some(task) = task.as_ref().filter(|task| task.node == 0 && task.joined) else {
                continue;
            };
            for network in bits(task.networks) {
                let endpoint = Endpoint {
                    network: NetworkKind::Overlay(network_id(network)),
                    task: task_id(n),
                    address: address(network, 1, n).parse().unwrap(),
                    vni: 4096 + u32::from(network),
                    internal: false,
                    mac: [2, 0x42, 10, network, 1, n],
                    mtu: 1_450,
                    lidx: u32::from(n) + 1,
                    sandbox: Some(PathBuf::from("/s")),
                    resolver_prefix: None,
                    upstreams: Vec::new(),
                };
                let id = format!("e{n}x{network}xxxx");
                let name = device_names(&id, &endpoint).0;
                let index = 10 + u32::from(n) * 4 + u32::from(network);
                snapshot.links.insert(name.clone(), link(name, index));
                journal.endpoints.insert(id, endpoint);
            }
        }
        Inputs {
            node_id: node_id(0),
            view: Arc::new(self.view()),
            journal: journal.into(),
            pool: "172.31.240.0/20".parse().unwrap(),
            snapshot: snapshot.into(),
            cookies: Default::default(),
            host_cookie: 1,
            numbers: Arc::default(),
            has_cgroup2: true,
            ways: Default::default(),
        }
    }
}

fn link(name: String, index: u32) -> Link {
    let (mac, mtu, kind) = ([0; 6], 1_450, LinkKind::Veth);
    Link { index, name, mac, mtu, up: true, ethernet: true, kind, master: None }
}

fn network(n: u8) -> NetworkItem {
    NetworkItem {
        id: network_id(n),
        name: String::new(),
        vni: Vni::new(4096 + u32::from(n)).unwrap(),
        subnet: Subnet {
            subnet: format!("10.{n}.0.0/16").parse().unwrap(),
            range: None,
            gateway: Ipv4Addr::new(10, n, 0, 1),
        },
        internal: false,
        attachable: false,
        mtu: None,
        shown: NetworkShown::default(),
    }
}

fn service_item(n: u8, networks: u8, published: bool) -> ServiceItem {
    let vip = |network| Vip {
        network_id: network_id(network),
        address: address(network, 2, n).parse().unwrap(),
    };
    let port = PublishedPort {
        name: String::new(),
        protocol: Protocol::Tcp,
        target_port: 80,
        published_port: 30_000 + u16::from(n),
        mode: PublishMode::Ingress,
    };
    ServiceItem {
        id: service_id(n),
        name: String::new(),
        mode: EndpointMode::Vip,
        vips: bits(networks & ((1 << NETWORKS) - 1)).map(vip).collect(),
        networks: Vec::new(),
        ports: published.then_some(port).into_iter().collect(),
    }
}

fn backend(n: u8, task: &Placed) -> Backend {
    let states = [BackendState::Placed, BackendState::Active, BackendState::Draining];
    let attachment = |network| Attachment {
        network_id: network_id(network),
        address: address(network, 1, n).parse().unwrap(),
        aliases: Vec::new(),
    };
    Backend {
        task_id: task_id(n),
        task_name: String::new(),
        service_id: (task.service < 4).then(|| service_id(task.service)),
        node_id: node_id(task.node),
        state: states[usize::from(task.state)],
        attachments: bits(task.networks).map(attachment).collect(),
        gateway: Some(Ipv4Addr::new(172, 31, 240, n + 1)),
    }
}

type Maps = (overlay::State, balancer::State);

fn desired(inputs: &Inputs) -> Maps {
    (overlay::desired::desired(inputs), balancer::desired::desired(inputs))
}

/// What the kernel would show under these keys.
fn restricted((overlay, balancer): &Maps, keys: &Keys) -> Maps {
    let (mut overlay, mut balancer) = (overlay.clone(), balancer.clone());
    overlay.eps.retain(|key, _| keys.eps.contains(key));
    balancer.services.retain(|index, _| keys.services.contains(index));
    balancer.backends.retain(|id, _| keys.backends.contains(id));
    (overlay, balancer)
}

fn apply((overlay, balancer): &mut Maps, wanted: &Maps, there: &Maps) {
    for action in overlay::plan::plan(&wanted.0, &there.0, 0) {
        match action {
            overlay::plan::Action::Device(device) => overlay.device = Some(device),
            overlay::plan::Action::Peer(edit) => edit.fold(&mut overlay.peers),
            overlay::plan::Action::Node(edit) => edit.fold(&mut overlay.nodes),
            overlay::plan::Action::Vni(edit) => edit.fold(&mut overlay.vnis),
            overlay::plan::Action::Endpoint(key, ep) => {
                overlay.eps.insert(key, ep);
            }
            overlay::plan::Action::Bury(key, _) | overlay::plan::Action::Forget(key) => {
                overlay.eps.remove(&key);
            }
        }
    }
    for action in balancer::plan::plan(&wanted.1, &there.1) {
        match action {
            balancer::plan::Action::Backend(edit) => edit.fold(&mut balancer.backends),
            balancer::plan::Action::Service(edit) => edit.fold(&mut balancer.services),
            balancer::plan::Action::AttachSockets => balancer.sockets = true,
            balancer::plan::Action::DetachSockets => balancer.sockets = false,
        }
    }
}

fn numbered(inputs: &Inputs, numbers: &Arc<Numbers>) -> Inputs {
    Inputs { numbers: Arc::clone(numbers), ..inputs.clone() }
}

proptest! {
    /// The law that makes a part as good as everything.
    #[test]
    fn a_chain_of_parts_leaves_what_planning_for_everything_would(
        worlds in prop::collection::vec(world(), 2..6),
    ) {
        let inputs: Vec<_> = worlds.iter().map(World::inputs).collect();
        let mut numbers = Numbers::default();
        for inputs in &inputs {
            numbers.missing(&inputs.wanted()).entries.iter().for_each(|entry| numbers.take(entry));
        }
        let numbers = Arc::new(numbers);
        let mut settled = Settled::new(inputs[0].clone());
        let mut maps = desired(&numbered(&inputs[0], &numbers));
        for inputs in &inputs[1..] {
            let change = settled.change(&inputs.view).unwrap();
            let partial = settled.partial(inputs, &change).expect("its own address stays");
            let (old, new) = (numbered(&partial.old, &numbers), numbered(&partial.new, &numbers));
            let (before, wanted) = (desired(&old), desired(&new));
            let mut keys = Keys::default();
            keys.add(&before.0, &before.1);
            keys.add(&wanted.0, &wanted.1);
            let there = restricted(&maps, &keys);
            apply(&mut maps, &wanted, &there);
            prop_assert_eq!(&maps, &desired(&numbered(inputs, &numbers)));
            settled.advance(inputs.clone(), &change);
            prop_assert_eq!(&settled.members, &Settled::new(inputs.clone()).members);
        }
    }

    #[test]
    fn an_equal_view_asks_for_nothing(world in world()) {
        let inputs = world.inputs();
        let settled = Settled::new(inputs.clone());
        let change = settled.change(&world.view()).unwrap();
        prop_assert_eq!(&change, &Change::default());
        let part = settled.part(&inputs, &change);
        prop_assert_eq!(part, Part::default());
    }
}

fn a_world() -> World {
    let task = |service, node| Placed { service, node, state: 1, networks: 1, joined: true };
    World {
        peers: 7,
        networks: 1,
        services: vec![Some((1, false)), Some((1, true)), None, None],
        tasks: vec![Some(task(0, 1)), Some(task(0, 0)), Some(task(1, 2)), None],
    }
}

#[test]
fn a_backend_concerns_its_service_and_not_the_host() {
    let (before, mut after) = (a_world(), a_world());
    after.tasks[0].as_mut().unwrap().state = 2;
    let settled = Settled::new(before.inputs());
    let change = settled.change(&after.view()).unwrap();
    assert!(!change.host);
    let part = settled.part(&after.inputs(), &change);
    assert_eq!(part.services, [service_id(0)].into());
    assert_eq!(part.backends, [task_id(0), task_id(1)].into());
}

#[test]
fn ports_peers_and_networks_concern_the_host_and_its_own_address_everything() {
    let settled = Settled::new(a_world().inputs());
    let change_to = |world: &World| settled.change(&world.view()).unwrap();
    let mut ports = a_world();
    ports.services[1] = Some((1, false));
    let mut peers = a_world();
    peers.peers = 3;
    let mut networks = a_world();
    networks.networks = 3;
    for world in [ports, peers, networks] {
        assert!(change_to(&world).host, "{world:?}");
        assert!(settled.partial(&world.inputs(), &change_to(&world)).is_some());
    }
    let mut alone = a_world();
    alone.peers = 6;
    assert!(settled.partial(&alone.inputs(), &change_to(&alone)).is_none());
}

#[test]
fn an_address_that_two_have_is_contested() {
    let mut inputs = a_world().inputs();
    assert!(!overlay::desired::is_contested(&inputs));
    let mut view = NodeView::clone(&inputs.view);
    let double =
        Backend { task_id: task_id(9), ..backend(0, a_world().tasks[0].as_ref().unwrap()) };
    view.insert(ItemKey::Backend(task_id(9)), Item::Backend(double));
    inputs.view = Arc::new(view);
    assert!(overlay::desired::is_contested(&inputs));
}

#[test]
fn a_task_wins_over_a_vip_and_a_gateway_that_name_its_address() {
    let world = a_world();
    let mut inputs = world.inputs();
    let mut view = NodeView::clone(&inputs.view);
    let claims = [network(0).subnet.gateway, service_item(0, 1, false).vips[0].address.ip()];
    for (number, claimed) in (8..).zip(claims) {
        let mut double = backend(number, world.tasks[0].as_ref().unwrap());
        double.attachments[0].address = format!("{claimed}/16").parse().unwrap();
        view.insert(ItemKey::Backend(task_id(number)), Item::Backend(double));
    }
    inputs.view = Arc::new(view);
    let mut numbers = Numbers::default();
    numbers.take_all(&numbers.missing(&inputs.wanted()).entries);
    let eps = overlay::desired::addresses(&numbered(&inputs, &Arc::new(numbers))).eps;
    for claimed in claims {
        let key = EpKey { vni: 4096, addr: claimed.into() };
        assert_eq!(eps[&key].kind, swarmnet_ebpf::abi::EP_REMOTE, "{claimed}");
    }
}

#[test]
fn when_much_differs_there_is_no_part() {
    let settled = Settled::new(a_world().inputs());
    let mut view = a_world().view();
    for number in 0..=CHANGED_MAX {
        if number == CHANGED_MAX {
            assert_eq!(settled.change(&view).unwrap().services.len(), CHANGED_MAX);
        }
        let id = ServiceId::from_text(format!("new{number}"));
        let item = ServiceItem { id: id.clone(), ..service_item(0, 1, false) };
        view.insert(ItemKey::Service(id), Item::Service(item));
    }
    assert_eq!(settled.change(&view), None);
}
