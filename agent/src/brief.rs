//! Pure: kernel entries in few words, for the log: what an operator asks for, without layout.

use swarmnet_ebpf::abi::{
    Asker, BE_ACTIVE, BE_DOWN, BE_DRAINING, BE_MESH, Backend, Be32, EP_GATEWAY, EP_GONE, EP_LOCAL,
    EP_REMOTE, EP_VIP, Ep, Iface, MeshKey, MeshTarget, NetnsValue, Node, Peer, VniValue,
};

use crate::sandbox::HostSide;

/// Shown in a line of the log.
pub trait Brief {
    fn brief(&self) -> String;
}

impl Brief for u32 {
    fn brief(&self) -> String {
        self.to_string()
    }
}

impl Brief for u64 {
    fn brief(&self) -> String {
        self.to_string()
    }
}

impl Brief for String {
    fn brief(&self) -> String {
        self.clone()
    }
}

impl Brief for Be32 {
    fn brief(&self) -> String {
        self.to_string()
    }
}

impl Brief for Backend {
    fn brief(&self) -> String {
        let state = match self.state {
            BE_ACTIVE => "active",
            BE_DRAINING => "draining",
            BE_DOWN => "down",
            _ => "unknown",
        };
        let network = match self.kind {
            BE_MESH => "mesh".to_owned(),
            _ => format!("vni={}", self.vni),
        };
        format!("{} {network} {} {state}", self.addr, place(self.node))
    }
}

impl Brief for Ep {
    fn brief(&self) -> String {
        match self.kind {
            EP_LOCAL => "of a task here".to_owned(),
            EP_REMOTE => format!("of a task {}", place(self.node)),
            EP_VIP => format!("VIP of service {}", self.svc),
            EP_GATEWAY => "gateway".to_owned(),
            EP_GONE => "gone".to_owned(),
            other => format!("kind {other}"),
        }
    }
}

impl Brief for Iface {
    fn brief(&self) -> String {
        match self.vni {
            0 => format!("{} outside overlays", self.addr),
            vni => format!("{} vni={vni}", self.addr),
        }
    }
}

impl Brief for Asker {
    fn brief(&self) -> String {
        format!("{} ifindex={}", self.addr, self.ifindex)
    }
}

impl Brief for Peer {
    fn brief(&self) -> String {
        format!("is {}", place(self.node))
    }
}

impl Brief for Node {
    fn brief(&self) -> String {
        format!("at {}", self.addr)
    }
}

impl Brief for VniValue {
    fn brief(&self) -> String {
        format!("flags={}", self.flags)
    }
}

impl Brief for NetnsValue {
    fn brief(&self) -> String {
        let used = usize::try_from(self.n).unwrap_or(usize::MAX);
        let subnets: Vec<String> = self
            .subnet
            .iter()
            .take(used)
            .map(|subnet| format!("{}{} vni={}", subnet.addr, prefix(subnet.mask), subnet.vni))
            .collect();
        subnets.join(", ")
    }
}

impl Brief for MeshKey {
    fn brief(&self) -> String {
        format!("{}:{}/{}", self.gw_addr, self.port, self.proto)
    }
}

impl Brief for MeshTarget {
    fn brief(&self) -> String {
        format!("ifindex={}", self.ifindex)
    }
}

impl Brief for HostSide {
    fn brief(&self) -> String {
        let kind = if self.gateway { "gateway" } else { "overlay" };
        let state = if self.up { "up" } else { "down" };
        let program = if self.program { "" } else { " without program" };
        let reach = self.reach.map(|reach| format!(" to {}", reach.addr)).unwrap_or_default();
        format!("{kind} ifindex={} {state}{program}{reach}", self.ifindex)
    }
}

/// Index 0 is this node.
fn place(node: u32) -> String {
    match node {
        0 => "here".to_owned(),
        index => format!("on node {index}"),
    }
}

fn prefix(mask: Be32) -> String {
    format!("/{}", u32::from(mask.addr()).leading_ones())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use swarmnet_ebpf::abi::{BE_VIP, Subnet};

    #[test]
    fn entries_are_told_in_few_words() {
        let addr = |text: &str| Be32::from(text.parse::<Ipv4Addr>().unwrap());
        let backend =
            Backend { addr: addr("172.31.240.1"), node: 2, kind: BE_MESH, ..Backend::default() };
        let active = Backend { state: BE_ACTIVE, ..backend };
        assert_eq!(active.brief(), "172.31.240.1 mesh on node 2 active");
        let vip = Backend { vni: 4097, node: 0, kind: BE_VIP, state: BE_DRAINING, ..backend };
        assert_eq!(vip.brief(), "172.31.240.1 vni=4097 here draining");
        let remote = Ep { kind: EP_REMOTE, node: 1, ..Ep::default() };
        assert_eq!(remote.brief(), "of a task on node 1");
        let mut netns = NetnsValue { n: 1, ..NetnsValue::default() };
        netns.subnet[0] = Subnet { addr: addr("10.0.1.0"), mask: addr("255.255.255.0"), vni: 4097 };
        assert_eq!(netns.brief(), "10.0.1.0/24 vni=4097");
    }
}
