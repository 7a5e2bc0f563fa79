//! Pure: plain containers on swarm networks: what the managers keep, and what nodes ask of them.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::endpoint::Attachment;
use crate::id::{NetworkId, NodeId, TaskId};
use crate::version::Version;

/// A container that a user of one node put on swarm networks. No service, no scheduling: it holds
/// its addresses from before it is made until it is removed, or disconnected from the last network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedContainer {
    /// Made by its node.
    pub id: TaskId,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub node_id: NodeId,
    /// As the node's engine knows it; empty until the node has reported it.
    pub name: String,
    pub container_id: String,
    /// True until the node reports that it does not run.
    pub running: bool,
    /// One per network, never empty.
    pub attachments: Vec<Attachment>,
}

/// A network that a plain container is to be on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedAttachment {
    /// Id or name: a worker knows the networks of its own tasks only.
    pub network: String,
    /// `None`: any.
    pub address: Option<Ipv4Addr>,
    pub aliases: Vec<String>,
}

/// What a node asks for its own containers. Asking again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttachCall {
    /// Puts a container on networks, all or none; answered with the attachments in that order.
    Attach { id: TaskId, name: String, networks: Vec<WantedAttachment> },
    /// Takes it off one network, if it still has that address there; `None`: off all.
    Detach { id: TaskId, from: Option<(NetworkId, Ipv4Addr)> },
    /// What the engine says of it.
    Report { id: TaskId, name: String, container_id: String, running: bool },
}
