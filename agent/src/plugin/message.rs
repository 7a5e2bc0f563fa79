//! Pure: the JSON of the plugin protocol, as far as we look at it.
//!
//! Field names are Docker's. Unknown fields are ignored; a missing one is empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `Options` of a network: driver options of `network create` are below the generic key.
pub const GENERIC: &str = "com.docker.network.generic";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestPool {
    pub pool: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub options: BTreeMap<String, String>,
    #[serde(rename = "V6")]
    pub v6: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestAddress {
    #[serde(rename = "PoolID")]
    pub pool_id: String,
    pub address: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub options: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateNetwork {
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub options: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteNetwork {
    #[serde(rename = "NetworkID")]
    pub network_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateEndpoint {
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    pub interface: Interface,
    #[serde(deserialize_with = "null_is_empty")]
    pub options: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Interface {
    pub address: String,
    pub mac_address: String,
}

/// Join, Leave, DeleteEndpoint and others name an endpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointCall {
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    pub sandbox_key: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Joined {
    pub interface_name: InterfaceName,
    pub gateway: String,
    pub static_routes: Vec<StaticRoute>,
    pub disable_gateway_service: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InterfaceName {
    pub src_name: String,
    pub dst_prefix: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StaticRoute {
    pub destination: String,
    pub route_type: u8,
    pub next_hop: String,
}

/// A static route to something that is directly on the interface.
pub const ROUTE_CONNECTED: u8 = 1;

/// Go sends `null` for an empty map.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_calls_of_the_engine_are_understood() {
        let body = r#"{"PoolID":"net60|10.0.60.0/24","Address":"10.0.60.200","Options":null}"#;
        let call: RequestAddress = serde_json::from_str(body).unwrap();
        assert_eq!((call.address.as_str(), call.options.len()), ("10.0.60.200", 0));
        let body = r#"{"NetworkID":"0a66","EndpointID":"2a8b","Interface":{"Address":"10.0.60.34/24",
            "AddressIPv6":"","MacAddress":""},"Options":{"swarmnet.task":"abc",
            "com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":80}]}}"#;
        let call: CreateEndpoint = serde_json::from_str(body).unwrap();
        assert_eq!(call.options.get("swarmnet.task"), Some(&Value::from("abc")));
        assert_eq!(call.interface.address, "10.0.60.34/24");
        assert!(serde_json::from_str::<EndpointCall>("{}").is_ok());
    }
}
