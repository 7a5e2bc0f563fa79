//! Overlay networks as users make, see and remove them.

use crate::lab::{HOSTS, Lab, Ran, SLEEPER, assert_contains, wait_for};

fn docker(lab: &Lab, host: &str, line: &str) -> Ran {
    let words: Vec<&str> = std::iter::once("docker").chain(line.split(' ')).collect();
    lab.on(host, &words)
}

/// What a docker command of the manager prints in a format of its own, which may hold spaces.
fn shown(lab: &Lab, line: &str, format: &str) -> String {
    shown_on(lab, "master", line, format)
}

fn shown_on(lab: &Lab, host: &str, line: &str, format: &str) -> String {
    let words = std::iter::once("docker").chain(line.split(' ')).chain(["--format", format]);
    lab.on(host, &words.collect::<Vec<_>>()).text().trim().to_owned()
}

/// Id of a network as a host shows it; empty if it does not.
fn id_on(lab: &Lab, host: &str, name: &str) -> String {
    let list = docker(lab, host, &format!("network ls --no-trunc -q --filter name=^{name}$"));
    list.stdout.trim().to_owned()
}

fn inspect(lab: &Lab, host: &str, name: &str, format: &str) -> String {
    shown_on(lab, host, &format!("network inspect {name}"), format)
}

/// Answers `y` to the question of the command line.
fn remove_ingress(lab: &Lab, name: &str) -> Ran {
    lab.sh("master", &format!("echo y | docker network rm {name}"))
}

pub(crate) fn are_listed_where_their_tasks_are(lab: &Lab) {
    lab.form();
    let made = lab.docker("network create -d overlay --label tier=back back");
    let id = made.trim();
    assert_eq!(id.len(), 25, "{id}");
    assert_eq!(id_on(lab, "master", "back"), id);
    assert_contains(&lab.refused("node01", "network inspect back"), "network back not found");
    let at = |host: &str| format!("--constraint node.hostname=={host}");
    lab.create(&format!("--name one --network back {} {SLEEPER}", at("node01")));
    assert_eq!(id_on(lab, "node01", "back"), id);
    assert_eq!(id_on(lab, "node02", "back"), "");
    let format = "{{.ID}}|{{.Driver}}|{{.Scope}}";
    let shown = docker(lab, "node01", &format!("network ls -f name=back --format {format}"));
    assert_eq!(shown.stdout.trim(), format!("{}|overlay|swarm", &id[..12]));
    lab.create(&format!("--name two --network back {} {SLEEPER}", at("node02")));
    for host in HOSTS {
        assert_eq!(id_on(lab, host, "back"), id, "{host}");
        assert_eq!(inspect(lab, host, "back", "{{.Labels.tier}}"), "back", "{host}");
    }
    for host in &HOSTS[1..] {
        let peers = "{{range .Peers}}{{.IP}},{{end}}";
        wait_for("both nodes are peers", || {
            let shown = inspect(lab, host, "back", peers);
            shown.contains("10.20.20.110,") && shown.contains("10.20.20.120,")
        });
        let services = shown_on(lab, host, "network inspect -v back", "{{json .Services}}");
        assert_contains(&services, "\"one\"");
        assert_contains(&services, "\"EndpointIP\"");
    }
    lab.docker("service rm two");
    wait_for("the network is gone with its last task", || id_on(lab, "node02", "back").is_empty());
    assert_contains(&lab.refused("node02", "network inspect back"), "network back not found");
    assert_eq!(id_on(lab, "node01", "back"), id);
    for host in HOSTS {
        assert_eq!(inspect(lab, host, "ingress", "{{.Ingress}}"), "true", "{host}");
    }
}

pub(crate) fn keep_what_they_were_made_with(lab: &Lab) {
    lab.form();
    lab.docker(
        "network create -d overlay --scope swarm --internal --attachable --subnet 10.77.0.0/24 \
         --ip-range 10.77.0.128/28 --gateway 10.77.0.254 --aux-address router=10.77.0.129 --label \
         tier=back -o com.docker.network.driver.mtu=1300 -o com.example.option=kept -o \
         com.docker.network.driver.overlay.vxlanid_list=777 made",
    );
    lab.create(&format!("--name web --network name=made,alias=shop --replicas 3 {SLEEPER}"));
    for (host, cli) in [
        ("master", "/usr/local/bin/docker"),
        ("node01", "/usr/local/bin/docker"),
        ("node01", "/usr/bin/docker"),
    ] {
        if !std::path::Path::new(cli).exists() {
            println!("  {cli} is not installed on this machine");
            continue;
        }
        let shown = lab.ok(host, &[cli, "network", "inspect", "made"]);
        for part in [
            "\"Subnet\": \"10.77.0.0/24\"",
            "\"Gateway\": \"10.77.0.254\"",
            "\"IPRange\": \"10.77.0.128/28\"",
            "\"router\": \"10.77.0.129\"",
            "\"Internal\": true",
            "\"Attachable\": true",
            "\"tier\": \"back\"",
            "\"com.docker.network.driver.mtu\": \"1300\"",
            "\"com.docker.network.driver.overlay.vxlanid_list\": \"777\"",
            "\"com.example.option\": \"kept\"",
        ] {
            assert_contains(&shown, part);
        }
    }
    let services = shown(lab, "network inspect -v made", "{{json .Services}}");
    assert_contains(&services, "\"VIP\":\"10.77.0.128\"");
    for last in [130, 131, 132] {
        assert_contains(&services, &format!("\"EndpointIP\":\"10.77.0.{last}\""));
    }
    let filter = "label=com.docker.swarm.service.name=web";
    let container = lab.lab_ok(&["engine", "node01", "--", "ps", "-q", "--filter", filter]);
    let links = lab.lab_ok(&["engine", "node01", "--", "exec", container.trim(), "ip", "link"]);
    assert_contains(&links, "mtu 1300");
}

pub(crate) fn wrong_requests(lab: &Lab) {
    lab.form();
    let overlap = "Pool overlaps with other one on this address space: subnet 10.66.0.0/16 overlaps \
                   with subnet 10.66.1.0/24 of network taken";
    lab.docker("network create -d overlay --subnet 10.66.1.0/24 taken");
    let long = "n".repeat(10_000);
    for (options, text) in [
        ("taken", "network with name taken already exists"),
        ("bridge", "bridge is a pre-defined network and cannot be created"),
        ("a.b", "name must be valid as a DNS name component"),
        (long.as_str(), "name must be 63 characters or fewer"),
        ("--subnet 10.66.0.0/16 x", overlap),
        ("--subnet 10.9.0.0/31 x", "subnet 10.9.0.0/31 is too small for a gateway and a task"),
        ("--subnet 0.0.0.0/0 x", "invalid subnet 0.0.0.0/0"),
        ("--subnet 127.0.0.0/24 x", "127.0.0.0/8 is reserved for loopback"),
        ("--subnet 224.0.1.0/24 x", "224.0.0.0/4 is reserved for multicast"),
        ("--subnet 10.9.0.0/24 --subnet 10.10.0.0/24 x", "a network has one IPv4 subnet"),
        ("--ipv6 x", "swarm networks with IPv6 are not supported"),
        ("--ipv6 --subnet 2001:db8::/64 x", "swarm networks with IPv6 are not supported"),
        ("--subnet 2001:db8::/64 x", "swarm networks with IPv6 are not supported"),
        ("-o encrypted x", "encrypted networks are not supported"),
        (
            "-o com.docker.network.driver.mtu=big x",
            "invalid value for com.docker.network.driver.mtu",
        ),
        ("-o com.docker.network.driver.overlay.vxlanid_list=3 x", "invalid VXLAN identifier '3'"),
        ("--ipam-driver other x", "IPAM drivers other than default are not supported"),
        ("--config-from taken x", "configuration networks are not supported"),
        ("--ingress x", "is already present"),
        ("--ingress --attachable x", "ingress network cannot be attachable"),
    ] {
        let refusal = lab.refused("master", &format!("network create -d overlay {options}"));
        assert_contains(&refusal, text);
    }
    let local = lab.refused("master", "network create -d overlay --scope local x");
    assert_contains(&local, "cannot downgrade network scope for overlay networks");
    for driver in ["macvlan", "ipvlan", "bridge"] {
        let line = format!("network create -d {driver} --scope swarm x");
        assert_contains(
            &lab.refused("master", &line),
            "drivers other than overlay are not supported",
        );
    }
    let worker = lab.refused("node01", "network create -d overlay x");
    assert_contains(&worker, "Cannot create a multi-host network from a worker node.");
    assert_eq!(id_on(lab, "master", "x"), "", "nothing was made");
}

pub(crate) fn in_use_stay_and_name_their_users(lab: &Lab) {
    lab.form();
    lab.docker("network create -d overlay --subnet 10.67.0.0/24 front");
    lab.docker("network create -d overlay spare");
    let id = id_on(lab, "master", "front");
    let stubborn = "--stop-grace-period 20s busybox sh -c";
    let words =
        format!("service create --quiet --name web --network front --replicas 3 {stubborn}");
    let mut words: Vec<&str> = std::iter::once("docker").chain(words.split(' ')).collect();
    words.push("trap '' TERM; while :; do sleep 1; done");
    lab.ok("master", &words);
    let service = lab.docker("service inspect web --format {{.ID}}");
    let refusal = docker(lab, "master", "network rm front nosuch spare");
    assert!(!refusal.ok());
    let text = format!("network {id} is in use by service {} (web)", service.trim());
    assert_contains(&refusal.stderr, &text);
    assert_contains(&refusal.stderr, "network nosuch not found");
    assert_eq!(id_on(lab, "master", "spare"), "", "the others are removed");
    assert_contains(&lab.refused("node01", "network rm front"), "Worker nodes can't be used");

    lab.docker("service rm web");
    lab.docker("network rm front");
    assert_eq!(id_on(lab, "master", "front"), "", "although its tasks still stop");
    let again = lab.docker("network create -d overlay --subnet 10.67.0.0/24 front");
    assert_ne!(again.trim(), id);
    lab.create(&format!("--name web --network front --replicas 3 {SLEEPER}"));
    for host in HOSTS {
        assert_eq!(id_on(lab, host, "front"), again.trim(), "{host}");
    }
}

pub(crate) fn tell_their_tasks_when_they_are_full(lab: &Lab) {
    lab.form();
    lab.docker("network create -d overlay --subnet 10.68.0.0/29 tiny");
    let id = id_on(lab, "master", "tiny");
    let create =
        format!("service create --quiet -d --name many --network tiny --replicas 6 {SLEEPER}");
    lab.docker(&create);
    let tasks = || {
        let format = "{{.Name}}|{{.Node}}|{{.CurrentState}}|{{.Error}}";
        lab.docker(&format!("service ps many --no-trunc --format {format}"))
    };
    let text = format!("no available IPv4 addresses on this network's address pools: tiny ({id})");
    wait_for("four tasks run, two say why they wait", || {
        let list = tasks();
        let waiting = list.lines().filter(|l| l.contains("||New") && l.contains(&text)).count();
        list.matches("|Running").count() == 4 && waiting == 2
    });
    let running = tasks();
    let first = running.lines().find(|line| line.contains("|Running")).unwrap();
    let (host, name) = (first.split('|').nth(1).unwrap(), first.split('|').next().unwrap());
    lab.sh(host, &format!("docker rm -f $(docker ps -q --filter name={name}.)"));
    lab.docker("service scale -d many=4");
    wait_for("all wanted tasks run", || {
        let list =
            lab.docker("service ps many --filter desired-state=running --format {{.CurrentState}}");
        list.lines().count() == 4 && list.lines().all(|line| line.starts_with("Running"))
    });
}

fn vips(lab: &Lab, service: &str) -> Vec<(String, String)> {
    let format = "{{range .Endpoint.VirtualIPs}}{{.NetworkID}}={{.Addr}},{{end}}";
    let list = shown(lab, &format!("service inspect {service}"), format);
    let pair = |part: &str| part.split_once('=').map(|(id, addr)| (id.to_owned(), addr.to_owned()));
    list.split(',').filter_map(pair).collect()
}

pub(crate) fn of_a_service_can_change(lab: &Lab) {
    lab.form();
    for name in ["first", "second"] {
        lab.docker(&format!("network create -d overlay {name}"));
    }
    let (first, second) = (id_on(lab, "master", "first"), id_on(lab, "master", "second"));
    lab.create("--name web --network first whoami");
    let kept = vips(lab, "web");
    assert_eq!(kept.len(), 1);
    lab.docker("service update --quiet --network-add name=second,alias=shop web");
    let both = vips(lab, "web");
    assert_eq!(both.len(), 2);
    assert!(both.contains(&kept[0]), "{both:?} without {kept:?}");
    let task = lab.docker("service ps -q --filter desired-state=running web");
    let addresses = "{{range .NetworksAttachments}}{{.Network.ID}}={{.Addresses}},{{end}}";
    let held = shown(lab, &format!("inspect --type task {}", task.trim()), addresses);
    assert!(held.contains(&first) && held.contains(&second), "{held}");
    let spec = shown(lab, "service inspect web", "{{json .Spec.TaskTemplate.Networks}}");
    assert_contains(&spec, "\"Aliases\":[\"shop\"]");
    lab.docker("service update --quiet --env-add A=1 web");
    assert_eq!(vips(lab, "web"), both, "VIPs stay over updates");

    lab.docker("service update --quiet --network-rm first web");
    let left = vips(lab, "web");
    assert!(left.len() == 1 && left[0].0 == second && both.contains(&left[0]), "{left:?}");
    wait_for("the network is free", || docker(lab, "master", "network rm first").ok());
    lab.docker("service update --quiet --endpoint-mode dnsrr web");
    assert_eq!(vips(lab, "web"), []);
    lab.docker("service update --quiet --endpoint-mode vip web");
    assert_eq!(vips(lab, "web").len(), 1);
}

pub(crate) fn of_the_mesh_can_be_replaced(lab: &Lab) {
    lab.form();
    lab.create("--name web --publish 8098:80 whoami");
    let refusal = remove_ingress(lab, "ingress");
    assert!(!refusal.ok());
    assert_contains(&refusal.stderr, "ingress network cannot be removed because service ");
    assert_contains(&refusal.stderr, " depends on it (web)");
    lab.docker("service rm web");
    assert!(remove_ingress(lab, "ingress").ok());
    let refusal = lab.refused("master", "service create --publish 8098:80 whoami");
    assert_contains(&refusal, "service needs ingress network, but no ingress network is present");
    lab.docker("network create --ingress -d overlay --subnet 10.69.0.0/24 my-ingress");
    lab.create("--name web --publish 8098:80 whoami");
    for host in HOSTS {
        let url = format!("http://{host}:8098/");
        wait_for("an answer through the mesh", || lab.curl("client", &url).contains("Hostname"));
        wait_for("every node lists it", || !id_on(lab, host, "my-ingress").is_empty());
    }
    lab.docker("service rm web");
    assert!(remove_ingress(lab, "my-ingress").ok());
    lab.docker("network create --ingress -d overlay --subnet 10.0.0.0/24 ingress");
}

pub(crate) fn may_have_the_underlays_subnet(lab: &Lab) {
    lab.form();
    lab.docker("network create -d overlay --subnet 10.20.20.0/24 same");
    let at = |host: &str| format!("--constraint node.hostname=={host}");
    lab.create(&format!("--name server --network same {} whoami", at("node01")));
    lab.create(&format!("--name caller --network same {} {SLEEPER}", at("node02")));
    let task = lab.docker("service ps -q --filter desired-state=running server");
    let address = "{{(index (index .NetworksAttachments 0).Addresses 0)}}";
    let server = shown(lab, &format!("inspect --type task {}", task.trim()), address);
    let url = format!("http://{}/", server.split('/').next().unwrap());
    let filter = "label=com.docker.swarm.service.name=caller";
    let id = lab.lab_ok(&["engine", "node02", "--", "ps", "-q", "--filter", filter]);
    let line = format!("timeout 5 wget -q -O - {url}");
    wait_for("the other task answers", || {
        let asked = lab.lab(&["engine", "node02", "--", "exec", id.trim(), "sh", "-c", &line]);
        asked.stdout.contains("Hostname")
    });
    assert_eq!(lab.ready_nodes(), 3, "the hosts reach each other");
}

pub(crate) fn can_be_filtered_and_pruned(lab: &Lab) {
    lab.form();
    lab.docker("network create -d overlay --label keep=yes kept");
    lab.docker("network create -d overlay --label keep=no loose");
    lab.docker("network create -d overlay used");
    lab.create(&format!("--name web --network used {SLEEPER}"));
    let names = |filters: &str| {
        let line = format!("network ls {filters} --format {{{{.Name}}}}");
        let list = lab.docker(&line);
        list.lines().map(str::to_owned).collect::<Vec<_>>().join(",")
    };
    let used = id_on(lab, "master", "used");
    for (filters, wanted) in [
        ("-f driver=overlay", "ingress,kept,loose,used"),
        ("-f scope=swarm", "ingress,kept,loose,used"),
        ("-f label=keep", "kept,loose"),
        ("-f label=keep=no", "loose"),
        ("-f name=oo", "loose"),
        ("-f name=^(kept|used)$", "kept,used"),
        (&format!("-f id={}", &used[..8]), "used"),
        ("-f dangling=true -f driver=overlay", "kept,loose"),
        ("-f dangling=false -f driver=overlay", "ingress,used"),
        ("-f type=builtin -f driver=overlay", ""),
    ] {
        assert_eq!(names(filters), wanted, "{filters}");
    }
    assert_contains(&lab.refused("master", "network ls -f zz=1"), "nvalid filter 'zz'");
    let prune = |filters: &str| lab.docker(&format!("network prune -f {filters}"));
    assert!(!prune("--filter until=24h").contains("loose"), "it is younger");
    assert_contains(&prune("--filter label!=keep=yes --filter until=0s"), "loose");
    assert_contains(&prune("--filter label=keep=yes"), "kept");
    prune("--filter label=none");
    assert_eq!(names("-f scope=swarm"), "ingress,used");
}

pub(crate) fn come_from_the_clusters_pools(lab: &Lab) {
    let pool = "--default-addr-pool";
    for (options, text) in [
        (format!("{pool} 10.50.0.0/16 {pool} 10.50.1.0/24"), "invalid address pool: 10.50.1.0/24"),
        (format!("{pool} 127.0.0.0/16"), "127.0.0.0/8 is reserved for loopback"),
        (format!("{pool} 10.50.0.0/27"), "Subnet size is too small for pool: 24"),
        (format!("{pool} 10.50.0.0/16 --default-addr-pool-mask-length 30"), "out of range: 30"),
    ] {
        assert_contains(&lab.refused("master", &format!("swarm init {options}")), text);
    }
    let options = "--default-addr-pool-mask-length 26 --advertise-addr 10.20.20.100";
    lab.docker(&format!("swarm init {pool} 10.50.0.0/25 {pool} 10.60.0.0/26 {options}"));
    let info = lab.docker("info");
    assert_contains(&info, "Default Address Pool: 10.50.0.0/25  10.60.0.0/26");
    assert_contains(&info, "SubnetSize: 26");
    let format = "{{(index .IPAM.Config 0).Subnet}}";
    let subnet = |name: &str| inspect(lab, "master", name, format);
    assert_eq!(subnet("ingress"), "10.50.0.0/26");
    for (name, expected) in [("a", "10.50.0.64/26"), ("b", "10.60.0.0/26")] {
        lab.docker(&format!("network create -d overlay {name}"));
        assert_eq!(subnet(name), expected);
    }
    let full = lab.refused("master", "network create -d overlay c");
    assert_contains(&full, "could not find an available, non-overlapping IPv4 address pool");
    lab.docker("network rm a");
    lab.docker("network create -d overlay c");
    lab.docker("swarm leave --force");
}
