//! The laws of `apply`, over random entries.

use proptest::prelude::*;

use super::*;

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
            ports: Vec::new(),
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
            let now = Timestamp(i64::try_from(index).unwrap());
            let transaction = Transaction { now, changes: changes.into() };
            let (after, outcome) = apply(&tables, index, &transaction);
            match outcome {
                Ok(()) => {
                    prop_assert_eq!(after.version, Version(index));
                    check_invariants(&tables, &after);
                    if let [only] = &*transaction.changes {
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
