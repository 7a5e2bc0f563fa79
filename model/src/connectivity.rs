//! Pure: what the connectivity test asks of a node, what a node finds, and what the user is told.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// Asks a node to send frames to all its peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOrder {
    /// Number of the test: frames and findings of another one do not count.
    pub test: u64,
}

/// What one node has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    pub test: u64,
    /// Largest packet of a task that this node must bring to the others.
    pub mtu: u32,
    pub paths: Vec<PathFound>,
    /// Why the node could not test at all.
    pub problem: Option<String>,
}

/// What one node has found on its way to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathFound {
    pub to: NodeId,
    /// How the system refused to send, if it did.
    pub refused: Option<String>,
    /// Small frames.
    pub sent: u32,
    pub answered: u32,
    pub round_trip_us: Option<u64>,
    /// True if frames of the other node have come here.
    pub heard: bool,
    /// Largest packet that got there in one piece.
    pub largest: u32,
    /// True if a packet of full size came back by the other's tunnel device, in pieces or not.
    pub whole: bool,
}

/// The result of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connectivity {
    pub nodes: Vec<NodeTested>,
    pub paths: Vec<PathTested>,
}

impl Connectivity {
    /// True if every node was tested and every path carries full frames.
    pub fn is_good(&self) -> bool {
        self.nodes.iter().all(|node| node.problem.is_none())
            && self.paths.iter().all(|path| path.problem.is_none())
    }
}

/// A node of the cluster in the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTested {
    pub id: NodeId,
    pub hostname: String,
    pub addr: Ipv4Addr,
    pub problem: Option<Problem>,
}

/// The way from one node to another in the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathTested {
    /// Host names.
    pub from: String,
    pub to: String,
    pub sent: u32,
    pub answered: u32,
    pub round_trip_us: Option<u64>,
    /// Packets of tasks on `from` may be as large as this.
    pub mtu: u32,
    /// Largest packet that got there in one piece.
    pub largest: u32,
    pub problem: Option<Problem>,
}

/// What is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `node` or `node → node`.
    pub hop: String,
    pub what: String,
    pub fix: String,
}
