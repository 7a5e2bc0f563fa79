//! What tasks may send in one piece: what the narrowest route carries, or what the user says.

use crate::lab::{Lab, binaries, wait_for};

/// MTU of attachments that a node makes now, as the connectivity test tells it.
fn offered(lab: &Lab, host: &str) -> u64 {
    let swarmnet = binaries().join("swarmnet");
    let test = [swarmnet.to_str().unwrap(), "connectivity", "test", "-o", "json"];
    let result: serde_json::Value = serde_json::from_str(&lab.on("master", &test).stdout).unwrap();
    let mut paths = result["paths"].as_array().unwrap().iter();
    let path = paths.find(|path| path["from"] == host);
    path.map_or(0, |path| path["mtu"].as_u64().unwrap())
}

fn of_device(lab: &Lab, service: &str, device: &str) -> String {
    let link = lab.beside("node01", service, &["ip", "-o", "link", "show", device]).stdout;
    let mut words = link.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    words.next().unwrap_or_default().to_owned()
}

pub(crate) fn new_tasks_fit_the_narrowest_route(lab: &Lab) {
    lab.form();
    lab.docker("network create --driver overlay wide");
    lab.docker("network create --driver overlay -o com.docker.network.driver.mtu=1200 narrow");
    let create = |name: &str, network: &str| {
        let place = "--constraint node.hostname==node01";
        lab.create(&format!("--name {name} --network {network} {place} whoami"));
    };
    let route = ["10.20.20.120/32", "dev", "eth0", "mtu", "1400"];
    lab.ok("node01", &[&["ip", "route", "add"], &route[..]].concat());
    wait_for("the MTU of the route", || offered(lab, "node01") == 1_350);
    create("slim", "wide");
    create("own", "narrow");
    lab.ok("node01", &["ip", "route", "del", "10.20.20.120/32"]);
    wait_for("the MTU of the device", || offered(lab, "node01") == 1_450);
    create("full", "wide");
    let all = ["slim", "own", "full"].map(|service| of_device(lab, service, "eth0"));
    assert_eq!(all, ["1350", "1200", "1450"], "a task keeps the MTU it began with");
    assert_eq!(of_device(lab, "slim", "gw0"), "1350", "answers to clients cross the tunnel too");
}
