use std::sync::Arc;

use swarmnet_model::{Clock, NetworkId};

use super::*;
use crate::world::{START, World};

const GIVEN: &str = "node n1
    node n2
    network net 10.0.1.0/24
    network other 10.0.2.0/24
    network closed 10.0.3.0/24
    service web net=net
    task web.1 t1 n1 running address=10.0.1.2";

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        START
    }
}

fn store() -> Store {
    let mut tables = World::given(GIVEN).tables;
    for name in ["net", "other"] {
        let id = NetworkId::from_text(name);
        let mut network = Network::clone(&tables.networks[&id]);
        network.spec.attachable = true;
        tables.networks.insert(id, Arc::new(network));
    }
    Store::in_memory(tables, Arc::new(Still))
}

fn id(digit: char) -> TaskId {
    TaskId::from_text(digit.to_string().repeat(ID_LENGTH))
}

fn wanted(network: &str, address: Option<[u8; 4]>) -> WantedAttachment {
    let address = address.map(Into::into);
    WantedAttachment { network: network.to_owned(), address, aliases: vec!["db".to_owned()] }
}

fn call(digit: char, networks: Vec<WantedAttachment>) -> AttachCall {
    AttachCall::Attach { id: id(digit), name: "c1".to_owned(), networks }
}

/// What `node` gets, as text: addresses or the refusal.
async fn asked(store: &Store, node: &str, call: AttachCall) -> String {
    match attached(store, &NodeId::from_text(node), &call).await {
        Ok(given) => given.iter().map(|a| format!("{}={} ", a.network_id, a.address)).collect(),
        Err(error) => error.to_string(),
    }
}

fn held(store: &Store) -> String {
    let tables = store.snapshot();
    let line = |c: &Arc<AttachedContainer>| {
        let on = c.attachments.iter().map(|a| format!(" {}", a.address.ip())).collect::<String>();
        format!("{} on {}{on} running={}", c.name, c.node_id, c.running)
    };
    tables.attached.values().map(line).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn a_container_gets_free_addresses_and_asking_again_gives_the_same() {
    let store = store();
    let both = || call('a', vec![wanted("net", None), wanted("other", None)]);
    let given = asked(&store, "n1", both()).await;
    assert_eq!(given, "net=10.0.1.3/24 other=10.0.2.2/24 ");
    assert_eq!(asked(&store, "n1", both()).await, given);
    let more = call('b', vec![wanted("net", None)]);
    assert_eq!(asked(&store, "n2", more).await, "net=10.0.1.4/24 ");
    assert_eq!(
        held(&store),
        "c1 on n1 10.0.1.3 10.0.2.2 running=true; c1 on n2 10.0.1.4 running=true"
    );
}

#[tokio::test]
async fn a_wished_address_is_given_or_refused_with_the_reason() {
    let store = store();
    let wish = |digit, address| call(digit, vec![wanted("net", Some(address))]);
    assert_eq!(asked(&store, "n1", wish('a', [10, 0, 1, 77])).await, "net=10.0.1.77/24 ");
    let prefix = "Could not attach to network net: rpc error: code = FailedPrecondition desc = ";
    for (address, reason) in [
        ([10, 0, 1, 77], "Address already in use: 10.0.1.77"),
        ([10, 0, 1, 2], "Address already in use: 10.0.1.2"),
        ([10, 0, 1, 1], "Address already in use: 10.0.1.1"),
        ([10, 0, 1, 255], "Address already in use: 10.0.1.255"),
        (
            [10, 9, 9, 9],
            "Invalid address 10.9.9.9: It does not belong to any of this network's subnets",
        ),
    ] {
        let refused = asked(&store, "n1", wish('b', address)).await;
        assert_eq!(refused, format!("{prefix}{reason}"));
    }
}

#[tokio::test]
async fn closed_and_unknown_networks_are_refused_in_dockers_words_and_nothing_is_kept() {
    let store = store();
    let both = |second| call('a', vec![wanted("net", None), wanted(second, None)]);
    assert_eq!(
        asked(&store, "n1", both("closed")).await,
        "Could not attach to network closed: rpc error: code = PermissionDenied desc = network \
         closed not manually attachable"
    );
    assert_eq!(asked(&store, "n1", both("none")).await, "network none not found");
    assert_eq!(held(&store), "");
}

#[tokio::test]
async fn a_node_cannot_touch_what_belongs_to_another() {
    let store = store();
    asked(&store, "n1", call('a', vec![wanted("net", None)])).await;
    let before = held(&store);
    let report = AttachCall::Report {
        id: id('a'),
        name: "x".to_owned(),
        container_id: "c".repeat(64),
        running: false,
    };
    for stolen in [
        call('a', vec![wanted("other", None)]),
        AttachCall::Detach { id: id('a'), from: None },
        report,
    ] {
        let refused = asked(&store, "n2", stolen).await;
        assert!(refused.starts_with("rpc error: code = PermissionDenied"), "{refused}");
    }
    let task = AttachCall::Attach {
        id: TaskId::from_text("t1"),
        name: String::new(),
        networks: vec![wanted("net", None)],
    };
    assert!(asked(&store, "n1", task).await.contains("id: not 25 digits of base 36"));
    assert_eq!(held(&store), before);
}

#[tokio::test]
async fn a_container_leaves_one_network_or_all() {
    let store = store();
    asked(&store, "n1", call('a', vec![wanted("net", None), wanted("other", None)])).await;
    let off = |address: [u8; 4]| AttachCall::Detach {
        id: id('a'),
        from: Some((NetworkId::from_text("net"), address.into())),
    };
    asked(&store, "n1", off([10, 0, 1, 99])).await;
    assert_eq!(held(&store), "c1 on n1 10.0.1.3 10.0.2.2 running=true", "not its address");
    asked(&store, "n1", off([10, 0, 1, 3])).await;
    assert_eq!(held(&store), "c1 on n1 10.0.2.2 running=true");
    let all = || AttachCall::Detach { id: id('a'), from: None };
    assert_eq!(asked(&store, "n1", all()).await, "");
    assert_eq!(asked(&store, "n1", all()).await, "");
    assert_eq!(held(&store), "");
}

#[tokio::test]
async fn what_the_engine_says_of_a_container_is_kept() {
    let store = store();
    asked(&store, "n1", call('a', vec![wanted("net", None)])).await;
    let report = |name: &str, running| AttachCall::Report {
        id: id('a'),
        name: name.to_owned(),
        container_id: "c".repeat(64),
        running,
    };
    asked(&store, "n1", report("brave_euler", false)).await;
    assert_eq!(held(&store), "brave_euler on n1 10.0.1.3 running=false");
    let version = store.snapshot().version;
    asked(&store, "n1", report("brave_euler", false)).await;
    assert_eq!(store.snapshot().version, version, "nothing new is nothing written");
    assert!(asked(&store, "n1", report("two words", true)).await.contains("name: "));
}

#[tokio::test]
async fn an_address_given_meanwhile_is_not_given_twice() {
    let store = store();
    let tables = store.snapshot();
    let node = NodeId::from_text("n1");
    let decided = |digit| {
        let call = call(digit, vec![wanted("net", None)]);
        decide(&tables, &node, &call, START).unwrap().changes
    };
    let (first, second) = (decided('a'), decided('b'));
    store.propose(first).await.unwrap();
    assert!(matches!(store.propose(second).await, Err(ProposeError::Refused(_))));
    let raced = call('b', vec![wanted("net", None)]);
    assert_eq!(asked(&store, "n1", raced).await, "net=10.0.1.4/24 ");
}
