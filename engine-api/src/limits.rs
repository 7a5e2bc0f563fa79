//! Pure: every bound of the API, with its unit and reason.

use std::time::Duration;

/// Open client connections; more wait in the socket's backlog.
pub(crate) const CONNECTIONS_MAX: usize = 1024;
/// Bytes of a request's line and headers.
pub(crate) const HEAD_BYTES_MAX: usize = 128 << 10;
/// Bytes of a query.
pub(crate) const QUERY_BYTES_MAX: usize = 64 << 10;
/// Bytes of a body that swarmnet itself reads; Docker's clients send a few kilobytes.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;
/// A request's head, and a body that swarmnet reads, must have arrived in this time.
pub(crate) const REQUEST_ARRIVAL: Duration = Duration::from_secs(30);
/// Bytes of an engine's answer that swarmnet rewrites (lists of containers, inspections).
pub(crate) const ENGINE_ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of one event of the engine: labels of a container are in it.
pub(crate) const EVENT_BYTES_MAX: usize = 4 << 20;
/// Longest wait for the engine to accept a connection.
pub(crate) const ENGINE_CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for an engine's answer that swarmnet asks for on its own account.
pub(crate) const ENGINE_ANSWER: Duration = Duration::from_secs(10);
/// Longest wait for the engine's part of `/info` and `/version`: `node ls` asks for them, and goes on
/// without.
pub(crate) const ENGINE_INFO: Duration = Duration::from_secs(5);
/// Longest wait for an answer after another did not come (a frozen engine): not every command is to
/// wait that long again.
pub(crate) const ENGINE_ANSWER_IN_DOUBT: Duration = Duration::from_secs(1);
/// Time between looks at the version of an engine that answers.
pub(crate) const ENGINE_VERSION_REFRESH: Duration = Duration::from_secs(30);
/// Time between looks at the version of an engine that does not.
pub(crate) const ENGINE_VERSION_RETRY: Duration = Duration::from_secs(1);
/// Longest wait of a request for the first look at the engine's version.
pub(crate) const ENGINE_VERSION_WAIT: Duration = Duration::from_millis(500);
/// Longest wait for `swarm init`, `join` and `leave`; they bound their own steps more tightly.
pub(crate) const MEMBERSHIP_CALL: Duration = Duration::from_secs(60);
/// From the order to stop until open connections are cut.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// Wait after `accept` failed (mostly: out of file descriptors).
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(100);
