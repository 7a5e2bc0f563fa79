//! Host routes: one address through one device.

use std::net::Ipv4Addr;

use futures::TryStreamExt;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::RouteMessageBuilder;

use super::{Netlink, NetlinkError};

/// A route of the main table to a single address, directly through a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostRoute {
    pub addr: Ipv4Addr,
    pub ifindex: u32,
    /// Source that the host's own packets get.
    pub source: Option<Ipv4Addr>,
}

impl Netlink {
    /// Returns the direct routes to single addresses in the main table.
    ///
    /// # Errors
    /// The kernel refused the dump.
    pub async fn host_routes(&self) -> Result<Vec<HostRoute>, NetlinkError> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let dump = self.handle.route().get(all).execute().try_collect::<Vec<_>>();
        let messages = self.call(|| "listing routes".to_owned(), dump).await?;
        let mut found: Vec<_> = messages.iter().filter_map(read).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Writes a host route, in place of any other for the same address.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn set_host_route(&self, route: HostRoute) -> Result<(), NetlinkError> {
        let what = || format!("routing {} through device {}", route.addr, route.ifindex);
        let request = self.handle.route().add(message(route)).replace();
        self.call(what, request.execute()).await
    }

    /// Removes a host route; an absent one is not an error.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn delete_host_route(&self, route: HostRoute) -> Result<(), NetlinkError> {
        let what = || format!("removing the route to {}", route.addr);
        match self.call(what, self.handle.route().del(message(route)).execute()).await {
            Err(error) if error.is_absent() => Ok(()),
            other => other,
        }
    }

    /// Returns the device and MTU-relevant output of the route to an address: its device index.
    ///
    /// # Errors
    /// The kernel has no route.
    pub async fn output_device(&self, addr: Ipv4Addr) -> Result<Option<u32>, NetlinkError> {
        let lookup = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(addr, 32).build();
        let answer = self.handle.route().get(lookup).execute().try_collect::<Vec<_>>();
        let messages = self.call(|| format!("looking up the route to {addr}"), answer).await?;
        Ok(messages.iter().find_map(output))
    }
}

fn message(route: HostRoute) -> RouteMessage {
    let builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(route.addr, 32)
        .output_interface(route.ifindex)
        .scope(RouteScope::Link)
        .protocol(RouteProtocol::Static);
    match route.source {
        Some(source) => builder.pref_source(source).build(),
        None => builder.build(),
    }
}

fn output(message: &RouteMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| {
        let RouteAttribute::Oif(index) = attribute else { return None };
        Some(*index)
    })
}

fn read(message: &RouteMessage) -> Option<HostRoute> {
    let header = &message.header;
    if header.destination_prefix_length != 32 || header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let (mut addr, mut source) = (None, None);
    for attribute in &message.attributes {
        if let RouteAttribute::Destination(RouteAddress::Inet(value)) = attribute {
            addr = Some(*value);
        } else if let RouteAttribute::PrefSource(RouteAddress::Inet(value)) = attribute {
            source = Some(*value);
        } else if let RouteAttribute::Gateway(_) = attribute {
            return None;
        }
    }
    Some(HostRoute { addr: addr?, ifindex: output(message)?, source })
}
