//! What the underlay carries: follows the routes to the other nodes.
//!
//! Owns: the questions to the kernel, and how often they are asked. Does not own: what follows from
//! the answers (`inputs::overlay_mtu`), who uses them (the plugin, for attachments made from then on;
//! `overlay`, to tell tasks how long a packet to a node may be).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::inputs::Inputs;
use crate::netlink::Netlink;
use crate::netlink::route::Way;

/// A route is asked for again after this long: one question per node, in a loop that everything
/// waits for.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The ways to the other nodes, as last seen.
#[derive(Debug, Default)]
pub struct Underlay {
    peers: BTreeSet<Ipv4Addr>,
    asked: Option<Instant>,
    ways: Arc<BTreeMap<Ipv4Addr, Way>>,
}

impl Underlay {
    /// Returns the ways to the other nodes, as last seen.
    pub const fn ways(&self) -> &Arc<BTreeMap<Ipv4Addr, Way>> {
        &self.ways
    }

    /// Looks at the ways again if the nodes have changed or some time has passed.
    pub async fn follow(&mut self, netlink: &Netlink, inputs: &Inputs) {
        let others = inputs.peers().filter(|peer| peer.node_id != inputs.node_id);
        let peers: BTreeSet<_> = others.map(|peer| peer.addr).collect();
        let fresh = self.asked.is_some_and(|at| at.elapsed() < ASK_EVERY);
        if peers != self.peers || !fresh {
            self.ways = Arc::new(ways(netlink, &peers).await);
            self.peers = peers;
            self.asked = Some(Instant::now());
        }
    }
}

/// A node without a route does not decide: nothing can be sent to it anyway.
async fn ways(netlink: &Netlink, peers: &BTreeSet<Ipv4Addr>) -> BTreeMap<Ipv4Addr, Way> {
    let mut ways = BTreeMap::new();
    for peer in peers {
        match netlink.way_to(*peer).await {
            Ok(way) => ways.extend(way.map(|way| (*peer, way))),
            Err(error) => tracing::debug!(%error, %peer, "no route to a node"),
        }
    }
    ways
}
