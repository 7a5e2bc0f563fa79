//! Pure: every default of the control plane, with its unit and source.

use std::time::Duration;

/// Port of the control plane, as in Docker Swarm.
pub const CONTROL_PORT: u16 = 2377;
/// UDP port of VXLAN (RFC 7348), settable at `swarm init`.
pub const DATA_PATH_PORT: u16 = 4789;
/// Pool that overlay subnets are taken from, as in Docker Swarm.
pub const ADDRESS_POOL: &str = "10.0.0.0/8";
/// Node-local addresses of tasks' gateway interfaces are taken from here: inside 172.16/12, beside the
/// ranges Docker takes by itself.
pub const GATEWAY_POOL: &str = "172.31.240.0/20";
/// Prefix length of an overlay subnet, as in Docker Swarm.
pub const SUBNET_SIZE_BITS: u8 = 24;
/// Time between heartbeats of an agent.
pub const HEARTBEAT_PERIOD: Duration = Duration::from_secs(5);
/// Missed heartbeats after which a node is down.
pub const HEARTBEATS_MISSED_MAX: u32 = 3;
/// Terminated tasks kept per slot.
pub const TASK_HISTORY_LIMIT: i64 = 5;
/// Wait before the successor of an ended task starts.
pub const RESTART_DELAY: Duration = Duration::from_secs(5);
/// From stop signal to kill.
pub const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);
/// Time after a new task runs in which its failure counts against the update.
pub const UPDATE_MONITOR: Duration = Duration::from_secs(5);
/// Time in which a task of an update must run, unless a label says otherwise.
pub const UPDATE_DEADLINE: Duration = Duration::from_secs(600);
/// Longest wait for the old task before its replacement runs.
pub const OLD_TASK_STOP_WAIT: Duration = Duration::from_secs(60);
/// A node that is down this long loses its tasks as orphaned.
pub const ORPHAN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Life of a node certificate.
pub const NODE_CERT_EXPIRY: Duration = Duration::from_secs(90 * 24 * 3600);
/// Entries between Raft snapshots.
pub const SNAPSHOT_INTERVAL: u64 = 10_000;
/// Name of the network that stands for the routing mesh in the API.
pub const INGRESS_NETWORK: &str = "ingress";
