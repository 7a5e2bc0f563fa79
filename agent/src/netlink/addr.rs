//! Addresses of the host's devices.

use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};

use super::{Netlink, NetlinkError};

/// An IPv4 address of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub ifindex: u32,
    pub addr: Ipv4Addr,
    pub prefix: u8,
}

impl Netlink {
    /// Returns every IPv4 address of the namespace.
    ///
    /// # Errors
    /// The kernel refused the dump.
    pub async fn addresses(&self) -> Result<Vec<Address>, NetlinkError> {
        let mut request = self.handle.address().get();
        request.message_mut().header.family = AddressFamily::Inet;
        let dump = request.execute().try_collect::<Vec<_>>();
        let messages = self.call(|| "listing addresses".to_owned(), dump).await?;
        let mut found: Vec<_> = messages.iter().filter_map(read).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Adds an address to a device; one that is there already is not an error.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn add_address(&self, address: Address) -> Result<(), NetlinkError> {
        let Address { ifindex, addr, prefix } = address;
        let request = self.handle.address().add(ifindex, IpAddr::V4(addr), prefix).replace();
        let what = || format!("adding {addr}/{prefix} to device {ifindex}");
        self.call(what, request.execute()).await
    }
}

/// `IFA_LOCAL` is the own address; `IFA_ADDRESS` is the far end on point-to-point devices.
fn read(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    for attribute in &message.attributes {
        if let AddressAttribute::Local(IpAddr::V4(addr)) = attribute {
            local = Some(*addr);
        }
    }
    let (ifindex, prefix) = (message.header.index, message.header.prefix_len);
    local.map(|addr| Address { ifindex, addr, prefix })
}
