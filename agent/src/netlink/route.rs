//! Routes of ours: to one address through a device, to a network through a neighbour that only we
//! answer for, and addresses that the host accepts without a device holding them.

use std::net::Ipv4Addr;

use futures::TryStreamExt;
use ipnetwork::Ipv4Network;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
    RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::RouteMessageBuilder;

use super::{Netlink, NetlinkError};

/// The kernel's table of addresses that are the host's own.
const LOCAL_TABLE: u8 = 255;

/// A route of the main table to a single address, directly through a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostRoute {
    pub addr: Ipv4Addr,
    pub ifindex: u32,
    /// Source that the host's own packets get.
    pub source: Option<Ipv4Addr>,
}

/// A route of the main table to a network, through a neighbour taken to be on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OnlinkRoute {
    pub net: Ipv4Network,
    pub via: Ipv4Addr,
    pub ifindex: u32,
}

/// An address the host takes for its own though no device has it: a local route. Lists of the host's
/// addresses do not show it, and the kernel never chooses it as a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Accepted {
    pub addr: Ipv4Addr,
    pub ifindex: u32,
}

/// The routes of the kinds above.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    pub host: Vec<HostRoute>,
    pub onlink: Vec<OnlinkRoute>,
    pub accepted: Vec<Accepted>,
}

/// How packets to some address leave this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub ifindex: u32,
    /// MTU that the route itself has, as given with `ip route … mtu`.
    pub mtu: Option<u32>,
}

impl Netlink {
    /// Returns the routes of our kinds, whoever made them.
    ///
    /// # Errors
    /// The kernel refused the dump.
    pub async fn routes(&self) -> Result<Routes, NetlinkError> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let dump = self.handle.route().get(all).execute().try_collect::<Vec<_>>();
        let messages = self.call(|| "listing routes".to_owned(), dump).await?;
        let mut routes = Routes {
            host: messages.iter().filter_map(read_host).collect(),
            onlink: messages.iter().filter_map(read_onlink).collect(),
            accepted: messages.iter().filter_map(read_accepted).collect(),
        };
        routes.host.sort_unstable();
        Ok(routes)
    }

    /// Writes a route through a neighbour, in place of any other to the same network.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn set_onlink_route(&self, route: OnlinkRoute) -> Result<(), NetlinkError> {
        let what = || format!("routing {} by {}", route.net, route.via);
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(route.net.network(), route.net.prefix())
            .gateway(route.via)
            .output_interface(route.ifindex)
            .protocol(RouteProtocol::Static)
            .onlink()
            .build();
        self.call(what, self.handle.route().add(message).replace().execute()).await
    }

    /// Lets the host accept an address.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn accept(&self, accepted: Accepted) -> Result<(), NetlinkError> {
        let what = || format!("accepting {}", accepted.addr);
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(accepted.addr, 32)
            .output_interface(accepted.ifindex)
            .table_id(LOCAL_TABLE.into())
            .scope(RouteScope::Host)
            .protocol(RouteProtocol::Static)
            .kind(RouteType::Local)
            .build();
        self.call(what, self.handle.route().add(message).replace().execute()).await
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

    /// Returns how packets to an address leave; `None` if they do not leave through a device.
    ///
    /// # Errors
    /// The kernel has no route.
    pub async fn way_to(&self, addr: Ipv4Addr) -> Result<Option<Way>, NetlinkError> {
        let lookup = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(addr, 32).build();
        let answer = self.handle.route().get(lookup).execute().try_collect::<Vec<_>>();
        let messages = self.call(|| format!("looking up the route to {addr}"), answer).await?;
        Ok(messages.iter().find_map(way))
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

/// A path MTU that was learned expires, and whoever can forge an ICMP error can teach one: only what
/// the operator has set counts.
fn way(message: &RouteMessage) -> Option<Way> {
    let (mut mtu, mut learned) = (None, false);
    for attribute in &message.attributes {
        if let RouteAttribute::Metrics(metrics) = attribute {
            mtu = metrics.iter().find_map(|metric| {
                let RouteMetric::Mtu(value) = metric else { return None };
                Some(*value)
            });
        } else if let RouteAttribute::CacheInfo(info) = attribute {
            learned = info.expires != 0;
        }
    }
    Some(Way { ifindex: output(message)?, mtu: mtu.filter(|_| !learned) })
}

fn destination(message: &RouteMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| {
        let RouteAttribute::Destination(RouteAddress::Inet(addr)) = attribute else { return None };
        Some(*addr)
    })
}

fn gateway(message: &RouteMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| {
        let RouteAttribute::Gateway(RouteAddress::Inet(addr)) = attribute else { return None };
        Some(*addr)
    })
}

fn source(message: &RouteMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| {
        let RouteAttribute::PrefSource(RouteAddress::Inet(addr)) = attribute else { return None };
        Some(*addr)
    })
}

fn read_host(message: &RouteMessage) -> Option<HostRoute> {
    let header = &message.header;
    let single = header.destination_prefix_length == 32;
    if !single || header.table != RouteHeader::RT_TABLE_MAIN || gateway(message).is_some() {
        return None;
    }
    let (addr, ifindex) = (destination(message)?, output(message)?);
    Some(HostRoute { addr, ifindex, source: source(message) })
}

fn read_onlink(message: &RouteMessage) -> Option<OnlinkRoute> {
    let header = &message.header;
    if !header.flags.contains(RouteFlags::Onlink) || header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let net = Ipv4Network::new(destination(message)?, header.destination_prefix_length).ok()?;
    Some(OnlinkRoute { net, via: gateway(message)?, ifindex: output(message)? })
}

/// The kernel's own entries of this table belong to addresses of devices.
fn read_accepted(message: &RouteMessage) -> Option<Accepted> {
    let header = &message.header;
    let ours = header.table == LOCAL_TABLE
        && header.kind == RouteType::Local
        && header.protocol == RouteProtocol::Static
        && header.destination_prefix_length == 32;
    if !ours {
        return None;
    }
    Some(Accepted { addr: destination(message)?, ifindex: output(message)? })
}
