//! `down`: removes a lab, whatever is left of it.
//!
//! Works from what is found as well as from the record: processes by cgroup and namespace,
//! namespaces by name and by the alias of their links, mounts and files by path. Links, BPF pins and
//! nftables need no step of their own: they live in the lab's namespaces and go with them.
//!
//! Failure contract: each step is done whatever became of the others, all errors are told, and
//! another `down` takes up what is left.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::cgroup;
use crate::mounts;
use crate::namespace;
use crate::process;
use crate::spec::{Lab, SWITCH, Spec};
use crate::switch;
use crate::target::owner;

/// Removes everything of a lab; one that is not there is no error.
pub(crate) fn down(lab: &Lab) -> Result<()> {
    let _guard = lab.lock()?;
    let hosts = hosts(lab);
    let steps: [(&str, &dyn Fn() -> Result<()>); 5] = [
        ("processes", &|| process::end(&owner(lab, &hosts, lab.cgroup()))),
        ("mounts", &|| mounts::detach_below(&lab.dir())),
        ("network namespaces", &|| {
            hosts.iter().try_for_each(|host| namespace::remove_network(&lab.netns(host)))
        }),
        ("cgroups", &|| cgroup::remove(lab)),
        ("files", &|| remove_files(lab)),
    ];
    let mut failures = vec![];
    for (what, step) in steps {
        if let Err(error) = step() {
            failures.push(format!("{what}: {error:#}"));
        }
    }
    if !failures.is_empty() {
        bail!("lab {:?} is not removed completely:\n{}", lab.name(), failures.join("\n"));
    }
    Ok(())
}

/// Returns the names of all hosts that are recorded or found, the switch among them.
fn hosts(lab: &Lab) -> Vec<String> {
    let mut hosts = BTreeSet::new();
    // A record that cannot be read is no reason to leave the rest behind.
    if let Ok(Some(spec)) = Spec::load(lab) {
        hosts.extend(spec.hosts.into_iter().map(|host| host.name));
        hosts.insert(SWITCH.to_owned());
    }
    let prefix = lab.netns("");
    for netns in namespace::networks() {
        let Some(host) = netns.strip_prefix(&prefix) else { continue };
        if !hosts.contains(host) && switch::owns(lab, &netns) {
            hosts.insert(host.to_owned());
        }
    }
    hosts.into_iter().collect()
}

fn remove_files(lab: &Lab) -> Result<()> {
    let dir = lab.dir();
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(()),
    }
}
