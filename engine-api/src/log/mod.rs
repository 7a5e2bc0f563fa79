//! Logs of services and tasks as Docker's clients read them.
//!
//! Owns: the query ([`options`]) and the form of lines in the answer ([`frame`]). Does not own: where
//! the lines come from (`ControlPlane`).

pub(crate) mod frame;
pub(crate) mod options;
