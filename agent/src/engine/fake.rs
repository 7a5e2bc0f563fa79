//! An engine in memory for tests: shows its state as text, can be away, can fail by a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use swarmnet_model::{NodeId, SecretText, TaskId};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use super::container::{ContainerRequest, EndpointRequest};
use super::events::{EngineEvent, NODE_ID_LABEL, TASK_ID_LABEL};
use super::{
    ContainerDns, ContainerFacts, ContainerLogs, ContainerState, Engine, EngineError, EngineFacts,
    EngineNetwork, Health, LogBytes, PlainContainer,
};
use crate::task::networks::{EngineNetworkSpec, NETWORK_LABEL};

#[derive(Clone, Debug)]
struct FakeContainer {
    name: String,
    task: TaskId,
    node: String,
    checked: bool,
    state: ContainerState,
    networks: Vec<String>,
}

#[derive(Default)]
struct Inside {
    containers: BTreeMap<String, FakeContainer>,
    /// Those that are no task's, by id.
    plain: BTreeMap<String, PlainContainer>,
    dns: BTreeMap<String, ContainerDns>,
    networks: BTreeMap<String, EngineNetwork>,
    images: BTreeSet<String>,
    /// Image → what its pull says; an absent one hangs.
    registry: BTreeMap<String, Result<(), EngineError>>,
    away: bool,
    failure_percent: u64,
    seed: u64,
    made: u64,
    starts: BTreeMap<TaskId, u32>,
    /// What containers have written, as the engine sends it; an absent one cannot be read.
    written: BTreeMap<TaskId, Vec<u8>>,
    /// How logs were asked for.
    asked_logs: Vec<ContainerLogs>,
    log: Vec<String>,
}

/// What a call of a failing engine does.
enum Fate {
    Works,
    /// Nothing happened.
    Lost,
    /// It happened, but the answer was lost.
    Unheard,
}

pub(crate) struct FakeEngine {
    inside: Mutex<Inside>,
    events: Mutex<broadcast::Sender<EngineEvent>>,
}

fn away() -> EngineError {
    EngineError::Away { reason: "fake".to_owned() }
}

fn missing(what: &str, name: &str) -> EngineError {
    EngineError::Missing { message: format!("No such {what}: {name}") }
}

impl FakeEngine {
    /// An engine that has image `nginx`, whose registry answers.
    pub(crate) fn new() -> Self {
        let inside = Inside {
            images: ["nginx".to_owned()].into(),
            registry: [("nginx".to_owned(), Ok(()))].into(),
            ..Inside::default()
        };
        Self { inside: Mutex::new(inside), events: Mutex::new(broadcast::Sender::new(64)) }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    pub(crate) fn fail(&self, percent: u64, seed: u64) {
        let mut inside = self.inside();
        (inside.failure_percent, inside.seed) = (percent, seed);
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.inside().away = away;
    }

    pub(crate) fn set_pull(&self, image: &str, present: bool, answer: Option<&str>) {
        let mut inside = self.inside();
        inside.images.remove(image);
        if present {
            inside.images.insert(image.to_owned());
        }
        inside.registry.remove(image);
        if let Some(message) = answer {
            let error = EngineError::Refused { message: message.to_owned() };
            inside.registry.insert(image.to_owned(), Err(error));
        }
    }

    /// Ends every event stream, as a stopping engine does.
    pub(crate) fn end_events(&self) {
        *self.events.lock().unwrap() = broadcast::Sender::new(64);
    }

    /// Puts the task's container into a state and says so, or says nothing (a lost event).
    pub(crate) fn set_state(&self, task: &TaskId, state: ContainerState, event: bool) {
        for container in self.inside().containers.values_mut() {
            if container.task == *task {
                container.state = state.clone();
            }
        }
        if event {
            self.tell(task);
        }
    }

    pub(crate) fn remove_by_hand(&self, task: &TaskId) {
        self.inside().containers.retain(|_, container| container.task != *task);
        self.tell(task);
    }

    pub(crate) fn add_stray(&self, id: &str, task: &TaskId, node: &str) {
        let container = FakeContainer {
            name: id.to_owned(),
            task: task.clone(),
            node: node.to_owned(),
            checked: false,
            state: ContainerState::Running { pid: 7, health: Health::Unchecked },
            networks: Vec::new(),
        };
        self.inside().containers.insert(id.to_owned(), container);
    }

    pub(crate) fn put_plain(&self, container: PlainContainer) {
        self.inside().plain.insert(container.id.clone(), container);
    }

    pub(crate) fn put_dns(&self, id: &str, dns: ContainerDns) {
        self.inside().dns.insert(id.to_owned(), dns);
    }

    pub(crate) fn forget_dns(&self, id: &str) {
        self.inside().dns.remove(id);
    }

    /// Gives the task's container a log.
    pub(crate) fn set_written(&self, task: &TaskId, written: &[u8]) {
        self.inside().written.insert(task.clone(), written.to_vec());
    }

    pub(crate) fn asked_logs(&self) -> Vec<ContainerLogs> {
        self.inside().asked_logs.clone()
    }

    pub(crate) fn starts(&self, task: &TaskId) -> u32 {
        self.inside().starts.get(task).copied().unwrap_or_default()
    }

    pub(crate) fn take_log(&self) -> String {
        self.inside().log.drain(..).map(|line| line + "\n").collect()
    }

    /// Containers (`name state networks`) and networks, a line each.
    pub(crate) fn show(&self) -> String {
        let inside = self.inside();
        let containers = inside.containers.values().map(|container| {
            let state = match container.state {
                ContainerState::Created => "created",
                ContainerState::Running { .. } => "running",
                ContainerState::Exited { .. } => "exited",
                ContainerState::Dead => "dead",
            };
            format!("{} {state} {}\n", container.name, container.networks.join("+"))
        });
        let mut lines: Vec<_> = containers.collect();
        lines.sort();
        lines.extend(inside.networks.keys().map(|name| format!("network {name}\n")));
        lines.concat()
    }

    fn tell(&self, task: &TaskId) {
        // Nobody may be listening.
        let _ = self.events.lock().unwrap().send(EngineEvent::Task(task.clone()));
    }

    /// Reads: they work or they fail.
    fn read(&self) -> Result<MutexGuard<'_, Inside>, EngineError> {
        match self.fate()? {
            Fate::Works => Ok(self.inside()),
            Fate::Lost | Fate::Unheard => Err(away()),
        }
    }

    fn fate(&self) -> Result<Fate, EngineError> {
        let mut inside = self.inside();
        if inside.away {
            return Err(away());
        }
        inside.seed = inside.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let draw = inside.seed >> 33;
        Ok(if draw % 100 >= inside.failure_percent {
            Fate::Works
        } else if draw.is_multiple_of(2) {
            Fate::Lost
        } else {
            Fate::Unheard
        })
    }

    /// Writes: a failing one may have happened all the same.
    fn write<T>(
        &self,
        entry: String,
        change: impl FnOnce(&mut Inside) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let fate = self.fate()?;
        if matches!(fate, Fate::Lost) {
            return Err(away());
        }
        let mut inside = self.inside();
        inside.log.push(entry);
        let result = change(&mut inside);
        match fate {
            Fate::Unheard => Err(EngineError::TimedOut { after: Duration::from_secs(1) }),
            Fate::Works | Fate::Lost => result,
        }
    }
}

impl Inside {
    fn container(&mut self, id: &str) -> Result<&mut FakeContainer, EngineError> {
        self.containers.get_mut(id).ok_or_else(|| missing("container", id))
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        self.read().map(|_| EngineFacts { version: "fake".to_owned(), ..Default::default() })
    }

    async fn task_containers(
        &self,
        node: &NodeId,
    ) -> Result<BTreeMap<String, TaskId>, EngineError> {
        let inside = self.read()?;
        let own = inside.containers.iter().filter(|(_, c)| c.node == node.as_str());
        Ok(own.map(|(id, container)| (id.clone(), container.task.clone())).collect())
    }

    async fn plain_containers(
        &self,
        networks: &[String],
    ) -> Result<Vec<PlainContainer>, EngineError> {
        let inside = self.read()?;
        let on = |c: &&PlainContainer| c.endpoints.iter().any(|(name, _)| networks.contains(name));
        Ok(inside.plain.values().filter(on).cloned().collect())
    }

    async fn container_dns(&self, id: &str) -> Result<Option<ContainerDns>, EngineError> {
        Ok(self.read()?.dns.get(id).cloned())
    }

    async fn container(&self, reference: &str) -> Result<Option<ContainerFacts>, EngineError> {
        let inside = self.read()?;
        let found =
            inside.containers.iter().find(|(id, c)| *id == reference || c.name == reference);
        Ok(found.map(|(id, container)| ContainerFacts {
            id: id.clone(),
            task_id: Some(container.task.clone()),
            state: container.state.clone(),
            networks: container.networks.clone(),
        }))
    }

    async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        Ok(self.read()?.images.contains(image))
    }

    async fn pull_image(
        &self,
        image: &str,
        credentials: Option<&SecretText>,
        answer_within: Option<Duration>,
    ) -> Result<(), EngineError> {
        if let Some(credentials) = credentials {
            self.inside().log.push(format!("pull {image} with {}", credentials.expose()));
        }
        let answer = self.read()?.registry.get(image).cloned();
        let Some(answer) = answer else {
            let after = answer_within.unwrap_or(Duration::from_secs(3600));
            tokio::time::sleep(after).await;
            return Err(EngineError::TimedOut { after });
        };
        if answer.is_ok() {
            self.inside().images.insert(image.to_owned());
        }
        answer
    }

    async fn create_container(&self, request: &ContainerRequest) -> Result<String, EngineError> {
        self.write(format!("create {}", request.name), |inside| {
            if inside.containers.values().any(|container| container.name == request.name) {
                return Err(EngineError::Conflict { message: "name in use".to_owned() });
            }
            let body = serde_json::to_value(&request.body).unwrap();
            let label = |key: &str| body["Labels"][key].as_str().unwrap_or_default().to_owned();
            let mode = body["HostConfig"]["NetworkMode"].as_str().unwrap_or_default();
            inside.made += 1;
            let id = format!("c{}", inside.made);
            let container = FakeContainer {
                name: request.name.clone(),
                task: TaskId::from_text(label(TASK_ID_LABEL)),
                node: label(NODE_ID_LABEL),
                checked: request.body.healthcheck.is_some(),
                state: ContainerState::Created,
                networks: vec![mode.to_owned()],
            };
            inside.containers.insert(id.clone(), container);
            Ok(id)
        })
    }

    async fn connect(&self, id: &str, endpoint: &EndpointRequest) -> Result<(), EngineError> {
        self.write(format!("connect {}", endpoint.network), |inside| {
            if !inside.networks.contains_key(&endpoint.network) {
                return Err(missing("network", &endpoint.network));
            }
            inside.container(id)?.networks.push(endpoint.network.clone());
            Ok(())
        })
    }

    async fn disconnect(&self, network: &str, id: &str) -> Result<(), EngineError> {
        self.write(format!("disconnect {id} {network}"), |inside| {
            let name = network.strip_prefix("id-").unwrap_or(network);
            if let Some(container) = inside.plain.get_mut(id) {
                container.endpoints.retain(|(other, _)| other != name);
            }
            Ok(())
        })
    }

    async fn start_container(&self, id: &str) -> Result<(), EngineError> {
        let started = self.write(format!("start {id}"), |inside| {
            let networks = inside.networks.clone();
            let container = inside.container(id)?;
            if container.networks.iter().any(|name| !networks.contains_key(name)) {
                return Err(missing("network", "of the container"));
            }
            if container.state == ContainerState::Created {
                let health = if container.checked { Health::Starting } else { Health::Unchecked };
                container.state = ContainerState::Running { pid: 42, health };
                let task = container.task.clone();
                *inside.starts.entry(task).or_default() += 1;
            }
            Ok(())
        });
        let task = self.inside().containers.get(id).map(|container| container.task.clone());
        task.iter().for_each(|task| self.tell(task));
        started
    }

    async fn stop_container(&self, id: &str, _grace: Duration) -> Result<(), EngineError> {
        self.write(format!("stop {id}"), |inside| {
            let container = inside.container(id)?;
            container.state = ContainerState::Exited {
                code: 143,
                error: String::new(),
                health: Health::Unchecked,
            };
            Ok(())
        })
    }

    async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        self.write(format!("remove {id}"), |inside| {
            inside.containers.remove(id);
            Ok(())
        })
    }

    async fn networks(&self) -> Result<Vec<EngineNetwork>, EngineError> {
        Ok(self.read()?.networks.values().cloned().collect())
    }

    async fn create_network(
        &self,
        name: &str,
        spec: &EngineNetworkSpec,
    ) -> Result<String, EngineError> {
        self.write(format!("create network {name}"), |inside| {
            if inside.networks.contains_key(name) {
                return Err(EngineError::Conflict { message: "already exists".to_owned() });
            }
            let network = EngineNetwork {
                id: format!("id-{name}"),
                name: name.to_owned(),
                driver: spec.driver.clone(),
                label: spec.labels[NETWORK_LABEL].clone(),
            };
            inside.networks.insert(name.to_owned(), network);
            Ok(format!("id-{name}"))
        })
    }

    async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        self.write(format!("remove network {id}"), |inside| {
            let running = |name: &String| {
                let mut all = inside.containers.values();
                let mut plain = inside.plain.values().filter(|c| c.running);
                all.any(|c| {
                    matches!(c.state, ContainerState::Running { .. }) && c.networks.contains(name)
                }) || plain.any(|c| c.endpoints.iter().any(|(other, _)| other == name))
            };
            if inside.networks.iter().any(|(name, network)| network.id == id && running(name)) {
                return Err(EngineError::Refused { message: "has active endpoints".to_owned() });
            }
            inside.networks.retain(|_, network| network.id != id);
            Ok(())
        })
    }

    async fn logs(&self, container: &str, wanted: &ContainerLogs) -> Result<LogBytes, EngineError> {
        let mut inside = self.read()?;
        inside.asked_logs.push(wanted.clone());
        let task = inside.container(container)?.task.clone();
        let unreadable = "configured logging driver does not support reading";
        let unreadable = || EngineError::Refused { message: unreadable.to_owned() };
        let written = inside.written.get(&task).cloned().ok_or_else(unreadable)?;
        let now = futures::stream::iter([Ok(Bytes::from(written))]);
        Ok(match wanted.follow {
            true => now.chain(futures::stream::pending()).boxed(),
            false => now.boxed(),
        })
    }

    async fn events(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError> {
        drop(self.read()?);
        let events = BroadcastStream::new(self.events.lock().unwrap().subscribe());
        Ok(events.filter_map(|event| std::future::ready(event.ok())).boxed())
    }
}
