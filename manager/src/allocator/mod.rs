//! Allocator: VIPs, task addresses, published ports; New → Pending.
//!
//! Owns: which address, port, VNI and subnet is given to whom. Does not own: running the plan
//! (`leader`), or who asked (`control` uses [`ipam`], [`vni`] and [`ports`] when it checks a call).
//!
//! What stays true: what is in use is read from the snapshot, never remembered; nothing is given
//! twice; a task that has ended and a service that is being removed hold nothing.

pub mod ipam;
mod plan;
pub mod ports;
pub mod vni;

pub use plan::{Allocator, Shortage, address, plan};
