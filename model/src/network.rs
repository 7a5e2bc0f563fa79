//! Pure: an overlay network.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::NetworkId;
use crate::service::Document;
use crate::version::Version;
use crate::vni::Vni;

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub internal: bool,
    pub attachable: bool,
    pub ingress: bool,
    /// At most one IPv4 subnet; empty asks the allocator.
    pub ipam: Vec<IpamConfig>,
    /// Driver options (`com.docker.network.driver.mtu`, …).
    pub options: BTreeMap<String, String>,
    /// The whole create request as the user wrote it.
    pub document: Document,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamConfig {
    pub subnet: Option<Ipv4Network>,
    pub range: Option<Ipv4Network>,
    pub gateway: Option<Ipv4Addr>,
    /// Addresses that belong to something outside the cluster, by the user's names for them.
    #[serde(default)]
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
}

/// What the allocator gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub subnet: Ipv4Network,
    pub range: Option<Ipv4Network>,
    /// First address of the subnet unless the user named one; nothing listens there.
    pub gateway: Ipv4Addr,
}

/// A network with the managers' bookkeeping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    pub id: NetworkId,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub spec: NetworkSpec,
    pub vni: Vni,
    pub subnet: Subnet,
    /// True once the user has removed it while tasks on it still stop: nobody sees it any more and
    /// its name is free; VNI and subnet are not, until the last of those tasks has ended.
    #[serde(default)]
    pub pending_delete: bool,
}

impl Network {
    /// Returns the addresses that belong to something outside the cluster, by their names.
    pub fn auxiliary(&self) -> impl Iterator<Item = (&String, &Ipv4Addr)> {
        self.spec.ipam.iter().flat_map(|config| &config.auxiliary)
    }
}
