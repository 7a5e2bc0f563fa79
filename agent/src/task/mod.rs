//! Tasks of this node: what each should do next, and the runner that does it.
//!
//! ```text
//!   view ──► runner ──► worker: look at the container → step (Pure) → one action → again
//!              │           └──► reporter (statuses)
//!   engine events, timer ──┘
//! ```
//!
//! Owns: task states from `Accepted` on, containers, engine networks. Does not own: addresses and
//! what an engine network is (`networks::Wiring`), the view (`session`).
//!
//! What stays true: a task has one worker at a time; its state only grows; a container is known by
//! its labels, so a restart of the daemon starts and stops nothing; nothing is removed before a
//! session's first full view.

mod collect;
pub(crate) mod engine_networks;
mod entry;
pub mod networks;
mod predefined;
mod prepare;
mod resolv;
pub mod resolv_files;
pub mod runner;
mod step;
mod stop;
mod worker;

#[cfg(test)]
pub(crate) mod fixture;

pub use engine_networks::EngineNetworks;
pub use networks::{
    EngineNetworkSpec, GATEWAY_LABEL_VALUE, NETWORK_LABEL, PrepareError, STORED_GENERATION,
    TaskNetwork, TaskNetworks, Wiring,
};
