//! One file per object: what each route does.

pub(crate) mod attach;
pub(crate) mod config;
pub(crate) mod container;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod logs;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod swarm;
pub(crate) mod swarm_networks;
pub(crate) mod task;
pub(crate) mod volume;
pub(crate) mod without_engine;
