//! What needs more than one crate: checks of the sources, and clusters driven by the docker CLI.
//!
//! `tidy.rs` reads the sources; `cluster/` runs the lab (root and a Docker Engine needed);
//! `bench/` measures our path and its peer in one run. Both drive the lab through `harness/`.

pub mod harness {
    pub mod lab;
    pub mod place;
    pub mod probe;
}
