//! The lab's switch: a namespace with one bridge and one port per host.
//!
//! A port carries its host's name, so faults and `host` commands need no look-up. Both ends of a
//! cable are made inside the lab's namespaces: nothing is ever seen in the machine's own.

use anyhow::Result;

use crate::command::{run, run_with_input};
use crate::hosts::{GATEWAY, OUTSIDE, PREFIX_BITS, mac};
use crate::namespace;
use crate::spec::{Host, Lab, SWITCH};

/// Makes the switch without any port.
pub(crate) fn create(lab: &Lab) -> Result<()> {
    let netns = lab.netns(SWITCH);
    namespace::create_network(&netns)?;
    let alias = lab.link_alias();
    batch(
        &netns,
        &format!(
            "link set lo up\n\
             link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set br0 alias {alias}\n\
             addr add {GATEWAY}/{PREFIX_BITS} dev br0\n\
             addr add {OUTSIDE}/32 dev lo\n\
             link set br0 up\n"
        ),
    )
}

/// Connects a host's namespace to the switch and configures its `eth0`.
pub(crate) fn plug(lab: &Lab, host: &Host) -> Result<()> {
    let Host { name, address, .. } = host;
    let (switch, netns) = (lab.netns(SWITCH), lab.netns(name));
    let (alias, mac) = (lab.link_alias(), mac(*address));
    batch(
        &switch,
        &format!(
            "link add name {name} type veth peer name eth0 address {mac} netns {netns}\n\
             link set dev {name} alias {alias}\n\
             link set dev {name} master br0 up\n"
        ),
    )?;
    batch(
        &netns,
        &format!(
            "link set eth0 alias {alias}\n\
             link set lo up\n\
             addr add {address}/{PREFIX_BITS} brd + dev eth0\n\
             link set eth0 up\n\
             route add default via {GATEWAY}\n"
        ),
    )
}

/// Removes a host's port and with it the host's `eth0`.
pub(crate) fn unplug(lab: &Lab, host: &str) -> Result<()> {
    run("ip", &["-n", &lab.netns(SWITCH), "link", "del", "dev", host]).map(drop)
}

/// State of a host's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    Down,
}

/// Sets a host's port up or down: the host sees its carrier come and go, and keeps its addresses.
pub(crate) fn set_link(lab: &Lab, host: &str, link: Link) -> Result<()> {
    let state = match link {
        Link::Up => "up",
        Link::Down => "down",
    };
    run("ip", &["-n", &lab.netns(SWITCH), "link", "set", "dev", host, state]).map(drop)
}

/// Reports whether a namespace holds a link of this lab.
pub(crate) fn owns(lab: &Lab, netns: &str) -> bool {
    let shown = run("ip", &["-n", netns, "link", "show"]).unwrap_or_default();
    let alias = format!("alias {}", lab.link_alias());
    shown.lines().any(|line| line.trim() == alias)
}

fn batch(netns: &str, commands: &str) -> Result<()> {
    run_with_input("ip", &["-n", netns, "-batch", "-"], commands).map(drop)
}
