//! Scheduler: Pending → Assigned.
//!
//! Owns: which node a task is placed on, and the words for why none is fit. Does not own: whether a
//! placed task may stay (`enforcer`, `orchestrator`); a placed task never moves.
//!
//! ```text
//!   nodes (load) ──filter──► fit nodes ──rank──► AssignTask
//!                    └────► refusals by filter ──► ExplainTask
//! ```

mod filter;
mod generic;
mod given;
mod nodes;
mod plan;
mod rank;

pub use plan::{Scheduler, plan};
