//! The agent: does on one node what the managers decided.
//!
//! Owns: the node's session with the managers, its tasks, its containers (through the engine) and
//! its data plane. Does not own: any decision about what should run where, identity, certificates.
//!
//! ```text
//!   managers ──view──► session ──► local (disk)
//!                         │  └───► data plane: plugin, sandbox, overlay, balancer, ingress
//!                         └──────► task runner ──► engine
//!   managers ◄─reports─ report ◄── statuses, applied generation
//! ```

pub mod agent;
pub mod allocator;
pub mod assignment;
pub mod attach;
mod backoff;
pub mod balancer;
pub mod brief;
pub mod dataplane;
pub mod debug;
pub mod dns;
pub mod edit;
pub mod engine;
mod farewell;
pub mod ingress;
pub mod inputs;
pub mod kernel;
pub mod loader;
pub mod local;
mod logs;
pub mod lookup;
mod managers;
pub mod netlink;
pub mod numbers;
pub mod numbers_file;
pub mod overlay;
pub mod pass;
pub mod plans;
pub mod plugin;
pub mod probe;
pub mod reconcile;
pub mod report;
mod round;
pub mod sandbox;
pub mod scope;
pub mod session;
mod takeover;
pub mod task;
pub mod teardown;
pub mod underlay;

pub use agent::{Agent, AgentConfig, AgentParts, LeaveError, LocalNetwork, LocalNetworks};
