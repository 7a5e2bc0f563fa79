//! What happens to the objects of the cluster, for `docker events`.
//!
//! Owns: the difference of two states as events ([`difference`]), the last ones and whoever listens
//! ([`feed`]). Does not own: the engines' own events, filters and their form (`engine-api`).
//!
//! Stays true: every manager tells the same of the same states; of states that followed each other
//! faster than they could be looked at, the difference is told; a listener that does not keep up
//! loses events, never the managers their time.

pub mod difference;
pub mod feed;

pub use feed::Feed;
