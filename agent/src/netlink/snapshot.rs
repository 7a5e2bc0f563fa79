//! The host's network as one value: what every subsystem's observed state is read from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::addr::Address;
use super::link::{Link, LinkKind};
use super::neighbor::Neighbor;
use super::route::{Accepted, HostRoute, OnlinkRoute, Routes};
use super::{Netlink, NetlinkError, xfrm};

/// Devices, addresses, host routes and permanent neighbours of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By name.
    pub links: BTreeMap<String, Link>,
    pub addresses: Vec<Address>,
    pub routes: Vec<HostRoute>,
    pub onlink: Vec<OnlinkRoute>,
    pub accepted: Vec<Accepted>,
    pub neighbors: Vec<Neighbor>,
    /// IPsec policies of the administrator say what may come in.
    pub protected: bool,
}

impl Snapshot {
    /// Reads everything anew.
    ///
    /// # Errors
    /// A dump, or the number of IPsec policies, was refused.
    pub async fn read(netlink: &Netlink) -> Result<Self, NetlinkError> {
        let Routes { host: routes, onlink, accepted } = netlink.routes().await?;
        Ok(Self {
            links: netlink.links().await?,
            addresses: netlink.addresses().await?,
            routes,
            onlink,
            accepted,
            neighbors: netlink.permanent_neighbors().await?,
            protected: xfrm::inbound_policies().map_err(NetlinkError::Policies)? > 0,
        })
    }

    /// Returns the device that holds an address.
    pub fn holder_of(&self, addr: Ipv4Addr) -> Option<&Link> {
        let index = self.addresses.iter().find(|a| a.addr == addr)?.ifindex;
        self.links.values().find(|link| link.index == index)
    }

    /// Returns the bridges that lead further: those with a port that is no container's, and the one that
    /// holds the node's address. All others are local networks of containers.
    pub fn outer_bridges(&self, node_addr: Option<Ipv4Addr>) -> BTreeSet<String> {
        let holder = node_addr.and_then(|addr| self.holder_of(addr)).map(|link| link.index);
        let outer = |bridge: &Link| {
            let mut ports = self.links.values().filter(|link| link.master == Some(bridge.index));
            holder == Some(bridge.index) || ports.any(|port| port.kind != LinkKind::Veth)
        };
        let bridges = self.links.values().filter(|link| link.kind == LinkKind::Bridge);
        bridges.filter(|bridge| outer(bridge)).map(|bridge| bridge.name.clone()).collect()
    }

    /// Returns the routes through a device.
    pub fn routes_of(&self, ifindex: u32) -> impl Iterator<Item = &HostRoute> {
        self.routes.iter().filter(move |route| route.ifindex == ifindex)
    }

    /// Returns the permanent neighbours on a device.
    pub fn neighbors_of(&self, ifindex: u32) -> impl Iterator<Item = &Neighbor> {
        self.neighbors.iter().filter(move |neighbor| neighbor.ifindex == ifindex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, kind: LinkKind, master: Option<u32>) -> (String, Link) {
        let (name, mac) = (format!("dev{index}"), [0; 6]);
        let link = Link { index, name, mac, mtu: 1500, up: true, ethernet: true, kind, master };
        (link.name.clone(), link)
    }

    #[test]
    fn a_bridge_leads_further_by_a_port_that_is_no_containers() {
        let links = [
            link(1, LinkKind::Bridge, None),
            link(2, LinkKind::Veth, Some(1)),
            link(3, LinkKind::Bridge, None),
            link(4, LinkKind::Veth, Some(3)),
            link(5, LinkKind::Other, Some(3)),
            link(6, LinkKind::Bridge, None),
            link(7, LinkKind::Other, None),
        ];
        let addr = Ipv4Addr::new(10, 20, 20, 100);
        let held = Address { ifindex: 6, addr, prefix: 24 };
        let snapshot =
            Snapshot { links: links.into(), addresses: vec![held], ..Snapshot::default() };
        assert_eq!(snapshot.outer_bridges(None), ["dev3".to_owned()].into());
        let both = ["dev3".to_owned(), "dev6".to_owned()];
        assert_eq!(snapshot.outer_bridges(Some(addr)), both.into());
    }
}
