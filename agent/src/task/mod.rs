//! Tasks of this node: what each should do next, and the runner that does it.

pub mod networks;

pub use networks::{EngineNetworkSpec, PrepareError, TaskNetwork, TaskNetworks, Wiring};
