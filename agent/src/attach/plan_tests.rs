//! Text in, text out: what the managers are told of the engine's containers.

use expect_test::{Expect, expect};
use swarmnet_model::view::NetworkItem;
use swarmnet_model::{Item, ItemKey, NetworkId, ServiceId, Subnet, Vni};

use super::*;

const SHORT: &str = "0123456789ab";

fn network_item(id: &str, third: u8) -> (ItemKey, Item) {
    let subnet = format!("10.0.{third}.0/24").parse().unwrap();
    let item = NetworkItem {
        id: NetworkId::from_text(id),
        name: id.to_owned(),
        vni: Vni::new(4096 + u32::from(third)).unwrap(),
        subnet: Subnet { subnet, range: None, gateway: [10, 0, third, 1].into() },
        internal: false,
        attachable: true,
        mtu: None,
        shown: Default::default(),
    };
    (ItemKey::Network(item.id.clone()), Item::Network(item))
}

fn attachment(third: u8, reported: bool) -> Attachment {
    Attachment {
        network_id: NetworkId::from_text(format!("net{third}")),
        address: format!("10.0.{third}.5/24").parse().unwrap(),
        aliases: reported.then(|| SHORT.to_owned()).into_iter().collect(),
    }
}

fn backend(id: &str, node: &str, reported: bool) -> Backend {
    Backend {
        task_id: TaskId::from_text(id),
        task_name: "c1".to_owned(),
        service_id: None,
        node_id: NodeId::from_text(node),
        state: BackendState::Active,
        attachments: vec![attachment(1, reported), attachment(2, reported)],
        gateway: None,
    }
}

fn view(backends: impl IntoIterator<Item = Backend>) -> NodeView {
    let of = |b: Backend| (ItemKey::Backend(b.task_id.clone()), Item::Backend(b));
    let networks = [network_item("net1", 1), network_item("net2", 2)];
    backends.into_iter().map(of).chain(networks).collect()
}

fn container(third: &[u8], running: bool) -> PlainContainer {
    let endpoint = |third: &u8| (format!("net{third}.net{third}"), [10, 0, *third, 5].into());
    PlainContainer {
        id: SHORT.repeat(5),
        name: "c1".to_owned(),
        running,
        endpoints: third.iter().map(endpoint).collect(),
        has_own_resolv_conf: true,
    }
}

fn check(backends: &[Backend], containers: &[PlainContainer], expected: Expect) {
    let view = view(backends.iter().cloned());
    let held = BTreeSet::from([TaskId::from_text("held")]);
    let actions = plan(&view, &NodeId::from_text("n1"), containers, &held);
    let line = |action: &Action| match action {
        Action::Tell(AttachCall::Detach { id, from: None }) => format!("detach {id}\n"),
        Action::Tell(AttachCall::Detach { id, from: Some((network, address)) }) => {
            format!("detach {id} from {network} {address}\n")
        }
        Action::Tell(AttachCall::Report { id, name, running, .. }) => {
            format!("report {id} {name} running={running}\n")
        }
        Action::Tell(AttachCall::Attach { .. }) => "attach\n".to_owned(),
        Action::Unseen(id) => format!("unseen {id}\n"),
    };
    expected.assert_eq(&actions.iter().map(line).collect::<String>());
}

#[test]
fn a_container_as_the_managers_know_it_needs_no_word() {
    check(&[backend("a", "n1", true)], &[container(&[1, 2], true)], expect![""]);
}

#[test]
fn a_container_is_reported_until_the_managers_know_it() {
    let expected = expect![["
        report a c1 running=true
    "]];
    check(&[backend("a", "n1", false)], &[container(&[1, 2], true)], expected);
    let expected = expect![["
        report a c1 running=false
    "]];
    check(&[backend("a", "n1", true)], &[container(&[1, 2], false)], expected);
}

#[test]
fn what_is_gone_is_given_back() {
    let expected = expect![["
        detach a
    "]];
    check(&[backend("a", "n1", true)], &[], expected);
    let expected = expect![["
        detach a from net2 10.0.2.5
    "]];
    check(&[backend("a", "n1", true)], &[container(&[1], true)], expected);
}

#[test]
fn an_attachment_nobody_saw_is_not_given_back_at_once() {
    let expected = expect![["
        unseen a
    "]];
    check(&[backend("a", "n1", false)], &[], expected);
}

#[test]
fn others_and_what_the_api_works_on_are_left_alone() {
    let mut service = backend("b", "n1", true);
    service.service_id = Some(ServiceId::from_text("web"));
    check(&[backend("a", "n2", true), backend("held", "n1", true), service], &[], expect![""]);
}

#[test]
fn the_engine_networks_of_plain_containers_are_needed() {
    let view = view([backend("a", "n1", true)]);
    let names: Vec<_> = engine_networks(&view, &NodeId::from_text("n1")).into_iter().collect();
    assert_eq!(names, ["net1.net1", "net2.net2"]);
    assert!(engine_networks(&view, &NodeId::from_text("n2")).is_empty());
}
