//! Flows as the model keeps them: ordered maps, no clock (an epoch is shorter than any timeout).

use std::collections::BTreeMap;

use super::packet::{Packet, Tuple};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// A task to a VIP_AT, and a backend's reply.
    Vip,
    VipBack,
    /// A client to a published port, and a remote backend's reply.
    Entry,
    EntryBack,
    /// An entry node to a task of this node, and the task's reply.
    Task,
    TaskBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub way: Way,
    pub vni: u32,
    pub node: u32,
    pub proto: u8,
    pub flow: Tuple,
}

/// Where replies of a published port go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Client {
    /// Not at this node.
    #[default]
    Away,
    Outside,
    Host,
    Task,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Half {
    pub backend: u32,
    /// The other address: of the backend forwards, of what was called backwards.
    pub other: (u32, u16),
    /// The client, as the next one knows it.
    pub client: (u32, u16),
    pub node: u32,
    pub device: u32,
    pub reaches: Client,
    /// The task chose itself: two halves from the task to the VIP.
    pub hairpin: bool,
    /// Of those, the one of the serving side.
    pub serves: bool,
    pub ends: Ends,
}

/// How far a TCP connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ends {
    answered: bool,
    client_done: bool,
    backend_done: bool,
    reset: bool,
}

impl Ends {
    const fn or(self, more: Self) -> Self {
        Self {
            answered: self.answered || more.answered,
            client_done: self.client_done || more.client_done,
            backend_done: self.backend_done || more.backend_done,
            reset: self.reset || more.reset,
        }
    }
}

impl Half {
    pub(crate) const fn is_over(&self) -> bool {
        self.ends.reset || self.ends.client_done && self.ends.backend_done
    }

    fn is_same_flow(&self, new: &Self) -> bool {
        self.backend == new.backend
            && self.other == new.other
            && self.client == new.client
            && self.node == new.node
    }

    /// The same client by another entry node.
    fn has_moved(&self, new: &Self) -> bool {
        let port = |half: &Self| half.other.1;
        self.client == new.client && (port(self) == port(new) || port(self) == 0 || port(new) == 0)
    }
}

/// Another flow has the tuple.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken;

#[derive(Debug, Default, Clone)]
pub(crate) struct Flows(pub BTreeMap<Key, Half>);

/// The key of the other direction.
pub(crate) fn pair(key: &Key, half: &Half) -> Key {
    let flow = key.flow;
    let to = |way, node, src: (u32, u16), dst: (u32, u16)| Key {
        way,
        node,
        flow: Tuple { src: src.0, sport: src.1, dst: dst.0, dport: dst.1 },
        ..*key
    };
    let (src, dst) = ((flow.src, flow.sport), (flow.dst, flow.dport));
    if half.hairpin {
        let (sport, dport) = (flow.dport, flow.sport);
        return Key { node: 0, flow: Tuple { sport, dport, ..flow }, ..*key };
    }
    match key.way {
        Way::Vip => to(Way::VipBack, 0, (half.other.0, dst.1), src),
        Way::VipBack => to(Way::Vip, 0, dst, (half.other.0, src.1)),
        Way::Entry if half.node != 0 => to(Way::EntryBack, half.node, half.other, half.client),
        Way::Entry | Way::Task => to(Way::TaskBack, 0, half.other, half.client),
        Way::TaskBack if half.reaches == Client::Away => to(Way::Task, half.node, half.client, src),
        Way::EntryBack | Way::TaskBack => to(Way::Entry, 0, half.client, half.other),
    }
}

impl Flows {
    /// A packet of the flow was seen.
    pub(crate) fn note(&mut self, key: &Key, packet: &Packet, reply: bool) {
        let Some(half) = self.0.get_mut(key) else { return };
        if packet.error {
            return;
        }
        let fin = packet.proto == super::packet::TCP && packet.has(1);
        let before = half.ends;
        half.ends = half.ends.or(Ends {
            answered: reply,
            client_done: fin && !reply,
            backend_done: fin && reply,
            reset: packet.proto == super::packet::TCP && packet.has(4),
        });
        if half.ends == before {
            return;
        }
        let (other, ends) = (pair(key, half), half.ends);
        if let Some(other) = self.0.get_mut(&other) {
            other.ends = other.ends.or(ends);
        }
    }

    /// Takes a reply's tuple, unless another living flow has it.
    pub(crate) fn claim(&mut self, key: Key, half: &mut Half, stream: bool) -> Result<(), Taken> {
        if let Some(old) = self.0.get(&key).filter(|old| !old.is_over()) {
            if !(old.is_same_flow(half) || stream && old.has_moved(half)) {
                return Err(Taken);
            }
            half.ends = half.ends.or(old.ends);
        }
        self.0.insert(key, *half);
        Ok(())
    }
}
