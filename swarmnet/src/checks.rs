//! Pure: what `swarm init` refuses before anything is made, in Docker's words.

use std::time::Duration;

use ipnetwork::Ipv4Network;
use swarmnet_engine_api::InitRequest;
use swarmnet_model::address_range::reserved_part;
use swarmnet_model::{CallError, Code, defaults};

/// Ports VXLAN may use.
const DATA_PATH_PORTS: std::ops::RangeInclusive<u32> = 1024..=49151;
const CERT_EXPIRY_MIN: Duration = Duration::from_secs(3600);
const SUBNET_SIZE_MAX: u8 = 29;

/// Checks what the types of the request cannot express.
///
/// # Errors
/// `InvalidArgument` with Docker's text; `Unimplemented` for what is not there.
pub(crate) fn init(request: &InitRequest) -> Result<(), CallError> {
    if request.force_new_cluster {
        return Err(CallError::api(
            Code::Unimplemented,
            "--force-new-cluster is not supported by this version of swarmnet",
        ));
    }
    let port = request.data_path_port;
    if port != 0 && !DATA_PATH_PORTS.contains(&port) {
        return Err(CallError::api(
            Code::InvalidArgument,
            format!("Datapath port number is not in valid range (1024-49151) : {port}"),
        ));
    }
    check_pools(&request.address_pools, request.subnet_size_bits)?;
    if request.spec.node_cert_expiry < CERT_EXPIRY_MIN {
        return Err(CallError::invalid("minimum certificate expiry time is: 1h0m0s"));
    }
    Ok(())
}

/// A size of 0 is the default one.
fn check_pools(pools: &[Ipv4Network], size: u8) -> Result<(), CallError> {
    let invalid = |text: String| Err(CallError::api(Code::InvalidArgument, text));
    if size > SUBNET_SIZE_MAX {
        return invalid(format!("subnet size is out of range: {size}"));
    }
    let size = if size == 0 { defaults::SUBNET_SIZE_BITS } else { size };
    for (index, pool) in pools.iter().enumerate() {
        if pool.prefix() > size {
            let text =
                format!("invalid CIDR: \"{pool}\". Subnet size is too small for pool: {size}");
            return invalid(text);
        }
        if let Some(other) = pools[..index].iter().find(|other| other.overlaps(*pool)) {
            return invalid(format!("invalid address pool: {pool} overlaps with {other}"));
        }
        let reserved = reserved_part(*pool).filter(|reserved| pool.is_subnet_of(reserved.range));
        if let Some(reserved) = reserved {
            let (range, purpose) = (reserved.range, reserved.purpose);
            let text = format!("invalid address pool: {pool}: {range} is reserved for {purpose}");
            return invalid(text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use swarmnet_model::{Availability, ClusterSpec};

    use super::*;

    fn request() -> InitRequest {
        InitRequest {
            listen_addr: String::new(),
            advertise_addr: String::new(),
            data_path_addr: String::new(),
            data_path_port: 0,
            address_pools: vec![],
            subnet_size_bits: 24,
            force_new_cluster: false,
            availability: Availability::Active,
            spec: ClusterSpec::default(),
        }
    }

    fn refusal(request: &InitRequest) -> String {
        init(request).unwrap_err().to_string()
    }

    #[test]
    fn what_the_docker_cli_sends_is_accepted() {
        assert_eq!(init(&request()), Ok(()));
        assert_eq!(init(&InitRequest { data_path_port: 1024, ..request() }), Ok(()));
    }

    #[test]
    fn bad_ports_sizes_and_expiries_are_refused_in_dockers_words() {
        assert_eq!(
            refusal(&InitRequest { data_path_port: 80, ..request() }),
            "Datapath port number is not in valid range (1024-49151) : 80"
        );
        assert_eq!(
            refusal(&InitRequest { subnet_size_bits: 30, ..request() }),
            "subnet size is out of range: 30"
        );
        let spec =
            ClusterSpec { node_cert_expiry: Duration::from_secs(60), ..ClusterSpec::default() };
        assert_eq!(
            refusal(&InitRequest { spec, ..request() }),
            "rpc error: code = InvalidArgument desc = minimum certificate expiry time is: 1h0m0s"
        );
    }

    #[test]
    fn pools_that_cannot_be_used_are_refused_with_the_reason() {
        let pools = |texts: &[&str], subnet_size_bits| {
            let address_pools = texts.iter().map(|text| text.parse().unwrap()).collect();
            init(&InitRequest { address_pools, subnet_size_bits, ..request() })
                .map_err(|error| error.to_string())
        };
        assert_eq!(pools(&["10.50.0.0/16", "10.51.0.0/26"], 26), Ok(()));
        assert_eq!(pools(&["172.16.0.0/12"], 24), Ok(()), "only a part of it is reserved");
        for (texts, size, text) in [
            (
                &["10.1.0.0/25"][..],
                0,
                "invalid CIDR: \"10.1.0.0/25\". Subnet size is too small for pool: 24",
            ),
            (
                &["10.0.0.0/8", "10.1.0.0/16"],
                24,
                "invalid address pool: 10.1.0.0/16 overlaps with 10.0.0.0/8",
            ),
            (
                &["10.1.0.0/16", "10.1.0.0/16"],
                24,
                "invalid address pool: 10.1.0.0/16 overlaps with 10.1.0.0/16",
            ),
            (
                &["127.0.0.0/16"],
                24,
                "invalid address pool: 127.0.0.0/16: 127.0.0.0/8 is reserved for loopback",
            ),
        ] {
            assert_eq!(pools(texts, size), Err(text.to_owned()));
        }
    }
}
