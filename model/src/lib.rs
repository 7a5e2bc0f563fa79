//! The nouns of swarmnet: ids, specs, objects, task states and what a node is told.
//!
//! Owns: the types that managers, agents and the API share, their defaults and limits.
//! Does not own: any wire, any clock, any IO. No tokio, tonic, prost or Docker JSON here; objects
//! are serde types so that the log and the node protocol can carry them as documents.
//!
//! ```text
//!   engine-api ──Call──► manager ──Tables──► (node view) ──Item──► agent
//! ```

pub mod address_range;
pub mod attached;
pub mod call;
pub mod clock;
pub mod cluster;
pub mod connectivity;
pub mod constraint;
pub mod container;
pub mod current;
pub mod defaults;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod id;
pub mod limits;
pub mod logs;
pub mod moment;
pub mod name;
pub mod network;
pub mod node;
pub mod placement;
pub mod port;
pub mod predefined;
pub mod registry;
pub mod resources;
pub mod restart;
pub mod secret_text;
pub mod service;
pub mod state;
pub mod tables;
pub mod task;
pub mod template;
pub mod update;
pub mod update_rules;
pub mod version;
pub mod view;
pub mod vni;

pub use attached::{AttachCall, AttachedContainer, WantedAttachment};
pub use call::{Call, Reply};
pub use clock::{Clock, Timestamp};
pub use cluster::{Cluster, ClusterSpec, JoinTokens};
pub use connectivity::{Connectivity, Findings};
pub use constraint::{Constraint, ConstraintError};
pub use container::ContainerSpec;
pub use endpoint::{
    Attachment, EndpointMode, EndpointSpec, PortSpec, Protocol, PublishMode, PublishedPort,
    ServiceEndpoint, Vip,
};
pub use error::{CallError, Code, Layer};
pub use id::{ClusterId, IdSource, NetworkId, NodeId, ServiceId, TaskId};
pub use logs::{LogLine, LogOptions, LogOrder, LogSelector, LogSource};
pub use network::{IpamConfig, Network, NetworkSpec, Subnet};
pub use node::{Availability, Node, NodeDescription, NodeSpec, NodeState, NodeStatus, Role};
pub use predefined::PredefinedNetwork;
pub use registry::{RegistryAccess, RegistryAuth};
pub use resources::GenericResource;
pub use secret_text::SecretText;
pub use service::{Document, JobStatus, Service, ServiceMode, ServiceSpec};
pub use state::{DesiredState, TaskState};
pub use tables::{NetworkUser, Tables};
pub use task::{ContainerStatus, Task, TaskSpec, TaskStatus};
pub use update::{FailureAction, UpdateConfig, UpdateOrder, UpdateState, UpdateStatus};
pub use version::Version;
pub use view::{Item, ItemKey, NodeView, ViewUpdate};
pub use vni::Vni;
