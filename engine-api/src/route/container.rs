//! Containers are the engine's; what they say of swarm networks is translated.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use crate::app::Exchange;
use crate::control_plane::LocalNetworks;
use crate::convert::node_networks::{concerns, rewrite};
use crate::convert::node_ports;
use crate::filters::Filters;
use crate::passthrough::{ask_path, forward, relay, relay_bytes};
use crate::path::encode;
use crate::reply::Answer;

pub(crate) async fn list(x: Exchange) -> Answer {
    let local = x.app.control.local_networks();
    if is_empty(&local) {
        return forward(x).await;
    }
    let query = engine_query(x.request.uri().query().unwrap_or(""), &local);
    let path = format!("{}?{query}", x.path.rest);
    translated(&x, &path, &local).await
}

pub(crate) async fn inspect(x: Exchange) -> Answer {
    let local = x.app.control.local_networks();
    if is_empty(&local) {
        return forward(x).await;
    }
    let path = match x.request.uri().query() {
        Some(query) => format!("{}?{query}", x.path.rest),
        None => x.path.rest.clone(),
    };
    translated(&x, &path, &local).await
}

fn is_empty(local: &LocalNetworks) -> bool {
    local.networks.is_empty() && local.gateway_engine_name.is_empty()
}

async fn translated(x: &Exchange, path: &str, local: &LocalNetworks) -> Answer {
    let answer = ask_path(x, path).await?;
    if answer.response.status() != StatusCode::OK {
        return Ok(relay(answer.response, answer.connection));
    }
    let (head, incoming) = answer.response.into_parts();
    let bytes = x.app.engine.collect(http::Response::new(incoming)).await?;
    let changed = if concerns(&bytes, local) { translate(&bytes, local) } else { None };
    let mut response = relay_bytes(head, changed.unwrap_or(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// `None` if the answer is no JSON: it is passed on as it came.
fn translate(bytes: &Bytes, local: &LocalNetworks) -> Option<Bytes> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    let present = |container: &mut Value| {
        rewrite(container, local);
        node_ports::add(container, local);
    };
    match value.as_array_mut() {
        Some(containers) => containers.iter_mut().for_each(present),
        None => present(&mut value),
    }
    let mut text = serde_json::to_vec(&value).ok()?;
    text.push(b'\n');
    Some(text.into())
}

/// Returns the query with swarm networks in `filters` replaced by the engine's.
fn engine_query(raw: &str, local: &LocalNetworks) -> String {
    let translate = |part: &str| -> Option<String> {
        let text = crate::path::decode(&part.strip_prefix("filters=")?.replace('+', " "));
        let mut filters = Filters::read(&text).ok().filter(|filters| filters.has("network"))?;
        filters.map("network", |name| {
            let network = local.by_reference(name);
            network.map_or_else(|| name.to_owned(), |network| network.engine_id.clone())
        });
        Some(format!("filters={}", encode(&filters.to_json())))
    };
    let parts: Vec<String> =
        raw.split('&').map(|part| translate(part).unwrap_or_else(|| part.to_owned())).collect();
    parts.join("&")
}
