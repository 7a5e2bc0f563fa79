//! The node's resolver: answers the names of services and tasks, forwards the rest.
//!
//! Owns: what a name means to which task, and the sockets while the daemon runs. Does not own: how
//! a query comes to the socket (`ebpf`), who keeps the sockets open over a restart (the supervisor).
//!
//! ```text
//!   view, journal ──► table ──► zone ┐
//!   task ──query──► udp, tcp ──► answer ──► reply
//!                                   └──miss──► forward ──► upstreams
//! ```
//!
//! The source address of a query names the attachment that asks (`ASKERS` + its index), so that a
//! task sees the names of its own networks and of no other. What is in the zone is answered at once
//! and never waits for anybody.

pub mod name;
pub mod table;
pub mod zone;

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use ipnetwork::Ipv4Network;
use tokio_util::sync::CancellationToken;

pub use table::Table;

/// Where tasks ask.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 53);
/// Port of the resolver, UDP and TCP.
pub const PORT: u16 = 53;
/// Stand-in source addresses: this prefix plus the index of the attachment.
pub const ASKERS: (Ipv4Addr, u8) = (Ipv4Addr::new(169, 254, 192, 0), 19);

/// The sockets tasks ask at; bound by the caller, who may have them from the supervisor.
#[derive(Debug)]
pub struct Sockets {
    pub udp: UdpSocket,
    pub tcp: TcpListener,
}

/// The running resolver.
#[derive(Debug)]
pub struct Resolver {
    stop: CancellationToken,
    _sockets: Sockets,
    _table: Arc<Table>,
    _resolv_conf: PathBuf,
}

impl Resolver {
    /// Answers from `table` what comes to the sockets; upstreams of the host are read from
    /// `resolv_conf` (`/etc/resolv.conf`) and read again when it changes.
    ///
    /// # Errors
    /// A socket or thread cannot be made.
    pub fn start(sockets: Sockets, table: Arc<Table>, resolv_conf: PathBuf) -> io::Result<Self> {
        let stop = CancellationToken::new();
        Ok(Self { stop, _sockets: sockets, _table: table, _resolv_conf: resolv_conf })
    }

    /// Stops answering; the sockets' other holders keep what comes in meanwhile.
    pub async fn stop(self) {
        self.stop.cancel();
    }
}

/// Returns the index of the attachment that a source address stands for.
pub fn asker_index(source: Ipv4Addr) -> Option<u32> {
    let prefix = Ipv4Network::new(ASKERS.0, ASKERS.1).expect("the prefix length is at most 32");
    prefix.contains(source).then(|| u32::from(source) - u32::from(ASKERS.0))
}
