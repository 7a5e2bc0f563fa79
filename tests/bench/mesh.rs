//! Requests per second through the mesh, against the same requests straight to the task.
//!
//! The one task runs on node02. Three paths from the client: through node01 (the frames cross the
//! tunnel), through node02 (the backend is local), and the peer: a plain route to the task's
//! gateway address by way of node02, so that its kernel forwards and the mesh is not involved.
//!
//! Each path has a client address of its own. The mesh keeps the client's address and port, so with
//! one address the same port on two paths would be the same connection for the task, and a port that
//! one path has just closed would be refused on another one for the time of TIME_WAIT.

use swarmnet_tests::harness::lab::{Lab, assert_contains, wait_for};

use crate::figures::Samples;
use crate::machine::{busy_us, cpus};
use crate::report::{Row, Unit};

/// The first round warms up and is not counted.
const ROUNDS: usize = 8;
const SECONDS: u32 = 2;
const CONNECTIONS: u32 = 8;
const CREATE: &str = "--name who --constraint node.hostname==node02 --publish 8080:80 whoami";

/// A way from the client to the task.
struct Path {
    name: &'static str,
    /// What is asked, and from which address.
    target: String,
    source: &'static str,
    /// Requests per second and CPU time per request, on kept and on new connections.
    kept: Series,
    new: Series,
}

#[derive(Default)]
struct Series {
    per_second: Samples,
    cpu_us: Samples,
}

pub(crate) fn measure(lab: &Lab) -> Vec<Row> {
    lab.create(CREATE);
    wait_for("an answer", || lab.curl("client", "http://node01:8080/").contains("Hostname"));
    let gateway = gateway_address(lab);
    let _accept = Accept::insert(lab, &gateway);
    let mut paths = [
        path("remote", "node01:8080".to_owned(), "10.20.20.51"),
        path("local", "node02:8080".to_owned(), "10.20.20.52"),
        path("direct", format!("{gateway}:80"), "10.20.20.53"),
    ];
    prepare_client(lab, &paths, &gateway);
    pin_task(lab);
    for round in 0..ROUNDS {
        for step in 0..paths.len() {
            // Another path begins in every round: none is always the one after the pause.
            let path = &mut paths[(round + step) % 3];
            let kept = load(lab, &path.target, false);
            let new = load(lab, &path.target, true);
            if round > 0 {
                path.kept.push(kept);
                path.new.push(new);
            }
        }
    }
    lab.sh("client", "ip route flush proto 99");
    rows(&paths, &gateway)
}

fn path(name: &'static str, target: String, source: &'static str) -> Path {
    Path { name, target, source, kept: Series::default(), new: Series::default() }
}

impl Series {
    fn push(&mut self, (per_second, cpu_us): (f64, f64)) {
        self.per_second.push(per_second);
        self.cpu_us.push(cpu_us);
    }
}

fn rows(paths: &[Path; 3], gateway: &str) -> Vec<Row> {
    let [remote, local, direct] = paths;
    let row = |ours: &Path, new: bool| {
        let pick = |path: &Path| {
            let series = if new { &path.new } else { &path.kept };
            (series.per_second.clone(), series.cpu_us.median())
        };
        let ((ours_rate, ours_cpu), (peer_rate, peer_cpu)) = (pick(ours), pick(direct));
        let close = if new { " -H 'Connection: close'" } else { "" };
        let command = format!("wrk -t1 -c{CONNECTIONS} -d{SECONDS}s{close} http://");
        let conditions = vec![
            format!("ours: {command}{}/, {ours_cpu:.0} us of CPU per request", ours.target),
            format!("peer: {command}{}/, {peer_cpu:.0} us of CPU per request", direct.target),
        ];
        let connections = if new { "new" } else { "kept" };
        let name = format!("mesh, {} task, {connections} connections", ours.name);
        Row { name, unit: Unit::PerSecond, ours: ours_rate, peer: peer_rate, conditions }
    };
    let mut rows = vec![row(remote, false), row(remote, true), row(local, false), row(local, true)];
    rows[0].conditions.extend([
        format!("task: docker service create {CREATE}"),
        format!("peer path: ip route add {gateway} via 10.20.20.120 on the client, and on node02"),
        format!(
            "      iptables -I FORWARD -o swg+ -d {gateway} -j ACCEPT; the mesh has no part in it"
        ),
        "wrk and the task each have a CPU of their own; no request failed".to_owned(),
    ]);
    rows
}

/// Returns the address at which the task's node reaches it: the one the mesh delivers to.
fn gateway_address(lab: &Lab) -> String {
    let page = lab.curl("client", "http://node01:8080/");
    let local = page.lines().find_map(|line| line.strip_prefix("Local: ")).unwrap();
    local.split(':').next().unwrap().to_owned()
}

/// Gives every path its source address, and the direct one its route; looks whether each works.
fn prepare_client(lab: &Lab, paths: &[Path; 3], gateway: &str) {
    let [remote, local, direct] = paths;
    for path in paths {
        lab.ok("client", &["ip", "addr", "replace", &format!("{}/24", path.source), "dev", "eth0"]);
    }
    for (to, path) in [("10.20.20.110", remote), ("10.20.20.120", local)] {
        let route = format!("ip route replace {to} dev eth0 src {} proto 99", path.source);
        lab.ok("client", &route.split(' ').collect::<Vec<_>>());
    }
    let route =
        format!("ip route replace {gateway} via 10.20.20.120 src {} proto 99", direct.source);
    lab.ok("client", &route.split(' ').collect::<Vec<_>>());
    // Ports of closed connections rest for a minute: there must be enough of them.
    lab.ok("client", &["sysctl", "-q", "-w", "net.ipv4.ip_local_port_range=1024 65535"]);
    for path in paths {
        let page = lab.curl("client", &format!("http://{}/", path.target));
        assert_contains(&page, &format!("Remote: {}:", path.source));
    }
}

/// Puts the task on the last CPU; `wrk` runs on the first one.
fn pin_task(lab: &Lab) {
    let name = lab.task_containers("node02").pop().expect("the task runs on node02");
    let inspect = ["engine", "node02", "--", "inspect", "--format", "{{.State.Pid}}", &name];
    let pid = lab.lab_ok(&inspect);
    let cpu = (cpus() - 1).to_string();
    lab.ok("node02", &["taskset", "--all-tasks", "--cpu-list", "--pid", &cpu, pid.trim()]);
}

/// Asks one path for a while; returns requests per second, and CPU time per request of the whole
/// machine in microseconds.
fn load(lab: &Lab, target: &str, new: bool) -> (f64, f64) {
    let close = if new { "-H 'Connection: close'" } else { "" };
    let line = format!(
        "taskset --cpu-list 0 wrk -t1 -c{CONNECTIONS} -d{SECONDS}s {close} http://{target}/"
    );
    let before = busy_us();
    let ran = lab.sh("client", &line);
    let busy = busy_us() - before;
    assert!(ran.ok(), "{line}: {}", ran.text());
    for fault in ["Socket errors", "Non-2xx"] {
        assert!(
            !ran.stdout.contains(fault),
            "{target}: a round with failed requests is void: {}",
            ran.stdout
        );
    }
    let number = |found: Option<&str>| found.unwrap().trim().parse::<f64>().unwrap();
    let requests = number(
        ran.stdout.lines().find_map(|line| line.split_once(" requests in")).map(|found| found.0),
    );
    let rate = number(ran.stdout.lines().find_map(|line| line.strip_prefix("Requests/sec:")));
    let busy = f64::from(u32::try_from(busy).expect("a round lasts seconds, not hours"));
    (rate, busy / requests)
}

/// The peer's path through node02's firewall, which Docker closes; taken out again when dropped.
struct Accept<'a> {
    lab: &'a Lab,
    gateway: String,
}

impl<'a> Accept<'a> {
    fn insert(lab: &'a Lab, gateway: &str) -> Self {
        let accept = Self { lab, gateway: gateway.to_owned() };
        let ran = accept.iptables("-I");
        assert!(ran, "no rule for the direct path on node02");
        accept
    }

    fn iptables(&self, verb: &str) -> bool {
        let rule = format!("iptables {verb} FORWARD -o swg+ -d {} -j ACCEPT", self.gateway);
        self.lab.sh("node02", &rule).ok()
    }
}

impl Drop for Accept<'_> {
    fn drop(&mut self) {
        // The lab goes down anyway if this fails.
        let _removed = self.iptables("-D");
    }
}
