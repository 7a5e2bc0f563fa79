//! The same mesh where the kernel has no tcx: clsact filters.

use crate::lab::{CLIENT, HOSTS, Lab, assert_contains, wait_for};

/// A second lab beside the first: this also proves that labs do not disturb each other.
pub(crate) fn the_mesh_works_on_clsact(_other: &Lab) {
    let lab = Lab::start("clsact", &["--attach-mode", "clsact"]);
    lab.form();
    lab.create("--name who --constraint node.hostname==node02 --publish 8080:80 whoami");
    let filters = lab.ok("node01", &["tc", "filter", "show", "dev", "swn-vx", "ingress"]);
    assert_contains(&filters, "direct-action");
    for entry in HOSTS {
        let url = format!("http://{entry}:8080/");
        wait_for("an answer", || lab.curl("client", &url).contains(CLIENT));
        assert_contains(&lab.curl(entry, &url), "Hostname");
    }
    lab.lab_ok(&["kill", "node01", "daemon"]);
    assert_contains(&lab.curl("client", "http://node01:8080/"), CLIENT);
    lab.stop();
}
