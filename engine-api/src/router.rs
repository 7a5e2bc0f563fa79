//! The route table: one line per route.

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::app::{App, Exchange};
use crate::error::ApiError;
use crate::limits::QUERY_BYTES_MAX;
use crate::passthrough::forward;
use crate::path::Path;
use crate::query::Query;
use crate::reply::{self, Answer};
use crate::route::{
    attach, config, container, events, info, logs, network, node, secret, service, swarm, task,
    volume,
};
use crate::version::{ApiVersion, negotiate};

const DELETE: &str = "DELETE";
const GET: &str = "GET";
const HEAD: &str = "HEAD";
const POST: &str = "POST";
const PUT: &str = "PUT";

/// Answers a request.
pub(crate) async fn route(
    app: &Arc<App>,
    announced: ApiVersion,
    request: Request<Incoming>,
) -> Answer {
    let raw_query = request.uri().query().unwrap_or("");
    if raw_query.len() > QUERY_BYTES_MAX {
        return Err(ApiError::new(StatusCode::URI_TOO_LONG, "request query too long"));
    }
    if request.method() == Method::OPTIONS {
        return reply::empty(StatusCode::OK);
    }
    let path = Path::parse(request.uri().path());
    let query = Query::parse(raw_query);
    let version = negotiate(path.version, announced)?;
    let exchange = Exchange { app: app.clone(), version, path, query, request };
    dispatch(exchange).await
}

async fn dispatch(exchange: Exchange) -> Answer {
    let path = exchange.path.clone();
    let segments = path.segments();
    match segments.as_slice() {
        ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..] => {
            if path.is_devious() {
                return Err(ApiError::page_not_found());
            }
            swarm_routes(exchange, &segments).await
        }
        ["networks", ..] => networks(exchange, &segments).await,
        ["containers", ..] | ["volumes", ..] => local_objects(exchange, &segments).await,
        _ => node_itself(exchange, &segments).await,
    }
}

/// Answered by swarmnet alone.
async fn swarm_routes(x: Exchange, segments: &[&str]) -> Answer {
    match segments {
        ["swarm", ..] => swarm_itself(x, segments).await,
        ["nodes", ..] => nodes(x, segments).await,
        ["services" | "tasks", ..] => services(x, segments).await,
        _ => secrets(x, segments).await,
    }
}

async fn swarm_itself(x: Exchange, segments: &[&str]) -> Answer {
    let method = x.request.method().clone();
    match (method.as_str(), segments) {
        (GET, ["swarm"]) => swarm::inspect(x).await,
        (POST, ["swarm", "init"]) => swarm::init(x).await,
        (POST, ["swarm", "join"]) => swarm::join(x).await,
        (POST, ["swarm", "leave"]) => swarm::leave(x).await,
        (POST, ["swarm", "connectivity"]) => swarm::test_connectivity(x).await,
        (POST, ["swarm", "update"]) => swarm::update(x).await,
        (GET, ["swarm", "unlockkey"]) => swarm::unlock_key(x).await,
        (POST, ["swarm", "unlock"]) => swarm::unlock(x).await,
        _ => Err(ApiError::page_not_found()),
    }
}

async fn nodes(x: Exchange, segments: &[&str]) -> Answer {
    let method = x.request.method().clone();
    match (method.as_str(), segments) {
        (GET, ["nodes"]) => node::list(x).await,
        (GET, ["nodes", id]) => node::inspect(x, id).await,
        (POST, ["nodes", id, "update"]) => node::update(x, id).await,
        (DELETE, ["nodes", id]) => node::remove(x, id).await,
        _ => Err(ApiError::page_not_found()),
    }
}

async fn services(x: Exchange, segments: &[&str]) -> Answer {
    let method = x.request.method().clone();
    match (method.as_str(), segments) {
        (GET, ["services"]) => service::list(x).await,
        (POST, ["services", "create"]) => service::create(x).await,
        (GET, ["services", id]) => service::inspect(x, id).await,
        (POST, ["services", id, "update"]) => service::update(x, id).await,
        (DELETE, ["services", id]) => service::remove(x, id).await,
        (GET, ["services", id, "logs"]) => logs::of_service(x, id).await,
        (GET, ["tasks"]) => task::list(x).await,
        (GET, ["tasks", id]) => task::inspect(x, id).await,
        (GET, ["tasks", id, "logs"]) => logs::of_task(x, id).await,
        _ => Err(ApiError::page_not_found()),
    }
}

async fn secrets(x: Exchange, segments: &[&str]) -> Answer {
    let method = x.request.method().clone();
    match (method.as_str(), segments) {
        (GET, ["secrets"]) => secret::list(x).await,
        (POST, ["secrets", "create"]) => secret::create(x).await,
        (GET | DELETE, ["secrets", id]) => secret::find(x, id).await,
        (POST, ["secrets", id, "update"]) => secret::find(x, id).await,
        (GET, ["configs"]) => config::list(x).await,
        (POST, ["configs", "create"]) => config::create(x).await,
        (GET | DELETE, ["configs", id]) => config::find(x, id).await,
        (POST, ["configs", id, "update"]) => config::find(x, id).await,
        _ => Err(ApiError::page_not_found()),
    }
}

/// The engine's networks and the swarm's, as one.
async fn networks(x: Exchange, segments: &[&str]) -> Answer {
    let method = x.request.method().clone();
    match (method.as_str(), segments) {
        (GET, ["networks"]) => network::list(x).await,
        (POST, ["networks", "create"]) => network::create(x).await,
        (POST, ["networks", "prune"]) => network::prune(x).await,
        (GET, ["networks", id]) => network::inspect(x, id).await,
        (DELETE, ["networks", id]) => network::remove(x, id).await,
        (POST, ["networks", id, "connect"]) => attach::connect(x, id).await,
        (POST, ["networks", id, "disconnect"]) => attach::disconnect(x, id).await,
        _ => forward(x).await,
    }
}

/// The engine's objects whose requests or answers may speak of swarm networks.
async fn local_objects(x: Exchange, segments: &[&str]) -> Answer {
    let method = x.request.method().clone();
    match (method.as_str(), segments) {
        (GET, ["containers", "json"]) => container::list(x).await,
        (GET, ["containers", _, "json"]) => container::inspect(x).await,
        (POST, ["containers", "create"]) => attach::create(x).await,
        (POST, ["volumes", "create"]) => volume::create(x).await,
        (PUT, ["volumes", _]) => volume::update(),
        _ => forward(x).await,
    }
}

/// What is asked of the node as a whole; everything else is the engine's.
async fn node_itself(x: Exchange, segments: &[&str]) -> Answer {
    let method = x.request.method().clone();
    match (method.as_str(), segments) {
        (GET | HEAD, ["_ping"]) => info::ping(&x),
        (GET, ["version"]) => info::version(x).await,
        (GET, ["info"]) => info::info(x).await,
        (GET, ["events"]) => events::stream(x).await,
        _ => forward(x).await,
    }
}
