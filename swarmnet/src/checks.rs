//! Pure: what `swarm init` refuses before anything is made, in Docker's words.

use std::time::Duration;

use swarmnet_engine_api::InitRequest;
use swarmnet_model::{CallError, Code};

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
    let size = request.subnet_size_bits;
    if size > SUBNET_SIZE_MAX {
        let text = format!("subnet size is out of range: {size}");
        return Err(CallError::api(Code::InvalidArgument, text));
    }
    if let Some(pool) = request.address_pools.iter().find(|pool| size != 0 && pool.prefix() > size)
    {
        return Err(CallError::api(
            Code::InvalidArgument,
            format!("invalid CIDR: \"{pool}\". Subnet size is too small for pool: {size}"),
        ));
    }
    if request.spec.node_cert_expiry < CERT_EXPIRY_MIN {
        return Err(CallError::invalid("minimum certificate expiry time is: 1h0m0s"));
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
        let pools = vec!["10.1.0.0/25".parse().unwrap()];
        assert_eq!(
            refusal(&InitRequest { address_pools: pools, ..request() }),
            "invalid CIDR: \"10.1.0.0/25\". Subnet size is too small for pool: 24"
        );
        let spec =
            ClusterSpec { node_cert_expiry: Duration::from_secs(60), ..ClusterSpec::default() };
        assert_eq!(
            refusal(&InitRequest { spec, ..request() }),
            "rpc error: code = InvalidArgument desc = minimum certificate expiry time is: 1h0m0s"
        );
    }
}
