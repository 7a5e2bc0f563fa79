//! What each call of the engine means: one function per call.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use swarmnet_ebpf::abi::{NEXT_HOP, RESOLVER, task_mac};
use swarmnet_model::{ItemKey, NetworkId, TaskId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::journal::{Endpoint, JournalFile, NetworkKind, device_names};
use super::message::{
    CreateEndpoint, CreateNetwork, DeleteNetwork, EndpointCall, GENERIC, InterfaceName, Joined,
    ROUTE_CONNECTED, RequestAddress, RequestPool, StaticRoute,
};
use super::{GATEWAY_VALUE, NETWORK_OPTION, TASK_OPTION, UPSTREAMS_OPTION};
use crate::ingress::claim::ClaimError;
use crate::inputs::network;
use crate::netlink::link::Mac;
use crate::reconcile::{Command, Told};

/// Prefix length of gateway addresses: nothing else is directly on that interface.
const GATEWAY_PREFIX: u8 = 32;

/// Wait of a new endpoint for the view, inside the time of a call.
const VIEW_PATIENCE: Duration = Duration::from_secs(5);

/// A call that the engine must tell its user about.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the request could not be read")]
    Body,
    #[error("the request is not the JSON of this call: {0}")]
    Json(#[from] serde_json::Error),
    #[error("swarmnet does not know the call {path}")]
    UnknownCall { path: String },
    #[error("swarmnet did not finish in time; see its log")]
    Timeout,
    #[error("this node is not part of a swarm")]
    NoSwarm,
    #[error("network {network} is not known on this node")]
    UnknownNetwork { network: String },
    #[error("only tasks of the swarm can be attached to its networks")]
    NoTask,
    /// Its attachment has ended, by the managers or because the node left the swarm.
    #[error(
        "the container has no address on network {network} any more: disconnect it from the network and connect it again"
    )]
    Ended { network: String },
    #[error("endpoint {endpoint} is not known")]
    UnknownEndpoint { endpoint: String },
    #[error("{text} is not an IPv4 address of the network")]
    BadAddress { text: String },
    #[error("IPv6 is not available on swarm networks")]
    Ipv6,
    #[error("address {address} is in use by another task")]
    AddressTaken { address: Ipv4Addr },
    #[error("this node has no room for another endpoint")]
    Full,
    #[error("writing the plugin journal: {0}")]
    Journal(#[from] std::io::Error),
    #[error(transparent)]
    Port(#[from] ClaimError),
    #[error("wiring failed: {reason}")]
    Wiring { reason: String },
    #[error("swarmnet is stopping")]
    Stopping,
}

/// Answers the engine.
#[derive(Debug)]
pub struct Plugin {
    pub journal: Arc<JournalFile>,
    pub told: watch::Receiver<Option<Told>>,
    pub commands: mpsc::Sender<Command>,
    /// MTU of attachments without one of their own; follows the routes to other nodes.
    pub mtu: watch::Receiver<u32>,
}

impl Plugin {
    /// Answers one call.
    ///
    /// # Errors
    /// `CallError`, whose text the engine shows.
    pub async fn call(&self, path: &str, body: &[u8]) -> Result<Value, CallError> {
        match path {
            "/Plugin.Activate" => Ok(json!({ "Implements": ["NetworkDriver", "IpamDriver"] })),
            "/NetworkDriver.GetCapabilities" => {
                Ok(json!({ "Scope": "local", "ConnectivityScope": "global" }))
            }
            "/IpamDriver.GetCapabilities" => {
                Ok(json!({ "RequiresMACAddress": false, "RequiresRequestReplay": false }))
            }
            "/IpamDriver.GetDefaultAddressSpaces" => Ok(json!({
                "LocalDefaultAddressSpace": "swlocal",
                "GlobalDefaultAddressSpace": "swglobal",
            })),
            "/IpamDriver.RequestPool" => request_pool(&parse(body)?),
            "/IpamDriver.RequestAddress" => request_address(&parse(body)?),
            "/NetworkDriver.CreateNetwork" => self.create_network(&parse(body)?),
            "/NetworkDriver.DeleteNetwork" => self.delete_network(&parse(body)?),
            "/NetworkDriver.CreateEndpoint" => {
                self.wait_for_view().await;
                self.create_endpoint(&parse(body)?)
            }
            "/NetworkDriver.Join" => self.join(parse(body)?).await,
            "/NetworkDriver.Leave" => self.leave(parse(body)?).await,
            "/NetworkDriver.DeleteEndpoint" => self.delete_endpoint(parse(body)?).await,
            "/NetworkDriver.EndpointOperInfo" => Ok(json!({ "Value": {} })),
            // Addresses are the managers'; external connectivity, discovery and global scope do
            // not concern a driver like ours.
            "/IpamDriver.ReleasePool"
            | "/IpamDriver.ReleaseAddress"
            | "/NetworkDriver.ProgramExternalConnectivity"
            | "/NetworkDriver.RevokeExternalConnectivity"
            | "/NetworkDriver.AllocateNetwork"
            | "/NetworkDriver.FreeNetwork"
            | "/NetworkDriver.DiscoverNew"
            | "/NetworkDriver.DiscoverDelete" => Ok(json!({})),
            other => Err(CallError::UnknownCall { path: other.to_owned() }),
        }
    }

    /// After a boot the engine starts plain containers at once; the stored view comes soon.
    async fn wait_for_view(&self) {
        let mut told = self.told.clone();
        // Without a view the call says why.
        let _told = timeout(VIEW_PATIENCE, told.wait_for(Option::is_some)).await;
    }

    fn create_network(&self, call: &CreateNetwork) -> Result<Value, CallError> {
        let generic = call.options.get(GENERIC);
        let id = generic.and_then(|options| options.get(NETWORK_OPTION)).and_then(Value::as_str);
        let Some(id) = id else {
            return Err(CallError::UnknownNetwork { network: call.network_id.clone() });
        };
        let kind = network_kind(id);
        self.journal.update(|journal| journal.networks.insert(call.network_id.clone(), kind))?;
        Ok(json!({}))
    }

    fn delete_network(&self, call: &DeleteNetwork) -> Result<Value, CallError> {
        self.journal.update(|journal| journal.networks.remove(&call.network_id))?;
        Ok(json!({}))
    }

    /// Answers only what the engine left open: it refuses an answer to what it has set itself.
    fn create_endpoint(&self, call: &CreateEndpoint) -> Result<Value, CallError> {
        let endpoint = self.endpoint(call)?;
        let mac = endpoint.mac;
        let address = endpoint.address.ip();
        let inserted = self.journal.update(|journal| {
            let taken = journal.endpoints.iter().any(|(id, other)| {
                *id != call.endpoint_id
                    && other.sandbox.is_some()
                    && (other.vni, other.address.ip()) == (endpoint.vni, address)
            });
            if taken {
                return Err(CallError::AddressTaken { address });
            }
            if !journal.endpoints.contains_key(&call.endpoint_id) {
                let lidx = journal.free_lidx().ok_or(CallError::Full)?;
                let endpoint = Endpoint { lidx, ..endpoint };
                journal.endpoints.insert(call.endpoint_id.clone(), endpoint);
            }
            Ok(())
        })?;
        inserted?;
        if call.interface.mac_address.is_empty() {
            Ok(json!({ "Interface": { "MacAddress": mac_text(mac) } }))
        } else {
            Ok(json!({ "Interface": {} }))
        }
    }

    fn endpoint(&self, call: &CreateEndpoint) -> Result<Endpoint, CallError> {
        let option = |key: &str| call.options.get(key).and_then(Value::as_str);
        let task = TaskId::from_text(option(TASK_OPTION).ok_or(CallError::NoTask)?);
        let kind =
            match option(NETWORK_OPTION) {
                Some(id) => network_kind(id),
                None => self.journal.read().networks.get(&call.network_id).cloned().ok_or_else(
                    || CallError::UnknownNetwork { network: call.network_id.clone() },
                )?,
            };
        let text = &call.interface.address;
        let address: Ipv4Network =
            text.parse().map_err(|_| CallError::BadAddress { text: text.clone() })?;
        let mac = match call.interface.mac_address.as_str() {
            "" => task_mac(address.ip()),
            text => parse_mac(text).ok_or_else(|| CallError::BadAddress { text: text.into() })?,
        };
        let (vni, internal, mtu) = self.properties(&kind, &task)?;
        Ok(Endpoint {
            network: kind,
            task,
            address,
            vni,
            internal,
            mac,
            mtu,
            lidx: 0,
            sandbox: None,
            resolver_prefix: None,
            upstreams: upstreams(option(UPSTREAMS_OPTION)),
        })
    }

    /// Returns VNI, whether the network is internal, and the MTU.
    fn properties(&self, kind: &NetworkKind, task: &TaskId) -> Result<(u32, bool, u32), CallError> {
        let default_mtu = *self.mtu.borrow();
        let NetworkKind::Overlay(id) = kind else { return Ok((0, false, default_mtu)) };
        let told = self.told.borrow();
        let view = &told.as_ref().ok_or(CallError::NoSwarm)?.view;
        let network = network(view, id)
            .ok_or_else(|| CallError::UnknownNetwork { network: id.to_string() })?;
        // Only an attachment of a plain container can end while the engine still has the container.
        let known = [ItemKey::Task(task.clone()), ItemKey::Backend(task.clone())];
        if !known.iter().any(|key| view.contains_key(key)) {
            return Err(CallError::Ended { network: network.name.clone() });
        }
        let mtu = network.mtu.map_or(default_mtu, u32::from);
        Ok((network.vni.get(), network.internal, mtu))
    }

    async fn join(&self, call: EndpointCall) -> Result<Value, CallError> {
        let EndpointCall { endpoint_id: endpoint, sandbox_key } = call;
        let sandbox = PathBuf::from(sandbox_key);
        let id = endpoint.clone();
        self.command(|reply| Command::Join { endpoint, sandbox, reply }).await??;
        let journal = self.journal.read();
        let Some(joined) = journal.endpoints.get(&id) else {
            return Err(CallError::UnknownEndpoint { endpoint: id });
        };
        Ok(serde_json::to_value(join_answer(&id, joined))?)
    }

    async fn leave(&self, call: EndpointCall) -> Result<Value, CallError> {
        let endpoint = call.endpoint_id;
        self.command(|reply| Command::Leave { endpoint, reply }).await?;
        Ok(json!({}))
    }

    /// Also cleans up after a Join that failed: then no Leave comes.
    async fn delete_endpoint(&self, call: EndpointCall) -> Result<Value, CallError> {
        let endpoint = call.endpoint_id.clone();
        let joined = |endpoint: &Endpoint| endpoint.sandbox.is_some();
        if self.journal.read().endpoints.get(&endpoint).is_some_and(joined) {
            self.command(|reply| Command::Leave { endpoint, reply }).await?;
        }
        self.journal.update(|journal| journal.endpoints.remove(&call.endpoint_id))?;
        Ok(json!({}))
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, CallError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| CallError::Stopping)?;
        answer.await.map_err(|_| CallError::Stopping)
    }
}

fn parse<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, CallError> {
    if body.is_empty() { Ok(T::default()) } else { Ok(serde_json::from_slice(body)?) }
}

fn network_kind(id: &str) -> NetworkKind {
    if id == GATEWAY_VALUE {
        NetworkKind::Gateway
    } else {
        NetworkKind::Overlay(NetworkId::from_text(id))
    }
}

/// The pool id is ours to choose: it comes back in every later call, also after restarts. The
/// gateway in `Data` says that no address is wanted for one.
fn request_pool(call: &RequestPool) -> Result<Value, CallError> {
    if call.v6 {
        return Err(CallError::Ipv6);
    }
    let bad = || CallError::BadAddress { text: call.pool.clone() };
    let pool: Ipv4Network = call.pool.parse().map_err(|_| bad())?;
    let Some(id) = call.options.get(NETWORK_OPTION) else {
        return Err(CallError::UnknownNetwork { network: call.pool.clone() });
    };
    Ok(json!({
        "PoolID": format!("{id}|{pool}"),
        "Pool": pool.to_string(),
        "Data": { "com.docker.network.gateway": format!("0.0.0.0/{}", pool.prefix()) },
    }))
}

/// Addresses are given by the managers (overlays) or reserved before (gateways).
fn request_address(call: &RequestAddress) -> Result<Value, CallError> {
    let bad = || CallError::BadAddress { text: call.address.clone() };
    let (id, pool) = call.pool_id.split_once('|').ok_or_else(bad)?;
    let pool: Ipv4Network = pool.parse().map_err(|_| bad())?;
    let for_gateway = call.options.get("RequestAddressType").map(String::as_str);
    if for_gateway == Some("com.docker.network.gateway") {
        return Ok(json!({ "Address": format!("0.0.0.0/{}", pool.prefix()) }));
    }
    if call.address.is_empty() {
        return Err(CallError::NoTask);
    }
    let address: Ipv4Addr = call.address.parse().map_err(|_| bad())?;
    if !pool.contains(address) {
        return Err(bad());
    }
    let prefix = if id == GATEWAY_VALUE { GATEWAY_PREFIX } else { pool.prefix() };
    Ok(json!({ "Address": format!("{address}/{prefix}") }))
}

/// An overlay never brings the engine's own gateway bridge, but a way to the resolver; the gateway
/// network brings the default route, over a next hop that only our program answers for.
fn join_answer(id: &str, endpoint: &Endpoint) -> Joined {
    let (_, src_name) = device_names(id, endpoint);
    let gateway = endpoint.is_gateway();
    let dst_prefix = if gateway { "gw" } else { "eth" };
    let connected = |destination: String| StaticRoute {
        destination,
        route_type: ROUTE_CONNECTED,
        next_hop: String::new(),
    };
    let routes = if gateway {
        vec![connected(format!("{NEXT_HOP}/32"))]
    } else {
        let around = |length| Ipv4Network::new(RESOLVER, length).ok();
        let net = endpoint.resolver_prefix.and_then(around);
        net.map(|net| connected(format!("{}/{}", net.network(), net.prefix())))
            .into_iter()
            .collect()
    };
    Joined {
        interface_name: InterfaceName { src_name, dst_prefix },
        gateway: if gateway { NEXT_HOP.to_string() } else { String::new() },
        static_routes: routes,
        disable_gateway_service: !gateway,
    }
}

fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn parse_mac(text: &str) -> Option<Mac> {
    let bytes: Option<Vec<u8>> =
        text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    Mac::try_from(bytes?).ok()
}

/// What is no address is left out: the engine has refused it, or somebody has written it by hand.
fn upstreams(option: Option<&str>) -> Vec<IpAddr> {
    option
        .into_iter()
        .flat_map(|list| list.split(','))
        .filter_map(|text| text.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn endpoint(network: NetworkKind, address: &str) -> Endpoint {
        let address: Ipv4Network = address.parse().unwrap();
        Endpoint {
            network,
            task: TaskId::from_text("t"),
            address,
            vni: 4097,
            internal: false,
            mac: task_mac(address.ip()),
            mtu: 1450,
            lidx: 1,
            sandbox: None,
            resolver_prefix: None,
            upstreams: Vec::new(),
        }
    }

    #[test]
    fn a_pool_names_its_network_and_wants_no_gateway() {
        let body = br#"{"AddressSpace":"swlocal","Pool":"10.0.60.0/24","SubPool":"",
            "Options":{"swarmnet.network":"net60"},"V6":false}"#;
        expect![[r#"{"PoolID":"net60|10.0.60.0/24","Pool":"10.0.60.0/24","Data":{"com.docker.network.gateway":"0.0.0.0/24"}}"#]]
            .assert_eq(&request_pool(&parse(body).unwrap()).unwrap().to_string());
        let v6 = RequestPool { v6: true, ..RequestPool::default() };
        assert!(matches!(request_pool(&v6), Err(CallError::Ipv6)));
    }

    #[test]
    fn addresses_are_those_of_the_managers_and_none_is_made_up() {
        let ask = |pool_id: &str, address: &str| {
            let (pool_id, address) = (pool_id.to_owned(), address.to_owned());
            let options = Default::default();
            request_address(&RequestAddress { pool_id, address, options }).map(|v| v.to_string())
        };
        assert_eq!(ask("n|10.0.1.0/24", "10.0.1.5").unwrap(), r#"{"Address":"10.0.1.5/24"}"#);
        let gateway = ask("gateway|172.31.240.0/20", "172.31.240.9").unwrap();
        assert_eq!(gateway, r#"{"Address":"172.31.240.9/32"}"#);
        assert!(matches!(ask("n|10.0.1.0/24", "10.0.2.5"), Err(CallError::BadAddress { .. })));
        assert!(matches!(ask("n|10.0.1.0/24", ""), Err(CallError::NoTask)));
        assert!(matches!(ask("nonsense", "10.0.2.5"), Err(CallError::BadAddress { .. })));
    }

    #[test]
    fn only_the_gateway_brings_a_default_route_and_overlays_lead_to_the_resolver() {
        let mut overlay = endpoint(NetworkKind::Overlay(NetworkId::from_text("n")), "10.0.1.5/24");
        let gateway = endpoint(NetworkKind::Gateway, "172.31.240.1/32");
        let text = |e: &Endpoint| serde_json::to_string(&join_answer("0123456789ab", e)).unwrap();
        expect![[r#"{"InterfaceName":{"SrcName":"swpo01234567","DstPrefix":"eth"},"Gateway":"","StaticRoutes":[],"DisableGatewayService":true}"#]]
            .assert_eq(&text(&overlay));
        for (length, route) in
            [(32, "169.254.77.53/32"), (31, "169.254.77.52/31"), (20, "169.254.64.0/20")]
        {
            overlay.resolver_prefix = Some(length);
            assert_eq!(join_answer("0123456789ab", &overlay).static_routes[0].destination, route);
        }
        expect![[r#"{"InterfaceName":{"SrcName":"swpg01234567","DstPrefix":"gw"},"Gateway":"169.254.1.1","StaticRoutes":[{"Destination":"169.254.1.1/32","RouteType":1,"NextHop":""}],"DisableGatewayService":false}"#]]
            .assert_eq(&text(&gateway));
    }

    #[test]
    fn mac_addresses_are_read_as_they_are_written() {
        let mac = [2, 66, 10, 0, 1, 255];
        assert_eq!(parse_mac(&mac_text(mac)), Some(mac));
        assert_eq!(parse_mac("02:42:0a"), None);
        assert_eq!(parse_mac("zz:42:0a:00:01:05"), None);
    }
}
