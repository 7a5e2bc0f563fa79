//! Services.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};
use swarmnet_model::{
    Call, CallError, PredefinedNetwork, PublishMode, Reply, Service, ServiceMode, ServiceSpec,
    Tables, update_rules,
};

use crate::app::{App, Exchange};
use crate::convert::service as convert;
use crate::convert::service_document::{complete, gate, set_network_ids};
use crate::convert::task_template::NetworkBody;
use crate::credentials::{Credentials, credentials, registry_auth};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::json::typed;
use crate::network_name::PLUGIN_DRIVER;
use crate::path::encode;
use crate::reference::{Named, resolve, same_only};
use crate::reply::{self, Answer};
use crate::route::network::find_swarm_network;
use crate::service_name;
use crate::version::ApiVersion;

const FILTERS: [&str; 5] = ["id", "name", "label", "mode", "runtime"];

pub(crate) async fn list(x: Exchange) -> Answer {
    let filters = Filters::parse(x.query.get("filters"), &FILTERS)?;
    let with_status = x.query.truth("status")? && x.version >= ApiVersion::new(1, 41);
    let tables = x.app.tables().await?;
    let render = |service: &Service| {
        let mut value = convert::service(service, false);
        if with_status {
            value["ServiceStatus"] = convert::status(service, &tables);
        }
        value
    };
    let services: Vec<Value> =
        present(&tables).filter(|service| fits(service, &filters)).map(render).collect();
    reply::ok(&services)
}

pub(crate) async fn inspect(x: Exchange, id: &str) -> Answer {
    let with_defaults = x.query.truth("insertDefaults")?;
    let tables = x.app.tables().await?;
    reply::ok(&convert::service(find(&tables, id)?, with_defaults))
}

pub(crate) async fn create(mut x: Exchange) -> Answer {
    let document = x.document::<convert::ServiceBody>().await?;
    let tables = x.app.tables().await?;
    let auth = credentials(x.request.headers());
    let mut warnings = warnings(document.unknown, &auth);
    let mut spec = read_spec(&x, document.value, &tables).await?;
    if spec.name.is_empty() {
        name_it(&mut spec, &tables)?;
    }
    warnings.extend(order_warning(&spec, &tables));
    warnings.extend(port_warning(&spec));
    let call = Call::CreateService { spec: Box::new(spec), registry_auth: auth.given() };
    let id = created(x.app.ask(call).await?)?;
    let mut answer = json!({"ID": id});
    if !warnings.is_empty() {
        answer["Warnings"] = warnings.drain(..).collect();
    }
    reply::created(&answer)
}

pub(crate) async fn update(mut x: Exchange, id: &str) -> Answer {
    let document = x.document::<convert::ServiceBody>().await?;
    let version = x.query.version("service")?;
    let auth = credentials(x.request.headers());
    let registry_auth = registry_auth(&auth, x.query.get("registryAuthFrom"))?;
    let tables = x.app.tables().await?;
    let id = find(&tables, id)?.id.clone();
    let (spec, warnings) = match x.query.get("rollback") {
        "" | "none" => {
            let mut warnings = warnings(document.unknown, &auth);
            let spec = read_spec(&x, document.value, &tables).await?;
            warnings.extend(order_warning(&spec, &tables));
            warnings.extend(port_warning(&spec));
            (Some(Box::new(spec)), warnings)
        }
        "previous" => (None, Vec::new()),
        other => {
            return Err(ApiError::bad_request(format!("unrecognized rollback option {other}")));
        }
    };
    x.app.ask(Call::UpdateService { id, version, spec, registry_auth }).await?;
    reply::ok(&json!({"Warnings": (!warnings.is_empty()).then_some(warnings)}))
}

pub(crate) async fn remove(x: Exchange, id: &str) -> Answer {
    let tables = x.app.tables().await?;
    let id = find(&tables, id)?.id.clone();
    x.app.ask(Call::RemoveService { id }).await?;
    reply::empty(StatusCode::OK)
}

/// Returns the service a reference means; one that is being removed is gone.
pub(super) fn find<'a>(tables: &'a Tables, reference: &str) -> Result<&'a Service, CallError> {
    let named = present(tables)
        .map(|service| Named { id: service.id.as_str(), name: &service.spec.name, object: service })
        .collect();
    resolve("service", reference, named, same_only)
}

fn present(tables: &Tables) -> impl Iterator<Item = &Service> {
    tables.services.values().map(|service| &**service).filter(|service| !service.pending_delete)
}

fn fits(service: &Service, filters: &Filters) -> bool {
    let mode = match service.spec.mode {
        ServiceMode::Replicated { .. } => "replicated",
        ServiceMode::Global => "global",
        ServiceMode::ReplicatedJob { .. } => "replicated-job",
        ServiceMode::GlobalJob => "global-job",
    };
    filters.prefix("id", service.id.as_str())
        && filters.prefix("name", &service.spec.name)
        && filters.labels("label", &service.spec.labels)
        && filters.any("mode", |wanted| wanted == mode)
        && filters.any("runtime", |wanted| wanted == "container")
}

/// Turns a document into a spec: for the client's version, with ids of networks, completed.
async fn read_spec(
    x: &Exchange,
    mut document: Value,
    tables: &Tables,
) -> Result<ServiceSpec, ApiError> {
    gate(&mut document, x.version);
    // Typed once before anything is edited: from here on every place holds what belongs there.
    let body: convert::ServiceBody = typed(&document)?;
    let ids = network_ids(&x.app, &body.task.networks, tables).await?;
    set_network_ids(&mut document, &ids);
    complete(&mut document);
    convert::spec(&document)
}

async fn network_ids(
    app: &App,
    networks: &[NetworkBody],
    tables: &Tables,
) -> Result<BTreeMap<String, String>, ApiError> {
    let mut ids = BTreeMap::new();
    for network in networks {
        let target = &network.target;
        if let Some(predefined) = PredefinedNetwork::by_reference(target) {
            ids.insert(target.clone(), predefined.id().to_string());
            continue;
        }
        match find_swarm_network(tables, target) {
            Ok(found) if found.spec.ingress => {
                let name = &found.spec.name;
                let text = format!(
                    "Service cannot be explicitly attached to the ingress network {name:?}"
                );
                return Err(CallError::invalid(text).into());
            }
            Ok(found) => ids.insert(target.clone(), found.id.to_string()),
            Err(error) => return Err(why_not(app, target, error).await),
        };
    }
    Ok(ids)
}

/// Says why a service cannot use a network that the swarm does not have.
async fn why_not(app: &App, target: &str, not_found: CallError) -> ApiError {
    match app.engine.get_json(&format!("/networks/{}", encode(target))).await {
        Ok(network) if network["Driver"] != PLUGIN_DRIVER => ApiError::forbidden(format!(
            "The network {target} cannot be used with services. Only networks scoped to the swarm \
             can be used, such as those created with the overlay driver."
        )),
        Ok(_) | Err(_) => not_found.into(),
    }
}

fn name_it(spec: &mut ServiceSpec, tables: &Tables) -> Result<(), ApiError> {
    spec.name = service_name::generate(|name| {
        tables.services.values().any(|service| service.spec.name == name)
    });
    let broken = |_| CallError::invalid("the service spec is not JSON");
    let mut document: Value = serde_json::from_str(&spec.document.0).map_err(broken)?;
    document["Name"] = json!(spec.name);
    spec.document.0 = document.to_string();
    Ok(())
}

pub(super) fn created(reply: Reply) -> Result<String, ApiError> {
    match reply {
        Reply::Created(id) => Ok(id),
        Reply::Done => Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the managers created an object without naming it",
        )),
    }
}

/// Returns what the user should know of a spec that is accepted.
fn warnings(unknown: Vec<String>, auth: &Credentials) -> Vec<String> {
    let stored = |path: String| format!("{path} is stored but has no effect");
    let unread = matches!(auth, Credentials::Unreadable);
    let unread = unread.then(|| "X-Registry-Auth cannot be read and is ignored".to_owned());
    unknown.into_iter().map(stored).chain(unread).collect()
}

/// Says so where the order of updates cannot be what is asked for.
fn order_warning(spec: &ServiceSpec, tables: &Tables) -> Option<String> {
    let why = update_rules::stops_first(spec, spec.update.as_ref()?, tables)?;
    tracing::warn!(service = spec.name, %why, "updates of this service will go another way");
    Some(format!("updates of this service will be {why}"))
}

/// Docker's word for host-mode ports of tasks that listen on the node's addresses themselves.
fn port_warning(spec: &ServiceSpec) -> Option<String> {
    let discarded = spec.task.predefined == Some(PredefinedNetwork::Host)
        && spec.endpoint.ports.iter().any(|port| port.mode == PublishMode::Host);
    discarded.then(|| "Published ports are discarded when using host network mode".to_owned())
}
