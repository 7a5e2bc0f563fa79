//! The engine's network plugin protocol: remote network driver and IPAM driver on one unix socket.
//!
//! Owns: the socket, the messages, the journal of what the engine was told, the reservation of
//! gateway addresses. Does not own: devices and map entries (the reconcile loop makes them inside
//! Join, so that a sandbox is complete before the first instruction of its container).
//!
//! ```text
//!   engine ──POST──► server ──► wire_up ──► journal (disk)
//!                                  └──Join, Leave──► reconcile loop ──► kernel
//! ```
//! Stays true: no call needs the engine; every call is idempotent by endpoint id and ends within
//! [`server::CALL_TIMEOUT`], since the engine itself waits for ever. Inspect:
//! `<state>/agent/plugin.json`.

pub mod journal;
pub mod message;
pub mod networks;
pub mod server;
pub mod wire_up;

/// Name of both drivers; the engine finds them by the name of the socket or spec file.
pub const DRIVER: &str = "swarmnet";
/// Name of the engine network that is the way out of this node.
pub const GATEWAY_NETWORK: &str = "swarmnet_gateway";
/// Network option, IPAM option and endpoint option that name a swarm network.
pub const NETWORK_OPTION: &str = "swarmnet.network";
/// Endpoint option that names the task.
pub const TASK_OPTION: &str = "swarmnet.task";
/// Endpoint option with the servers that a plain container's user has named, separated by commas.
pub const UPSTREAMS_OPTION: &str = "swarmnet.upstreams";
/// Value of [`NETWORK_OPTION`] for the gateway network.
pub const GATEWAY_VALUE: &str = "gateway";
