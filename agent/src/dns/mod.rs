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

pub mod answer;
pub mod counters;
pub mod feed;
#[cfg(test)]
mod fixture;
mod forward;
pub mod message;
pub mod name;
pub mod names;
mod resolv_conf;
mod server;
pub mod sources;
pub mod table;
mod tcp;
mod udp;
pub mod zone;

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use ipnetwork::Ipv4Network;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use tokio::runtime::Handle;
use tokio_util::sync::DropGuard;

use counters::Counters;
use server::Server;
pub use table::Table;
use udp::UdpLoop;

/// Where tasks ask.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 53);
/// Port of the resolver and of upstreams, UDP and TCP.
pub const PORT: u16 = 53;
/// Bytes in which queries wait while the daemon restarts or many tasks ask at once: some five
/// thousand queries, each counted with what the kernel adds; its default holds under three hundred.
const WAITING_MAX: usize = 2 << 20;
/// Stand-in source addresses: this prefix plus the index of the attachment.
pub const ASKERS: (Ipv4Addr, u8) = (Ipv4Addr::new(169, 254, 192, 0), 19);

/// The sockets tasks ask at; bound by the caller, who may have them from the supervisor.
#[derive(Debug)]
pub struct Sockets {
    pub udp: UdpSocket,
    pub tcp: TcpListener,
}

/// Where a resolver finds what is not its own.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names the host's upstreams; read again when it changes.
    pub resolv_conf: PathBuf,
    /// Prefix of the stand-in source addresses.
    pub askers: Ipv4Network,
    /// Port of all upstreams.
    pub upstream_port: u16,
}

impl Settings {
    /// Settings of a node; `resolv_conf` is the host's `/etc/resolv.conf`.
    pub fn new(resolv_conf: PathBuf) -> Self {
        let askers = Ipv4Network::new(ASKERS.0, ASKERS.1).expect("a prefix is at most 32 long");
        Self { resolv_conf, askers, upstream_port: PORT }
    }
}

/// Makes room for waiting queries: without the capability as much as the host lets everybody have.
fn widen(socket: &UdpSocket) -> io::Result<()> {
    let forced = setsockopt(socket, RcvBufForce, &WAITING_MAX);
    Ok(forced.or_else(|_| setsockopt(socket, RcvBuf, &WAITING_MAX))?)
}

/// The running resolver. Stop it before it is dropped: what it still answers is lost otherwise.
pub struct Resolver {
    server: Arc<Server>,
    thread: JoinHandle<()>,
    /// Closing it ends the thread.
    running: UnixStream,
    _stop: DropGuard,
}

impl Resolver {
    /// Answers from `table` what comes to the sockets. Called inside a tokio runtime.
    ///
    /// # Errors
    /// A socket or the thread cannot be made.
    pub fn start(sockets: Sockets, table: Arc<Table>, settings: Settings) -> io::Result<Self> {
        sockets.udp.set_nonblocking(true)?;
        widen(&sockets.udp)?;
        sockets.tcp.set_nonblocking(true)?;
        let server = Arc::new(Server::new(table, settings, Handle::current()));
        let stop = server.stop.clone().drop_guard();
        let listener = tokio::net::TcpListener::from_std(sockets.tcp)?;
        server.spawn(tcp::serve(listener, Arc::clone(&server)));
        let (running, stopped) = UnixStream::pair()?;
        let udp =
            UdpLoop { socket: Arc::new(sockets.udp), server: Arc::clone(&server), stop: stopped };
        let thread = std::thread::Builder::new().name("dns".to_owned()).spawn(|| udp.run())?;
        Ok(Self { server, thread, running, _stop: stop })
    }

    /// Stops answering; the sockets' other holders keep what comes in meanwhile.
    pub async fn stop(self) {
        drop(self.running);
        self.server.stop.cancel();
        self.server.tasks.close();
        self.server.tasks.wait().await;
        let thread = self.thread;
        if tokio::task::spawn_blocking(|| thread.join()).await.is_err() {
            tracing::warn!("the thread that answers names has died");
        }
    }

    pub fn counters(&self) -> &Counters {
        &self.server.counters
    }
}

#[cfg(test)]
mod server_tests;
