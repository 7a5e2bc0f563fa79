//! Pure: a user's wish for a container on swarm networks → what the engine is asked for.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use swarmnet_model::container::DnsConfig;
use swarmnet_model::{TaskId, WantedAttachment};

use crate::control_plane::{AttachedEndpoint, LocalNetworks};
use crate::error::ApiError;
use crate::json::{member, strip, typed, wire};

/// Endpoint option that names the attachment; set by the agent, hidden from users.
pub(crate) const ATTACHMENT_OPTION: &str = "swarmnet.task";
/// Where containers look for their resolver.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Part of the path of every resolv.conf of ours.
const RESOLV_FILES: &str = "/agent/resolv/";
/// Beginning of the MAC addresses that engines make of addresses.
const MADE_MAC: &str = "02:42:";
/// Beginning of all endpoint options of ours.
const OPTION_PREFIX: &str = "swarmnet.";

wire! {
    CreateBody {
        "HostConfig" => host: HostBody,
        "NetworkingConfig" => networking: NetworkingBody,
        // Clients of older versions name it here, for the first network.
        "MacAddress" => mac: String,
    }
}

wire! {
    HostBody {
        "NetworkMode" => network_mode: String,
        "PortBindings" => port_bindings: BTreeMap<String, Value>,
        "PublishAllPorts" => publish_all_ports: bool,
        "Binds" => binds: Vec<String>,
        "Mounts" => mounts: Vec<MountBody>,
        "Dns" => dns: Vec<String>,
        "DnsSearch" => dns_search: Vec<String>,
        "DnsOptions" => dns_options: Vec<String>,
    }
}

wire! { MountBody { "Target" => target: String, } }

wire! { NetworkingBody { "EndpointsConfig" => endpoints: BTreeMap<String, EndpointBody>, } }

wire! {
    EndpointBody {
        "IPAMConfig" => ipam: IpamBody,
        "Aliases" => aliases: Vec<String>,
        "MacAddress" => mac: String,
    }
}

wire! { IpamBody { "IPv4Address" => ipv4: String, "IPv6Address" => ipv6: String, } }

wire! { ConnectBody { "Container" => container: String, "EndpointConfig" => endpoint: EndpointBody, } }

wire! { DisconnectBody { "Container" => container: String, "Force" => force: bool, } }

impl CreateBody {
    /// Returns the networks of users that the container is to be on, the one of its mode first.
    pub(crate) fn networks(&self) -> Vec<String> {
        let mode = &self.host.network_mode;
        let of_mode = [mode].into_iter().filter(|mode| is_of_user(mode));
        let further = self.networking.endpoints.keys().filter(|name| *name != mode);
        of_mode.chain(further.filter(|name| is_of_user(name))).cloned().collect()
    }

    pub(crate) fn publishes(&self) -> bool {
        !self.host.port_bindings.is_empty() || self.host.publish_all_ports
    }

    pub(crate) fn dns(&self) -> DnsConfig {
        DnsConfig {
            nameservers: self.host.dns.clone(),
            search: self.host.dns_search.clone(),
            options: self.host.dns_options.clone(),
        }
    }

    /// True if the user brings a resolv.conf.
    fn has_own_resolv_conf(&self) -> bool {
        let bound = |bind: &String| bind.split(':').nth(1) == Some(RESOLV_CONF);
        self.host.binds.iter().any(bound)
            || self.host.mounts.iter().any(|mount| mount.target == RESOLV_CONF)
    }

    /// Returns what the managers are asked for one of the networks.
    pub(crate) fn wanted(&self, network: &str) -> Result<WantedAttachment, ApiError> {
        check_mac(network, &self.mac)?;
        wanted(network, self.networking.endpoints.get(network))
    }
}

/// Returns false for modes that no user's network can be meant by.
fn is_of_user(mode: &str) -> bool {
    !matches!(mode, "" | "default" | "bridge" | "host" | "none") && !mode.starts_with("container:")
}

/// Refuses a MAC address of the user's choice: on a swarm network it follows from the address, and
/// nobody may send from another. One that an engine has made is a copy of an inspection.
fn check_mac(network: &str, mac: &str) -> Result<(), ApiError> {
    if mac.is_empty() || mac.get(..MADE_MAC.len()).is_some_and(|made| made == MADE_MAC) {
        return Ok(());
    }
    let text = format!("Could not attach to network {network}: the MAC address {mac} is");
    Err(ApiError::unsupported(&text))
}

/// Returns what the managers are asked for an endpoint.
///
/// # Errors
/// 400 for an address that is none, 501 for what swarm networks do not have.
pub(crate) fn wanted(
    network: &str,
    endpoint: Option<&EndpointBody>,
) -> Result<WantedAttachment, ApiError> {
    let endpoint = endpoint.cloned().unwrap_or_default();
    check_mac(network, &endpoint.mac)?;
    if !endpoint.ipam.ipv6.is_empty() {
        let address = endpoint.ipam.ipv6;
        let text = format!("Could not attach to network {network}: the IPv6 address {address} is");
        return Err(ApiError::unsupported(&text));
    }
    let text = endpoint.ipam.ipv4;
    let bad = |_| ApiError::bad_request(format!("invalid IPv4 address: {text}"));
    let address: Option<Ipv4Addr> = match text.as_str() {
        "" => None,
        text => Some(text.parse().map_err(bad)?),
    };
    Ok(WantedAttachment { network: network.to_owned(), address, aliases: endpoint.aliases })
}

/// One endpoint for the engine: a network by the engine's name, and its settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EngineEndpoint {
    pub(crate) network: String,
    pub(crate) settings: Value,
}

impl EngineEndpoint {
    /// The user's settings with the managers' address.
    pub(crate) fn of(given: &AttachedEndpoint, mut settings: Value) -> Self {
        member(&mut settings, "IPAMConfig")["IPv4Address"] = json!(given.address.to_string());
        let options = member(&mut settings, "DriverOpts");
        for (key, value) in &given.driver_options {
            options[key] = json!(value);
        }
        strip(&mut settings, "NetworkID");
        strip(&mut settings, "EndpointID");
        Self { network: given.engine_name.clone(), settings }
    }
}

/// Puts the first endpoint into a creation in place of all that the user named: engines of older
/// versions take no more, the others are connected before the start.
///
/// The engine's own resolver knows the containers of this node only, and by the addresses of their
/// way out, so the container gets another resolv.conf.
pub(crate) fn create(document: &Value, first: &EngineEndpoint, resolv_conf: &str) -> Value {
    let mut body = document.clone();
    let host = member(&mut body, "HostConfig");
    host["NetworkMode"] = json!(first.network);
    let own = typed::<CreateBody>(document).is_ok_and(|body| body.has_own_resolv_conf());
    if !own && !resolv_conf.is_empty() {
        let mut binds = host["Binds"].as_array().cloned().unwrap_or_default();
        binds.push(json!(format!("{resolv_conf}:{RESOLV_CONF}:ro")));
        host["Binds"] = json!(binds);
    }
    let networking = member(&mut body, "NetworkingConfig");
    networking["EndpointsConfig"] = json!({ first.network.as_str(): first.settings });
    body
}

/// Returns the settings that a creation has for a network, as the user wrote them.
pub(crate) fn settings(document: &Value, network: &str) -> Value {
    document["NetworkingConfig"]["EndpointsConfig"][network].clone()
}

/// What the engine says of a container's networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) is_task: bool,
    /// Of a container that is on a swarm network already.
    pub(crate) attachment: Option<TaskId>,
    /// Engine names of the swarm networks it is on.
    pub(crate) swarm: Vec<String>,
    pub(crate) on_gateway: bool,
    /// True if it is on a network of the engine's own.
    pub(crate) elsewhere: bool,
    /// Servers its user has named.
    pub(crate) nameservers: Vec<String>,
}

impl Standing {
    /// Reads an inspection.
    pub(crate) fn read(container: &Value, local: &LocalNetworks) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut standing = Self {
            id: text(&container["Id"]),
            name: text(&container["Name"]).trim_start_matches('/').to_owned(),
            is_task: !container["Config"]["Labels"]["com.docker.swarm.task.id"].is_null(),
            attachment: None,
            swarm: Vec::new(),
            on_gateway: false,
            elsewhere: false,
            nameservers: Vec::new(),
        };
        let named = container["HostConfig"]["Dns"].as_array().into_iter().flatten();
        standing.nameservers = named.map(text).collect();
        let networks = container["NetworkSettings"]["Networks"].as_object();
        for (name, endpoint) in networks.into_iter().flatten() {
            let attachment = endpoint["DriverOpts"][ATTACHMENT_OPTION].as_str();
            if let Some(id) = attachment {
                standing.attachment = Some(TaskId::from_text(id));
            }
            if local.is_gateway(name) {
                standing.on_gateway = true;
            } else if attachment.is_some() || local.by_engine(name).is_some() {
                standing.swarm.push(name.clone());
            } else {
                standing.elsewhere = true;
            }
        }
        standing
    }

    /// True if nothing but internal networks is left without the one of that name, so that the way
    /// out of the node has to go with it.
    pub(crate) fn loses_gateway(&self, engine_name: &str, local: &LocalNetworks) -> bool {
        let internal = |name: &String| local.by_engine(name).is_some_and(|left| left.internal);
        self.on_gateway && self.swarm.iter().filter(|name| *name != engine_name).all(internal)
    }
}

/// Takes our own options out of what users see of an endpoint.
pub(crate) fn hide_options(endpoint: &mut Value) {
    let Some(member) = endpoint.get_mut("DriverOpts") else { return };
    let Some(options) = member.as_object_mut() else { return };
    options.retain(|key, _| !key.starts_with(OPTION_PREFIX));
    if options.is_empty() {
        *member = Value::Null;
    }
}

/// Takes our resolv.conf out of what users see of a container.
pub(crate) fn hide_resolv_conf(container: &mut Value) {
    let ours = |source: Option<&str>, target: Option<&str>| {
        target == Some(RESOLV_CONF) && source.is_some_and(|source| source.contains(RESOLV_FILES))
    };
    if let Some(mounts) = container.get_mut("Mounts").and_then(Value::as_array_mut) {
        mounts.retain(|mount| !ours(mount["Source"].as_str(), mount["Destination"].as_str()));
    }
    let Some(binds) = container.pointer_mut("/HostConfig/Binds") else { return };
    let Some(list) = binds.as_array_mut() else { return };
    list.retain(|bind| {
        let mut parts = bind.as_str().unwrap_or_default().split(':');
        !ours(parts.next(), parts.next())
    });
    if list.is_empty() {
        *binds = Value::Null;
    }
}

/// Reads a creation; a body that is no JSON is the engine's to refuse.
pub(crate) fn read_create(bytes: &[u8]) -> Option<(Value, CreateBody)> {
    let document = crate::json::read::<CreateBody>(bytes).ok()?;
    let wanted = typed::<CreateBody>(&document.value).ok()?;
    Some((document.value, wanted))
}

#[cfg(test)]
mod tests {
    use swarmnet_model::NetworkId;

    use super::*;
    use crate::control_plane::LocalNetwork;

    fn given() -> AttachedEndpoint {
        AttachedEndpoint {
            network_id: None,
            engine_name: "n1.abc".to_owned(),
            address: Ipv4Addr::new(10, 0, 1, 7),
            driver_options: [(ATTACHMENT_OPTION.to_owned(), "t1".to_owned())].into(),
        }
    }

    #[test]
    fn a_creation_names_the_engines_network_and_the_managers_address() {
        let (document, body) = read_create(
            br#"{"Image":"alpine","hostConfig":{"NetworkMode":"n1","Binds":["/a:/b"]},
                "NetworkingConfig":{"EndpointsConfig":{"n1":{"Aliases":["db"],"X":1},"n2":{}}}}"#,
        )
        .unwrap();
        assert_eq!(body.networks(), ["n1", "n2"]);
        let wanted = body.wanted("n1").unwrap();
        assert_eq!((wanted.aliases, wanted.address), (vec!["db".to_owned()], None));
        let first = EngineEndpoint::of(&given(), settings(&document, "n1"));
        assert_eq!(
            create(&document, &first, "/s/agent/resolv/containers/x"),
            json!({
                "Image": "alpine",
                "HostConfig": {
                    "NetworkMode": "n1.abc",
                    "Binds": ["/a:/b", "/s/agent/resolv/containers/x:/etc/resolv.conf:ro"],
                },
                "NetworkingConfig": {"EndpointsConfig": {"n1.abc": {
                    "Aliases": ["db"], "X": 1,
                    "IPAMConfig": {"IPv4Address": "10.0.1.7"},
                    "DriverOpts": {"swarmnet.task": "t1"},
                }}},
            })
        );
    }

    #[test]
    fn modes_that_are_no_network_are_not_asked_for() {
        let networks = |text: &str| read_create(text.as_bytes()).unwrap().1.networks();
        for mode in ["default", "bridge", "host", "none", "container:x", ""] {
            let body = json!({"HostConfig": {"NetworkMode": mode}}).to_string();
            assert!(networks(&body).is_empty(), "{mode}");
        }
        assert!(networks("{}").is_empty() && read_create(b"no JSON").is_none());
        let by_endpoint = r#"{"NetworkingConfig":{"EndpointsConfig":{"n1":{}}}}"#;
        assert_eq!(networks(by_endpoint), ["n1"]);
    }

    #[test]
    fn an_address_that_is_none_is_refused_by_its_text() {
        let ipam = IpamBody { ipv4: "10.0.0".to_owned(), ..IpamBody::default() };
        let endpoint = EndpointBody { ipam, ..EndpointBody::default() };
        let error = wanted("n1", Some(&endpoint)).unwrap_err();
        assert_eq!(error.message(), "invalid IPv4 address: 10.0.0");
    }

    #[test]
    fn addresses_that_swarm_networks_do_not_have_are_refused_by_their_text() {
        let wanted = |text: &str| read_create(text.as_bytes()).unwrap().1.wanted("n1");
        for (body, text) in [
            (r#"{"MacAddress":"02:11:22:33:44:55"}"#, "the MAC address 02:11:22:33:44:55 is"),
            (
                r#"{"NetworkingConfig":{"EndpointsConfig":{"n1":{"MacAddress":"aa:b"}}}}"#,
                "the MAC address aa:b is",
            ),
            (
                r#"{"NetworkingConfig":{"EndpointsConfig":{"n1":{"IPAMConfig":
                    {"IPv6Address":"fd00::1"}}}}}"#,
                "the IPv6 address fd00::1 is",
            ),
        ] {
            let error = wanted(body).unwrap_err();
            let begin = format!("Could not attach to network n1: {text} not supported");
            assert!(error.message().starts_with(&begin), "{}", error.message());
        }
        let copied = r#"{"NetworkingConfig":{"EndpointsConfig":{"n1":
            {"MacAddress":"02:42:0a:00:01:07"}}}}"#;
        assert!(wanted(copied).is_ok());
    }

    #[test]
    fn the_way_out_goes_with_the_last_network_that_is_not_internal() {
        let network = |name: &str, internal| LocalNetwork {
            id: NetworkId::from_text(name),
            name: name.to_owned(),
            internal,
            attachable: true,
            subnet: "10.0.1.0/24".parse().unwrap(),
            gateway: "10.0.1.1".parse().unwrap(),
            vni: 4097,
            engine_id: format!("id-{name}"),
            engine_name: format!("{name}.abc"),
        };
        let local = LocalNetworks {
            networks: vec![network("out", false), network("more", false), network("in", true)],
            gateway_engine_name: "gw".to_owned(),
            ..LocalNetworks::default()
        };
        let standing = |names: &[&str]| {
            let networks: serde_json::Map<_, _> =
                names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
            Standing::read(&json!({"NetworkSettings": {"Networks": networks}}), &local)
        };
        for (names, leaves, goes) in [
            (&["out.abc", "gw"][..], "out.abc", true),
            (&["out.abc", "in.abc", "gw"], "out.abc", true),
            (&["out.abc", "in.abc", "gw"], "in.abc", false),
            (&["out.abc", "more.abc", "in.abc", "gw"], "out.abc", false),
            (&["in.abc"], "in.abc", false),
        ] {
            assert_eq!(standing(names).loses_gateway(leaves, &local), goes, "{names:?} {leaves}");
        }
    }

    #[test]
    fn a_containers_standing_is_read_from_its_inspection() {
        let local = LocalNetworks {
            gateway_engine_name: "swarmnet_gateway".to_owned(),
            ..LocalNetworks::default()
        };
        let container = json!({
            "Id": "c1", "Name": "/web", "Config": {"Labels": {}},
            "HostConfig": {"Dns": ["192.0.2.1"]},
            "NetworkSettings": {"Networks": {
                "n1.abc": {"DriverOpts": {"swarmnet.task": "t1"}},
                "swarmnet_gateway": {"DriverOpts": {"swarmnet.task": "t1"}},
            }},
        });
        let standing = Standing::read(&container, &local);
        assert_eq!(
            (standing.name.as_str(), standing.attachment, standing.on_gateway, standing.elsewhere),
            ("web", Some(TaskId::from_text("t1")), true, false)
        );
        assert_eq!(standing.swarm, ["n1.abc"]);
        assert_eq!(standing.nameservers, ["192.0.2.1"]);
        let plain = json!({"NetworkSettings": {"Networks": {"bridge": {"DriverOpts": null}}}});
        assert!(Standing::read(&plain, &local).elsewhere);
    }

    #[test]
    fn our_options_are_hidden_and_the_users_stay() {
        let mut endpoint = json!({"DriverOpts": {"swarmnet.task": "t", "mine": "1"}});
        hide_options(&mut endpoint);
        assert_eq!(endpoint, json!({"DriverOpts": {"mine": "1"}}));
        let mut endpoint = json!({"DriverOpts": {"swarmnet.task": "t"}});
        hide_options(&mut endpoint);
        assert_eq!(endpoint, json!({"DriverOpts": null}));
    }

    #[test]
    fn a_users_own_resolv_conf_stays_and_ours_is_not_shown() {
        let ours = "/s/agent/resolv/containers/x:/etc/resolv.conf:ro";
        for own in [
            json!({"Binds": ["/mine:/etc/resolv.conf"]}),
            json!({"Mounts": [{"Target": "/etc/resolv.conf"}]}),
        ] {
            let (document, _) =
                read_create(json!({"HostConfig": own}).to_string().as_bytes()).unwrap();
            let first = EngineEndpoint::of(&given(), json!({}));
            let body = create(&document, &first, "/s/agent/resolv/containers/x");
            assert!(!body.to_string().contains(ours), "{body}");
        }
        let mut container = json!({
            "HostConfig": {"Binds": [ours]},
            "Mounts": [
                {"Source": "/s/agent/resolv/containers/x", "Destination": "/etc/resolv.conf"},
                {"Source": "/a", "Destination": "/b"},
            ],
        });
        hide_resolv_conf(&mut container);
        let shown = json!({
            "HostConfig": {"Binds": null}, "Mounts": [{"Source": "/a", "Destination": "/b"}],
        });
        assert_eq!(container, shown);
    }
}
