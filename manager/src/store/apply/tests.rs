//! `apply` by case; over random entries in `laws`.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::Ipv4Network;
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
mod laws;
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
        chosen_ports: vec![],
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
    let (after, outcome) = apply(tables, index, &Transaction { now, changes: changes.into() });
    outcome.map(|()| after)
}

fn assign(task: &str, node: &str) -> Change {
    Change::AssignTask {
        id: TaskId::from_text(task),
        node_id: NodeId::from_text(node),
        message: "assigned".into(),
        generic: Vec::new(),
        ports: Vec::new(),
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
    let transaction = Transaction { now: Timestamp(9), changes: entry.into() };
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
