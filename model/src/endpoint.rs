//! Pure: how a service is reached (VIPs, published ports) and how a task is attached.

use std::fmt;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};

use crate::id::NetworkId;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EndpointMode {
    #[default]
    Vip,
    Dnsrr,
}

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Returns the IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PublishMode {
    /// Every node answers.
    #[default]
    Ingress,
    /// Only the node of the task answers.
    Host,
}

/// A port as the user asked for it; `published_port` 0 asks for any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortSpec {
    pub name: String,
    pub protocol: Protocol,
    pub target_port: u16,
    pub published_port: u16,
    pub mode: PublishMode,
}

/// A port as the allocator gave it; `published_port` is never 0 in ingress mode.
pub type PublishedPort = PortSpec;

/// How the user wants the service to be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    pub mode: EndpointMode,
    pub ports: Vec<PortSpec>,
}

impl EndpointSpec {
    /// Returns the ports that a task's own node serves.
    pub fn host_ports(&self) -> impl Iterator<Item = &PublishedPort> {
        self.ports.iter().filter(|port| port.mode == PublishMode::Host && port.published_port != 0)
    }
}

/// How the service is reached: the answer to an [`EndpointSpec`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEndpoint {
    /// The spec this endpoint answers.
    pub spec: EndpointSpec,
    /// In the order of `spec.ports`.
    pub ports: Vec<PublishedPort>,
    /// One per attached network, ordered by network id; empty for dnsrr.
    pub vips: Vec<Vip>,
}

/// The service's address on one network, with the subnet's prefix length.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Vip {
    pub network_id: NetworkId,
    pub address: Ipv4Network,
}

/// A task's membership in one network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attachment {
    pub network_id: NetworkId,
    /// Address with the subnet's prefix length.
    pub address: Ipv4Network,
    pub aliases: Vec<String>,
}
