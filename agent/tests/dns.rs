//! The resolver at its own addresses, with upstreams of the host and of a task's sandbox.

#![expect(clippy::unwrap_used, reason = "a test ends with a panic")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use support::{on_a_new_host, run};
use swarmnet_agent::dns::{ASKERS, RESOLVER, Resolver, Settings, Sockets, Table};
use swarmnet_agent::netlink::netns;
use swarmnet_agent::plugin::journal::{Endpoint, Journal, NetworkKind};
use swarmnet_model::clock::Timestamp;
use swarmnet_model::view::AssignedTask;
use swarmnet_model::{
    DesiredState, EndpointSpec, Item, ItemKey, NodeId, NodeView, ServiceId, Task, TaskId, TaskSpec,
    TaskState, TaskStatus, Version,
};

const SANDBOX: &str = "/run/netns/sandbox";

fn task(name: &str, nameservers: &[&str]) -> Task {
    let now = Timestamp::default();
    let mut spec = TaskSpec::default();
    spec.container.dns.nameservers = nameservers.iter().map(|text| (*text).to_owned()).collect();
    Task {
        id: TaskId::from_text(name),
        version: Version::default(),
        created_at: now,
        updated_at: now,
        service_id: ServiceId::from_text("s"),
        service_name: "s".to_owned(),
        service_labels: BTreeMap::new(),
        slot: 1,
        job_iteration: None,
        node_id: Some(NodeId::from_text("n")),
        spec,
        endpoint_spec: EndpointSpec::default(),
        document: swarmnet_model::Document::default(),
        desired_state: DesiredState::Running,
        status: TaskStatus::new(now, TaskState::Running, ""),
        attachments: Vec::new(),
        assigned_generic: Vec::new(),
        chosen_ports: Vec::new(),
    }
}

fn endpoint(task: &str, lidx: u32) -> Endpoint {
    Endpoint {
        network: NetworkKind::Gateway,
        task: TaskId::from_text(task),
        address: "172.31.240.2/32".parse().unwrap(),
        vni: 0,
        internal: false,
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1_450,
        lidx,
        sandbox: Some(PathBuf::from(SANDBOX)),
        resolver_prefix: None,
        upstreams: Vec::new(),
    }
}

/// Answers every query with one address, until the test's process ends.
fn serve(socket: UdpSocket, addr: Ipv4Addr) {
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let mut reply = query[..length].to_vec();
            (reply[2], reply[7]) = (0x81, 1);
            reply.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04");
            reply.extend(addr.octets());
            let _gone = socket.send_to(&reply, from);
        }
    });
}

/// Asks by the attachment of this index; returns the code and the last four bytes, the address.
fn ask(lidx: u32, label: &str) -> (u8, [u8; 4]) {
    let source = Ipv4Addr::from(u32::from(ASKERS.0) + lidx);
    let socket = UdpSocket::bind((source, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    query.push(u8::try_from(label.len()).unwrap());
    query.extend(label.as_bytes());
    query.extend(b"\x07example\x00\x00\x01\x00\x01");
    socket.send_to(&query, (RESOLVER, 53)).unwrap();
    let mut reply = [0; 512];
    let length = socket.recv(&mut reply).unwrap();
    (reply[3] & 0x0f, *reply[..length].last_chunk().unwrap())
}

#[test]
#[ignore = "needs root; run by make test"]
fn upstreams_that_a_task_names_are_asked_from_its_sandbox_and_those_of_the_host_from_the_host() {
    on_a_new_host(|host| async move {
        for addr in [format!("{RESOLVER}/32"), "169.254.192.1/32".into(), "169.254.192.2/32".into()]
        {
            run("ip", &["addr", "add", &addr, "dev", "lo"]);
        }
        run("ip", &["netns", "add", "sandbox"]);
        run("ip", &["-n", "sandbox", "link", "set", "lo", "up"]);
        // The same address twice: only the namespace tells them apart.
        let inside = netns::inside(Path::new(SANDBOX), || UdpSocket::bind("127.0.0.1:53"));
        serve(inside.unwrap(), Ipv4Addr::new(203, 0, 113, 1));
        serve(UdpSocket::bind("127.0.0.1:53").unwrap(), Ipv4Addr::new(203, 0, 113, 2));
        let resolv_conf = host.directory.path().join("resolv.conf");
        std::fs::write(&resolv_conf, "nameserver 127.0.0.1\n").unwrap();

        let tasks = [task("own", &["127.0.0.1"]), task("plain", &[])];
        let items = tasks.map(|task| {
            let key = ItemKey::Task(task.id.clone());
            (
                key,
                Item::Task(Box::new(AssignedTask {
                    task: task.into(),
                    withdrawn: false,
                    registry_auth: None,
                })),
            )
        });
        let view: NodeView = items.into_iter().collect();
        let mut journal = Journal::default();
        journal.endpoints.insert("a".to_owned(), endpoint("own", 1));
        journal.endpoints.insert("b".to_owned(), endpoint("plain", 2));
        let table = Arc::new(Table::default());
        table.view_changed(&Arc::new(view), || journal.into());

        let udp = UdpSocket::bind((RESOLVER, 53)).unwrap();
        let tcp = TcpListener::bind((RESOLVER, 53)).unwrap();
        let sockets = Sockets { udp, tcp };
        let resolver = Resolver::start(sockets, table, Settings::new(resolv_conf)).unwrap();
        let asking = |lidx, label: &'static str| async move {
            tokio::task::spawn_blocking(move || ask(lidx, label)).await.unwrap()
        };
        assert_eq!(asking(1, "one").await, (0, [203, 0, 113, 1]));
        assert_eq!(asking(2, "one").await, (0, [203, 0, 113, 2]));
        // A sandbox that is gone cannot be asked from; nobody else is asked instead.
        run("ip", &["netns", "del", "sandbox"]);
        assert_eq!(asking(1, "two").await.0, 2);
        assert_eq!(asking(2, "two").await, (0, [203, 0, 113, 2]));
        resolver.stop().await;
    });
}
