//! The data plane against a real Docker Engine: containers wired by the plugin protocol, reached
//! through overlay, VIP and published port, on a host of their own.

#![expect(clippy::unwrap_used, reason = "a test ends with a panic")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use support::{Host, beside, on_a_new_host, run, text, try_run, wait_for_state};
use swarmnet_agent::dataplane::{Attach, DataPlane, DataPlaneConfig};
use swarmnet_agent::task::TaskNetwork;
use swarmnet_model::clock::Timestamp;
use swarmnet_model::endpoint::{EndpointSpec, PortSpec};
use swarmnet_model::view::{
    AssignedTask, Backend, BackendState, NetworkItem, Peer, ServiceItem, Settings,
};
use swarmnet_model::{
    Attachment, ClusterId, DesiredState, EndpointMode, Item, ItemKey, NetworkId, NodeId, NodeView,
    Protocol, PublishMode, ServiceId, Subnet, Task, TaskId, TaskState, TaskStatus, Version, Vip,
    Vni,
};
use tokio::net::UnixListener;

const NODE: &str = "node1";
const NETWORK: &str = "network1";
const SERVICE: &str = "service1";

fn port() -> PortSpec {
    PortSpec {
        name: String::new(),
        protocol: Protocol::Tcp,
        target_port: 80,
        published_port: 30_000,
        mode: PublishMode::Ingress,
    }
}

fn attachment(last: u8) -> Attachment {
    let address = format!("10.0.1.{last}/24").parse().unwrap();
    Attachment { network_id: NetworkId::from_text(NETWORK), address, aliases: Vec::new() }
}

fn task(name: &str, last: u8) -> Task {
    let now = Timestamp::default();
    Task {
        id: TaskId::from_text(name),
        version: Version::default(),
        created_at: now,
        updated_at: now,
        service_id: ServiceId::from_text(SERVICE),
        service_name: "web".to_owned(),
        service_labels: BTreeMap::new(),
        slot: u64::from(last),
        job_iteration: None,
        node_id: Some(NodeId::from_text(NODE)),
        spec: swarmnet_model::TaskSpec::default(),
        endpoint_spec: EndpointSpec { mode: EndpointMode::Vip, ports: vec![port()] },
        document: swarmnet_model::Document::default(),
        desired_state: DesiredState::Running,
        status: TaskStatus::new(now, TaskState::Assigned, ""),
        attachments: vec![attachment(last)],
        assigned_generic: Vec::new(),
        chosen_ports: Vec::new(),
    }
}

fn base_view() -> NodeView {
    let peer = |id: &str, last| Peer {
        node_id: NodeId::from_text(id),
        hostname: id.to_owned(),
        addr: Ipv4Addr::new(10, 20, 20, last),
    };
    let network = NetworkItem {
        id: NetworkId::from_text(NETWORK),
        name: "front".to_owned(),
        vni: Vni::new(4097).unwrap(),
        subnet: Subnet {
            subnet: "10.0.1.0/24".parse().unwrap(),
            range: None,
            gateway: Ipv4Addr::new(10, 0, 1, 1),
        },
        internal: false,
        attachable: false,
        mtu: None,
        shown: Default::default(),
    };
    let service = ServiceItem {
        id: ServiceId::from_text(SERVICE),
        name: "web".to_owned(),
        mode: EndpointMode::Vip,
        vips: vec![Vip {
            network_id: NetworkId::from_text(NETWORK),
            address: "10.0.1.2/24".parse().unwrap(),
        }],
        networks: Vec::new(),
        ports: vec![port()],
    };
    let settings = Settings {
        cluster_id: ClusterId::from_text("cluster1"),
        data_path_port: 4789,
        ingress: None,
    };
    [
        (ItemKey::Settings, Item::Settings(settings)),
        (ItemKey::Peer(NodeId::from_text(NODE)), Item::Peer(peer(NODE, 100))),
        (ItemKey::Peer(NodeId::from_text("node2")), Item::Peer(peer("node2", 110))),
        (ItemKey::Network(network.id.clone()), Item::Network(network)),
        (ItemKey::Service(service.id.clone()), Item::Service(service)),
    ]
    .into_iter()
    .collect()
}

fn add_task(view: &mut NodeView, task: &Task, state: BackendState) {
    let backend = Backend {
        task_id: task.id.clone(),
        task_name: task.name(),
        service_id: Some(task.service_id.clone()),
        node_id: NodeId::from_text(NODE),
        state,
        attachments: task.attachments.clone(),
        gateway: None,
    };
    view.insert(ItemKey::Backend(task.id.clone()), Item::Backend(backend));
    let assigned =
        AssignedTask { task: task.clone().into(), withdrawn: false, registry_auth: None };
    view.insert(ItemKey::Task(task.id.clone()), Item::Task(Box::new(assigned)));
}

async fn start(host: &Host, attach: Attach) -> DataPlane {
    let path = "/run/docker/plugins/swarmnet.sock";
    std::fs::create_dir_all("/run/docker/plugins").unwrap();
    let _first_start = std::fs::remove_file(path);
    DataPlane::start(DataPlaneConfig {
        bpffs: host.bpffs(),
        cgroup2: None,
        attach,
        state_dir: host.state(),
        plugin_listener: UnixListener::bind(path).unwrap(),
        gateway_pool: DataPlaneConfig::GATEWAY_POOL.parse().unwrap(),
    })
    .await
    .unwrap()
}

async fn tell(plane: &DataPlane, generation: u64, view: &NodeView) {
    plane.set_view(NodeId::from_text(NODE), generation, Arc::new(view.clone()), true);
    let applied = plane.applied();
    wait_for_state("applied generation", || *applied.borrow() == generation).await;
}

/// What the task runner does with the networks of a task, by the docker CLI.
fn create_container(host: &Host, name: &str, networks: &[TaskNetwork], script: &str) {
    for network in networks {
        if host.try_docker(&["network", "inspect", &network.engine_name]).is_err() {
            let option = |(key, value): (&String, &String)| format!("{key}={value}");
            let ipam: Vec<_> = network.create.ipam_options.iter().map(option).collect();
            let options: Vec<_> = network.create.options.iter().map(option).collect();
            let subnet = network.create.subnet.to_string();
            let mut arguments = vec!["network", "create", "-d", &network.create.driver];
            arguments.extend(["--ipam-driver", &network.create.ipam_driver, "--subnet", &subnet]);
            ipam.iter().for_each(|option| arguments.extend(["--ipam-opt", option]));
            options.iter().for_each(|option| arguments.extend(["-o", option]));
            arguments.push(&network.engine_name);
            host.docker(&arguments);
        }
    }
    let first = &networks[0];
    let options: Vec<_> =
        first.driver_options.iter().map(|(k, v)| format!(",driver-opt={k}={v}")).collect();
    let attach = format!("name={},ip={}{}", first.engine_name, first.address, options.concat());
    let command = ["busybox", "/bin/busybox", "sh", "-c", script];
    let mut arguments = vec!["create", "--name", name, "--network", &attach, "--init=false"];
    arguments.extend(command);
    host.docker(&arguments);
    for network in &networks[1..] {
        let address = network.address.to_string();
        let options: Vec<_> =
            network.driver_options.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let mut arguments = vec!["network", "connect", "--ip", &address];
        options.iter().for_each(|option| arguments.extend(["--driver-opt", option]));
        arguments.extend([network.engine_name.as_str(), name]);
        host.docker(&arguments);
    }
}

/// Serves its own name on port 80; tells first what it sees at its first instruction.
fn web_script(name: &str) -> String {
    format!(
        "/bin/busybox ip addr; /bin/busybox ip route; /bin/busybox mkdir /www; \
         /bin/busybox echo {name} > /www/index.html; exec /bin/busybox httpd -f -p 80 -h /www"
    )
}

/// `place` brings curl into a network namespace: `ip netns exec client`, `nsenter …`, or nothing.
fn get(place: &[&str], url: &str) -> Result<String, String> {
    let mut command = place.to_vec();
    command.extend(["curl", "-sS", "-m", "3", url]);
    try_run(command[0], &command[1..]).map(|text| text.trim().to_owned())
}

fn get_from_client(url: &str) -> Result<String, String> {
    get(&["ip", "netns", "exec", "client"], url)
}

fn devices() -> Vec<String> {
    let links = run("ip", &["-o", "link"]);
    let names = links.lines().filter_map(|line| line.split(": ").nth(1));
    let ours = names.map(|name| name.split('@').next().unwrap_or(name).to_owned());
    ours.filter(|name| name.starts_with("sw")).collect()
}

async fn wired_containers_answer(mut host: Host, attach: Attach) {
    host.add_client();
    let plane = start(&host, attach).await;
    let host = beside(move || {
        host.start_engine();
        Arc::new(host)
    })
    .await;
    let mut view = base_view();
    let tasks = [task("task1", 5), task("task2", 6)];
    for task in &tasks {
        add_task(&mut view, task, BackendState::Placed);
    }
    tell(&plane, 1, &view).await;
    for task in &tasks {
        let wanted = plane.prepare(task, &view).await.unwrap();
        assert_eq!(
            wanted,
            plane.prepare(task, &view).await.unwrap(),
            "asking again changes nothing"
        );
        let (host, name) = (Arc::clone(&host), task.id.to_string());
        beside(move || {
            create_container(&host, &name, &wanted.networks, &web_script(&name));
            host.docker(&["start", &name]);
        })
        .await;
    }
    for task in &tasks {
        add_task(&mut view, task, BackendState::Active);
    }
    tell(&plane, 2, &view).await;
    let inside = Arc::clone(&host);
    beside(move || check_inside(&inside)).await;
    beside(check_outside).await;
    assert_eq!(plane.pending().await.unwrap(), Vec::<String>::new(), "a right state is left alone");
    damage_is_repaired(&plane).await;
    let before = devices();
    plane.shutdown().await;
    beside(check_outside).await;
    let plane = start(&host, attach).await;
    tell(&plane, 3, &view).await;
    assert_eq!(devices(), before, "a restart touches no device");
    beside(check_outside).await;
    drain_and_leave(&host, &plane, view, &tasks).await;
}

/// Others change our things: the next look finds it, and the pass after it has nothing to do.
async fn damage_is_repaired(plane: &DataPlane) {
    let name = devices().into_iter().find(|name| name.starts_with("swg")).unwrap();
    let routes = || run("ip", &["route", "show", "table", "all"]);
    let before = routes();
    run("ip", &["route", "del", "172.31.240.1/32"]);
    run("ip", &["link", "set", &name, "down"]);
    run("ip", &["route", "del", "169.254.192.0/19"]);
    run("ip", &["route", "del", "local", "169.254.77.53", "table", "local"]);
    run("ip", &["link", "add", "swo0dead000", "type", "veth", "peer", "name", "swp0dead000"]);
    let end = std::time::Instant::now() + support::DEADLINE;
    // A look may be under way that has seen half of it; asking makes another one follow.
    while !plane.pending().await.unwrap().is_empty() || routes() != before {
        assert!(std::time::Instant::now() < end, "{:?}\n{}", plane.pending().await, routes());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!devices().contains(&"swo0dead000".to_owned()), "strays are removed");
}

fn check_inside(host: &Host) {
    let seen = host.docker(&["logs", "task1"]);
    for part in [
        "10.0.1.5/24",
        "172.31.240.1/32",
        "default via 169.254.1.1 dev gw0",
        "eth0",
        "169.254.77.53 dev eth0",
    ] {
        assert!(seen.contains(part), "{part} is missing at the first instruction:\n{seen}");
    }
    let exec = |command: &str| {
        let mut arguments = vec!["exec", "task1", "/bin/busybox"];
        arguments.extend(command.split(' '));
        host.docker(&arguments)
    };
    exec("ping -c 1 -W 3 10.0.1.6");
    exec("ping -c 1 -W 3 10.0.1.2");
    exec("ping -c 1 -W 3 10.20.20.50");
    ask_resolver(exec);
    let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", "task1"]);
    for _ in 0..4 {
        let answer = get(&["nsenter", "-n", "-t", pid.trim()], "http://10.0.1.2/").unwrap();
        assert!(answer.starts_with("task"), "{answer}");
    }
}

/// A socket of the host stands for the resolver: it must see who asks, and its answer must arrive.
fn ask_resolver(exec: impl Fn(&str) -> String) {
    let listener = TcpListener::bind("169.254.77.53:53").unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        stream.write_all(format!("you are {}", peer.ip()).as_bytes()).unwrap();
    });
    let answer = exec("nc -w 3 169.254.77.53 53");
    server.join().unwrap();
    assert!(answer.starts_with("you are 169.254.192."), "{answer}");
}

fn check_outside() {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..30 {
        seen.insert(get_from_client("http://10.20.20.100:30000/").unwrap());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["task1", "task2"]);
    for address in ["127.0.0.1", "10.20.20.100"] {
        let answer = get(&[], &format!("http://{address}:30000/")).unwrap();
        assert!(answer.starts_with("task"), "{address}: {answer}");
    }
}

async fn drain_and_leave(host: &Arc<Host>, plane: &DataPlane, mut view: NodeView, tasks: &[Task]) {
    add_task(&mut view, &tasks[0], BackendState::Draining);
    tell(plane, 4, &view).await;
    let answers =
        beside(|| (0..10).map(|_| get_from_client("http://10.20.20.100:30000/")).collect()).await;
    let answers: Vec<Result<String, String>> = answers;
    assert!(answers.iter().all(|a| a.as_deref() == Ok("task2")), "{answers:?}");
    let gone = Arc::clone(host);
    beside(move || gone.docker(&["rm", "-f", "task1", "task2"])).await;
    let left: Vec<_> = devices().into_iter().filter(|name| !name.starts_with("swn")).collect();
    assert!(left.is_empty(), "{left:?}");
    let journal = text(&host.state().join("agent/plugin.json"));
    assert!(!journal.contains("sandbox"), "endpoints are forgotten:\n{journal}");
    let gone = Arc::clone(host);
    beside(move || gone.docker(&["network", "rm", "front.network1", "swarmnet_gateway"])).await;
    plane.remove_all().await.unwrap();
    assert!(devices().is_empty(), "{:?}", devices());
    let routes = run("ip", &["route", "show", "table", "all"]);
    assert!(!routes.contains("169.254."), "{routes}");
    assert!(try_run("nft", &["list", "table", "ip", "swarmnet"]).is_err());
    assert!(!host.bpffs().join("swarmnet").read_dir().is_ok_and(|mut d| d.next().is_some()));
    plane.shutdown().await;
}

#[test]
#[ignore = "needs root; run by make test"]
fn containers_wired_by_the_engine_answer_through_overlay_vip_and_mesh() {
    on_a_new_host(|host| wired_containers_answer(host, Attach::Auto));
}

#[test]
#[ignore = "needs root; run by make test"]
fn the_same_holds_with_clsact_where_tcx_is_not_used() {
    on_a_new_host(|host| wired_containers_answer(host, Attach::Clsact));
}
