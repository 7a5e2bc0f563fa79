//! The node's part in the connectivity test: sends frames to every peer and tells what came back.
//!
//! Owns: the frames ([`frame`]), one way to one peer ([`path`]), the round over all peers. Does not
//! own: who asks (the session), what the findings mean (the managers). A frame is a VXLAN datagram of
//! the peer's port, so it meets the same firewalls, routes and guards as frames of tasks; the peer's
//! program sends it back by its tunnel device, and this node's program notes when (walk O).
//!
//! Stays true: one test at a time; a test ends within [`PROBE_BOUND`]; only peers are asked.

pub mod frame;
mod path;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use swarmnet_ebpf::map::{Heard, MapError, Maps, Peers, Probes};
use swarmnet_model::Findings;
use swarmnet_model::connectivity::PathFound;
use swarmnet_model::limits::PROBE_BOUND;
use swarmnet_model::view::Peer;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::inputs::{self, data_path_port, node_addr};
use crate::reconcile::Told;

/// A peer may be told of the test so much later than this node: it is not blamed for frames that it
/// has not sent yet.
const LATE_PEER: Duration = Duration::from_secs(4);
/// Between two looks for frames of a late peer.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Peers that are tested at a time: each costs a socket, and its answers come in bursts.
const PATHS_AT_ONCE: usize = 64;

/// A test that is asked for.
#[derive(Debug)]
pub struct Order {
    pub test: u64,
    pub reply: oneshot::Sender<Findings>,
}

/// What a test is made from.
#[derive(Debug)]
pub struct Sources {
    pub maps: watch::Receiver<Option<Maps>>,
    pub told: watch::Receiver<Option<Told>>,
    /// Of attachments made now.
    pub mtu: watch::Receiver<u32>,
}

/// Answers orders until told to stop.
pub async fn run(mut orders: mpsc::Receiver<Order>, sources: Sources, stop: CancellationToken) {
    loop {
        let order = tokio::select! {
            () = stop.cancelled() => return,
            order = orders.recv() => order,
        };
        let Some(Order { test, reply }) = order else { return };
        let tested = stop.run_until_cancelled(findings(&sources, test)).await;
        let Some(tested) = tested else { return };
        let failed = |problem| Findings { test, problem: Some(problem), ..Findings::default() };
        // Whoever asked may have gone.
        let _ = reply.send(tested.unwrap_or_else(failed));
    }
}

async fn findings(sources: &Sources, number: u64) -> Result<Findings, String> {
    let told = sources.told.borrow().clone().ok_or("the node is in no swarm")?;
    let maps = sources.maps.borrow().clone().ok_or("the data plane is not loaded")?;
    let own = node_addr(&told.view, &told.node_id).ok_or("the node has no address yet")?;
    let users = inputs::networks(&told.view).filter_map(|network| network.mtu.map(u32::from));
    let mtu = users.fold(*sources.mtu.borrow(), u32::max);
    forget_old(&maps).map_err(|error| error.to_string())?;
    let port = data_path_port(&told.view);
    let ground = Arc::new(path::Ground { maps, own, port, mtu, test: number });
    let mut peers: Vec<Peer> = inputs::peers(&told.view).cloned().collect();
    peers.retain(|peer| peer.node_id != told.node_id);
    let tests = stream::iter(peers).map(move |peer| test(Arc::clone(&ground), peer));
    let tested = tests.buffer_unordered(PATHS_AT_ONCE).take_until(sleep(PROBE_BOUND));
    let paths = tested.collect().await;
    Ok(Findings { test: number, mtu, paths, problem: None })
}

/// Also reads, at the end, whether the peer's own frames have come here.
async fn test(ground: Arc<path::Ground>, peer: Peer) -> PathFound {
    let node = ground.maps.get::<Peers>(&swarmnet_ebpf::abi::Be32::new(peer.addr));
    let Ok(Some(node)) = node.map(|found| found.map(|peer| peer.node)) else {
        let refused = Some("this node does not know that peer yet".to_owned());
        return path::nothing(peer.node_id.clone(), refused);
    };
    let mut found = match path::test(&ground, &peer, node).await {
        Ok(found) => found,
        Err(error) => path::nothing(peer.node_id.clone(), Some(error.to_string())),
    };
    let patience = if found.answered == 0 { LATE_PEER } else { Duration::ZERO };
    found.heard = hears(&ground.maps, node, ground.test, patience).await;
    found
}

/// Returns whether a frame of this test has come from a node. Asked of every silent way: it tells
/// the way there from the way back.
async fn hears(maps: &Maps, node: u32, test: u64, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let last = maps.get::<Heard>(&node).ok().flatten().unwrap_or_default();
        if last == test || Instant::now() >= deadline {
            return last == test;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A test that was cut off has left its entries.
fn forget_old(maps: &Maps) -> Result<(), MapError> {
    let left: BTreeSet<u64> = maps.entries::<Probes>()?.into_keys().collect();
    left.iter().try_for_each(|nonce| maps.delete::<Probes>(nonce).map(drop))
}

#[cfg(test)]
mod tests {
    use swarmnet_ebpf::memory::MemoryMaps;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_begins_later_is_heard() {
        let maps = MemoryMaps::new().maps();
        maps.set::<Heard>(&3, &6).unwrap();
        let late = maps.clone();
        let (heard, ()) = tokio::join!(hears(&maps, 3, 7, LATE_PEER), async {
            sleep(Duration::from_secs(3)).await;
            late.set::<Heard>(&3, &7).unwrap();
        });
        assert!(heard);
        assert!(!hears(&maps, 4, 7, LATE_PEER).await, "another one was never heard");
    }
}
