//! Pure: which subnet a new network gets: the user's, or a free block of the cluster's pools.

use ipnetwork::Ipv4Network;
use swarmnet_model::address_range::{reserved, reserved_part};
use swarmnet_model::{CallError, Code, IpamConfig, NetworkSpec, Subnet, Tables};

use crate::allocator::ipam;

/// Docker's words.
const OVERLAP: &str = "Pool overlaps with other one on this address space";
/// Docker's words.
const EXHAUSTED: &str = "could not find an available, non-overlapping IPv4 address pool among the \
                         defaults to assign to the network";

/// Returns the subnet of a network that is to be made.
///
/// # Errors
/// Docker's texts with the reason: overlap, a subnet that cannot be used, pools that are used up.
pub(super) fn choose(tables: &Tables, spec: &NetworkSpec) -> Result<Subnet, CallError> {
    let invalid = |error: ipam::SubnetError| CallError::invalid(error.to_string());
    let config = match spec.ipam.as_slice() {
        [] => &IpamConfig::default(),
        [config] => config,
        [_, ..] => {
            let message = "ipam configuration: a network has one IPv4 subnet";
            return Err(CallError::invalid(message));
        }
    };
    let Some(wanted) = config.subnet else {
        if let Some(range) = config.range {
            let error = ipam::SubnetError::NoSubnet { what: "range", address: range.to_string() };
            return Err(invalid(error));
        }
        let chosen = free(tables)?;
        return ipam::complete(chosen, config).map_err(invalid);
    };
    check_purpose(wanted)?;
    let subnet = ipam::complete(wanted, config).map_err(invalid)?;
    check_overlap(tables, subnet.subnet)?;
    Ok(subnet)
}

fn check_purpose(subnet: Ipv4Network) -> Result<(), CallError> {
    match reserved_part(subnet) {
        Some(reserved) => Err(CallError::invalid(format!(
            "ipam configuration: invalid subnet {subnet}: {} is reserved for {}",
            reserved.range, reserved.purpose
        ))),
        None => Ok(()),
    }
}

/// The subnet of a network whose last tasks stop may be named again: stacks are removed and deployed
/// at once.
fn check_overlap(tables: &Tables, subnet: Ipv4Network) -> Result<(), CallError> {
    let present = tables.kept_networks().map(AsRef::as_ref);
    match ipam::overlapping(subnet, present) {
        Some(other) => Err(CallError::invalid(format!(
            "{OVERLAP}: subnet {subnet} overlaps with subnet {} of network {}",
            other.subnet.subnet, other.spec.name
        ))),
        None => Ok(()),
    }
}

fn free(tables: &Tables) -> Result<Ipv4Network, CallError> {
    let present = tables.networks.values().map(|network| network.subnet.subnet);
    let taken: Vec<_> = present.chain(reserved().map(|reserved| reserved.range)).collect();
    let cluster = tables.cluster.as_ref().ok_or_else(CallError::no_leader)?;
    let bits = cluster.subnet_size_bits;
    ipam::free_block(&cluster.address_pools, bits, &taken).ok_or_else(|| {
        let pools: Vec<_> = cluster.address_pools.iter().map(ToString::to_string).collect();
        let message = format!("{EXHAUSTED}: no /{bits} is left in {}", pools.join(", "));
        CallError::manager(Code::FailedPrecondition, message)
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::world::World;

    const GIVEN: &str = "
        network ingress 10.0.0.0/24
        network net 10.0.1.0/24";

    fn chosen_in(tables: &Tables, config: IpamConfig) -> String {
        let spec = NetworkSpec { ipam: vec![config], ..NetworkSpec::default() };
        choose(tables, &spec).map_or_else(
            |error| error.to_string(),
            |subnet| format!("{} gateway {}", subnet.subnet, subnet.gateway),
        )
    }

    fn chosen(given: &str, config: IpamConfig) -> String {
        chosen_in(&World::given(&format!("{GIVEN}\n{given}")).tables, config)
    }

    fn named(subnet: &str) -> IpamConfig {
        IpamConfig { subnet: Some(subnet.parse().unwrap()), ..IpamConfig::default() }
    }

    const INVALID: &str = "rpc error: code = InvalidArgument desc = ";

    #[test]
    fn the_first_free_block_is_chosen_and_a_named_subnet_is_taken_as_it_is() {
        assert_eq!(chosen("", IpamConfig::default()), "10.0.2.0/24 gateway 10.0.2.1");
        assert_eq!(chosen("", named("192.168.7.9/16")), "192.168.0.0/16 gateway 192.168.0.1");
        let gateway = Some(Ipv4Addr::new(10, 0, 2, 254));
        let config = IpamConfig { gateway, ..IpamConfig::default() };
        assert_eq!(chosen("", config), "10.0.2.0/24 gateway 10.0.2.254");
    }

    #[test]
    fn the_subnet_of_a_removed_network_rests_until_its_tasks_have_stopped() {
        let removed = "network gone 10.0.2.0/24 removed";
        assert_eq!(chosen(removed, IpamConfig::default()), "10.0.3.0/24 gateway 10.0.3.1");
        assert_eq!(chosen(removed, named("10.0.2.0/24")), "10.0.2.0/24 gateway 10.0.2.1");
    }

    #[test]
    fn overlapping_subnets_are_refused_in_dockers_words_and_name_the_other() {
        for (subnet, other) in [
            (
                "10.0.0.0/16",
                "subnet 10.0.0.0/16 overlaps with subnet 10.0.0.0/24 of network ingress",
            ),
            ("10.0.1.0/24", "subnet 10.0.1.0/24 overlaps with subnet 10.0.1.0/24 of network net"),
            (
                "10.0.1.128/25",
                "subnet 10.0.1.128/25 overlaps with subnet 10.0.1.0/24 of network net",
            ),
        ] {
            let text =
                format!("{INVALID}Pool overlaps with other one on this address space: {other}");
            assert_eq!(chosen("", named(subnet)), text);
        }
    }

    #[test]
    fn subnets_that_cannot_be_used_are_refused_with_the_reason() {
        for (subnet, reason) in [
            ("0.0.0.0/0", "invalid subnet 0.0.0.0/0: 0.0.0.0/8 is reserved for hosts that"),
            ("127.0.0.0/8", "127.0.0.0/8 is reserved for loopback"),
            ("126.0.0.0/7", "127.0.0.0/8 is reserved for loopback"),
            ("224.0.1.0/24", "224.0.0.0/4 is reserved for multicast"),
            ("240.0.0.0/8", "240.0.0.0/4 is reserved for future use"),
            ("255.255.255.0/24", "240.0.0.0/4 is reserved for future use"),
            ("169.254.1.0/24", "169.254.0.0/16 is reserved for link-local addresses"),
            ("172.31.0.0/16", "172.31.240.0/20 is reserved for the gateway interfaces of tasks"),
            ("10.9.0.0/31", "subnet 10.9.0.0/31 is too small for a gateway and a task"),
            ("10.9.0.0/32", "subnet 10.9.0.0/32 is too small for a gateway and a task"),
        ] {
            let text = chosen("", named(subnet));
            assert!(text.starts_with(&format!("{INVALID}ipam configuration: ")), "{text}");
            assert!(text.contains(reason), "{text}");
        }
    }

    #[test]
    fn pools_are_used_to_their_end_without_the_reserved_parts() {
        let mut tables = World::given("").tables;
        let mut cluster = crate::world::cluster();
        cluster.address_pools = vec!["172.31.224.0/19".parse().unwrap()];
        cluster.subnet_size_bits = 20;
        tables.cluster = Some(Arc::new(cluster));
        let chosen = |tables: &Tables| chosen_in(tables, IpamConfig::default());
        assert_eq!(chosen(&tables), "172.31.224.0/20 gateway 172.31.224.1");
        let full = World::given("network a 172.31.224.0/20").tables;
        tables.networks = full.networks;
        assert_eq!(
            chosen(&tables),
            "rpc error: code = FailedPrecondition desc = could not find an available, \
             non-overlapping IPv4 address pool among the defaults to assign to the network: no /20 \
             is left in 172.31.224.0/19"
        );
    }
}
