//! Logs of this node's tasks, for whoever reads them through a manager.
//!
//! Owns: what the engine's log stream says ([`decode`]), one container's lines ([`reader`]), the
//! stream of one reader's lines to its manager ([`publish`]), and how many there are at a time
//! ([`run`]). Does not own: who may read (the managers), how long containers stay (`task`).
//!
//! ```text
//!   session ──order──► run ─► publish ──credit── manager
//!                               ▲ lines, as far as there is credit
//!                   engine ─► reader, one per container
//! ```
//!
//! Stays true: without credit nothing is read from the engine, so a slow reader costs this node one
//! window; when the manager ends the call, every reader stops at once.

pub(crate) mod decode;
mod publish;
mod reader;
pub(crate) mod run;
