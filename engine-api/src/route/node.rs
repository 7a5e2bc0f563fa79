//! Nodes.

use http::StatusCode;
use swarmnet_model::{Call, CallError, Node, Role, Tables};

use crate::app::Exchange;
use crate::convert::node as convert;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::json::typed;
use crate::reference::{Named, resolve, same_host};
use crate::reply::{self, Answer};
use crate::tls_info::TlsInfo;

const FILTERS: [&str; 6] = ["id", "name", "label", "node.label", "role", "membership"];

pub(crate) async fn list(x: Exchange) -> Answer {
    let filters = Filters::parse(x.query.get("filters"), &FILTERS)?;
    check_words(&filters)?;
    let tables = x.app.tables().await?;
    let (raft, tls) = (x.app.control.raft_view(), tls_info(&tables));
    let fitting = tables.nodes.values().filter(|node| fits(node, &filters));
    let nodes: Vec<_> = fitting.map(|node| convert::node(node, &raft, &tls)).collect();
    reply::ok(&nodes)
}

pub(crate) async fn inspect(x: Exchange, id: &str) -> Answer {
    let tables = x.app.tables().await?;
    let node = find(&tables, id)?;
    reply::ok(&convert::node(node, &x.app.control.raft_view(), &tls_info(&tables)))
}

pub(crate) async fn update(mut x: Exchange, id: &str) -> Answer {
    let document = x.document::<convert::NodeBody>().await?;
    let version = x.query.version("node")?;
    let spec = convert::spec(typed(&document.value)?)?;
    let tables = x.app.tables().await?;
    let id = find(&tables, id)?.id.clone();
    x.app.ask(Call::UpdateNode { id, version, spec }).await?;
    reply::empty(StatusCode::OK)
}

pub(crate) async fn remove(x: Exchange, id: &str) -> Answer {
    let tables = x.app.tables().await?;
    let id = find(&tables, id)?.id.clone();
    x.app.ask(Call::RemoveNode { id, force: x.query.is_on("force") }).await?;
    reply::empty(StatusCode::OK)
}

/// Returns the node a reference means: id, host name short or full, unique id prefix.
pub(super) fn find<'a>(tables: &'a Tables, reference: &str) -> Result<&'a Node, CallError> {
    let named = tables
        .nodes
        .values()
        .map(|node| Named { id: node.id.as_str(), name: node.hostname(), object: &**node })
        .collect();
    resolve("node", reference, named, same_host)
}

fn tls_info(tables: &Tables) -> TlsInfo {
    let root = tables.cluster.as_ref().map(|cluster| &cluster.root_ca.certificate_pem);
    root.map(|pem| TlsInfo::of(pem)).unwrap_or_default()
}

fn check_words(filters: &Filters) -> Result<(), ApiError> {
    let known = |key: &str, words: &[&str]| match filters
        .values(key)
        .iter()
        .find(|word| !words.contains(&word.as_str()))
    {
        Some(word) => Err(ApiError::bad_request(format!("Invalid {key} filter: '{word}'"))),
        None => Ok(()),
    };
    known("role", &["worker", "manager"])?;
    known("membership", &["accepted", "pending"])
}

fn fits(node: &Node, filters: &Filters) -> bool {
    let role = match node.spec.role {
        Role::Worker => "worker",
        Role::Manager => "manager",
    };
    let no_labels = Default::default();
    let engine_labels = node.description.as_ref().map_or(&no_labels, |known| &known.engine_labels);
    filters.prefix("id", node.id.as_str())
        && filters.prefix("name", node.hostname())
        && filters.any("role", |wanted| wanted == role)
        // Every node of the store was accepted with its token.
        && filters.any("membership", |wanted| wanted == "accepted")
        && filters.labels("node.label", &node.spec.labels)
        && filters.labels("label", engine_labels)
}
