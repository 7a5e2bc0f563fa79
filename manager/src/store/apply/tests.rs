//! The laws of `apply`, over random entries and by case.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::Ipv4Network;
use proptest::prelude::*;
use swarmnet_model::{
    Attachment, Cluster, ClusterId, ClusterSpec, DesiredState, EndpointSpec, JoinTokens, Network,
    NetworkId, NetworkSpec, Node, NodeId, NodeSpec, NodeState, NodeStatus, Role, SecretText,
    Service, ServiceEndpoint, ServiceId, ServiceMode, ServiceSpec, Subnet, Tables, Task, TaskId,
    TaskSpec, TaskState, TaskStatus, Timestamp, Version, Vni,
};
use swarmnet_model::{node::ManagerMember, task::NetworkAttachmentSpec};
use swarmnet_proto::document;

use super::*;

mod attached;
mod rejected;

fn cluster() -> Cluster {
    Cluster {
        id: ClusterId::from_text("c"),
        version: Version(99),
        created_at: Timestamp(99),
        updated_at: Timestamp(99),
        spec: ClusterSpec::default(),
        root_ca: swarmnet_model::cluster::RootCa {
            certificate_pem: String::new(),
            key_pem: SecretText::default(),
        },
        join_tokens: JoinTokens { worker: SecretText::default(), manager: SecretText::default() },
        address_pools: vec![],
        subnet_size_bits: 24,
        data_path_port: 4789,
        removed_nodes: BTreeMap::new(),
        next_raft_id: 2,
    }
}

fn node(id: &str) -> Node {
    Node {
        id: NodeId::from_text(id),
        version: Version(99),
        spec_version: Version(99),
        created_at: Timestamp(99),
        updated_at: Timestamp(99),
        spec: NodeSpec::default(),
        description: None,
        status: status_of_node(NodeState::Unknown),
        role: Role::Worker,
        manager: None,
    }
}

fn status_of_node(state: NodeState) -> NodeStatus {
    NodeStatus { state, message: String::new(), addr: [10, 0, 0, 1].into() }
}

pub(super) fn network(id: &str, vni: u32, subnet: &str) -> Network {
    let subnet: Ipv4Network = subnet.parse().unwrap();
    Network {
        id: NetworkId::from_text(id),
        version: Version(99),
        created_at: Timestamp(99),
        updated_at: Timestamp(99),
        spec: NetworkSpec { name: format!("name of {id}"), ..NetworkSpec::default() },
        vni: Vni::new(vni).unwrap(),
        subnet: Subnet { subnet, range: None, gateway: subnet.ip() },
        pending_delete: false,
    }
}

pub(super) fn service(id: &str, name: &str) -> Service {
    Service {
        id: ServiceId::from_text(id),
        version: Version(99),
        spec_version: Version(99),
        created_at: Timestamp(99),
        updated_at: Timestamp(99),
        spec: ServiceSpec {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            task: TaskSpec::default(),
            mode: ServiceMode::Replicated { replicas: 1 },
            update: None,
            rollback: None,
            endpoint: EndpointSpec::default(),
            document: Default::default(),
        },
        previous_spec: None,
        endpoint: None,
        update_status: None,
        job: None,
        pending_delete: false,
        registry: Default::default(),
    }
}

pub(super) fn on(network: &str) -> NetworkAttachmentSpec {
    NetworkAttachmentSpec {
        network_id: NetworkId::from_text(network),
        aliases: vec![],
        driver_options: BTreeMap::new(),
    }
}

pub(super) fn task(id: &str, service: &str) -> Task {
    Task {
        id: TaskId::from_text(id),
        version: Version(99),
        created_at: Timestamp(99),
        updated_at: Timestamp(99),
        service_id: ServiceId::from_text(service),
        service_name: service.to_owned(),
        service_labels: BTreeMap::new(),
        slot: 1,
        job_iteration: None,
        node_id: None,
        spec: TaskSpec::default(),
        endpoint_spec: EndpointSpec::default(),
        document: Default::default(),
        desired_state: DesiredState::Running,
        status: TaskStatus::new(Timestamp(1), TaskState::New, "created"),
        attachments: vec![],
        assigned_generic: vec![],
    }
}

pub(super) fn status(state: TaskState) -> Box<TaskStatus> {
    Box::new(TaskStatus::new(Timestamp(5), state, "said"))
}

/// Tables after entries 1, 2, … at times 1, 2, …; each must be accepted.
pub(super) fn tables(entries: impl IntoIterator<Item = Change>) -> Tables {
    let mut tables = Tables::default();
    for (index, change) in (1..).zip(entries) {
        tables = step(&tables, index, vec![change]).unwrap();
    }
    tables
}

pub(super) fn step(tables: &Tables, index: u64, changes: Vec<Change>) -> Result<Tables, Refused> {
    let now = Timestamp(i64::try_from(index).unwrap());
    let (after, outcome) = apply(tables, index, &Transaction { now, changes });
    outcome.map(|()| after)
}

fn assign(task: &str, node: &str) -> Change {
    Change::AssignTask {
        id: TaskId::from_text(task),
        node_id: NodeId::from_text(node),
        message: "assigned".into(),
        generic: Vec::new(),
    }
}

/// A service with one task that runs on a node.
pub(super) fn running() -> Tables {
    let (t, n) = (TaskId::from_text("t1"), NodeId::from_text("n1"));
    tables([
        Change::PutCluster { cluster: Box::new(cluster()), expected: None },
        Change::CreateNode(Box::new(node("n1"))),
        Change::CreateService(Box::new(service("s1", "web"))),
        Change::CreateTask(Box::new(task("t1", "s1"))),
        Change::AllocateTask { id: t.clone(), attachments: vec![] },
        assign("t1", "n1"),
        Change::ReportTask { id: t, node_id: n, status: status(TaskState::Running) },
    ])
}

#[test]
fn a_task_walks_from_new_to_running() {
    let tables = running();
    let task = &tables.tasks[&TaskId::from_text("t1")];
    assert_eq!(task.status.state, TaskState::Running);
    assert_eq!(task.node_id, Some(NodeId::from_text("n1")));
    assert_eq!(
        (task.version, task.created_at, task.updated_at),
        (Version(7), Timestamp(4), Timestamp(7))
    );
    assert_eq!(tables.version, Version(7));
}

#[test]
fn one_bad_change_refuses_the_whole_entry() {
    let before = running();
    let entry = vec![
        Change::CreateNode(Box::new(node("n2"))),
        Change::CreateService(Box::new(service("s2", "web"))),
    ];
    let transaction = Transaction { now: Timestamp(9), changes: entry };
    let (after, outcome) = apply(&before, 9, &transaction);
    assert_eq!(outcome, Err(Refused::Exists { kind: "service".into(), id: "web".into() }));
    assert_eq!(after, before);
}

#[test]
fn only_a_changed_spec_moves_the_spec_version() {
    let before = running();
    let id = ServiceId::from_text("s1");
    let mut update = (*before.services[&id]).clone();
    let put = |service: &Service, expected| Change::UpdateService {
        service: Box::new(service.clone()),
        expected: Version(expected),
    };
    update.previous_spec = Some(update.spec.clone());
    let same = step(&before, 8, vec![put(&update, 3)]).unwrap();
    assert_eq!(same.services[&id].spec_version, Version(3));
    assert_eq!(same.services[&id].version, Version(8));

    update.spec.mode = ServiceMode::Replicated { replicas: 2 };
    let changed = step(&same, 9, vec![put(&update, 3)]).unwrap();
    assert_eq!(changed.services[&id].spec_version, Version(9));
    let stale = step(&changed, 10, vec![put(&update, 3)]);
    assert_eq!(stale, Err(Refused::Conflict { kind: "service".into(), id: "s1".into() }));
}

#[test]
fn an_answer_to_an_older_spec_is_skipped() {
    let before = running();
    let id = ServiceId::from_text("s1");
    let answer = |spec_version| Change::SetServiceEndpoint {
        id: id.clone(),
        spec_version: Version(spec_version),
        endpoint: Box::new(ServiceEndpoint::default()),
    };
    let late = step(&before, 8, vec![answer(2)]).unwrap();
    assert_eq!(late.services[&id].endpoint, None);
    let fits = step(&late, 9, vec![answer(3)]).unwrap();
    assert_eq!(fits.services[&id].endpoint, Some(ServiceEndpoint::default()));
}

#[test]
fn a_service_under_removal_frees_its_name_and_waits_for_its_tasks() {
    let before = running();
    let (id, first) = (ServiceId::from_text("s1"), TaskId::from_text("t1"));
    let marked = step(&before, 8, vec![Change::MarkServiceRemoved { id: id.clone() }]).unwrap();
    assert!(marked.services[&id].pending_delete);
    assert_eq!(marked.tasks[&first].desired_state, DesiredState::Remove);
    let namesake = Change::CreateService(Box::new(service("s2", "web")));
    let marked = step(&marked, 9, vec![namesake]).unwrap();
    let late = step(&marked, 10, vec![Change::CreateTask(Box::new(task("t2", "s1")))]);
    assert_eq!(late, Err(Refused::Missing { kind: "service".into(), id: "s1".into() }));

    let early = step(&marked, 10, vec![Change::RemoveService { id: id.clone() }]);
    assert!(matches!(early, Err(Refused::InUse { .. })));
    let gone = vec![Change::RemoveTask { id: first }, Change::RemoveService { id: id.clone() }];
    assert!(!step(&marked, 10, gone).unwrap().services.contains_key(&id));
}

#[test]
fn a_removed_node_is_blocked_and_its_tasks_are_orphaned() {
    let before = running();
    let node_id = NodeId::from_text("n1");
    let after = step(&before, 8, vec![Change::RemoveNode { id: node_id.clone() }]).unwrap();
    assert!(after.nodes.is_empty());
    let cluster = after.cluster.as_ref().unwrap();
    let week = 7 * 24 * 3600;
    let until =
        Timestamp(8).plus(cluster.spec.node_cert_expiry).plus(std::time::Duration::from_secs(week));
    assert_eq!(cluster.removed_nodes, BTreeMap::from([(node_id.clone(), until)]));
    let task = &after.tasks[&TaskId::from_text("t1")];
    assert_eq!(task.status.state, TaskState::Orphaned);
    assert_eq!(task.status.message, "Task belonged to a node that has been deleted");
    let late =
        Change::ReportTask { id: task.id.clone(), node_id, status: status(TaskState::Complete) };
    assert_eq!(step(&after, 9, vec![late]).unwrap().tasks, after.tasks);
}

#[test]
fn a_task_is_not_assigned_to_a_node_that_is_gone() {
    let before = tables([
        Change::CreateService(Box::new(service("s1", "web"))),
        Change::CreateTask(Box::new(task("t1", "s1"))),
        Change::AllocateTask { id: TaskId::from_text("t1"), attachments: vec![] },
    ]);
    assert_eq!(step(&before, 4, vec![assign("t1", "n1")]).unwrap().tasks, before.tasks);
}

#[test]
fn a_write_that_changes_nothing_leaves_the_object_alone() {
    let before = running();
    let again = Change::SetNodeStatus {
        id: NodeId::from_text("n1"),
        status: status_of_node(NodeState::Unknown),
    };
    let after = step(&before, 8, vec![again]).unwrap();
    assert_eq!(after.nodes, before.nodes);
}

fn attached(id: &str, node: &str, address: &str) -> AttachedContainer {
    let network_id = NetworkId::from_text("net");
    let address = address.parse().unwrap();
    AttachedContainer {
        id: TaskId::from_text(id),
        version: Version(99),
        created_at: Timestamp(99),
        updated_at: Timestamp(99),
        node_id: NodeId::from_text(node),
        name: id.to_owned(),
        container_id: String::new(),
        running: true,
        attachments: vec![Attachment { network_id, address, aliases: vec![] }],
    }
}

fn put(container: AttachedContainer, expected: Option<u64>) -> Change {
    Change::PutAttached { container: Box::new(container), expected: expected.map(Version) }
}

const IDS: [&str; 3] = ["a", "b", "c"];

fn id() -> impl Strategy<Value = &'static str> {
    prop::sample::select(IDS.to_vec())
}

fn task_state() -> impl Strategy<Value = TaskState> {
    prop::sample::select(TaskState::ALL.to_vec())
}

fn desired() -> impl Strategy<Value = DesiredState> {
    use DesiredState::{Complete, Ready, Remove, Running, Shutdown};
    prop::sample::select(vec![Ready, Running, Complete, Shutdown, Remove])
}

fn version() -> impl Strategy<Value = Version> {
    (0..40_u64).prop_map(Version)
}

fn change_of_objects() -> impl Strategy<Value = Change> {
    prop_oneof![
        id().prop_map(|id| Change::CreateNode(Box::new(node(id)))),
        (id(), version()).prop_map(|(id, expected)| Change::UpdateNode {
            node: Box::new(Node { role: Role::Manager, ..node(id) }),
            expected
        }),
        (id(), any::<bool>()).prop_map(|(id, is)| {
            let member = is.then(|| ManagerMember { raft_id: 2, addr: "m:2377".to_owned() });
            Change::SetManager { id: NodeId::from_text(id), member }
        }),
        id().prop_map(|id| Change::SetNodeRole { id: NodeId::from_text(id), role: Role::Manager }),
        id().prop_map(|id| Change::RemoveNode { id: NodeId::from_text(id) }),
        (id(), 4096..4099_u32, 0..4_u8).prop_map(|(id, vni, third)| {
            Change::CreateNetwork(Box::new(network(id, vni, &format!("10.0.{third}.0/24"))))
        }),
        id().prop_map(|id| Change::RemoveNetwork { id: NetworkId::from_text(id) }),
        (id(), id()).prop_map(|(id, name)| Change::CreateService(Box::new(service(id, name)))),
        (id(), id(), version(), 1..3_u64).prop_map(|(id, name, expected, replicas)| {
            let mut service = service(id, name);
            service.spec.mode = ServiceMode::Replicated { replicas };
            service.spec.task.networks = vec![on(name)];
            Change::UpdateService { service: Box::new(service), expected }
        }),
        id().prop_map(|id| Change::MarkServiceRemoved { id: ServiceId::from_text(id) }),
        id().prop_map(|id| Change::RemoveService { id: ServiceId::from_text(id) }),
        (id(), version()).prop_map(|(id, spec_version)| Change::SetServiceEndpoint {
            id: ServiceId::from_text(id),
            spec_version,
            endpoint: Box::default()
        }),
        (version(), any::<bool>()).prop_map(|(version, fresh)| Change::PutCluster {
            cluster: Box::new(cluster()),
            expected: (!fresh).then_some(version)
        }),
    ]
}

fn change_of_tasks() -> impl Strategy<Value = Change> {
    let task_id = || id().prop_map(TaskId::from_text);
    let node_id = || id().prop_map(NodeId::from_text);
    prop_oneof![
        (id(), id()).prop_map(|(id, service)| Change::CreateTask(Box::new(task(id, service)))),
        task_id().prop_map(|id| Change::AllocateTask { id, attachments: vec![] }),
        (task_id(), node_id()).prop_map(|(id, node_id)| Change::AssignTask {
            id,
            node_id,
            message: "assigned".into(),
            generic: Vec::new(),
        }),
        task_id().prop_map(|id| Change::RejectTask { id }),
        task_id().prop_map(|id| Change::ExplainTask { id, message: "why".into(), err: None }),
        (task_id(), desired()).prop_map(|(id, desired)| Change::SetDesiredState { id, desired }),
        (task_id(), node_id(), task_state()).prop_map(|(id, node_id, state)| {
            Change::ReportTask { id, node_id, status: status(state) }
        }),
        (task_id(), task_state())
            .prop_map(|(id, state)| Change::EndTask { id, status: status(state) }),
        task_id().prop_map(|id| Change::RemoveTask { id }),
        (id(), id(), 2..6_u8, prop::option::of(0..40_u64)).prop_map(
            |(id, node, last, expected)| {
                let mut container = attached(id, node, &format!("10.0.1.{last}/24"));
                container.attachments[0].network_id = NetworkId::from_text("a");
                put(container, expected)
            }
        ),
        task_id().prop_map(|id| Change::RemoveAttached { id }),
    ]
}

fn entries() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let change = prop_oneof![change_of_objects(), change_of_tasks(), change_of_tasks()];
    prop::collection::vec(prop::collection::vec(change, 1..3), 1..40)
}

/// Where the random entries start: tasks in several states, one of them bound to its node before
/// it is scheduled, as those of global services are.
fn populated() -> Tables {
    let id = TaskId::from_text;
    let bound = Task { node_id: Some(NodeId::from_text("b")), slot: 0, ..task("b", "b") };
    tables([
        Change::PutCluster { cluster: Box::new(cluster()), expected: None },
        Change::CreateNode(Box::new(node("a"))),
        Change::CreateNode(Box::new(node("b"))),
        Change::CreateNode(Box::new(node("c"))),
        Change::CreateService(Box::new(service("a", "a"))),
        Change::CreateService(Box::new(service("b", "b"))),
        Change::CreateTask(Box::new(task("a", "a"))),
        Change::CreateTask(Box::new(bound)),
        Change::CreateTask(Box::new(task("c", "b"))),
        Change::AllocateTask { id: id("a"), attachments: vec![] },
        Change::AllocateTask { id: id("b"), attachments: vec![] },
        Change::AllocateTask { id: id("c"), attachments: vec![] },
        assign("a", "a"),
        assign("c", "b"),
        Change::ReportTask {
            id: id("a"),
            node_id: NodeId::from_text("a"),
            status: status(TaskState::Running),
        },
    ])
}

fn check_guard(before: &Tables, change: &Change) {
    if let Change::UpdateService { service, expected } = change {
        assert_eq!(before.services[&service.id].spec_version, *expected);
    }
    if let Change::UpdateNode { node, expected } = change {
        assert_eq!(before.nodes[&node.id].spec_version, *expected);
    }
}

fn check_invariants(before: &Tables, after: &Tables) {
    for task in after.tasks.values() {
        assert!(after.services.contains_key(&task.service_id), "{} has no service", task.id);
        // A task that was forgotten and made anew within one entry is another one.
        let same = before.tasks.get(&task.id).filter(|old| old.created_at == task.created_at);
        let Some(old) = same else { continue };
        assert!(task.status.state >= old.status.state, "{} went back", task.id);
        assert!(old.node_id.is_none() || old.node_id == task.node_id, "{} moved", task.id);
        assert!(!old.desired_state.is_terminal() || task.desired_state >= old.desired_state);
        assert_eq!(old.version == task.version, old == task, "{}: version", task.id);
    }
    let kept = || after.services.values().filter(|service| !service.pending_delete);
    let names: BTreeSet<_> = kept().map(|service| &service.spec.name).collect();
    assert_eq!(names.len(), kept().count(), "names are unique");
    let vnis: BTreeSet<_> = after.networks.values().map(|network| network.vni).collect();
    assert_eq!(vnis.len(), after.networks.len(), "VNIs are unique");
    let attached: Vec<_> = after.attached.values().flat_map(|c| &c.attachments).collect();
    let held: BTreeSet<_> = attached.iter().map(|a| (&a.network_id, a.address.ip())).collect();
    assert_eq!(held.len(), attached.len(), "addresses of plain containers are unique");
    assert!(held.iter().all(|(id, _)| after.networks.contains_key(*id)), "on no network");
    assert!(after.attached.values().all(|c| after.nodes.contains_key(&c.node_id)), "on no node");
    for service in after.services.values() {
        let same =
            before.services.get(&service.id).filter(|old| old.created_at == service.created_at);
        let Some(old) = same else { continue };
        assert_eq!(old.spec_version == service.spec_version, old.spec == service.spec);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_entry_keeps_the_laws(entries in entries()) {
        let mut tables = populated();
        let mut elsewhere = tables.clone();
        for (index, changes) in (tables.version.0 + 1..).zip(entries) {
            let transaction = Transaction { now: Timestamp(i64::try_from(index).unwrap()), changes };
            let (after, outcome) = apply(&tables, index, &transaction);
            match outcome {
                Ok(()) => {
                    prop_assert_eq!(after.version, Version(index));
                    check_invariants(&tables, &after);
                    if let [only] = transaction.changes.as_slice() {
                        check_guard(&tables, only);
                    }
                }
                Err(_) => prop_assert_eq!(&after, &tables),
            }
            // Another manager gets the entry over the wire and starts from its snapshot.
            let transaction: Transaction =
                document::decode("entry", &document::encode(&transaction)).unwrap();
            let start: Tables = document::decode("tables", &document::encode(&elsewhere)).unwrap();
            let (other, other_outcome) = apply(&start, index, &transaction);
            prop_assert_eq!(&other, &after);
            prop_assert_eq!(other_outcome, outcome);
            (tables, elsewhere) = (after, other);
        }
    }
}
