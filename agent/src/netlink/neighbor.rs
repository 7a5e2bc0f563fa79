//! Permanent neighbours: addresses whose MAC we know because we gave it.

use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use super::link::Mac;
use super::{Netlink, NetlinkError};

/// An address on a device with its MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbor {
    pub ifindex: u32,
    pub addr: Ipv4Addr,
    pub mac: Mac,
}

impl Netlink {
    /// Returns the permanent IPv4 neighbours of the namespace.
    ///
    /// # Errors
    /// The kernel refused the dump.
    pub async fn permanent_neighbors(&self) -> Result<Vec<Neighbor>, NetlinkError> {
        let request = self.handle.neighbours().get().set_address_family(AddressFamily::Inet);
        let dump = request.execute().try_collect::<Vec<_>>();
        let messages = self.call(|| "listing neighbours".to_owned(), dump).await?;
        let mut found: Vec<_> = messages.iter().filter_map(read).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Writes a permanent neighbour, in place of any other for the same address.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn set_neighbor(&self, neighbor: Neighbor) -> Result<(), NetlinkError> {
        let Neighbor { ifindex, addr, mac } = neighbor;
        let request = self
            .handle
            .neighbours()
            .add(ifindex, IpAddr::V4(addr))
            .link_layer_address(&mac)
            .state(NeighbourState::Permanent)
            .replace();
        let what = || format!("setting the neighbour {addr} on device {ifindex}");
        self.call(what, request.execute()).await
    }
}

fn read(message: &NeighbourMessage) -> Option<Neighbor> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut addr, mut mac) = (None, None);
    for attribute in &message.attributes {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(value)) = attribute {
            addr = Some(*value);
        } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
            mac = Mac::try_from(bytes.as_slice()).ok();
        }
    }
    Some(Neighbor { ifindex: message.header.ifindex, addr: addr?, mac: mac? })
}
