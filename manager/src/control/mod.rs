//! Control: what an API call may do, and how it reaches the leader.

mod attached;
mod call;
mod cluster;
pub mod forward;
mod image;
mod join_raft;
mod network;
mod node;
mod service;
mod subnet;
mod validate;

pub use attached::attached;
pub use call::{call, lead};
