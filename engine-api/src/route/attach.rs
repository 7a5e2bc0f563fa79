//! Plain containers on swarm networks: the managers give addresses, the engine makes the container.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use swarmnet_model::container::DnsConfig;
use swarmnet_model::limits::CALL_TIMEOUT;
use swarmnet_model::{CallError, NetworkId, TaskId};
use tokio::time::timeout;

use crate::app::{App, Exchange};
use crate::body;
use crate::control_plane::{AttachRequest, Attached, LocalState};
use crate::convert::attachment::{
    self as convert, ConnectBody, CreateBody, DisconnectBody, EngineEndpoint, Standing,
};
use crate::error::ApiError;
use crate::json::{self, typed};
use crate::passthrough::{ask_with, forward_read, relay_bytes};
use crate::path::encode;
use crate::reply::Answer;
use crate::route::swarm_networks::SwarmNetworks;

/// Longest wait of the API for an attachment: the agent's own bound, and its clean-up.
const ATTACH_TIMEOUT: std::time::Duration = CALL_TIMEOUT.saturating_mul(2);

/// An answer of the engine, read whole.
struct Engines {
    head: http::response::Parts,
    bytes: Bytes,
}

impl Engines {
    fn is_success(&self) -> bool {
        self.head.status.is_success()
    }

    fn relayed(self) -> Answer {
        Ok(relay_bytes(self.head, self.bytes))
    }
}

/// A network the user named, and whether it is one of the swarm.
struct Place {
    name: String,
    of_swarm: bool,
}

/// Makes a container; one without a swarm network is the engine's affair alone.
pub(crate) async fn create(mut x: Exchange) -> Answer {
    let bytes = body::read(&mut x.request).await?;
    // A body that is no JSON is the engine's to refuse.
    let Some((document, body)) = convert::read_create(&bytes) else {
        return forward_read(x, bytes).await;
    };
    let places = places(&x.app, &body).await?;
    let of_swarm = || places.iter().filter(|place| place.of_swarm);
    let Some(first) = of_swarm().next() else { return forward_read(x, bytes).await };
    if body.publishes() {
        return Err(ApiError::unsupported(&format!(
            "Could not attach to network {}: publishing ports of a container on a swarm network is",
            first.name
        )));
    }
    let wanted: Result<Vec<_>, _> = of_swarm().map(|place| body.wanted(&place.name)).collect();
    let request = AttachRequest {
        id: TaskId::generate(&mut rand::random::<u128>),
        name: x.query.get("name").trim_start_matches('/').to_owned(),
        networks: wanted?,
        gateway: places.iter().all(|place| place.of_swarm),
        dns: body.dns(),
    };
    let attached = match ask(&x.app, request).await {
        // The engine makes a container on an unknown network, and says so when it is started.
        Err(error) if error.status() == StatusCode::NOT_FOUND => {
            return forward_read(x, bytes).await;
        }
        attached => attached?,
    };
    let endpoints = endpoints(&document, &places, &attached);
    let made = make(&x, &document, &endpoints, &attached.resolv_conf).await;
    if !made.as_ref().is_ok_and(Engines::is_success) {
        give_back(&x.app, &attached.id, None).await;
    }
    made?.relayed()
}

async fn places(app: &App, body: &CreateBody) -> Result<Vec<Place>, ApiError> {
    let mut places = Vec::new();
    for name in body.networks() {
        let swarm = SwarmNetworks::read(app).await;
        let of_swarm = is_of_swarm(app, &swarm, &name).await?;
        places.push(Place { name, of_swarm });
    }
    Ok(places)
}

/// A worker knows the networks of its own tasks and containers only: what its engine does not know
/// either, the managers are asked for.
async fn is_of_swarm(app: &App, swarm: &SwarmNetworks, name: &str) -> Result<bool, ApiError> {
    if swarm.find(name).is_some() {
        return Ok(true);
    }
    let node = app.control.local_node();
    if node.is_manager || node.state != LocalState::Active {
        return Ok(false);
    }
    match app.engine.get_json(&format!("/networks/{}", encode(name))).await {
        Err(error) if error.status() == StatusCode::NOT_FOUND => Ok(true),
        Ok(_) | Err(_) => Ok(false),
    }
}

async fn ask(app: &App, request: AttachRequest) -> Result<Attached, ApiError> {
    let answer = timeout(ATTACH_TIMEOUT, app.control.attach(request));
    Ok(answer.await.map_err(|_| CallError::deadline())??)
}

/// What cannot be given back now, the agent gives back when it sees that there is no container.
async fn give_back(app: &App, id: &TaskId, network: Option<&NetworkId>) {
    let given_back = timeout(CALL_TIMEOUT, app.control.detach(id, network)).await;
    if !matches!(given_back, Ok(Ok(()))) {
        tracing::warn!(attachment.id = %id, "attachment not given back at once");
    }
}

/// All endpoints of a new container, in the user's order, the gateway last.
fn endpoints(document: &Value, places: &[Place], attached: &Attached) -> Vec<EngineEndpoint> {
    let mut given = attached.endpoints.iter();
    let mut endpoints = Vec::new();
    for place in places {
        let settings = convert::settings(document, &place.name);
        match place.of_swarm.then(|| given.next()).flatten() {
            Some(given) => endpoints.push(EngineEndpoint::of(given, settings)),
            None => endpoints.push(EngineEndpoint { network: place.name.clone(), settings }),
        }
    }
    let gateway = attached.gateway.iter().map(|given| EngineEndpoint::of(given, json!({})));
    endpoints.extend(gateway);
    endpoints
}

/// Makes the container with its first endpoint and connects the others; a container that cannot be
/// connected is removed. Returns the engine's answer to the creation, or its first refusal.
async fn make(
    x: &Exchange,
    document: &Value,
    endpoints: &[EngineEndpoint],
    resolv_conf: &str,
) -> Result<Engines, ApiError> {
    let [first, further @ ..] = endpoints else {
        return Err(ApiError::unavailable("the agent has given no network"));
    };
    let path = match x.request.uri().query() {
        Some(query) => format!("/containers/create?{query}"),
        None => "/containers/create".to_owned(),
    };
    let created =
        engine(x, &Method::POST, &path, &convert::create(document, first, resolv_conf)).await?;
    if !created.is_success() {
        return Ok(created);
    }
    let answer: Value = serde_json::from_slice(&created.bytes).unwrap_or_default();
    let id = answer["Id"].as_str().unwrap_or_default();
    for endpoint in further {
        let connected = connect_engine(x, id, endpoint).await;
        if !connected.as_ref().is_ok_and(Engines::is_success) {
            let path = format!("/containers/{}?force=1&v=1", encode(id));
            engine(x, &Method::DELETE, &path, &Value::Null).await?;
            return connected;
        }
    }
    Ok(created)
}

async fn connect_engine(
    x: &Exchange,
    container: &str,
    endpoint: &EngineEndpoint,
) -> Result<Engines, ApiError> {
    let path = format!("/networks/{}/connect", encode(&endpoint.network));
    let body = json!({"Container": container, "EndpointConfig": endpoint.settings});
    engine(x, &Method::POST, &path, &body).await
}

async fn disconnect_engine(
    x: &Exchange,
    container: &str,
    network: &str,
    force: bool,
) -> Result<Engines, ApiError> {
    let path = format!("/networks/{}/disconnect", encode(network));
    let body = json!({"Container": container, "Force": force});
    engine(x, &Method::POST, &path, &body).await
}

/// Asks the engine and reads its whole answer.
async fn engine(
    x: &Exchange,
    method: &Method,
    path: &str,
    body: &Value,
) -> Result<Engines, ApiError> {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let answer = ask_with(x, method, path, bytes).await?;
    let (head, incoming) = answer.response.into_parts();
    let bytes = x.app.engine.collect(http::Response::new(incoming)).await?;
    Ok(Engines { head, bytes })
}

/// Puts an existing container on a network.
pub(crate) async fn connect(mut x: Exchange, reference: &str) -> Answer {
    let bytes = body::read(&mut x.request).await?;
    let swarm = SwarmNetworks::read(&x.app).await;
    if !is_of_swarm(&x.app, &swarm, reference).await? {
        return forward_read(x, bytes).await;
    }
    let document = json::read::<ConnectBody>(&bytes)?.value;
    let body: ConnectBody = typed(&document)?;
    let standing = standing(&x, &body.container).await?;
    check_may_connect(&x, &standing, &swarm, reference)?;
    let id = standing.attachment.clone();
    let attached = ask(
        &x.app,
        AttachRequest {
            id: id.unwrap_or_else(|| TaskId::generate(&mut rand::random::<u128>)),
            name: standing.name.clone(),
            networks: vec![convert::wanted(reference, Some(&body.endpoint))?],
            gateway: !standing.on_gateway && !standing.elsewhere,
            dns: DnsConfig { nameservers: standing.nameservers.clone(), ..DnsConfig::default() },
        },
    )
    .await?;
    let mut outcome = Err(ApiError::unavailable("the agent has given no network"));
    let settings = document["EndpointConfig"].clone();
    let overlay =
        attached.endpoints.iter().map(|given| EngineEndpoint::of(given, settings.clone()));
    let gateway = attached.gateway.iter().map(|given| EngineEndpoint::of(given, json!({})));
    for endpoint in overlay.chain(gateway) {
        outcome = connect_engine(&x, &standing.id, &endpoint).await;
        if !outcome.as_ref().is_ok_and(Engines::is_success) {
            undo_connect(&x, &standing, &attached).await;
            break;
        }
    }
    outcome?.relayed()
}

/// The agent takes what is left off the network's list when the container is not on it.
async fn undo_connect(x: &Exchange, standing: &Standing, attached: &Attached) {
    for given in &attached.endpoints {
        // It may not have come that far.
        let _gone = disconnect_engine(x, &standing.id, &given.engine_name, true).await;
        give_back(&x.app, &attached.id, given.network_id.as_ref()).await;
    }
}

fn check_may_connect(
    x: &Exchange,
    standing: &Standing,
    swarm: &SwarmNetworks,
    reference: &str,
) -> Result<(), ApiError> {
    if standing.is_task {
        return Err(ApiError::forbidden(format!(
            "container {} is a task of a service: its networks are the service's",
            standing.name
        )));
    }
    let local = x.app.control.local_networks();
    let id = swarm.find(reference).map(|network| network.id);
    let engine = local.networks.iter().find(|network| Some(&network.id) == id.as_ref());
    if engine.is_some_and(|network| standing.swarm.contains(&network.engine_name)) {
        let text = format!("{} is already attached to network {reference}", standing.name);
        return Err(ApiError::forbidden(text));
    }
    Ok(())
}

async fn standing(x: &Exchange, container: &str) -> Result<Standing, ApiError> {
    let path = format!("/containers/{}/json", encode(container));
    let inspected = x.app.engine.get_json(&path).await?;
    Ok(Standing::read(&inspected, &x.app.control.local_networks()))
}

/// Takes a container off a network, and off the way out if only internal networks are left.
pub(crate) async fn disconnect(mut x: Exchange, reference: &str) -> Answer {
    let bytes = body::read(&mut x.request).await?;
    let swarm = SwarmNetworks::read(&x.app).await;
    let Some(network) = swarm.find(reference) else { return forward_read(x, bytes).await };
    let body: DisconnectBody = typed(&json::read::<DisconnectBody>(&bytes)?.value)?;
    let standing = standing(&x, &body.container).await?;
    let local = x.app.control.local_networks();
    let engine = local.networks.iter().find(|present| present.id == network.id);
    let there = engine.filter(|present| standing.swarm.contains(&present.engine_name));
    let Some(there) = there else {
        let text = format!("container {} is not connected to network {reference}", body.container);
        return Err(ApiError::forbidden(text));
    };
    let off = disconnect_engine(&x, &standing.id, &there.engine_name, body.force).await?;
    if !off.is_success() {
        return off.relayed();
    }
    if standing.loses_gateway(&there.engine_name, &local) {
        disconnect_engine(&x, &standing.id, &local.gateway_engine_name, true).await?;
    }
    if let Some(id) = &standing.attachment {
        let all = standing.swarm.len() == 1;
        give_back(&x.app, id, (!all).then_some(&network.id)).await;
    }
    off.relayed()
}
