//! Networks: the swarm's and the engine's, as one.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use swarmnet_model::moment;
use swarmnet_model::{Call, CallError, Network, PredefinedNetwork, Tables};

use crate::app::{App, Exchange};
use crate::body;
use crate::control_plane::LocalState;
use crate::convert::{network_spec as convert, predefined};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::json::{self, typed};
use crate::network_name::{PLUGIN_DRIVER, PLUGIN_LABEL, PREDEFINED};
use crate::passthrough::{ask_path, forward_read, relay};
use crate::path::encode;
use crate::reference::{Named, resolve, same_only};
use crate::reply::{self, Answer};
use crate::route::service::created;
use crate::route::swarm_networks::{Place, SwarmNetworks, fits, locate};

pub(crate) async fn list(x: Exchange) -> Answer {
    let filters = Filters::read(x.query.get("filters"))?;
    let swarm = SwarmNetworks::read(&x.app).await;
    let path = match x.request.uri().query() {
        Some(query) => format!("/networks?{query}"),
        None => "/networks".to_owned(),
    };
    let answer = ask_path(&x, &path).await?;
    if answer.response.status() != StatusCode::OK {
        return Ok(relay(answer.response, answer.connection));
    }
    let bytes = x.app.engine.collect(answer.response).await?;
    let engine: Vec<Value> = serde_json::from_slice(&bytes).map_err(|error| {
        ApiError::unavailable(format!("the engine's list of networks cannot be read: {error}"))
    })?;
    let mut all = swarm.render_all(x.version);
    all.retain(|network| fits(network, &filters, &swarm));
    all.extend(engine.into_iter().filter(|network| !swarm.hides(network)));
    reply::ok(&all)
}

pub(crate) async fn inspect(x: Exchange, reference: &str) -> Answer {
    let verbose = x.query.truth("verbose")?;
    let swarm = SwarmNetworks::read(&x.app).await;
    let place = match x.query.get("scope") {
        "swarm" => {
            if let Some(found) = PredefinedNetwork::by_reference(reference) {
                return reply::ok(&predefined::network(found, x.version));
            }
            Place::Swarm(swarm.resolve(reference)?)
        }
        _ => locate(&x.app, &swarm, reference).await?,
    };
    match place {
        Place::Swarm(id) => {
            let network = swarm.render(&x.app, &id, x.version, verbose).await;
            reply::ok(&network.ok_or_else(|| CallError::not_found("network", reference))?)
        }
        Place::Engine(id) => to_engine(&x, &id).await,
    }
}

/// Asks the engine what was asked of us, for the network that was found.
async fn to_engine(x: &Exchange, id: &str) -> Answer {
    let path = match x.request.uri().query() {
        Some(query) => format!("/networks/{}?{query}", encode(id)),
        None => format!("/networks/{}", encode(id)),
    };
    let answer = ask_path(x, &path).await?;
    Ok(relay(answer.response, answer.connection))
}

pub(crate) async fn create(mut x: Exchange) -> Answer {
    let bytes = body::read_json(&mut x.request).await?;
    let document = json::read::<convert::NetworkBody>(&bytes)?;
    let wanted: convert::NetworkBody = typed(&document.value)?;
    if wanted.driver == PLUGIN_DRIVER {
        let text = format!("plugin \"{PLUGIN_DRIVER}\" not found");
        return Err(ApiError::new(StatusCode::NOT_FOUND, text));
    }
    if wanted.is_for_swarm() {
        return create_for_swarm(&x, wanted, document).await;
    }
    create_local(x, &wanted.name, bytes).await
}

async fn create_local(x: Exchange, name: &str, bytes: Bytes) -> Answer {
    if SwarmNetworks::read(&x.app).await.find(name).is_some_and(|network| network.name == name) {
        return Err(name_taken(name));
    }
    forward_read(x, bytes).await
}

async fn create_for_swarm(
    x: &Exchange,
    wanted: convert::NetworkBody,
    document: json::Document,
) -> Answer {
    check_may_create(&x.app)?;
    let name = wanted.name.clone();
    if PREDEFINED.contains(&name.as_str()) {
        let text = format!("{name} is a pre-defined network and cannot be created");
        return Err(ApiError::forbidden(text));
    }
    let spec = convert::spec(wanted, &document.value)?;
    // An engine that cannot be asked has no say: agents pick other names for their networks.
    let local = x.app.engine.get_json("/networks").await.unwrap_or_default();
    let mut present = local.as_array().into_iter().flatten();
    if present.any(|network| network["Name"] == name.as_str() && network["Driver"] != PLUGIN_DRIVER)
    {
        return Err(name_taken(&name));
    }
    let id = created(x.app.ask(Call::CreateNetwork { spec: Box::new(spec) }).await?)?;
    let unknown = document.unknown.iter();
    let warnings: Vec<String> =
        unknown.map(|path| format!("{path} is stored but has no effect")).collect();
    reply::created(&json!({"Id": id, "Warning": warnings.join("; ")}))
}

fn name_taken(name: &str) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, format!("network with name {name} already exists"))
}

/// Docker answers these two cases with 403, whatever it says elsewhere.
fn check_may_create(app: &App) -> Result<(), ApiError> {
    let node = app.control.local_node();
    match node.state {
        LocalState::Inactive => Err(ApiError::forbidden(
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" \
             to connect this node to swarm and try again.",
        )),
        LocalState::Active if !node.is_manager => Err(ApiError::forbidden(
            "Cannot create a multi-host network from a worker node. Please create the network from \
             a manager node.",
        )),
        LocalState::Active | LocalState::Pending | LocalState::Error | LocalState::Locked => Ok(()),
    }
}

pub(crate) async fn remove(x: Exchange, reference: &str) -> Answer {
    let swarm = SwarmNetworks::read(&x.app).await;
    match locate(&x.app, &swarm, reference).await? {
        Place::Swarm(id) => {
            x.app.tables().await?;
            x.app.ask(Call::RemoveNetwork { id }).await?;
            reply::empty(StatusCode::NO_CONTENT)
        }
        Place::Engine(id) => to_engine(&x, &id).await,
    }
}

/// Lets the engine prune its own, then removes swarm networks that nothing uses.
pub(crate) async fn prune(x: Exchange) -> Answer {
    let filters = Filters::read(x.query.get("filters"))?;
    let mut for_engine = filters.clone();
    for_engine.add("label!", PLUGIN_LABEL);
    let path = format!("/networks/prune?filters={}", encode(&for_engine.to_json()));
    let answer = ask_path(&x, &path).await?;
    if answer.response.status() != StatusCode::OK {
        return Ok(relay(answer.response, answer.connection));
    }
    let bytes = x.app.engine.collect(answer.response).await?;
    let pruned: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let mut names: Vec<Value> = pruned["NetworksDeleted"].as_array().cloned().unwrap_or_default();
    if x.app.control.local_node().is_manager {
        names.extend(prune_swarm(&x.app, &filters).await);
    }
    reply::ok(&json!({"NetworksDeleted": (!names.is_empty()).then_some(names)}))
}

async fn prune_swarm(app: &App, filters: &Filters) -> Vec<Value> {
    let Ok(tables) = app.tables().await else { return Vec::new() };
    let now = app.control.now();
    // The engine has refused what is no time.
    let until = filters.values("until").first().and_then(|text| moment::parse(text, now));
    let unused = tables.kept_networks().filter(|network| {
        let labels = &network.spec.labels;
        let excluded = filters.has("label!") && filters.labels("label!", labels);
        !network.spec.ingress
            && (!filters.has("until") || until.is_some_and(|until| network.created_at <= until))
            && filters.labels("label", labels)
            && !excluded
            && tables.users_of_network(&network.id).next().is_none()
    });
    let mut names = Vec::new();
    for network in unused {
        // One that came into use meanwhile is refused by the managers and stays.
        if app.ask(Call::RemoveNetwork { id: network.id.clone() }).await.is_ok() {
            names.push(json!(network.spec.name));
        }
    }
    names
}

/// Returns the network of the store that a reference means.
pub(super) fn find_swarm_network<'a>(
    tables: &'a Tables,
    reference: &str,
) -> Result<&'a Network, CallError> {
    let named = tables
        .kept_networks()
        .map(|network| Named {
            id: network.id.as_str(),
            name: &network.spec.name,
            object: &**network,
        })
        .collect();
    resolve("network", reference, named, same_only)
}
