//! Plain containers on swarm networks.

use swarmnet_model::Vip;

use super::*;

#[test]
fn a_plain_container_keeps_its_network_and_goes_with_its_node() {
    let before = tables([
        Change::CreateNode(Box::new(node("n1"))),
        Change::CreateNetwork(Box::new(network("net", 4097, "10.0.1.0/24"))),
        put(attached("a", "n1", "10.0.1.5/24"), None),
    ]);
    let held = &before.attached[&TaskId::from_text("a")];
    assert_eq!((held.version, held.created_at), (Version(3), Timestamp(3)));
    let rm = step(&before, 4, vec![Change::RemoveNetwork { id: NetworkId::from_text("net") }]);
    assert_eq!(rm.unwrap_err().to_string(), "network net is in use by task a");
    let left = vec![Change::RemoveNode { id: NodeId::from_text("n1") }];
    assert!(step(&before, 4, left).unwrap().attached.is_empty());
    let nowhere = step(&before, 4, vec![put(attached("b", "n2", "10.0.1.6/24"), None)]);
    assert_eq!(nowhere, Err(Refused::Missing { kind: "node".into(), id: "n2".into() }));
}

#[test]
fn an_address_of_a_plain_container_is_nobody_elses() {
    let mut user = service("s1", "web");
    user.spec.task.networks = vec![on("net")];
    let before = tables([
        Change::CreateNode(Box::new(node("n1"))),
        Change::CreateNetwork(Box::new(network("net", 4097, "10.0.1.0/24"))),
        Change::CreateService(Box::new(user)),
        Change::CreateTask(Box::new(task("t1", "s1"))),
        put(attached("a", "n1", "10.0.1.5/24"), None),
    ]);
    let taken = || attached("b", "n1", "10.0.1.5/24");
    let second = step(&before, 6, vec![put(taken(), None)]);
    assert_eq!(second, Err(Refused::Conflict { kind: "address".into(), id: "10.0.1.5".into() }));
    let allocate = |address: &str| Change::AllocateTask {
        id: TaskId::from_text("t1"),
        attachments: attached("x", "n1", address).attachments,
    };
    let skipped = step(&before, 6, vec![allocate("10.0.1.5/24")]).unwrap();
    assert_eq!(skipped.tasks, before.tasks);
    let vip =
        Vip { network_id: NetworkId::from_text("net"), address: "10.0.1.5/24".parse().unwrap() };
    let answer = Change::SetServiceEndpoint {
        id: ServiceId::from_text("s1"),
        spec_version: Version(3),
        endpoint: Box::new(ServiceEndpoint { vips: vec![vip], ..ServiceEndpoint::default() }),
    };
    assert_eq!(step(&before, 6, vec![answer]).unwrap().services, before.services);
    let placed = step(&before, 6, vec![allocate("10.0.1.6/24")]).unwrap();
    let late = step(&placed, 7, vec![put(attached("b", "n1", "10.0.1.6/24"), None)]);
    assert!(matches!(late, Err(Refused::Conflict { .. })));
}

#[test]
fn a_plain_container_is_written_over_what_was_read() {
    let before = tables([
        Change::CreateNode(Box::new(node("n1"))),
        Change::CreateNetwork(Box::new(network("net", 4097, "10.0.1.0/24"))),
        put(attached("a", "n1", "10.0.1.5/24"), None),
    ]);
    let stopped = || AttachedContainer { running: false, ..attached("a", "n1", "10.0.1.5/24") };
    assert!(matches!(step(&before, 4, vec![put(stopped(), None)]), Err(Refused::Exists { .. })));
    let stale = step(&before, 4, vec![put(stopped(), Some(2))]);
    assert!(matches!(stale, Err(Refused::Conflict { .. })));
    let after = step(&before, 4, vec![put(stopped(), Some(3))]).unwrap();
    let held = &after.attached[&TaskId::from_text("a")];
    assert_eq!((held.running, held.version, held.created_at), (false, Version(4), Timestamp(3)));
    let same = step(&after, 5, vec![put(stopped(), Some(4))]).unwrap();
    assert_eq!(same.attached, after.attached);
}
