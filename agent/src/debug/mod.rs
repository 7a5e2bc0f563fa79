//! Read-only views of this node's data plane, for people: what is in the maps, by name.
//!
//! Owns: `swarmnet debug lb|overlay|ingress|drops`. Everything is read from pinned maps and the
//! agent's files, so the views work while the daemon is dead. What the maps hold is the truth; a
//! name that the files do not know is shown as a number.
//!
//! ```text
//!   pinned maps ─┐
//!   view.json    ├──► Evidence ──► lb, overlay, ingress, drops ──► table or JSON
//!   numbers.json ┘
//! ```

pub mod drops;
pub mod evidence;
pub mod ingress;
pub mod lb;
pub mod overlay;
pub mod table;

use swarmnet_ebpf::map::MapError;

use crate::local::LocalError;

/// Why a view cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum DebugError {
    #[error(
        "no data plane is pinned in {bpffs}: is this node in a swarm, and is it the bpffs of the daemon?"
    )]
    NoPins { bpffs: String },
    #[error("reading the maps")]
    Maps(#[from] MapError),
    #[error("reading the agent's files")]
    Files(#[from] LocalError),
    #[error("reading {path}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
}
