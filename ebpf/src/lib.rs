//! The eBPF data plane of a node: C programs, the layouts they share with Rust, and a typed loader.
//!
//! ```text
//!  bpf/*.h, swarmnet.bpf.c ──clang (build.rs)──► OBJECT ──program::Dataplane::load──► kernel
//!  bpf/abi.h  ═ same layouts ═ abi.rs                         │ pins: <bpffs>/swarmnet/<abi>/
//!                                                             ▼
//!  the agent ── map::Maps (get, set, delete, entries) ──► maps ◄── programs on veths, vx, uplinks
//! ```
//!
//! Owns: the object, map names and layouts, attachment, pins, drop reasons. Does not own: what is
//! in the maps (the agent decides), devices, routes, sandboxes.
//!
//! Stays true: maps and links are pinned, so packets flow while no daemon runs; a program on a
//! device is replaced, never removed and added; a pinned map of another layout is never used; all
//! state of several daemons on one kernel is separate (own bpffs directory, own namespace cookies).
//!
//! Inspect with `bpftool map dump pinned <bpffs>/swarmnet/<abi>/maps/<name>`, `tc filter show`,
//! and `swarmnet debug`. Packet walks are in `bpf/README.md`.

pub mod abi;
mod attach;
mod clsact;
pub mod conntrack;
pub mod drops;
mod fixed;
mod kernel;
pub mod map;
pub mod memory;
pub mod netns;
pub mod pin;
mod plain;
pub mod probe;
pub mod program;
mod sys;
mod takeover;
pub mod testing;
