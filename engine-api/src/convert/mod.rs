//! Docker JSON ↔ model, one object per file.

pub(crate) mod attachment;
pub(crate) mod availability;
pub(crate) mod container;
pub(crate) mod endpoint;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod network_spec;
pub(crate) mod network_view;
pub(crate) mod node;
pub(crate) mod node_networks;
pub(crate) mod node_ports;
pub(crate) mod predefined;
pub(crate) mod privileges;
pub(crate) mod resources;
pub(crate) mod service;
pub(crate) mod service_document;
pub(crate) mod swarm;
pub(crate) mod task;
pub(crate) mod task_template;
pub(crate) mod update;
