//! Text in, text out: who is told what.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use swarmnet_model::{
    Attachment, ContainerSpec, DesiredState, EndpointSpec, NetworkSpec, NodeId, NodeSpec,
    NodeStatus, PortSpec, Protocol, Role, SecretText, ServiceEndpoint, ServiceId, ServiceMode,
    ServiceSpec, Subnet, TaskId, TaskSpec, TaskStatus, Version, Vip, Vni,
};

use super::*;
use crate::discovery::views::Views;

struct World(Tables);

impl World {
    fn new() -> Self {
        let mut world = Self(Tables::default());
        for (id, last) in [("n1", 1), ("n2", 2)] {
            world.node(id, last, NodeState::Ready);
        }
        world
    }

    fn node(&mut self, id: &str, last: u8, state: NodeState) {
        let id = NodeId::from_text(id);
        let addr = [10, 20, 20, last].into();
        let node = Node {
            id: id.clone(),
            version: Version(1),
            spec_version: Version(1),
            created_at: Timestamp::UNSET,
            updated_at: Timestamp::UNSET,
            spec: NodeSpec::default(),
            description: None,
            status: NodeStatus { state, message: String::new(), addr },
            role: Role::Worker,
            manager: None,
        };
        self.0.nodes.insert(id, Arc::new(node));
    }

    fn network(&mut self, id: &str, vni: u32) {
        let subnet = Subnet {
            subnet: "10.0.1.0/24".parse().unwrap(),
            range: None,
            gateway: [10, 0, 1, 1].into(),
        };
        let network = Network {
            id: NetworkId::from_text(id),
            version: Version(1),
            created_at: Timestamp::UNSET,
            updated_at: Timestamp::UNSET,
            spec: NetworkSpec { name: id.to_owned(), ..NetworkSpec::default() },
            vni: Vni::new(vni).unwrap(),
            subnet,
            pending_delete: false,
        };
        self.0.networks.insert(network.id.clone(), Arc::new(network));
    }

    fn service(&mut self, id: &str, network: Option<&str>, port: Option<u16>) {
        let ports = port.map(|published_port| PortSpec {
            name: String::new(),
            protocol: Protocol::Tcp,
            target_port: 80,
            published_port,
            mode: PublishMode::Ingress,
        });
        let vips = network.map(|id| Vip {
            network_id: NetworkId::from_text(id),
            address: "10.0.1.2/24".parse().unwrap(),
        });
        let service = Service {
            id: ServiceId::from_text(id),
            version: Version(1),
            spec_version: Version(1),
            created_at: Timestamp::UNSET,
            updated_at: Timestamp::UNSET,
            spec: ServiceSpec {
                name: id.to_owned(),
                labels: BTreeMap::new(),
                task: TaskSpec { container: ContainerSpec::default(), ..TaskSpec::default() },
                mode: ServiceMode::Replicated { replicas: 1 },
                update: None,
                rollback: None,
                endpoint: EndpointSpec::default(),
                document: Default::default(),
            },
            previous_spec: None,
            endpoint: Some(ServiceEndpoint {
                spec: EndpointSpec::default(),
                ports: ports.into_iter().collect(),
                vips: vips.into_iter().collect(),
            }),
            update_status: None,
            job: None,
            pending_delete: false,
            registry: Default::default(),
        };
        self.0.services.insert(service.id.clone(), Arc::new(service));
    }

    fn task(&mut self, id: &str, service: &str, node: &str, state: TaskState) {
        let network = self.0.services[&ServiceId::from_text(service)]
            .endpoint
            .as_ref()
            .and_then(|e| e.vips.first())
            .map(|vip| vip.network_id.clone());
        let attachments = network.map(|network_id| Attachment {
            network_id,
            address: "10.0.1.5/24".parse().unwrap(),
            aliases: Vec::new(),
        });
        let mut status = TaskStatus::new(Timestamp::UNSET, state, "");
        status.gateway = Some([172, 31, 0, 9].into());
        let task = Task {
            id: TaskId::from_text(id),
            version: Version(1),
            created_at: Timestamp::UNSET,
            updated_at: Timestamp::UNSET,
            service_id: ServiceId::from_text(service),
            service_name: service.to_owned(),
            service_labels: BTreeMap::new(),
            slot: 1,
            job_iteration: None,
            node_id: Some(NodeId::from_text(node)),
            spec: TaskSpec::default(),
            endpoint_spec: EndpointSpec::default(),
            document: Default::default(),
            desired_state: DesiredState::Running,
            status,
            attachments: attachments.into_iter().collect(),
            assigned_generic: Vec::new(),
            chosen_ports: Vec::new(),
        };
        self.0.tasks.insert(task.id.clone(), Arc::new(task));
    }

    /// Gives a service, if it is there, other credentials and nothing else.
    fn credentials(&mut self, id: &str, text: &str) {
        if let Some(service) = self.0.services.get_mut(&ServiceId::from_text(id)) {
            Arc::make_mut(service).registry.current = Some(SecretText::new(text));
        }
    }

    fn wish(&mut self, id: &str, desired: DesiredState) {
        let task = self.0.tasks.get_mut(&TaskId::from_text(id)).unwrap();
        Arc::make_mut(task).desired_state = desired;
    }

    fn attach(&mut self, id: &str, node: &str, attachment: Attachment) {
        let container = AttachedContainer {
            id: TaskId::from_text(id),
            version: Version(1),
            created_at: Timestamp::UNSET,
            updated_at: Timestamp::UNSET,
            node_id: NodeId::from_text(node),
            name: "redis".to_owned(),
            container_id: "0123456789ab".repeat(5),
            running: true,
            attachments: vec![attachment],
        };
        self.0.attached.insert(container.id.clone(), Arc::new(container));
    }

    fn views(&self) -> Views {
        let mut views = Views::default();
        views.follow(&Arc::new(self.0.clone()));
        views
    }

    fn check(&self, node: &str, expected: Expect) {
        let parts = self.views().of(&NodeId::from_text(node));
        let mut text = String::new();
        for item in parts.shared.values().chain(parts.own.values()) {
            match item {
                Item::Settings(settings) => writeln!(text, "settings {}", settings.data_path_port),
                Item::Peer(peer) => writeln!(text, "peer {} {}", peer.hostname, peer.addr),
                Item::Network(network) => {
                    writeln!(text, "network {} {}", network.name, network.vni)
                }
                Item::Service(s) => {
                    writeln!(
                        text,
                        "service {} vips={} ports={}",
                        s.name,
                        s.vips.len(),
                        s.ports.len()
                    )
                }
                Item::Backend(b) => writeln!(
                    text,
                    "backend {} on {} {:?} attachments={}",
                    b.task_name,
                    b.node_id,
                    b.state,
                    b.attachments.len()
                ),
                Item::Task(assigned) => writeln!(text, "task {}", assigned.task.name()),
            }
            .unwrap();
        }
        expected.assert_eq(&text);
    }
}

/// One step of a cluster's life, chosen by numbers.
fn change(world: &mut World, (what, a, b): (u8, u8, u8)) {
    let (node, service, task) = (format!("n{}", a % 3), format!("s{}", b % 3), format!("t{a}"));
    let states = [TaskState::New, TaskState::Assigned, TaskState::Running, TaskState::Failed];
    let networks = ["net0", "net1"];
    match what {
        0 => world.node(&node, b % 4, [NodeState::Ready, NodeState::Down][usize::from(b % 2)]),
        1 => world.network(networks[usize::from(a % 2)], 4_097 + u32::from(b % 2)),
        2 => {
            let network = networks.get(usize::from(a % 3)).copied();
            world.service(&service, network, (a > 3).then_some(30_000));
        }
        3 | 4 if world.0.services.contains_key(&ServiceId::from_text(&*service)) => {
            world.task(&task, &service, &node, states[usize::from(b) % states.len()]);
        }
        5 if world.0.tasks.contains_key(&TaskId::from_text(&*task)) => {
            world.wish(&task, DesiredState::Shutdown);
        }
        6 => {
            world.0.tasks.remove(&TaskId::from_text(task));
        }
        8 if b > 2 => {
            let attachment = Attachment {
                network_id: NetworkId::from_text(networks[usize::from(a % 2)]),
                address: "10.0.1.9/24".parse().unwrap(),
                aliases: Vec::new(),
            };
            world.attach(["a1", "a2"][usize::from(b % 2)], &node, attachment);
        }
        8 if b > 1 => {
            world.0.attached.remove(&TaskId::from_text("a1"));
        }
        7 => {
            world.0.services.remove(&ServiceId::from_text(service));
        }
        9 => world.credentials(&service, ["", "e30="][usize::from(a % 2)]),
        _ => {
            world.0.networks.remove(&NetworkId::from_text(networks[usize::from(a % 2)]));
        }
    }
}

proptest::proptest! {
    /// The law that lets a newer snapshot cost what differs in it.
    #[test]
    fn views_that_follow_are_views_made_anew(
        steps in proptest::collection::vec((0..10_u8, 0..6_u8, 0..6_u8), 1..60),
    ) {
        let (mut world, mut views) = (World::new(), Views::default());
        for (number, step) in steps.into_iter().enumerate() {
            change(&mut world, step);
            // Some snapshots are missed.
            if number % 3 == 1 {
                continue;
            }
            let withdrawn: BTreeSet<_> = [TaskId::from_text(format!("t{}", number % 6))].into();
            views.follow(&Arc::new(world.0.clone()));
            views.withdraw(&withdrawn);
            let mut anew = Views::default();
            anew.follow(&Arc::new(world.0.clone()));
            anew.withdraw(&withdrawn);
            for node in ["n0", "n1", "n2"].map(NodeId::from_text) {
                proptest::prop_assert_eq!(views.of(&node), anew.of(&node));
            }
            proptest::prop_assert_eq!(views.stopping(), anew.stopping());
        }
    }
}

#[test]
fn nodes_with_the_same_networks_share_their_view_and_an_unchanged_one_is_the_same() {
    let mut world = World::new();
    world.service("web", None, Some(30_000));
    world.task("t1", "web", "n1", TaskState::Running);
    let mut views = Views::default();
    views.follow(&Arc::new(world.0.clone()));
    let before = views.of(&NodeId::from_text("n2"));
    assert!(before.shared.ptr_eq(&views.of(&NodeId::from_text("n1")).shared));
    world.network("other", 5_000);
    views.follow(&Arc::new(world.0.clone()));
    assert!(views.of(&NodeId::from_text("n2")).is_same(&before));
}

#[test]
fn a_plain_container_brings_its_network_to_its_node_and_itself_to_all_nodes_of_the_network() {
    let mut world = World::new();
    world.node("n3", 3, NodeState::Ready);
    world.network("net", 4097);
    world.service("db", Some("net"), None);
    world.task("t1", "db", "n1", TaskState::Running);
    let attachment = Attachment {
        network_id: NetworkId::from_text("net"),
        address: "10.0.1.9/24".parse().unwrap(),
        aliases: vec!["cache".to_owned()],
    };
    world.attach("a1", "n2", attachment);
    let on_net = expect![[r#"
        peer n1 10.20.20.1
        peer n2 10.20.20.2
        peer n3 10.20.20.3
        network net 4097
        service db vips=1 ports=0
        backend redis on n2 Active attachments=1
        backend db.1 on n1 Active attachments=1
    "#]];
    world.check("n2", on_net);
    world.check(
        "n3",
        expect![[r#"
            peer n1 10.20.20.1
            peer n2 10.20.20.2
            peer n3 10.20.20.3
        "#]],
    );
    let view = world.views().of(&NodeId::from_text("n1")).shared;
    let Some(Item::Backend(known)) = view.get(&ItemKey::Backend(TaskId::from_text("a1"))) else {
        panic!("the container is known where its network is");
    };
    assert_eq!(known.service_id, None);
    assert_eq!(known.attachments[0].aliases, ["cache", "0123456789ab"]);
    world.node("n2", 2, NodeState::Down);
    let view = world.views().of(&NodeId::from_text("n1")).shared;
    let Some(Item::Backend(known)) = view.get(&ItemKey::Backend(TaskId::from_text("a1"))) else {
        panic!("the container is known although its node is lost");
    };
    assert_eq!(known.state, BackendState::Down, "it keeps its addresses");
}

#[test]
fn every_node_hears_of_a_published_service() {
    let mut world = World::new();
    world.service("web", None, Some(30_000));
    world.task("t1", "web", "n1", TaskState::Running);
    world.check(
        "n2",
        expect![[r#"
            peer n1 10.20.20.1
            peer n2 10.20.20.2
            service web vips=0 ports=1
            backend web.1 on n1 Active attachments=0
        "#]],
    );
}

#[test]
fn a_global_task_is_unknown_to_its_node_until_it_is_assigned() {
    let mut world = World::new();
    world.service("agent", None, None);
    world.task("t1", "agent", "n1", TaskState::New);
    world.task("t2", "agent", "n1", TaskState::Pending);
    world.check(
        "n1",
        expect![[r#"
            peer n1 10.20.20.1
            peer n2 10.20.20.2
        "#]],
    );
}

#[test]
fn other_credentials_alone_reach_the_nodes_of_the_tasks() {
    let mut world = World::new();
    world.service("web", None, None);
    world.task("t1", "web", "n1", TaskState::Assigned);
    let mut views = world.views();
    let (node, other) = (NodeId::from_text("n1"), NodeId::from_text("n2"));
    let key = ItemKey::Task(TaskId::from_text("t1"));
    let shown = |views: &Views| {
        let Some(Item::Task(assigned)) = views.of(&node).own.get(&key).cloned() else {
            panic!("the node has the task");
        };
        assigned.registry_auth
    };
    let elsewhere = views.of(&other);
    assert_eq!(shown(&views), None);
    world.credentials("web", "e30=");
    views.follow(&Arc::new(world.0.clone()));
    assert_eq!(shown(&views), Some(SecretText::new("e30=")));
    assert!(views.of(&other).is_same(&elsewhere), "nobody else hears of it");
}

#[test]
fn a_network_is_known_only_where_a_task_uses_it() {
    let mut world = World::new();
    world.network("net", 4097);
    world.service("db", Some("net"), None);
    world.task("t1", "db", "n1", TaskState::Assigned);
    world.check(
        "n1",
        expect![[r#"
            peer n1 10.20.20.1
            peer n2 10.20.20.2
            network net 4097
            service db vips=1 ports=0
            backend db.1 on n1 Placed attachments=1
            task db.1
        "#]],
    );
    world.check(
        "n2",
        expect![[r#"
            peer n1 10.20.20.1
            peer n2 10.20.20.2
        "#]],
    );
}

#[test]
fn a_task_that_must_stop_drains_and_an_ended_one_is_gone() {
    let mut world = World::new();
    world.service("web", None, Some(30_000));
    world.task("t1", "web", "n1", TaskState::Running);
    world.wish("t1", DesiredState::Shutdown);
    world.task("t2", "web", "n1", TaskState::Failed);
    world.check(
        "n1",
        expect![[r#"
            peer n1 10.20.20.1
            peer n2 10.20.20.2
            service web vips=0 ports=1
            backend web.1 on n1 Draining attachments=0
            task web.1
            task web.1
        "#]],
    );
}

#[test]
fn backends_on_a_down_node_get_no_new_flows() {
    let mut world = World::new();
    world.service("web", None, Some(30_000));
    world.task("t1", "web", "n1", TaskState::Running);
    world.node("n1", 1, NodeState::Down);
    world.check(
        "n2",
        expect![[r#"
            peer n1 10.20.20.1
            peer n2 10.20.20.2
            service web vips=0 ports=1
            backend web.1 on n1 Down attachments=0
        "#]],
    );
}

#[test]
fn a_removed_service_loses_its_ports_at_once() {
    let mut world = World::new();
    world.service("web", None, Some(30_000));
    world.task("t1", "web", "n1", TaskState::Running);
    world.wish("t1", DesiredState::Remove);
    let service = world.0.services.get_mut(&ServiceId::from_text("web")).unwrap();
    Arc::make_mut(service).pending_delete = true;
    world.check(
        "n1",
        expect![[r#"
            peer n1 10.20.20.1
            peer n2 10.20.20.2
            backend web.1 on n1 Draining attachments=0
            task web.1
        "#]],
    );
}

#[test]
fn an_address_belongs_to_the_node_that_uses_it_now() {
    let mut world = World::new();
    world.node("n0", 2, NodeState::Ready);
    let rejoined = world.0.nodes.get_mut(&NodeId::from_text("n0")).unwrap();
    Arc::make_mut(rejoined).created_at = Timestamp(5);
    world.check(
        "n1",
        expect![[r#"
            peer n0 10.20.20.2
            peer n1 10.20.20.1
        "#]],
    );
}
