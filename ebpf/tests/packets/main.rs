//! Packet in → verdict, packet out, map changes, drop counter: every walk, through
//! `BPF_PROG_TEST_RUN`. Needs root; each test has its own maps on its own bpffs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]
#![expect(clippy::cast_possible_truncation, reason = "lengths of test packets")]

mod budget;
mod checksums;
mod decap;
mod fragments;
mod frame;
mod guards;
mod malformed;
mod mesh;
mod model;
mod mtu;
mod outer;
mod overlay;
mod probe;
mod resolver;
mod step;
mod vip;
mod world;
