//! Frees connected UDP sockets from backends that are gone: ends them, so that their owners connect
//! anew and get a living one. Without it they would send to a dead address for as long as they live.
//!
//! Woken by each pass that took a backend away; [`super::stale`] decides, from the maps alone, so a
//! daemon that starts finds what an earlier one left undone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use swarmnet_ebpf::abi::{Be16, Be32, Service, SockKey};
use swarmnet_ebpf::map::{Backends, MapError, Maps, SockRev, Svc};
use swarmnet_model::Protocol;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::stale::{Remembered, is_followed, stale};
use crate::netlink::diag_message::UdpSocket;
use crate::netlink::netns;
use crate::netlink::sock_diag::{SockDiag, can_destroy};
use crate::plugin::journal::JournalFile;

/// Backends go in bursts; one look at all namespaces answers for those of this long.
const BATCH: Duration = Duration::from_millis(50);
/// A look even if no backend has left.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Pause after a look that failed.
const RETRY: Duration = Duration::from_secs(1);

/// What the loop works on.
#[derive(Debug)]
pub struct Sockets {
    /// The maps in use; none outside a swarm.
    pub maps: watch::Receiver<Option<Maps>>,
    /// Knows the sandboxes.
    pub journal: Arc<JournalFile>,
    /// Told when a backend or a service has been taken out of the maps.
    pub left: Arc<Notify>,
}

/// Why not all sockets could be looked at.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("ending sockets in {}", place.display())]
    Sockets {
        place: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the look was cut short")]
    Aborted,
}

/// Runs until told to stop; not at all on a kernel that cannot end sockets.
pub async fn run(sockets: Sockets, stop: CancellationToken) {
    match tokio::task::spawn_blocking(can_destroy).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => {
            tracing::warn!(
                "this kernel cannot end sockets (CONFIG_INET_DIAG_DESTROY): a connected UDP socket \
                 whose backend is gone waits for an error of its own"
            );
            return;
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "sockets cannot be listed (CONFIG_INET_UDP_DIAG): a connected \
                UDP socket whose backend is gone waits for an error of its own");
            return;
        }
        Err(_) => return,
    }
    while stop.run_until_cancelled(tokio::time::sleep(BATCH)).await.is_some() {
        let pause = match look(&sockets).await {
            Ok(0) => LOOK_EVERY,
            Ok(ended) => {
                tracing::info!(ended, "UDP sockets freed from backends that are gone");
                LOOK_EVERY
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "UDP sockets of backends that are gone remain");
                RETRY
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sockets.left.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn look(sockets: &Sockets) -> Result<usize, SweepError> {
    let Some(maps) = sockets.maps.borrow().clone() else { return Ok(0) };
    let journal = sockets.journal.read();
    let paths: BTreeSet<PathBuf> =
        journal.joined().filter_map(|(_, e)| e.sandbox.clone()).collect();
    let work = move || sweep(&maps, &paths);
    tokio::task::spawn_blocking(work).await.map_err(|_| SweepError::Aborted)?
}

/// Ends what is stale in the own namespace and in the sandboxes; returns how many sockets.
fn sweep(maps: &Maps, sandboxes: &BTreeSet<PathBuf>) -> Result<usize, SweepError> {
    let mut remembered = maps.entries::<SockRev>()?;
    remembered.retain(|key, _| is_followed(key));
    if remembered.is_empty() {
        return Ok(0);
    }
    let services = services(maps, &remembered)?;
    let stale = stale(&remembered, &services, &maps.entries::<Backends>()?);
    if stale.is_empty() {
        return Ok(0);
    }
    let own = Path::new("the host's network");
    let mut ended = end(&stale).map_err(failed_in(own))?;
    for path in sandboxes {
        match netns::inside(path, || end(&stale)) {
            Ok(count) => ended += count,
            // Not made yet, or gone with its sockets; a bare file is what the mount is put on.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
            }
            Err(error) => return Err(failed_in(path)(error)),
        }
    }
    for key in &stale {
        maps.delete::<SockRev>(key)?;
    }
    Ok(ended)
}

fn failed_in(place: &Path) -> impl FnOnce(io::Error) -> SweepError {
    let place = place.to_owned();
    move |source| SweepError::Sockets { place, source }
}

fn services(maps: &Maps, remembered: &Remembered) -> Result<BTreeMap<u32, Service>, MapError> {
    let wanted: BTreeSet<u32> = remembered.values().map(|asked| asked.svc).collect();
    let mut found = BTreeMap::new();
    for index in wanted {
        found.insert(index, maps.get::<Svc>(&index)?.unwrap_or_default());
    }
    Ok(found)
}

/// Ends the stale sockets of the calling thread's network namespace.
fn end(stale: &BTreeSet<SockKey>) -> io::Result<usize> {
    let diag = SockDiag::open()?;
    let mut ended = 0;
    for socket in diag.connected()?.iter().filter(|socket| stale.contains(&key_of(socket))) {
        ended += usize::from(diag.destroy(socket)?);
    }
    Ok(ended)
}

fn key_of(socket: &UdpSocket) -> SockKey {
    let (addr, port) = socket.peer;
    SockKey {
        cookie: socket.cookie,
        addr: Be32::new(addr),
        port: Be16::new(port),
        proto: Protocol::Udp.number(),
        pad: 0,
    }
}
