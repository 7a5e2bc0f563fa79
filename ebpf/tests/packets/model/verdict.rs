//! What the model expects to happen to a frame.

use std::collections::BTreeSet;

use super::packet::{Reason, Tuple};

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Into a task by its host side device.
    Task(u32),
    /// Into the tunnel.
    Node { node: u32, vni: u32 },
    /// Into the host's stack.
    Host,
    /// Out of a device, with a MAC the program knows.
    Out(u32),
    /// Out of a device, the kernel resolves the next hop.
    Neighbor(u32),
}

/// What leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The packet, with another flow; ICMP errors also with other outer addresses.
    Packet {
        from: u32,
        to: u32,
        flow: Tuple,
        ttl: u8,
    },
    Reset {
        flow: Tuple,
        sequence: u32,
        ack: Option<u32>,
    },
    Unreachable {
        from: u32,
        to: u32,
        code: u8,
        mtu: u16,
    },
    ArpReply {
        mac: [u8; 6],
        of: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Reasons the frame is counted under.
    pub counted: BTreeSet<Reason>,
    pub fate: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    Drop,
    Send(Place, Sent),
}

/// Chance, as the program had it: the model checks that it was allowed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chance {
    /// Source port of the frame that left.
    pub port: Option<u16>,
    /// The frame is a later fragment, which has none.
    pub hidden: bool,
    /// Its destination address.
    pub to: Option<u32>,
}

impl Verdict {
    pub(crate) fn drop(reason: Reason) -> Self {
        Self { counted: [reason].into(), fate: Fate::Drop }
    }

    pub(crate) fn pass() -> Self {
        Self { counted: BTreeSet::new(), fate: Fate::Pass }
    }

    pub(crate) fn send(place: Place, sent: Sent) -> Self {
        Self { counted: BTreeSet::new(), fate: Fate::Send(place, sent) }
    }

    pub(crate) fn counting(mut self, reason: Option<Reason>) -> Self {
        self.counted.extend(reason);
        self
    }
}
