//! One way to one peer: is it there, how fast, and how large a packet gets through.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use swarmnet_ebpf::abi::{PROBE_REQUEST, PROBE_WHOLE, Probe};
use swarmnet_ebpf::map::{MapError, Maps, Probes};
use swarmnet_ebpf::probe::{allow_fragments, now_ns};
use swarmnet_model::NodeId;
use swarmnet_model::connectivity::PathFound;
use swarmnet_model::view::Peer;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep};

use super::frame::{SIZE_MIN, datagram};

/// Small frames whose answers are counted.
const SMALL: u32 = 10;
/// Copies of a frame of which one must come back: a lossy way must not look narrow.
const COPIES: u32 = 5;
/// An answer that takes longer is taken for lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same, while the size of packets is searched and the round trip is known.
const SEARCH_PATIENCE: Duration = Duration::from_millis(250);
/// Between two looks for answers; their times are the kernel's.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Nonces of this process: they begin where those of an earlier one cannot have come.
static NONCES: AtomicU64 = AtomicU64::new(0);

/// What the test of every peer shares.
pub(super) struct Ground {
    pub(super) maps: Maps,
    pub(super) own: Ipv4Addr,
    pub(super) port: u16,
    pub(super) mtu: u32,
    /// Number of the test.
    pub(super) test: u64,
}

/// Why a way could not be tested.
#[derive(Debug, thiserror::Error)]
pub(super) enum PathError {
    #[error("opening a socket: {0}")]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Map(#[from] MapError),
}

/// Frames sent together.
#[derive(Clone, Copy)]
struct Burst {
    kind: u8,
    size: u32,
    copies: u32,
    /// How many answers are enough.
    enough: u32,
    patience: Duration,
}

#[derive(Default)]
struct Answers {
    count: u32,
    fastest_ns: Option<u64>,
    /// How the system refused to send.
    refused: Option<io::Error>,
}

/// Returns what is known of a way that could not be tested.
pub(super) fn nothing(to: NodeId, refused: Option<String>) -> PathFound {
    PathFound {
        to,
        refused,
        sent: 0,
        answered: 0,
        round_trip_us: None,
        heard: false,
        largest: 0,
        whole: false,
    }
}

/// Tests the way to a peer, which is `node` in the maps.
pub(super) async fn test(ground: &Ground, peer: &Peer, node: u32) -> Result<PathFound, PathError> {
    let way = Way::open(ground, peer, node).await?;
    let small = Burst {
        kind: PROBE_REQUEST,
        size: SIZE_MIN,
        copies: SMALL,
        enough: SMALL,
        patience: PATIENCE,
    };
    let mut answers = way.burst(small).await?;
    if answers.count == 0 {
        // The first frames may have waited for the peer's MAC address.
        answers = way.burst(small).await?;
    }
    let mut found = nothing(peer.node_id.clone(), answers.refused.map(|error| error.to_string()));
    found.sent = SMALL;
    found.answered = answers.count;
    found.round_trip_us = answers.fastest_ns.map(|ns| ns / 1_000);
    if answers.count > 0 {
        found.largest = way.largest(ground.mtu).await?;
        allow_fragments(way.socket.as_fd(), true)?;
        found.whole = way.passes(PROBE_WHOLE, ground.mtu, PATIENCE).await?;
    }
    Ok(found)
}

struct Way<'a> {
    maps: &'a Maps,
    socket: UdpSocket,
    node: u32,
    test: u64,
}

impl<'a> Way<'a> {
    async fn open(ground: &'a Ground, peer: &Peer, node: u32) -> Result<Self, PathError> {
        // The peer believes the address that the managers know; ICMP errors come to this socket.
        let socket = UdpSocket::bind((ground.own, 0)).await?;
        socket.connect((peer.addr, ground.port)).await?;
        allow_fragments(socket.as_fd(), false)?;
        Ok(Self { maps: &ground.maps, socket, node, test: ground.test })
    }

    /// Returns the size of the largest packet, up to `mtu`, that arrives in one piece.
    async fn largest(&self, mtu: u32) -> Result<u32, PathError> {
        if self.passes(PROBE_REQUEST, mtu, PATIENCE).await? {
            return Ok(mtu);
        }
        let (mut good, mut bad) = (SIZE_MIN, mtu);
        while bad > good + 1 {
            let size = good.midpoint(bad);
            match self.passes(PROBE_REQUEST, size, SEARCH_PATIENCE).await? {
                true => good = size,
                false => bad = size,
            }
        }
        Ok(good)
    }

    async fn passes(&self, kind: u8, size: u32, patience: Duration) -> Result<bool, PathError> {
        let burst = Burst { kind, size, copies: COPIES, enough: 1, patience };
        Ok(self.burst(burst).await?.count > 0)
    }

    async fn burst(&self, burst: Burst) -> Result<Answers, PathError> {
        let mut sent = Vec::new();
        let mut refused = None;
        for _ in 0..burst.copies {
            let nonce = nonce();
            let waiting = Probe { node: self.node, pad: 0, answered_ns: 0 };
            self.maps.set::<Probes>(&nonce, &waiting)?;
            sent.push((nonce, now_ns()));
            let datagram = datagram(burst.kind, self.test, nonce, burst.size);
            refused = self.socket.send(&datagram).await.err().or(refused);
        }
        let mut answers = self.await_answers(&sent, burst).await?;
        for (nonce, _) in &sent {
            self.maps.delete::<Probes>(nonce)?;
        }
        answers.refused = self.socket.take_error()?.or(refused);
        Ok(answers)
    }

    async fn await_answers(&self, sent: &[(u64, u64)], burst: Burst) -> Result<Answers, PathError> {
        let deadline = Instant::now() + burst.patience;
        loop {
            let late = Instant::now() >= deadline;
            let answers = self.answers(sent)?;
            if late || answers.count >= burst.enough {
                return Ok(answers);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn answers(&self, sent: &[(u64, u64)]) -> Result<Answers, PathError> {
        let mut answers = Answers::default();
        for (nonce, sent_ns) in sent {
            let probe = self.maps.get::<Probes>(nonce)?.unwrap_or_default();
            if probe.answered_ns != 0 {
                let took = probe.answered_ns.saturating_sub(*sent_ns);
                answers.count += 1;
                answers.fastest_ns = Some(answers.fastest_ns.map_or(took, |ns| ns.min(took)));
            }
        }
        Ok(answers)
    }
}

fn nonce() -> u64 {
    // Only the first caller finds zero.
    let _ = NONCES.compare_exchange(0, now_ns(), Ordering::Relaxed, Ordering::Relaxed);
    NONCES.fetch_add(1, Ordering::Relaxed)
}
