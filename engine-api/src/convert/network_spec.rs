//! Pure: the request for a swarm network.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use serde_json::Value;
use swarmnet_model::service::Document;
use swarmnet_model::{CallError, IpamConfig, NetworkSpec};

use crate::error::ApiError;
use crate::json::wire;

const IPV6: &str = "swarm networks with IPv6 are";
const OVERLAY: &str = "overlay";

wire! {
    NetworkBody {
        "Name" => name: String,
        "CheckDuplicate" => check_duplicate: bool,
        "Driver" => driver: String,
        "Scope" => scope: String,
        "EnableIPv4" => enable_ipv4: Option<bool>,
        "EnableIPv6" => enable_ipv6: bool,
        "IPAM" => ipam: Ipam,
        "Internal" => internal: bool,
        "Attachable" => attachable: bool,
        "Ingress" => ingress: bool,
        "ConfigOnly" => config_only: bool,
        "ConfigFrom" => config_from: Option<ConfigFrom>,
        "Options" => options: BTreeMap<String, String>,
        "Labels" => labels: BTreeMap<String, String>,
    }
}

wire! {
    Ipam {
        "Driver" => driver: String,
        "Options" => options: BTreeMap<String, String>,
        "Config" => config: Vec<IpamBody>,
    }
}

wire! {
    IpamBody {
        "Subnet" => subnet: String,
        "IPRange" => range: String,
        "Gateway" => gateway: String,
        "AuxiliaryAddresses" => auxiliary: BTreeMap<String, String>,
    }
}

wire! { ConfigFrom { "Network" => network: String, } }

impl NetworkBody {
    /// True if the managers make it, false if the engine does.
    pub(crate) fn is_for_swarm(&self) -> bool {
        self.driver == OVERLAY || self.scope == "swarm" || self.ingress
    }
}

/// Reads the spec of a swarm network.
///
/// # Errors
/// 400 and 403 with Docker's texts, 501 for what this version cannot do: nothing is left out
/// silently, above all no encryption.
pub(crate) fn spec(body: NetworkBody, document: &Value) -> Result<NetworkSpec, ApiError> {
    check_scope(&body)?;
    refuse_unsupported(&body)?;
    Ok(NetworkSpec {
        name: body.name,
        labels: body.labels,
        internal: body.internal,
        attachable: body.attachable,
        ingress: body.ingress,
        ipam: body.ipam.config.iter().map(ipam).collect::<Result<_, _>>()?,
        options: body.options,
        document: Document(document.to_string()),
    })
}

/// An overlay is the swarm's, which Docker calls `global` as well.
fn check_scope(body: &NetworkBody) -> Result<(), ApiError> {
    match body.scope.as_str() {
        "local" if body.driver == OVERLAY => {
            Err(ApiError::forbidden("cannot downgrade network scope for overlay networks"))
        }
        "" | "swarm" | "global" | "local" => Ok(()),
        other => Err(ApiError::bad_request(format!("invalid network scope '{other}'"))),
    }
}

fn refuse_unsupported(body: &NetworkBody) -> Result<(), ApiError> {
    let driver = body.driver.as_str();
    let ipam_driver = body.ipam.driver.as_str();
    let cases = [
        (!matches!(driver, OVERLAY | ""), "swarm networks of drivers other than overlay are"),
        (body.enable_ipv6 || body.enable_ipv4 == Some(false), IPV6),
        (body.config_only || body.config_from.is_some_and_named(), "configuration networks are"),
        (!matches!(ipam_driver, "default" | ""), "IPAM drivers other than default are"),
        (!body.ipam.options.is_empty(), "IPAM options are"),
        (body.options.contains_key("encrypted"), "encrypted networks are"),
    ];
    match cases.iter().find(|(present, _)| *present) {
        Some((_, what)) => Err(ApiError::unsupported(what)),
        None => Ok(()),
    }
}

trait Named {
    fn is_some_and_named(&self) -> bool;
}

impl Named for Option<ConfigFrom> {
    fn is_some_and_named(&self) -> bool {
        self.as_ref().is_some_and(|from| !from.network.is_empty())
    }
}

fn ipam(body: &IpamBody) -> Result<IpamConfig, ApiError> {
    let auxiliary = |(name, text): (&String, &String)| {
        let what = format!("auxiliary address {name}=");
        let address = address(text, &what)?.ok_or_else(|| refused(&format!("invalid {what}")))?;
        Ok::<_, ApiError>((name.clone(), address))
    };
    let config = IpamConfig {
        subnet: prefix(&body.subnet, "subnet ")?,
        range: prefix(&body.range, "range ")?,
        gateway: address(&body.gateway, "gateway ")?,
        auxiliary: body.auxiliary.iter().map(auxiliary).collect::<Result<_, _>>()?,
    };
    check_inside(&config, body)?;
    Ok(config)
}

fn check_inside(config: &IpamConfig, body: &IpamBody) -> Result<(), ApiError> {
    let inside = |addr: Ipv4Addr| config.subnet.is_none_or(|subnet| subnet.contains(addr));
    let outside = |what: &str| refused(&format!("subnet {} does not contain {what}", body.subnet));
    let range = config.range;
    if range.is_some_and(|range| !inside(range.network()) || !inside(range.broadcast())) {
        return Err(outside(&format!("range {}", body.range)));
    }
    if config.gateway.is_some_and(|gateway| !inside(gateway)) {
        return Err(outside(&format!("gateway {}", body.gateway)));
    }
    match config.auxiliary.iter().find(|(_, addr)| !inside(**addr)) {
        Some((name, addr)) => Err(outside(&format!("auxiliary address {name}={addr}"))),
        None => Ok(()),
    }
}

/// Reads a prefix as Go does: digits after the slash, no mask. Empty = absent.
fn prefix(text: &str, what: &str) -> Result<Option<Ipv4Network>, ApiError> {
    let length = text.split_once('/').map(|(_, length)| length);
    let digits = length.is_some_and(|length| length.bytes().all(|byte| byte.is_ascii_digit()));
    read(text, what, digits)
}

fn address(text: &str, what: &str) -> Result<Option<Ipv4Addr>, ApiError> {
    read(text, what, true)
}

fn read<T: FromStr>(text: &str, what: &str, well_formed: bool) -> Result<Option<T>, ApiError> {
    match text {
        "" => Ok(None),
        _ if text.contains(':') => Err(ApiError::unsupported(&format!("{what}{text}: {IPV6}"))),
        _ => match text.parse() {
            Ok(value) if well_formed => Ok(Some(value)),
            _ => Err(refused(&format!("invalid {what}{text}"))),
        },
    }
}

fn refused(what: &str) -> ApiError {
    CallError::invalid(format!("ipam configuration: {what}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{read, typed};

    fn refused(config: &str) -> String {
        let driver =
            if config.contains("Driver\":\"macvlan") { "" } else { r#""Driver":"overlay","# };
        let text = format!(r#"{{{driver}"Name":"n",{config}}}"#);
        let document = read::<NetworkBody>(text.as_bytes()).unwrap();
        let body: NetworkBody = typed(&document.value).unwrap();
        assert!(body.is_for_swarm());
        spec(body, &document.value).unwrap_err().message().to_owned()
    }

    #[test]
    fn address_ranges_are_checked() {
        let ipam = |config: &str| refused(&format!(r#""IPAM":{{"Config":[{config}]}}"#));
        for (config, text) in [
            (r#"{"Subnet":"10.9.0.0"}"#, "invalid subnet 10.9.0.0"),
            (r#"{"Subnet":"10.9.0.0/33"}"#, "invalid subnet 10.9.0.0/33"),
            (r#"{"Subnet":"10.9.0.0/+24"}"#, "invalid subnet 10.9.0.0/+24"),
            (r#"{"Subnet":"10.9.0.0/255.255.255.0"}"#, "invalid subnet 10.9.0.0/255.255.255.0"),
            (r#"{"Subnet":"10.9.0.0/"}"#, "invalid subnet 10.9.0.0/"),
            (r#"{"Subnet":"10.9.0.256/24"}"#, "invalid subnet 10.9.0.256/24"),
            (r#"{"Subnet":" 10.9.0.0/24"}"#, "invalid subnet  10.9.0.0/24"),
            (r#"{"Subnet":"10.9.0.0/24","IPRange":"x"}"#, "invalid range x"),
            (
                r#"{"Subnet":"10.9.0.0/24","IPRange":"10.8.0.0/25"}"#,
                "subnet 10.9.0.0/24 does not contain range 10.8.0.0/25",
            ),
            (r#"{"Subnet":"10.9.0.0/24","Gateway":"10.9.0"}"#, "invalid gateway 10.9.0"),
            (
                r#"{"Subnet":"10.9.0.0/24","Gateway":"10.8.0.1"}"#,
                "subnet 10.9.0.0/24 does not contain gateway 10.8.0.1",
            ),
            (
                r#"{"Subnet":"10.9.0.0/24","AuxiliaryAddresses":{"a":"10.8.0.1"}}"#,
                "subnet 10.9.0.0/24 does not contain auxiliary address a=10.8.0.1",
            ),
            (
                r#"{"Subnet":"10.9.0.0/24","AuxiliaryAddresses":{"a":"x"}}"#,
                "invalid auxiliary address a=x",
            ),
            (
                r#"{"Subnet":"10.9.0.0/24","AuxiliaryAddresses":{"a":""}}"#,
                "invalid auxiliary address a=",
            ),
        ] {
            let wanted =
                format!("rpc error: code = InvalidArgument desc = ipam configuration: {text}");
            assert_eq!(ipam(config), wanted);
        }
    }

    #[test]
    fn what_cannot_be_done_is_never_left_out_silently() {
        for (config, text) in [
            (r#""Options":{"encrypted":""}"#, "encrypted networks are not supported"),
            (r#""EnableIPv6":true"#, "swarm networks with IPv6 are not supported"),
            (r#""EnableIPv4":false"#, "swarm networks with IPv6 are not supported"),
            (r#""Driver":"macvlan","Scope":"swarm""#, "drivers other than overlay"),
            (r#""IPAM":{"Options":{"a":"b"}}"#, "IPAM options"),
            (r#""ConfigOnly":true"#, "configuration networks"),
            (r#""ConfigFrom":{"Network":"x"}"#, "configuration networks"),
            (r#""IPAM":{"Driver":"x"}"#, "IPAM drivers"),
        ] {
            let message = refused(config);
            assert!(message.contains(text), "{config}: {message}");
        }
    }

    #[test]
    fn an_overlay_is_never_local() {
        let text = "cannot downgrade network scope for overlay networks";
        assert_eq!(refused(r#""Scope":"local""#), text);
        assert_eq!(refused(r#""Scope":"galaxy""#), "invalid network scope 'galaxy'");
    }

    #[test]
    fn ipv6_is_named_as_the_reason_wherever_it_is_asked_for() {
        for (config, asked) in [
            (r#"{"Subnet":"2001:db8::/64"}"#, "subnet 2001:db8::/64"),
            (r#"{"Subnet":"::ffff:10.9.0.0/120"}"#, "subnet ::ffff:10.9.0.0/120"),
            (r#"{"Subnet":"10.9.0.0/24","Gateway":"fd00::1"}"#, "gateway fd00::1"),
            (r#"{"Subnet":"10.9.0.0/24","IPRange":"fd00::/64"}"#, "range fd00::/64"),
        ] {
            let wanted = format!(
                "{asked}: swarm networks with IPv6 are not supported by this version of swarmnet"
            );
            assert_eq!(refused(&format!(r#""IPAM":{{"Config":[{config}]}}"#)), wanted);
        }
    }
}
