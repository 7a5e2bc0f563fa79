//! The host's network as one value: what every subsystem's observed state is read from.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::addr::Address;
use super::link::Link;
use super::neighbor::Neighbor;
use super::route::{Accepted, HostRoute, OnlinkRoute, Routes};
use super::{Netlink, NetlinkError};

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
}

impl Snapshot {
    /// Reads everything anew.
    ///
    /// # Errors
    /// A dump was refused.
    pub async fn read(netlink: &Netlink) -> Result<Self, NetlinkError> {
        let Routes { host: routes, onlink, accepted } = netlink.routes().await?;
        Ok(Self {
            links: netlink.links().await?,
            addresses: netlink.addresses().await?,
            routes,
            onlink,
            accepted,
            neighbors: netlink.permanent_neighbors().await?,
        })
    }

    /// Returns the device that holds an address.
    pub fn holder_of(&self, addr: Ipv4Addr) -> Option<&Link> {
        let index = self.addresses.iter().find(|a| a.addr == addr)?.ifindex;
        self.links.values().find(|link| link.index == index)
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
