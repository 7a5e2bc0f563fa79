//! Tasks of this node: what each should do next, and the runner that does it.

#[cfg(test)]
pub(crate) mod fixture;
pub mod networks;

pub use networks::{
    EngineNetworkSpec, GATEWAY_LABEL_VALUE, NETWORK_LABEL, PrepareError, STORED_GENERATION,
    TaskNetwork, TaskNetworks, Wiring,
};
