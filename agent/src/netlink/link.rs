//! Links: veth pairs, the VXLAN device, and what a dump says about all devices.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
    LinkMessage,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan};

use super::{Netlink, NetlinkError};

/// A MAC address.
pub type Mac = [u8; 6];

/// What a device is, as far as we care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    Veth,
    Vxlan { port: u16, external: bool },
    Bridge,
    Other,
}

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub mac: Mac,
    pub mtu: u32,
    pub up: bool,
    /// True for Ethernet-like devices, false for tunnels and loopback.
    pub ethernet: bool,
    pub kind: LinkKind,
    /// Index of the bridge or bond it is a port of.
    pub master: Option<u32>,
}

/// One end of a veth pair to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VethEnd {
    pub name: String,
    pub mac: Mac,
}

impl Netlink {
    /// Returns every device of the namespace by name.
    ///
    /// # Errors
    /// The kernel refused the dump.
    pub async fn links(&self) -> Result<BTreeMap<String, Link>, NetlinkError> {
        let dump = self.handle.link().get().execute().try_collect::<Vec<_>>();
        let messages = self.call(|| "listing devices".to_owned(), dump).await?;
        Ok(messages.iter().map(read).map(|link| (link.name.clone(), link)).collect())
    }

    /// Returns one device.
    ///
    /// # Errors
    /// `LinkMissing` if there is none of this name.
    pub async fn link(&self, name: &str) -> Result<Link, NetlinkError> {
        let dump = self.handle.link().get().match_name(name).execute().try_collect::<Vec<_>>();
        match self.call(|| format!("looking up device {name}"), dump).await {
            Ok(found) => found
                .first()
                .map(read)
                .ok_or_else(|| NetlinkError::LinkMissing { name: name.to_owned() }),
            Err(error) if error.is_absent() => {
                Err(NetlinkError::LinkMissing { name: name.to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a veth pair; `host` comes up, `peer` stays down for the engine to move.
    ///
    /// # Errors
    /// `is_exists` if one of the names is taken.
    pub async fn add_veth(
        &self,
        host: &VethEnd,
        peer: &VethEnd,
        mtu: u32,
    ) -> Result<(), NetlinkError> {
        let far = LinkMessageBuilder::<LinkUnspec>::new()
            .name(peer.name.clone())
            .address(peer.mac.to_vec())
            .mtu(mtu)
            .build();
        let near = LinkMessageBuilder::<LinkVeth>::new(&host.name, &peer.name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
            .address(host.mac.to_vec())
            .mtu(mtu)
            .up()
            .build();
        let what = || format!("adding veth pair {} {}", host.name, peer.name);
        self.call(what, self.handle.link().add(near).execute()).await
    }

    /// Makes the node's VXLAN device: collect metadata, no learning.
    ///
    /// # Errors
    /// `is_exists` if the name, or an equal device of another name, exists.
    pub async fn add_vxlan(&self, name: &str, port: u16) -> Result<(), NetlinkError> {
        let message = LinkMessageBuilder::<LinkVxlan>::new(name)
            .collect_metadata(true)
            .learning(false)
            .port(port)
            .up()
            .build();
        let what = || format!("adding VXLAN device {name} on port {port}");
        self.call(what, self.handle.link().add(message).execute()).await
    }

    /// Brings a device up.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn set_up(&self, index: u32) -> Result<(), NetlinkError> {
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build();
        let what = || format!("bringing device {index} up");
        self.call(what, self.handle.link().change(message).execute()).await
    }

    /// Sets the MTU of a device.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), NetlinkError> {
        let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).mtu(mtu).build();
        let what = || format!("setting the MTU of device {index} to {mtu}");
        self.call(what, self.handle.link().change(message).execute()).await
    }

    /// Sets the MAC address of a device.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn set_mac(&self, index: u32, mac: Mac) -> Result<(), NetlinkError> {
        let message =
            LinkMessageBuilder::<LinkUnspec>::new().index(index).address(mac.to_vec()).build();
        let what = || format!("setting the MAC of device {index}");
        self.call(what, self.handle.link().change(message).execute()).await
    }

    /// Removes a device; removing an absent one is not an error.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn delete_link(&self, index: u32) -> Result<(), NetlinkError> {
        let what = || format!("removing device {index}");
        match self.call(what, self.handle.link().del(index).execute()).await {
            Err(error) if error.is_absent() => Ok(()),
            other => other,
        }
    }
}

fn read(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: [0; 6],
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        kind: LinkKind::Other,
        master: None,
    };
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            link.name.clone_from(name);
        } else if let LinkAttribute::Address(bytes) = attribute {
            link.mac = Mac::try_from(bytes.as_slice()).unwrap_or_default();
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            link.mtu = *mtu;
        } else if let LinkAttribute::Controller(index) = attribute {
            link.master = Some(*index);
        } else if let LinkAttribute::LinkInfo(infos) = attribute {
            link.kind = kind(infos);
        }
    }
    link
}

fn kind(infos: &[LinkInfo]) -> LinkKind {
    let mut kind = LinkKind::Other;
    for info in infos {
        if let LinkInfo::Kind(InfoKind::Veth) = info {
            kind = LinkKind::Veth;
        } else if let LinkInfo::Kind(InfoKind::Bridge) = info {
            kind = LinkKind::Bridge;
        } else if let LinkInfo::Data(InfoData::Vxlan(data)) = info {
            kind = vxlan(data);
        }
    }
    kind
}

fn vxlan(data: &[InfoVxlan]) -> LinkKind {
    let (mut port, mut external) = (0, false);
    for info in data {
        if let InfoVxlan::Port(value) = info {
            port = *value;
        } else if let InfoVxlan::CollectMetadata(value) = info {
            external = *value;
        }
    }
    LinkKind::Vxlan { port, external }
}
