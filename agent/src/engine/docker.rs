//! The Docker Engine behind its unix socket.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, NetworkConnectRequest, NetworkDisconnectRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, InspectContainerOptions,
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures::stream::{BoxStream, StreamExt};
use serde_json::json;
use swarmnet_model::{NodeId, PredefinedNetwork, SecretText, TaskId};
use tokio::time::timeout;

use super::container::{ContainerRequest, EndpointRequest, seconds};
use super::events::{EngineEvent, NODE_ID_LABEL, TASK_ID_LABEL, engine_event};
use super::facts::{EngineFacts, engine_facts};
use super::image::pull_reference;
use super::pull::{Pull, escaped};
use super::response::{
    container_dns, container_facts, engine_error, engine_network, plain_container, refusal,
};
use super::{
    ContainerDns, ContainerFacts, ContainerLogs, Engine, EngineError, EngineNetwork, LogBytes,
    PlainContainer, raw,
};
use crate::task::networks::{EngineNetworkSpec, NETWORK_LABEL};

/// Reads answer at once unless the engine hangs.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// Creating, connecting and removing touch the disk, and the plugin's calls are part of them.
const CHANGE_DEADLINE: Duration = Duration::from_secs(60);
/// A start waits for the plugin on every network, and for a loaded machine.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// Added to the grace period: from kill to the answer.
const STOP_MARGIN: Duration = Duration::from_secs(60);
/// A pull without a sign of life for this long is given up.
const PULL_IDLE_DEADLINE: Duration = Duration::from_secs(600);
/// `bollard` has a deadline of its own, which must never be the shorter one.
const CLIENT_DEADLINE_SECONDS: u64 = 24 * 3600;

/// The engine at a unix socket. Connects when first used, and anew after the engine was away.
pub struct DockerEngine {
    socket: PathBuf,
    client: ArcSwapOption<Docker>,
}

impl DockerEngine {
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, client: ArcSwapOption::empty() }
    }

    /// Returns a client that speaks a version the engine knows.
    async fn client(&self) -> Result<Docker, EngineError> {
        if let Some(client) = self.client.load_full() {
            return Ok(Docker::clone(&client));
        }
        let connected = Docker::connect_with_unix(
            &self.socket.to_string_lossy(),
            CLIENT_DEADLINE_SECONDS,
            API_DEFAULT_VERSION,
        )
        .map_err(|error| engine_error(&error))?;
        let client = self.within(READ_DEADLINE, connected.negotiate_version()).await?;
        self.client.store(Some(Arc::new(client.clone())));
        Ok(client)
    }

    async fn inspected(
        &self,
        reference: &str,
    ) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let call = |docker: Docker| async move {
            docker.inspect_container(reference, None::<InspectContainerOptions>).await
        };
        match self.call(READ_DEADLINE, call).await {
            Ok(answer) => Ok(Some(answer)),
            Err(EngineError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes one call with a deadline.
    async fn call<T, F>(
        &self,
        deadline: Duration,
        call: impl FnOnce(Docker) -> F + Send,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let client = self.client().await?;
        self.within(deadline, call(client)).await
    }

    async fn within<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, EngineError> {
        match timeout(deadline, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.noted(engine_error(&error))),
            Err(_) => Err(EngineError::TimedOut { after: deadline }),
        }
    }

    /// An engine that was away may come back with another version.
    fn noted(&self, error: EngineError) -> EngineError {
        if matches!(error, EngineError::Away { .. }) {
            self.client.store(None);
        }
        error
    }

    async fn post(&self, path: &str, body: &serde_json::Value) -> Result<String, EngineError> {
        let version = self.client().await?.client_version();
        let path = format!("/v{}.{}{path}", version.major_version, version.minor_version);
        let (status, answer) = timeout(CHANGE_DEADLINE, raw::post(&self.socket, &path, body))
            .await
            .map_err(|_| EngineError::TimedOut { after: CHANGE_DEADLINE })?
            .map_err(|error| self.noted(error))?;
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
        if (200..300).contains(&status) {
            Ok(text("Id"))
        } else {
            Err(refusal(status, &text("message")))
        }
    }
}

/// An absent thing is what a removal wants.
fn absent_is_fine(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(EngineError::Missing { .. }) => Ok(()),
        other => other,
    }
}

fn label_filter(label: &str) -> BTreeMap<String, Vec<String>> {
    [("label".to_owned(), vec![label.to_owned()])].into()
}

fn log_query(wanted: &ContainerLogs) -> String {
    let switch = |on: bool| u8::from(on);
    let tail = wanted.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let since = wanted.since.map(|time| {
        let (seconds, nanoseconds) =
            (time.0.div_euclid(1_000_000_000), time.0.rem_euclid(1_000_000_000));
        format!("&since={seconds}.{nanoseconds:09}")
    });
    format!(
        "stdout={}&stderr={}&follow={}&timestamps={}&details={}&tail={tail}{}",
        switch(wanted.stdout),
        switch(wanted.stderr),
        switch(wanted.follow),
        switch(wanted.timestamps),
        switch(wanted.details),
        since.unwrap_or_default(),
    )
}

#[async_trait]
impl Engine for DockerEngine {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let info = self.call(READ_DEADLINE, |docker| async move { docker.info().await }).await?;
        let name = PredefinedNetwork::Bridge.name();
        let call = |docker: Docker| async move { docker.inspect_network(name, None).await };
        let has_bridge = match self.call(READ_DEADLINE, call).await {
            Ok(_) => true,
            Err(EngineError::Missing { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok(engine_facts(&info, has_bridge))
    }

    async fn task_containers(
        &self,
        node: &NodeId,
    ) -> Result<BTreeMap<String, TaskId>, EngineError> {
        let filters = label_filter(&format!("{NODE_ID_LABEL}={node}")).into_iter().collect();
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let call = |docker: Docker| async move { docker.list_containers(Some(options)).await };
        let containers = self.call(READ_DEADLINE, call).await?;
        let task = |container: bollard::models::ContainerSummary| {
            let task_id = container.labels?.remove(TASK_ID_LABEL)?;
            Some((container.id?, TaskId::from_text(task_id)))
        };
        Ok(containers.into_iter().filter_map(task).collect())
    }

    async fn plain_containers(
        &self,
        networks: &[String],
    ) -> Result<Vec<PlainContainer>, EngineError> {
        if networks.is_empty() {
            return Ok(Vec::new());
        }
        let filters = [("network".to_owned(), networks.to_vec())].into();
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let call = |docker: Docker| async move { docker.list_containers(Some(options)).await };
        let containers = self.call(READ_DEADLINE, call).await?;
        Ok(containers.into_iter().filter_map(plain_container).collect())
    }

    async fn container_dns(&self, id: &str) -> Result<Option<ContainerDns>, EngineError> {
        Ok(self.inspected(id).await?.map(container_dns))
    }

    async fn container(&self, reference: &str) -> Result<Option<ContainerFacts>, EngineError> {
        Ok(self.inspected(reference).await?.and_then(container_facts))
    }

    async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        let call = |docker: Docker| async move { docker.inspect_image(image).await };
        match self.call(READ_DEADLINE, call).await {
            Ok(_) => Ok(true),
            Err(EngineError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn pull_image(
        &self,
        image: &str,
        credentials: Option<&SecretText>,
        answer_within: Option<Duration>,
    ) -> Result<(), EngineError> {
        let version = self.client().await?.client_version();
        let reference = pull_reference(image);
        let (from, tag) = (escaped(&reference.name), escaped(&reference.tag));
        let (major, minor) = (version.major_version, version.minor_version);
        let pull = Pull {
            path: format!("/v{major}.{minor}/images/create?fromImage={from}&tag={tag}"),
            credentials,
            first: answer_within.unwrap_or(PULL_IDLE_DEADLINE),
            idle: PULL_IDLE_DEADLINE,
        };
        pull.run(&self.socket).await.map_err(|error| self.noted(error))
    }

    async fn create_container(&self, request: &ContainerRequest) -> Result<String, EngineError> {
        let options = CreateContainerOptionsBuilder::new().name(&request.name).build();
        let body = request.body.clone();
        let call =
            |docker: Docker| async move { docker.create_container(Some(options), body).await };
        Ok(self.call(CHANGE_DEADLINE, call).await?.id)
    }

    async fn connect(&self, id: &str, endpoint: &EndpointRequest) -> Result<(), EngineError> {
        let request = NetworkConnectRequest {
            container: id.to_owned(),
            endpoint_config: Some(endpoint.settings.clone()),
        };
        let call = |docker: Docker| async move {
            docker.connect_network(&endpoint.network, request).await
        };
        self.call(CHANGE_DEADLINE, call).await
    }

    async fn disconnect(&self, network: &str, id: &str) -> Result<(), EngineError> {
        let request = NetworkDisconnectRequest { container: id.to_owned(), force: Some(true) };
        let call =
            |docker: Docker| async move { docker.disconnect_network(network, request).await };
        absent_is_fine(self.call(CHANGE_DEADLINE, call).await)
    }

    async fn start_container(&self, id: &str) -> Result<(), EngineError> {
        let call = |docker: Docker| async move {
            docker.start_container(id, None::<StartContainerOptions>).await
        };
        self.call(START_DEADLINE, call).await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let wait = i32::try_from(seconds(grace)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(wait).build();
        let call = |docker: Docker| async move { docker.stop_container(id, Some(options)).await };
        self.call(grace.saturating_add(STOP_MARGIN), call).await
    }

    async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let call = |docker: Docker| async move { docker.remove_container(id, Some(options)).await };
        absent_is_fine(self.call(CHANGE_DEADLINE, call).await)
    }

    async fn networks(&self) -> Result<Vec<EngineNetwork>, EngineError> {
        let filters = label_filter(NETWORK_LABEL).into_iter().collect();
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let call = |docker: Docker| async move { docker.list_networks(Some(options)).await };
        let networks = self.call(READ_DEADLINE, call).await?;
        Ok(networks.into_iter().filter_map(engine_network).collect())
    }

    async fn create_network(
        &self,
        name: &str,
        spec: &EngineNetworkSpec,
    ) -> Result<String, EngineError> {
        // Engines before 25 make a second network of the same name unless told to look.
        let body = json!({
            "Name": name, "CheckDuplicate": true, "Driver": spec.driver,
            "Internal": spec.internal, "Options": spec.options, "Labels": spec.labels,
            "IPAM": {
                "Driver": spec.ipam_driver, "Options": spec.ipam_options,
                "Config": [{"Subnet": spec.subnet.to_string()}]
            }
        });
        self.post("/networks/create", &body).await
    }

    async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        let call = |docker: Docker| async move { docker.remove_network(id).await };
        absent_is_fine(self.call(CHANGE_DEADLINE, call).await)
    }

    async fn logs(&self, container: &str, wanted: &ContainerLogs) -> Result<LogBytes, EngineError> {
        let version = self.client().await?.client_version();
        let (major, minor) = (version.major_version, version.minor_version);
        let query = log_query(wanted);
        let path = format!("/v{major}.{minor}/containers/{container}/logs?{query}");
        let answered = timeout(READ_DEADLINE, raw::get(&self.socket, &path)).await;
        let (status, answer) = answered
            .map_err(|_| EngineError::TimedOut { after: READ_DEADLINE })?
            .map_err(|error| self.noted(error))?;
        if (200..300).contains(&status) {
            return Ok(answer.boxed());
        }
        let refused = timeout(READ_DEADLINE, answer.refusal()).await;
        let refused = refused.map_err(|_| EngineError::TimedOut { after: READ_DEADLINE })??;
        let refused: serde_json::Value = serde_json::from_slice(&refused).unwrap_or_default();
        Err(refusal(status, refused["message"].as_str().unwrap_or("no reason given")))
    }

    async fn events(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError> {
        let client = self.client().await?;
        let types = ["container", "network"].map(str::to_owned).to_vec();
        let filters = [("type".to_owned(), types)].into();
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        // The client is moved into the stream: a connection lives as long as its events are read.
        let events = client.events(Some(options));
        let concerning = events
            .take_while(|event| std::future::ready(event.is_ok()))
            .filter_map(|event| std::future::ready(event.ok().as_ref().and_then(engine_event)));
        Ok(concerning.boxed())
    }
}
