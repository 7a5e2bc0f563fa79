//! Where tasks run, and what users read when there is no such place.

use std::collections::BTreeSet;

use crate::lab::{HOSTS, Lab, assert_contains, wait_for};

/// Returns the nodes of a service's running tasks, in order.
fn nodes_of(lab: &Lab, service: &str) -> Vec<String> {
    let line = format!(
        "service ps {service} --filter desired-state=running --format {{{{.Node}}}}|{{{{.CurrentState}}}}"
    );
    let tasks = lab.docker(&line);
    let running = tasks.lines().filter_map(|line| line.split_once('|'));
    let running = running.filter(|(_, state)| state.starts_with("Running"));
    let mut nodes: Vec<_> = running.map(|(node, _)| node.to_owned()).collect();
    nodes.sort();
    nodes
}

fn errors_of(lab: &Lab, service: &str) -> String {
    lab.docker(&format!("service ps {service} --no-trunc --format {{{{.Name}}}}|{{{{.Error}}}}"))
}

fn label(lab: &Lab, host: &str, pair: &str) {
    lab.docker(&format!("node update --label-add {pair} {host}"));
}

pub(crate) fn constraints_choose_nodes(lab: &Lab) {
    lab.form();
    label(lab, "node01", "disk=ssd");
    label(lab, "node02", "disk=hdd");
    lab.create("--name fast --replicas 2 --constraint node.labels.disk==SSD whoami");
    assert_eq!(nodes_of(lab, "fast"), ["node01", "node01"]);
    lab.create("--name work --replicas 2 --constraint node.role!=manager whoami");
    assert_eq!(nodes_of(lab, "work"), ["node01", "node02"]);
    lab.create("--name every --mode global --constraint node.labels.disk!=hdd whoami");
    assert_eq!(nodes_of(lab, "every"), ["master", "node01"]);
    let wrong =
        lab.refused("master", "service create --name x --constraint node.role=worker whoami");
    assert_contains(&wrong, "constraint expected one operator from ==, !=");
    let wrong = lab.refused("master", "service create --name x --constraint 1x==worker whoami");
    assert_contains(&wrong, "key '1x' is invalid");

    lab.docker(
        "service create --detach --quiet --name none --constraint node.labels.disk==tape whoami",
    );
    wait_for("the reason on the waiting task", || {
        errors_of(lab, "none")
            .contains("no suitable node (scheduling constraints not satisfied on 3 nodes)")
    });
    label(lab, "master", "disk=tape");
    wait_for("the task where it fits now", || nodes_of(lab, "none") == ["master"]);
    lab.docker("node update --label-rm disk master");
}

pub(crate) fn a_changed_label_moves_tasks(lab: &Lab) {
    lab.form();
    label(lab, "node01", "disk=ssd");
    label(lab, "node02", "disk=ssd");
    lab.create("--name fast --replicas 2 --constraint node.labels.disk==ssd whoami");
    lab.create("--name every --mode global --constraint node.labels.disk==ssd whoami");
    assert_eq!(nodes_of(lab, "fast"), ["node01", "node02"]);
    label(lab, "node02", "disk=hdd");
    for service in ["fast", "every"] {
        wait_for("the rejected task", || {
            let line = format!(
                "service ps {service} --no-trunc --format {{{{.Node}}}}|{{{{.CurrentState}}}}|{{{{.Error}}}}"
            );
            let tasks = lab.docker(&line);
            tasks.lines().any(|line| {
                line.starts_with("node02|Rejected")
                    && line.contains("assigned node no longer meets constraints")
            })
        });
    }
    wait_for("both tasks on the node that fits", || {
        nodes_of(lab, "fast") == ["node01", "node01"] && nodes_of(lab, "every") == ["node01"]
    });
    wait_for("no running container of theirs where it does not fit", || {
        lab.lab(&["engine", "node02", "--", "ps", "-q"]).stdout.trim().is_empty()
    });
    label(lab, "node02", "disk=ssd");
    wait_for("the global task is back", || nodes_of(lab, "every") == ["node01", "node02"]);
    assert_eq!(nodes_of(lab, "fast"), ["node01", "node01"], "a placed task does not move");
}

pub(crate) fn what_is_used_up_is_told(lab: &Lab) {
    lab.form();
    lab.docker(
        "service create --detach --quiet --name port --replicas 4 \
         --publish mode=host,published=8087,target=80 whoami",
    );
    wait_for("one task per node", || nodes_of(lab, "port") == HOSTS);
    wait_for("the reason of the fourth", || {
        errors_of(lab, "port")
            .contains("no suitable node (host-mode port already in use on 3 nodes)")
    });
    lab.docker(
        "service create --detach --quiet --name few --replicas 4 --replicas-max-per-node 1 whoami",
    );
    wait_for("one task per node", || nodes_of(lab, "few") == HOSTS);
    wait_for("the reason of the fourth", || {
        errors_of(lab, "few").contains("no suitable node (max replicas per node limit exceed)")
    });
    assert_contains(&lab.docker("service ls --format {{.Replicas}}"), "3/4 (max 1 per node)");
    lab.docker("service create --detach --quiet --name big --reserve-cpu 1000 whoami");
    wait_for("the reason of the big one", || {
        errors_of(lab, "big").contains("no suitable node (insufficient resources on 3 nodes)")
    });
    lab.docker("service create --detach --quiet --name log --log-driver nowhere whoami");
    wait_for("the reason of the driver", || {
        errors_of(lab, "log").contains("no suitable node (missing plugin on 3 nodes)")
    });
    lab.docker("service update --detach --quiet --reserve-cpu 0.1 big");
    wait_for("the big one has become small enough", || nodes_of(lab, "big").len() == 1);
}

pub(crate) fn preferences_spread_tasks(lab: &Lab) {
    lab.form();
    label(lab, "master", "zone=a");
    label(lab, "node01", "zone=b");
    label(lab, "node02", "zone=b");
    lab.create("--name spread --replicas 4 --placement-pref spread=node.labels.zone whoami");
    assert_eq!(nodes_of(lab, "spread"), ["master", "master", "node01", "node02"]);
    lab.docker("service scale --detach spread=2");
    wait_for("one task in each zone", || {
        let nodes = nodes_of(lab, "spread");
        let zones: BTreeSet<bool> = nodes.iter().map(|node| node == "master").collect();
        nodes.len() == 2 && zones.len() == 2
    });
    for host in HOSTS {
        lab.docker(&format!("node update --label-rm zone {host}"));
    }
}
