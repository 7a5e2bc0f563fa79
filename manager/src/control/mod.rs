//! Control: what an API call may do, and how it reaches the leader.

mod call;
mod cluster;
mod image;
mod network;
mod node;
mod service;
mod validate;

pub use call::call;
