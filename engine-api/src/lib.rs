//! The Docker Engine HTTP API as every node serves it on its swarmnet socket.
//!
//! Owns: routes, JSON shapes, API versions, statuses, the way to the node's Docker Engine.
//! Does not own: any cluster state. It asks its node through [`ControlPlane`], converts Docker JSON
//! to and from `swarmnet-model`, and validates what a model type cannot express.
//!
//! ```text
//! client ──► server ──► router ──┬─► route::<object> ──► convert::<object> ──► ControlPlane
//!                                └─► passthrough ──► engine (bytes untouched, upgrades tunnelled)
//! ```
//!
//! Stays true: a specification comes back as it was written, unknown keys included; ids and names of
//! the engine networks that stand for overlays never leave this socket; an engine that is away or
//! hangs delays no swarm route.
//!
//! Not here yet: secrets, configs, autolock. Each answers 501 with a text that says so.

mod app;
mod body;
mod control_plane;
mod convert;
mod credentials;
mod engine;
mod engine_version;
mod error;
mod event;
mod filters;
mod host;
mod json;
mod limits;
mod log;
mod network_name;
mod passthrough;
mod path;
mod pattern;
mod query;
mod reference;
mod reply;
mod route;
mod router;
mod server;
mod service_name;
mod stream;
mod tls_info;
mod version;

pub use app::EngineConfig;
pub use control_plane::{
    AttachRequest, Attached, AttachedEndpoint, ControlPlane, InitRequest, JoinRequest,
    LocalNetwork, LocalNetworks, LocalNode, LocalState, LogStream, RaftView, SwarmEvents,
};
pub use server::serve;
