//! Typed kernel configuration: links, addresses, routes, neighbours, namespaces, sockets, the nft
//! table.
//!
//! Owns: the only raw netlink attributes and the only child processes of the agent. Does not own:
//! which devices there should be (`sandbox`, `overlay`, `ingress` decide).
//!
//! Every call is bounded by [`CALL_TIMEOUT`]; reads dump and filter, since a dump of a few hundred
//! devices costs less than a lookup each. Test: `agent/tests/netlink.rs` (root).

pub mod addr;
pub mod diag_message;
pub mod engine_resolver;
pub mod iptables;
pub mod link;
pub mod neighbor;
pub mod netns;
pub mod nft;
pub mod nft_rules;
pub mod route;
pub mod snapshot;
pub mod sock_diag;
pub mod sysctl;
pub mod xfrm;

use std::future::Future;
use std::io;
use std::time::Duration;

use rtnetlink::Handle;
use tokio::runtime;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longest wait for the kernel; a healthy one answers within milliseconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A netlink call that did not work.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    #[error("opening a netlink socket")]
    Socket(#[source] io::Error),
    #[error("{what}")]
    Refused {
        what: String,
        #[source]
        source: rtnetlink::Error,
    },
    #[error("{what}: no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout { what: String },
    #[error("counting IPsec policies")]
    Policies(#[source] io::Error),
    #[error("device {name} does not exist")]
    LinkMissing { name: String },
}

/// A connection to rtnetlink in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    /// Ends the connection's thread.
    _end: DropGuard,
}

impl Netlink {
    /// Opens a connection.
    ///
    /// It has a thread of its own: a request waits inside the kernel for the one lock of all devices,
    /// which is held for tenths of a second while namespaces come and go.
    ///
    /// # Errors
    /// `Socket` if the kernel refuses one, or a thread.
    pub fn open() -> Result<Self, NetlinkError> {
        Self::try_open().map_err(NetlinkError::Socket)
    }

    fn try_open() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        let (connection, handle, _) = {
            let _inside = runtime.enter();
            rtnetlink::new_connection()?
        };
        let end = CancellationToken::new();
        let ended = end.clone();
        std::thread::Builder::new().name("netlink".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = connection => {}
                    () = ended.cancelled() => {}
                }
            });
        })?;
        Ok(Self { handle, _end: end.drop_guard() })
    }

    async fn call<T>(
        &self,
        what: impl FnOnce() -> String,
        answer: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, NetlinkError> {
        match tokio::time::timeout(CALL_TIMEOUT, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(NetlinkError::Refused { what: what(), source }),
            Err(_) => Err(NetlinkError::Timeout { what: what() }),
        }
    }
}

impl NetlinkError {
    /// True if the kernel says that the thing is there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(nix::errno::Errno::EEXIST as i32)
    }

    /// True if the kernel says that there is no such thing (any more).
    pub fn is_absent(&self) -> bool {
        let gone = [nix::errno::Errno::ENODEV, nix::errno::Errno::ENOENT, nix::errno::Errno::ESRCH];
        self.errno().is_some_and(|errno| gone.iter().any(|e| *e as i32 == errno))
    }

    fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source: rtnetlink::Error::NetlinkError(message), .. } => {
                message.to_io().raw_os_error()
            }
            Self::Refused { .. }
            | Self::Socket(_)
            | Self::Policies(_)
            | Self::Timeout { .. }
            | Self::LinkMissing { .. } => None,
        }
    }
}
