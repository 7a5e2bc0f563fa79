//! Programming a node: 10,000 services with 10 backends each from nothing, and one change among them.
//!
//! Ours is a whole data plane in a network of its own, from the moment it is handed the view until
//! it says that all of it is in the kernel: numbers on disk, 110,000 addresses, 100,000 backends,
//! 10,000 services. The peer is `nft -f` with one map from 10,000 addresses to one backend each,
//! the least a kube-proxy or a script of one's own would have to load: a tenth of the backends.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use swarmnet_model::view::{
    Backend, BackendState, NetworkItem, NetworkShown, Peer, ServiceItem, Settings,
};
use swarmnet_model::{
    Attachment, ClusterId, EndpointMode, Item, ItemKey, NetworkId, NodeId, NodeView, ServiceId,
    Subnet, TaskId, Vip, Vni,
};

use crate::figures::Samples;
use crate::namespace::{self, Place, applied, shared};
use crate::report::{Row, Unit};

const ROUNDS: usize = 5;
/// Single changes of one round.
const CHANGES: u64 = 20;
const SERVICES: u32 = 10_000;
const BACKENDS: u32 = 10;
const TABLE: &str = "swarmnet-bench";

pub(crate) fn measure() -> Vec<Row> {
    let [mut ours, mut peer, mut change, mut peer_change] = [const { Samples::new() }; 4];
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir().unwrap();
        let (whole, one) = namespace::run(directory.path(), data_plane);
        ours.push(ms(whole));
        change.push(ms(one));
        let directory = tempfile::tempdir().unwrap();
        let (whole, one) = namespace::run(directory.path(), nft);
        peer.push(ms(whole));
        peer_change.push(ms(one));
    }
    let conditions = vec![
        format!("ours: {SERVICES} services with {BACKENDS} backends each, from nothing"),
        "peer: nft -f, one map of 10,000 addresses to one backend each, from nothing".to_owned(),
    ];
    let one = vec![
        format!(
            "ours: one of {} backends drains or comes back, until written",
            SERVICES * BACKENDS
        ),
        "peer: nft -f, one element of the map is replaced".to_owned(),
    ];
    let row = |name: &str, ours, peer, conditions| Row {
        name: name.to_owned(),
        unit: Unit::Milliseconds,
        ours,
        peer,
        conditions,
    };
    vec![
        row("program 10,000 services x 10", ours, peer, conditions),
        row("one change among 10,000 services", change, peer_change, one),
    ]
}

async fn data_plane(place: Place) -> (Duration, Duration) {
    let plane = place.data_plane().await;
    let node = NodeId::from_text("node1");
    let mut view = few();
    plane.set_view(node.clone(), 1, shared(&view), true);
    applied(&plane, 1).await;
    for service in 0..SERVICES {
        add_service(&mut view, service);
    }
    let began = Instant::now();
    plane.set_view(node.clone(), 2, shared(&view), true);
    applied(&plane, 2).await;
    let whole = began.elapsed();
    let began = Instant::now();
    for change in 1..=CHANGES {
        let state = if change % 2 == 0 { BackendState::Active } else { BackendState::Draining };
        let (key, item) = backend(4_711, 7, state);
        view.insert(key, item);
        plane.set_view(node.clone(), 2 + change, shared(&view), true);
        applied(&plane, 2 + change).await;
    }
    let one = began.elapsed() / u32::try_from(CHANGES).unwrap();
    let pending = plane.pending().await.unwrap();
    assert!(pending.is_empty(), "{} left to do, first: {:?}", pending.len(), pending.first());
    plane.remove_all().await.unwrap();
    plane.shutdown().await;
    (whole, one)
}

async fn nft(place: Place) -> (Duration, Duration) {
    let file = place.state().with_extension("nft");
    let mut text =
        format!("table ip {TABLE} {{\n map vips {{ type ipv4_addr : ipv4_addr\n elements = {{\n");
    for service in 0..SERVICES {
        writeln!(text, "{} : {},", vip(service), address(service, 0)).unwrap();
    }
    text += "} }\n chain in { type nat hook prerouting priority dstnat; dnat to ip daddr map @vips; }\n}\n";
    std::fs::write(&file, text).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the peer is a program")]
    let load = || {
        let status = Command::new("nft").arg("-f").arg(&file).status().unwrap();
        assert!(status.success(), "nft -f");
    };
    let began = Instant::now();
    load();
    let whole = began.elapsed();
    let (vip, old, new) = (vip(4_711), address(4_711, 0), address(4_711, 7));
    let change = format!(
        "delete element ip {TABLE} vips {{ {vip} : {old} }}\n\
         add element ip {TABLE} vips {{ {vip} : {new} }}\n"
    );
    std::fs::write(&file, change).unwrap();
    let began = Instant::now();
    load();
    (whole, began.elapsed())
}

/// Settings, two nodes, one network.
pub(crate) fn few() -> NodeView {
    let peer = |id: &str, last| Peer {
        node_id: NodeId::from_text(id),
        hostname: id.to_owned(),
        addr: Ipv4Addr::new(10, 20, 20, last),
    };
    let cluster_id = ClusterId::from_text("cluster1");
    let settings = Settings { cluster_id, data_path_port: 4789, ingress: None };
    let network = NetworkItem {
        id: network_id(),
        name: "front".to_owned(),
        vni: Vni::new(4097).unwrap(),
        subnet: Subnet {
            subnet: "10.64.0.0/10".parse().unwrap(),
            range: None,
            gateway: Ipv4Addr::new(10, 64, 0, 1),
        },
        internal: false,
        attachable: false,
        mtu: None,
        shown: NetworkShown::default(),
    };
    [
        (ItemKey::Settings, Item::Settings(settings)),
        (ItemKey::Peer(NodeId::from_text("node1")), Item::Peer(peer("node1", 100))),
        (ItemKey::Peer(NodeId::from_text("node2")), Item::Peer(peer("node2", 110))),
        (ItemKey::Network(network_id()), Item::Network(network)),
    ]
    .into_iter()
    .collect()
}

fn add_service(view: &mut NodeView, service: u32) {
    let id = service_id(service);
    let address = format!("{}/10", vip(service)).parse().unwrap();
    let item = ServiceItem {
        id: id.clone(),
        name: format!("service-{service}"),
        mode: EndpointMode::Vip,
        vips: vec![Vip { network_id: network_id(), address }],
        networks: Vec::new(),
        ports: Vec::new(),
    };
    view.insert(ItemKey::Service(id), Item::Service(item));
    for number in 0..BACKENDS {
        let (key, item) = backend(service, number, BackendState::Active);
        view.insert(key, item);
    }
}

fn backend(service: u32, number: u32, state: BackendState) -> (ItemKey, Item) {
    let task_id = TaskId::from_text(scattered(service * BACKENDS + number + 1_000_000));
    let address = format!("{}/10", address(service, number)).parse().unwrap();
    let item = Backend {
        task_id: task_id.clone(),
        task_name: format!("service-{service}.{number}"),
        service_id: Some(service_id(service)),
        node_id: NodeId::from_text("node2"),
        state,
        attachments: vec![Attachment { network_id: network_id(), address, aliases: Vec::new() }],
        gateway: Some(Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 31, 240, 1)) + number)),
    };
    (ItemKey::Backend(task_id), Item::Backend(item))
}

fn network_id() -> NetworkId {
    NetworkId::from_text("network1")
}

fn service_id(service: u32) -> ServiceId {
    ServiceId::from_text(scattered(service))
}

fn vip(service: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 65, 0, 0)) + service)
}

fn address(service: u32, number: u32) -> Ipv4Addr {
    let first = u32::from(Ipv4Addr::new(10, 66, 0, 0));
    Ipv4Addr::from(first + number * SERVICES + service)
}

/// An id as the managers make them: neighbours by number are not neighbours by id.
fn scattered(number: u32) -> String {
    let bits = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    swarmnet_model::id::base36(bits ^ (bits >> 64))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
