//! `docker events`: the engine's events and the cluster's in one stream.
//!
//! Owns: which are wanted ([`wanted`]), the form of a cluster's event ([`swarm`]), and the engine's
//! events as users know its networks ([`local`]). Does not own: the events (`ControlPlane`, engine).

pub(crate) mod local;
pub(crate) mod swarm;
pub(crate) mod wanted;
