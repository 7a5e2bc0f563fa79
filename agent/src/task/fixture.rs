//! Tasks, wirings and a data plane in memory, for tests.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use swarmnet_model::container::ContainerSpec;
use swarmnet_model::service::Document;
use swarmnet_model::view::AssignedTask;
use swarmnet_model::{
    Attachment, Clock, DesiredState, EndpointSpec, Findings, NetworkId, NodeId, NodeView,
    ServiceId, Task, TaskId, TaskSpec, TaskState, TaskStatus, Timestamp, Version,
};
use tokio::sync::watch;

use super::networks::{EngineNetworkSpec, PrepareError, TaskNetwork, TaskNetworks, Wiring};

/// A task `<service>-<slot>` of image `nginx`, assigned to `n1` and meant to run.
pub(crate) fn task(service: &str, slot: u64) -> Task {
    Task {
        id: TaskId::from_text(format!("{service}-{slot}")),
        version: Version::default(),
        created_at: Timestamp::UNSET,
        updated_at: Timestamp::UNSET,
        service_id: ServiceId::from_text(service),
        service_name: service.to_owned(),
        service_labels: Default::default(),
        slot,
        job_iteration: None,
        node_id: Some(NodeId::from_text("n1")),
        spec: TaskSpec {
            container: ContainerSpec { image: "nginx".to_owned(), ..Default::default() },
            ..Default::default()
        },
        endpoint_spec: EndpointSpec::default(),
        document: Document::default(),
        desired_state: DesiredState::Running,
        status: TaskStatus::new(Timestamp::UNSET, TaskState::Assigned, "assigned"),
        assigned_generic: Vec::new(),
        chosen_ports: Vec::new(),
        attachments: vec![Attachment {
            network_id: NetworkId::from_text("net"),
            address: "10.0.1.5/24".parse().unwrap(),
            aliases: Vec::new(),
        }],
    }
}

pub(crate) fn assigned(service: &str, slot: u64, desired: DesiredState) -> AssignedTask {
    let task = Task { desired_state: desired, ..task(service, slot) };
    AssignedTask { task: task.into(), withdrawn: false, registry_auth: None }
}

/// One overlay and the gateway network.
pub(crate) fn networks() -> TaskNetworks {
    let network = |name: &str, id: Option<&str>, address: [u8; 4], subnet: &str| TaskNetwork {
        engine_name: name.to_owned(),
        network_id: id.map(NetworkId::from_text),
        create: EngineNetworkSpec {
            driver: "swarmnet".to_owned(),
            ipam_driver: "swarmnet".to_owned(),
            ipam_options: [("id".to_owned(), name.to_owned())].into(),
            subnet: subnet.parse().unwrap(),
            options: Default::default(),
            labels: Default::default(),
            internal: false,
        },
        address: Ipv4Addr::from(address),
        driver_options: [("swarmnet.task".to_owned(), "web-1".to_owned())].into(),
        aliases: Vec::new(),
    };
    TaskNetworks {
        networks: vec![
            network("net", Some("net"), [10, 0, 1, 5], "10.0.1.0/24"),
            network("swarmnet_gateway", None, [172, 31, 240, 2], "172.31.240.0/20"),
        ],
        gateway: Some(Ipv4Addr::new(172, 31, 240, 2)),
        resolv_conf: None,
        predefined: None,
    }
}

/// Wires every task to one overlay and the gateway; a view is in the kernel at once.
#[derive(Default)]
pub(crate) struct FakeWiring {
    applied: watch::Sender<u64>,
    released: Mutex<Vec<TaskId>>,
}

impl FakeWiring {
    pub(crate) fn released(&self) -> Vec<TaskId> {
        self.released.lock().unwrap().clone()
    }
}

#[async_trait]
impl Wiring for FakeWiring {
    fn set_view(&self, generation: u64, _view: Arc<NodeView>) {
        self.applied.send_replace(generation);
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    async fn prepare(&self, _task: &Task, _view: &NodeView) -> Result<TaskNetworks, PrepareError> {
        Ok(networks())
    }

    async fn attach(
        &self,
        _id: &TaskId,
        _attachments: &[Attachment],
        _view: &NodeView,
        gateway: bool,
    ) -> Result<TaskNetworks, PrepareError> {
        let mut wired = networks();
        wired.networks.truncate(1 + usize::from(gateway));
        wired.gateway = wired.gateway.filter(|_| gateway);
        Ok(wired)
    }

    async fn forget(&self, _task: &TaskId) {}

    fn forget_others(&self, _tasks: &BTreeSet<TaskId>) {}

    async fn release(&self, task: &TaskId) {
        self.released.lock().unwrap().push(task.clone());
    }

    async fn probe(&self, test: u64) -> Findings {
        Findings { test, ..Findings::default() }
    }
}

/// A clock that stands still.
pub(crate) struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp(1)
    }
}
