//! Pure: every bound of the control plane, with its unit and reason.

use std::time::Duration;

/// Characters of a service, network or node name (one DNS label).
pub const NAME_LENGTH_MAX: usize = 63;
/// Bytes of one Raft entry; Docker Swarm's bound of a store transaction.
pub const TRANSACTION_BYTES_MAX: usize = 1_572_864;
/// Changes written in one entry: with a usual task in each it stays below the bound in bytes, and a
/// hundred thousand tasks cost a hundred entries.
pub const CHANGES_PER_TRANSACTION: usize = 1_000;
/// Bytes of one gRPC message between nodes: a full view of a large cluster must fit in one piece.
pub const RPC_MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Pending messages of one node's session before the session is dropped and starts anew.
pub const SESSION_QUEUE_MAX: usize = 64;
/// Task statuses in one report of an agent.
pub const STATUSES_PER_REPORT: usize = 1_000;
/// A draining backend is given this long to be acknowledged by every node that is up.
pub const WITHDRAW_BOUND: Duration = Duration::from_secs(1);
/// An agent that hears from no manager stops a task this long after it knows it must.
pub const WITHDRAW_LOCAL_BOUND: Duration = Duration::from_secs(3);
/// Longest wait of an API call for the cluster.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// A connectivity test waits this long for what the nodes find; less than [`CALL_TIMEOUT`].
pub const CONNECTIVITY_BOUND: Duration = Duration::from_secs(16);
/// A node tests its peers for this long at most, so that what it found arrives in time.
pub const PROBE_BOUND: Duration = Duration::from_secs(12);
/// Nodes in a connectivity test: its answer grows with the square.
pub const CONNECTIVITY_NODES_MAX: usize = 200;
/// Longest wait of `swarm join` before it goes on in the background.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Failed joins a second from one source before further ones are refused unseen.
pub const FAILED_JOINS_PER_SECOND: u32 = 10;
/// Longest error text kept on a task, in characters: engines can answer with pages.
pub const TASK_ERROR_LENGTH_MAX: usize = 2_048;
/// Networks one task may be attached to.
pub const NETWORKS_PER_TASK_MAX: usize = 32;
/// Plain containers of one node on swarm networks: a node that asks without end must not fill the
/// cluster's state.
pub const ATTACHED_PER_NODE_MAX: usize = 4_096;
/// Aliases of one plain container on one network.
pub const ALIASES_PER_ATTACHMENT_MAX: usize = 64;
/// Bytes of a container's name or alias: one DNS name.
pub const CONTAINER_NAME_LENGTH_MAX: usize = 253;
/// Tasks one service may ask for: ten times what whole clusters are measured with. A slip of the
/// keyboard must not fill the managers' memory, and that of every next leader.
pub const TASKS_PER_SERVICE_MAX: u64 = 1_000_000;
/// Published ports of one service.
pub const PORTS_PER_SERVICE_MAX: usize = 2_768;
/// Bytes of one text after its placeholders were replaced: what fits into a process's environment.
pub const TEMPLATE_OUTPUT_MAX: usize = 64 << 10;
/// Readers of service logs on one manager at a time: each may cost every node a stream.
pub const LOG_READERS_MAX: usize = 64;
/// Log streams one node sends at a time: those of a few managers full of readers.
pub const LOG_STREAMS_PER_NODE_MAX: usize = 256;
/// Bytes of log lines that one node may have under way to one reader: what a slow reader costs a
/// manager, times the nodes.
pub const LOG_WINDOW_BYTES: usize = 128 << 10;
/// Bytes of lines that are sent together while the reader keeps up.
pub const LOG_BATCH_BYTES: usize = 16 << 10;
/// Bytes of one line; a longer one comes in pieces. The engine cuts at 16 KiB by itself.
pub const LOG_LINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of what the log driver noted beside a line; more is left out.
pub const LOG_ATTRIBUTES_BYTES_MAX: usize = 16 << 10;
/// Bytes of one message with log lines: a batch and one line too many, with room for the rest.
pub const LOG_MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Events of the cluster that a manager keeps for `docker events --since`; Docker's number.
pub const EVENTS_KEPT_MAX: usize = 256;
/// Events on their way to one listener; one that falls further behind misses some.
pub const EVENTS_QUEUED_MAX: usize = 1_024;
