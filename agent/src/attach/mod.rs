//! Plain containers of this node on swarm networks: `docker run --network NET`.
//!
//! Owns: asking the managers for their addresses ([`desk`]), telling the managers what became of
//! them ([`follow`]), the resolv.conf of those that were connected later ([`connected`]). Does not own: the containers (the API's user makes and removes them), wiring
//! (the plugin and the data plane treat them as tasks, by the attachment's id).
//!
//! ```text
//!   API ──attach──► desk ──► managers ──view──► desk: engine networks ──► API makes the container
//!   engine events ──► follow: view ↔ containers ──Detach, Report──► managers
//! ```
//!
//! What stays true: an attachment lives from before its container is made until the container is
//! gone or off the network, whoever removed it; a container is known by network and address, which
//! the engine keeps in its settings, so that a restart of anything loses nothing. While the API is
//! at work on an attachment it holds a [`leases::Lease`], and `follow` leaves it alone.

pub(crate) mod connected;
pub mod desk;
pub(crate) mod follow;
pub mod leases;
pub(crate) mod plan;
