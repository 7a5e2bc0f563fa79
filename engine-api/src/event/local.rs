//! Pure: the engine's events, with the networks that stand for overlays as users know them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use swarmnet_model::{Item, NodeView};

use super::wanted::{Seen, Wanted};
use crate::control_plane::LocalNetworks;
use crate::filters::Filters;
use crate::network_name::PLUGIN_DRIVER;

/// Characters of a network's id in the name of the engine's network.
const ID_IN_NAME: usize = 12;

/// Reads the engine's stream, one event after the other.
#[derive(Debug, Default)]
pub(crate) struct LocalEvents {
    /// Id and name of the overlays seen, by the engine's id: an event may outlive its network here.
    known: BTreeMap<String, (String, String)>,
}

/// Returns the filters for the engine; it does not know the overlays' names and ids.
pub(crate) fn for_engine(filters: &Filters) -> String {
    let mut filters = filters.clone();
    filters.remove("network");
    filters.to_json()
}

impl LocalEvents {
    /// Returns the line as the user is to see it; `None` if it is not wanted, or none of his business.
    pub(crate) fn line(
        &mut self,
        line: &[u8],
        wanted: &Wanted,
        local: &LocalNetworks,
    ) -> Option<Vec<u8>> {
        let of_network = wanted.filters.has("network");
        if !of_network && !concerns_networks(line) {
            return Some(line.to_vec());
        }
        // What cannot be read is passed on as it is.
        let Ok(mut event) = serde_json::from_slice::<Value>(line) else {
            return Some(line.to_vec());
        };
        let ours = event["Type"] == "network" && self.translate(&mut event, local)?;
        let passes = !of_network || {
            let attributes: BTreeMap<String, String> = event["Actor"]["Attributes"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or("").to_owned()))
                .collect();
            let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
            let (kind, id) = (text(&event["Type"]), text(&event["Actor"]["ID"]));
            let only = Wanted { filters: wanted.filters.only("network"), since: None, until: None };
            only.takes(&Seen {
                scope: "local",
                kind: &kind,
                action: "",
                id: &id,
                attributes: &attributes,
            })
        };
        match (passes, ours) {
            (false, _) => None,
            (true, false) => Some(line.to_vec()),
            (true, true) => Some(format!("{event}\n").into_bytes()),
        }
    }

    /// Rewrites an event of a network that stands for an overlay; `None` for the gateways' network.
    fn translate(&mut self, event: &mut Value, local: &LocalNetworks) -> Option<bool> {
        let actor = &mut event["Actor"];
        let (id, name) =
            (actor["ID"].as_str()?, actor["Attributes"]["name"].as_str().unwrap_or(""));
        if local.is_gateway(name) {
            return None;
        }
        let present = local.by_engine(id).map(|found| (found.id.to_string(), found.name.clone()));
        let ours = actor["Attributes"]["type"] == PLUGIN_DRIVER;
        let found = present
            .or_else(|| self.known.get(id).cloned())
            .or_else(|| ours.then(|| by_name(name, &local.view)));
        let Some((swarm_id, swarm_name)) = found else { return Some(false) };
        self.known.insert(id.to_owned(), (swarm_id.clone(), swarm_name.clone()));
        actor["Attributes"]["name"] = json!(swarm_name);
        actor["Attributes"]["type"] = json!("overlay");
        actor["ID"] = json!(swarm_id);
        Some(true)
    }
}

/// A network that is just being made, or is gone already: its name holds the beginning of the id.
fn by_name(engine_name: &str, view: &NodeView) -> (String, String) {
    let (name, short) = engine_name.rsplit_once('.').unwrap_or((engine_name, ""));
    let networks = view.values().filter_map(|item| match item {
        Item::Network(network) => Some(network),
        Item::Settings(_) | Item::Peer(_) | Item::Service(_) | Item::Backend(_) | Item::Task(_) => {
            None
        }
    });
    let same = |id: &str| short.len() == ID_IN_NAME && id.starts_with(short);
    let found = networks.map(|network| network.id.to_string()).find(|id| same(id));
    (found.unwrap_or_else(|| short.to_owned()), name.to_owned())
}

fn concerns_networks(line: &[u8]) -> bool {
    const MARK: &[u8] = br#""Type":"network""#;
    line.windows(MARK.len()).any(|window| window == MARK)
}

#[cfg(test)]
mod tests {
    use swarmnet_model::NetworkId;

    use super::*;
    use crate::control_plane::LocalNetwork;
    use crate::query::Query;

    const OVERLAY: &str = "vby3ukx1ii312sevyorhpn6y8";

    fn local() -> LocalNetworks {
        LocalNetworks {
            networks: vec![LocalNetwork {
                id: NetworkId::from_text(OVERLAY),
                name: "front".to_owned(),
                internal: false,
                attachable: true,
                subnet: "10.0.1.0/24".parse().unwrap(),
                gateway: "10.0.1.1".parse().unwrap(),
                vni: 4097,
                engine_id: "e1".to_owned(),
                engine_name: "front.vby3ukx1ii31".to_owned(),
            }],
            gateway_engine_name: "swarmnet_gateway".to_owned(),
            ..LocalNetworks::default()
        }
    }

    fn event(kind: &str, id: &str, name: &str, driver: &str) -> Vec<u8> {
        let value = json!({
            "Type": kind, "Action": "connect",
            "Actor": {"ID": id, "Attributes": {"container": "c1", "name": name, "type": driver}},
            "scope": "local", "time": 1, "timeNano": 1
        });
        format!("{value}\n").into_bytes()
    }

    fn told(line: &[u8], filters: &str, local: &LocalNetworks) -> Option<String> {
        let wanted = Wanted::read(&Query::parse(&format!("filters={filters}"))).unwrap();
        let told = LocalEvents::default().line(line, &wanted, local)?;
        let event: Value = serde_json::from_slice(&told).unwrap();
        let actor = &event["Actor"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let attributes = &actor["Attributes"];
        Some([text(&actor["ID"]), text(&attributes["name"]), text(&attributes["type"])].join(" "))
    }

    #[test]
    fn an_overlays_network_is_told_as_the_overlay() {
        let line = event("network", "e1", "front.vby3ukx1ii31", "swarmnet");
        let overlay = Some(format!("{OVERLAY} front overlay"));
        assert_eq!(told(&line, "{}", &local()), overlay);
        assert_eq!(told(&line, r#"{"network":["front"]}"#, &local()), overlay);
        assert_eq!(told(&line, r#"{"network":["back"]}"#, &local()), None);
        let gone = LocalNetworks::default();
        assert_eq!(told(&line, "{}", &gone).as_deref(), Some("vby3ukx1ii31 front overlay"));
    }

    #[test]
    fn gateways_are_nobodys_business_and_everything_else_is_untouched() {
        let gateway = event("network", "e2", "swarmnet_gateway", "swarmnet");
        assert_eq!(told(&gateway, "{}", &local()), None);
        let bridge = event("network", "e3", "bridge", "bridge");
        assert_eq!(told(&bridge, "{}", &local()).as_deref(), Some("e3 bridge bridge"));
        let container = event("container", "c1", "front.1", "x");
        let wanted = Wanted::read(&Query::parse("")).unwrap();
        let same = LocalEvents::default().line(&container, &wanted, &local());
        assert_eq!(same, Some(container.clone()));
        assert_eq!(told(&container, r#"{"network":["front"]}"#, &local()), None);
    }

    #[test]
    fn an_event_after_the_networks_end_still_names_it() {
        let line = event("network", "e1", "front.vby3ukx1ii31", "swarmnet");
        let wanted = Wanted::read(&Query::parse("")).unwrap();
        let mut events = LocalEvents::default();
        let first = events.line(&line, &wanted, &local());
        assert_eq!(events.line(&line, &wanted, &LocalNetworks::default()), first);
    }
}
