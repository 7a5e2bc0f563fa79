//! Pure: how a service is reached.

use serde_json::{Value, json};
use swarmnet_model::{
    EndpointMode, EndpointSpec, PortSpec, Protocol, PublishMode, ServiceEndpoint,
};

use crate::error::ApiError;
use crate::json::wire;

wire! { EndpointBody { "Mode" => mode: String, "Ports" => ports: Vec<PortBody>, } }

wire! {
    PortBody {
        "Name" => name: String,
        "Protocol" => protocol: String,
        "TargetPort" => target_port: u16,
        "PublishedPort" => published_port: u16,
        "PublishMode" => publish_mode: String,
    }
}

/// Reads an endpoint spec.
///
/// # Errors
/// 400 for unknown words; Docker would silently take tcp and ingress.
pub(crate) fn spec(body: EndpointBody) -> Result<EndpointSpec, ApiError> {
    let mode = match body.mode.as_str() {
        "" | "vip" => EndpointMode::Vip,
        "dnsrr" => EndpointMode::Dnsrr,
        word => {
            return Err(ApiError::bad_request(format!("invalid resolution mode: {word:?}")));
        }
    };
    let ports = body.ports.into_iter().map(port).collect::<Result<_, _>>()?;
    Ok(EndpointSpec { mode, ports })
}

fn port(body: PortBody) -> Result<PortSpec, ApiError> {
    let protocol = match body.protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        word => return Err(ApiError::bad_request(format!("invalid protocol: {word:?}"))),
    };
    let mode = match body.publish_mode.to_ascii_lowercase().as_str() {
        "" | "ingress" => PublishMode::Ingress,
        "host" => PublishMode::Host,
        word => return Err(ApiError::bad_request(format!("invalid publish mode: {word:?}"))),
    };
    Ok(PortSpec {
        name: body.name,
        protocol,
        target_port: body.target_port,
        published_port: body.published_port,
        mode,
    })
}

/// Renders how a service is reached.
pub(crate) fn endpoint(endpoint: Option<&ServiceEndpoint>) -> Value {
    // Docker's managers do not look at a service that nothing can reach.
    let unreached = |of: &&ServiceEndpoint| {
        of.vips.is_empty() && of.ports.is_empty() && of.spec.mode == EndpointMode::Vip
    };
    let Some(endpoint) = endpoint.filter(|of| !unreached(of)) else { return json!({"Spec": {}}) };
    let mode = match endpoint.spec.mode {
        EndpointMode::Vip => "vip",
        EndpointMode::Dnsrr => "dnsrr",
    };
    let mut value = json!({"Spec": {"Mode": mode}});
    if !endpoint.spec.ports.is_empty() {
        value["Spec"]["Ports"] = ports(&endpoint.spec.ports);
    }
    if !endpoint.ports.is_empty() {
        value["Ports"] = ports(&endpoint.ports);
    }
    if !endpoint.vips.is_empty() {
        let vip = |vip: &swarmnet_model::Vip| json!({"NetworkID": vip.network_id, "Addr": vip.address.to_string()});
        value["VirtualIPs"] = endpoint.vips.iter().map(vip).collect();
    }
    value
}

/// Renders ports; absent names and numbers are left out.
pub(crate) fn ports(ports: &[PortSpec]) -> Value {
    ports.iter().map(render_port).collect()
}

fn render_port(port: &PortSpec) -> Value {
    let mut value = json!({});
    if !port.name.is_empty() {
        value["Name"] = json!(port.name);
    }
    value["Protocol"] = json!(port.protocol.as_str());
    value["TargetPort"] = json!(port.target_port);
    if port.published_port != 0 {
        value["PublishedPort"] = json!(port.published_port);
    }
    value["PublishMode"] = json!(match port.mode {
        PublishMode::Ingress => "ingress",
        PublishMode::Host => "host",
    });
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_nothing_reaches_is_shown_empty() {
        let mut bare = ServiceEndpoint::default();
        assert_eq!(endpoint(Some(&bare)), json!({"Spec": {}}));
        assert_eq!(endpoint(None), json!({"Spec": {}}));
        bare.spec.mode = EndpointMode::Dnsrr;
        assert_eq!(endpoint(Some(&bare)), json!({"Spec": {"Mode": "dnsrr"}}));
    }
}
