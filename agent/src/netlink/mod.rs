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

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use rtnetlink::Handle;
use tokio::task::JoinSet;

/// Longest wait for the kernel; a healthy one answers within milliseconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A netlink call that did not work.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    #[error("opening a netlink socket")]
    Socket(#[source] std::io::Error),
    #[error("{what}")]
    Refused {
        what: String,
        #[source]
        source: rtnetlink::Error,
    },
    #[error("{what}: no answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout { what: String },
    #[error("device {name} does not exist")]
    LinkMissing { name: String },
}

/// A connection to rtnetlink in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    /// Dropped with us; ends the connection's task.
    _connection: Mutex<JoinSet<()>>,
}

impl Netlink {
    /// Opens a connection; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// `Socket` if the kernel refuses one.
    pub fn open() -> Result<Self, NetlinkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Socket)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Ok(Self { handle, _connection: Mutex::new(tasks) })
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
            | Self::Timeout { .. }
            | Self::LinkMissing { .. } => None,
        }
    }
}
