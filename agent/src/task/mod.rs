//! Tasks of this node: what each should do next, and the runner that does it.

pub mod networks;

pub use networks::{
    EngineNetworkSpec, GATEWAY_LABEL_VALUE, NETWORK_LABEL, PrepareError, STORED_GENERATION,
    TaskNetwork, TaskNetworks, Wiring,
};
