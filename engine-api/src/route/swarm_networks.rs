//! The swarm networks a node can speak of: all on a manager, those present on the node elsewhere.

use std::sync::Arc;

use serde_json::{Value, json};
use swarmnet_model::view::NetworkItem;
use swarmnet_model::{CallError, Code, NetworkId, Tables};

use crate::app::App;
use crate::control_plane::LocalNetworks;
use crate::convert::{network as convert, network_view};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::network_name::PLUGIN_DRIVER;
use crate::path::encode;
use crate::pattern;
use crate::reference::{Named, resolve, same_only};
use crate::version::ApiVersion;

/// What this node knows of swarm networks.
pub(crate) struct SwarmNetworks {
    /// On a manager that can read the cluster's state.
    tables: Option<Arc<Tables>>,
    local: LocalNetworks,
}

/// What is needed to find a network and to judge whether it may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SwarmNetwork {
    pub(crate) id: NetworkId,
    pub(crate) name: String,
    pub(crate) attachable: bool,
}

/// Where a network is kept.
pub(crate) enum Place {
    Swarm(NetworkId),
    /// By the engine's id.
    Engine(String),
}

impl SwarmNetworks {
    pub(crate) async fn read(app: &App) -> Self {
        let is_manager = app.control.local_node().is_manager;
        let tables = if is_manager { app.tables().await.ok() } else { None };
        Self { tables, local: app.control.local_networks() }
    }

    fn all(&self) -> Vec<SwarmNetwork> {
        match &self.tables {
            Some(tables) => tables
                .kept_networks()
                .map(|network| SwarmNetwork {
                    id: network.id.clone(),
                    name: network.spec.name.clone(),
                    attachable: network.spec.attachable,
                })
                .collect(),
            None => self
                .present()
                .map(|network| SwarmNetwork {
                    id: network.id.clone(),
                    name: network.name.clone(),
                    attachable: network.attachable,
                })
                .collect(),
        }
    }

    /// What a worker lists: the network of the mesh, and those its engine has.
    fn present(&self) -> impl Iterator<Item = &NetworkItem> {
        let view = &self.local.view;
        let on_node =
            self.local.networks.iter().filter_map(|of| network_view::network(view, &of.id));
        let all = network_view::ingress(view).into_iter().chain(on_node);
        all.filter(|network| !network.shown.removed)
    }

    /// Returns the network of that id or name, or the id or name of the engine's network for it.
    pub(crate) fn find(&self, reference: &str) -> Option<SwarmNetwork> {
        let engine = self.local.by_engine(reference).map(|network| &network.id);
        self.all().into_iter().find(|network| {
            network.id.as_str() == reference
                || network.name == reference
                || engine == Some(&network.id)
        })
    }

    /// Returns the network a reference means among the swarm's.
    ///
    /// # Errors
    /// `network X not found`, `network X is ambiguous (N matches found)`.
    pub(crate) fn resolve(&self, reference: &str) -> Result<NetworkId, CallError> {
        let all = self.all();
        let named = all
            .iter()
            .map(|network| Named {
                id: network.id.as_str(),
                name: &network.name,
                object: network.id.clone(),
            })
            .collect();
        resolve("network", reference, named, same_only)
    }

    /// True for the engine's networks that users must not see.
    pub(crate) fn hides(&self, engine_network: &Value) -> bool {
        engine_network["Driver"] == PLUGIN_DRIVER
            || engine_network["Name"].as_str().is_some_and(|name| self.local.is_gateway(name))
    }

    /// Renders all networks, by id.
    pub(crate) fn render_all(&self, version: ApiVersion) -> Vec<Value> {
        let mut all: Vec<Value> = match &self.tables {
            Some(tables) => {
                tables.kept_networks().map(|of| convert::network(of, version)).collect()
            }
            None => self.present().map(|of| self.render_local(of, version)).collect(),
        };
        all.sort_by(|left, right| left["Id"].as_str().cmp(&right["Id"].as_str()));
        all
    }

    fn render_local(&self, of: &NetworkItem, version: ApiVersion) -> Value {
        let ingress = network_view::ingress(&self.local.view).is_some_and(|mesh| mesh.id == of.id);
        convert::local_network(of, ingress, version)
    }

    /// Renders one network with what the node adds to it.
    pub(crate) async fn render(
        &self,
        app: &App,
        id: &NetworkId,
        version: ApiVersion,
        verbose: bool,
    ) -> Option<Value> {
        let stored =
            self.tables.as_ref().and_then(|tables| Some((tables, tables.kept_network(id)?)));
        let mut value = match stored {
            Some((_, network)) => convert::network(network, version),
            None if self.tables.is_some() => return None,
            None => self.render_local(self.present().find(|network| network.id == *id)?, version),
        };
        let on_node = self.local.networks.iter().find(|network| network.id == *id);
        if let Some(local) = on_node {
            let path = format!("/networks/{}", encode(&local.engine_id));
            let engine = app.engine.get_json(&path).await.unwrap_or_default();
            let containers = engine["Containers"].as_object().cloned().unwrap_or_default();
            value["Containers"] = Value::Object(containers);
            if value["Labels"].is_null() {
                value["Labels"] = json!({});
            }
        }
        let view = &self.local.view;
        if on_node.is_some() || stored.is_none() {
            value["Peers"] = network_view::peers(view, id);
        }
        if verbose {
            value["Services"] = match stored {
                Some((tables, network)) => convert::services(network, tables),
                None => network_view::services(view, id),
            };
        }
        Some(value)
    }

    fn uses(&self, id: &str) -> bool {
        let id = NetworkId::from_text(id);
        match &self.tables {
            // The mesh needs its network as long as it is there; a prune spares it as well.
            Some(tables) => {
                tables.ingress_network().is_some_and(|mesh| mesh.id == id)
                    || tables.users_of_network(&id).next().is_some()
            }
            // It is on the node because a task is on it.
            None => true,
        }
    }
}

/// Finds a network: full id, then name, then id prefix, each in the swarm and the engine together.
///
/// # Errors
/// `network X not found`; `network X is ambiguous (N matches found based on name)`; the engine's
/// 503, unless the swarm alone answers it.
pub(crate) async fn locate(
    app: &App,
    swarm: &SwarmNetworks,
    reference: &str,
) -> Result<Place, ApiError> {
    let ours = swarm.all();
    if let Some(found) = ours.iter().find(|network| network.id.as_str() == reference) {
        return Ok(Place::Swarm(found.id.clone()));
    }
    if let Some(found) = swarm.local.networks.iter().find(|n| n.engine_id == reference) {
        return Ok(Place::Swarm(found.id.clone()));
    }
    let engine = match app.engine.get_json("/networks").await {
        Ok(list) => list.as_array().cloned().unwrap_or_default(),
        Err(error) => return swarm.resolve(reference).map(Place::Swarm).map_err(|_| error),
    };
    let engine: Vec<(&str, &str)> = engine
        .iter()
        .filter(|network| !swarm.hides(network))
        .filter_map(|network| Some((network["Id"].as_str()?, network["Name"].as_str()?)))
        .collect();
    if engine.iter().any(|(id, _)| *id == reference) {
        return Ok(Place::Engine(reference.to_owned()));
    }
    choose(reference, &ours, &engine)
}

fn choose(
    reference: &str,
    ours: &[SwarmNetwork],
    engine: &[(&str, &str)],
) -> Result<Place, ApiError> {
    for based_on in ["name", "ID prefix"] {
        let matches = |id: &str, name: &str| match based_on {
            "name" => name == reference,
            _ => !reference.is_empty() && id.starts_with(reference),
        };
        let of_swarm = ours.iter().filter(|n| matches(n.id.as_str(), &n.name));
        let of_engine = engine.iter().filter(|(id, name)| matches(id, name));
        let mut found: Vec<Place> = of_swarm
            .map(|network| Place::Swarm(network.id.clone()))
            .chain(of_engine.map(|(id, _)| Place::Engine((*id).to_owned())))
            .collect();
        match (found.len(), found.pop()) {
            (1, Some(place)) => return Ok(place),
            (0, _) | (_, None) => {}
            (count, Some(_)) => {
                let text = format!(
                    "network {reference} is ambiguous ({count} matches found based on {based_on})"
                );
                return Err(CallError::api(Code::InvalidArgument, text).into());
            }
        }
    }
    Err(CallError::not_found("network", reference).into())
}

/// True if a rendered swarm network is wanted.
pub(crate) fn fits(network: &Value, filters: &Filters, swarm: &SwarmNetworks) -> bool {
    let text = |key: &str| network[key].as_str().unwrap_or("");
    let labels = serde_json::from_value(network["Labels"].clone()).unwrap_or_default();
    filters.any("driver", |wanted| wanted == "overlay")
        && filters.any("scope", |wanted| wanted == "swarm")
        && filters.any("type", |wanted| wanted == "custom")
        && filters.any("id", |wanted| pattern::fits(wanted, text("Id")))
        && filters.any("name", |wanted| pattern::fits(wanted, text("Name")))
        && filters.labels("label", &labels)
        && filters
            .any("dangling", |wanted| matches!(wanted, "true" | "1") != swarm.uses(text("Id")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(id: &str, name: &str) -> SwarmNetwork {
        SwarmNetwork { id: NetworkId::from_text(id), name: name.to_owned(), attachable: false }
    }

    fn chosen(reference: &str) -> String {
        let ours = [network("abc", "one"), network("abd", "two")];
        match choose(reference, &ours, &[("ff01", "one"), ("ff02", "bridge"), ("ab99", "x")]) {
            Ok(Place::Swarm(id)) => format!("swarm {id}"),
            Ok(Place::Engine(id)) => format!("engine {id}"),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn names_come_before_prefixes_and_both_sides_count() {
        assert_eq!(chosen("two"), "swarm abd");
        assert_eq!(chosen("bridge"), "engine ff02");
        assert_eq!(chosen("one"), "network one is ambiguous (2 matches found based on name)");
        assert_eq!(chosen("ff02"), "engine ff02");
        assert_eq!(chosen("ab"), "network ab is ambiguous (3 matches found based on ID prefix)");
        assert_eq!(chosen("zz"), "network zz not found");
        assert_eq!(chosen(""), "network  not found");
    }
}
