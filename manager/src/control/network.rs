//! Pure: network calls: create, remove.

use std::collections::BTreeSet;

use ipnetwork::Ipv4Network;
use swarmnet_model::name::check_dns_name;
use swarmnet_model::{
    CallError, Code, IdSource, IpamConfig, Network, NetworkId, NetworkSpec, PublishMode, Subnet,
    Tables, Timestamp, Vni,
};

use super::call::Decision;
use crate::allocator::{ipam, vni};
use crate::store::Change;

/// Driver option that names the VXLAN identifier.
const VNI_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";
const MTU_OPTION: &str = "com.docker.network.driver.mtu";
const ENCRYPTED_OPTION: &str = "encrypted";
/// Every IPv4 link carries this much.
const MTU_MIN: u16 = 68;
/// Names the engine has given away.
const PREDEFINED: [&str; 4] = ["bridge", "default", "host", "none"];

/// Makes a network with a subnet and a VNI, given or chosen.
pub(super) fn create(
    tables: &Tables,
    spec: &NetworkSpec,
    now: Timestamp,
    ids: &mut dyn IdSource,
) -> Result<Decision, CallError> {
    check_name(tables, &spec.name)?;
    check_ingress(tables, spec)?;
    check_options(spec)?;
    let subnet = subnet(tables, spec)?;
    let vni = vni(tables, spec)?;
    let id = NetworkId::generate(ids);
    let network = Network {
        id: id.clone(),
        version: tables.version,
        created_at: now,
        updated_at: now,
        spec: spec.clone(),
        vni,
        subnet,
    };
    Ok(Decision::created(Change::CreateNetwork(Box::new(network)), id))
}

/// Removes a network that nothing uses. What is being removed itself does not count.
pub(super) fn remove(tables: &Tables, id: &NetworkId) -> Result<Decision, CallError> {
    let refused = |message| Err(CallError::manager(Code::FailedPrecondition, message));
    let network =
        tables.networks.get(id).ok_or_else(|| CallError::not_found("network", id.as_str()))?;
    let mut services = tables.services.values().filter(|service| !service.pending_delete);
    if network.spec.ingress {
        let publishes = services.find(|service| {
            service.spec.endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress)
        });
        if let Some(user) = publishes {
            return refused(format!(
                "ingress network cannot be removed because service {} depends on it",
                user.id
            ));
        }
    } else {
        let attached = services.find(|s| s.spec.task.networks.iter().any(|n| n.network_id == *id));
        if let Some(user) = attached {
            return refused(format!("network {id} is in use by service {}", user.id));
        }
    }
    let task = tables
        .tasks
        .values()
        .find(|task| task.is_live() && task.spec.networks.iter().any(|n| n.network_id == *id));
    match task {
        Some(task) => refused(format!("network {id} is in use by task {}", task.id)),
        None => Ok(Decision::done(Change::RemoveNetwork { id: id.clone() })),
    }
}

fn check_name(tables: &Tables, name: &str) -> Result<(), CallError> {
    check_dns_name(name)?;
    if PREDEFINED.contains(&name) {
        let message = format!("{name} is a pre-defined network and cannot be created");
        return Err(CallError::api(Code::PermissionDenied, message));
    }
    if tables.networks.values().any(|other| other.spec.name == name) {
        let message = format!("network with name {name} already exists");
        return Err(CallError::api(Code::AlreadyExists, message));
    }
    Ok(())
}

fn check_ingress(tables: &Tables, spec: &NetworkSpec) -> Result<(), CallError> {
    if !spec.ingress {
        return Ok(());
    }
    if spec.attachable {
        return Err(CallError::invalid("ingress network cannot be attachable"));
    }
    match tables.ingress_network() {
        Some(present) => {
            let message = format!("ingress network ({}) is already present", present.id);
            Err(CallError::manager(Code::AlreadyExists, message))
        }
        None => Ok(()),
    }
}

fn check_options(spec: &NetworkSpec) -> Result<(), CallError> {
    if spec.options.contains_key(ENCRYPTED_OPTION) {
        // Nothing may be sent in clear on a network that was asked to be encrypted.
        let message = "encrypted networks are not supported by this version of swarmnet";
        return Err(CallError::manager(Code::Unimplemented, message));
    }
    let mtu = spec.options.get(MTU_OPTION);
    match mtu.filter(|text| !text.parse().is_ok_and(|mtu: u16| mtu >= MTU_MIN)) {
        Some(text) => Err(CallError::invalid(format!("invalid value for {MTU_OPTION}: '{text}'"))),
        None => Ok(()),
    }
}

fn subnet(tables: &Tables, spec: &NetworkSpec) -> Result<Subnet, CallError> {
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
        let chosen = free_subnet(tables)?;
        return ipam::complete(chosen, config).map_err(invalid);
    };
    let subnet = ipam::complete(wanted, config).map_err(invalid)?;
    check_usable(subnet.subnet)?;
    let networks = tables.networks.values().map(AsRef::as_ref);
    match ipam::overlapping(subnet.subnet, networks) {
        Some(other) => Err(CallError::invalid(format!(
            "ipam configuration: subnet {} overlaps with subnet {} of network {}",
            subnet.subnet, other.subnet.subnet, other.spec.name
        ))),
        None => Ok(subnet),
    }
}

fn check_usable(subnet: Ipv4Network) -> Result<(), CallError> {
    let base = subnet.network();
    let reserved = base.is_loopback() || base.is_multicast() || base.is_link_local();
    if reserved || base.octets()[0] == 0 || base.octets()[0] >= 240 {
        return Err(CallError::invalid(format!("ipam configuration: invalid subnet {subnet}")));
    }
    Ok(())
}

fn free_subnet(tables: &Tables) -> Result<Ipv4Network, CallError> {
    let present = tables.networks.values().map(|network| network.subnet.subnet);
    let taken: Vec<_> = present.chain(departing_subnets(tables)).collect();
    let cluster = tables.cluster.as_ref().ok_or_else(CallError::no_leader)?;
    let bits = cluster.subnet_size_bits;
    ipam::free_block(&cluster.address_pools, bits, &taken).ok_or_else(|| {
        let message = format!("no free /{bits} subnet is left in the cluster's address pools");
        CallError::manager(Code::FailedPrecondition, message)
    })
}

/// Subnets whose addresses tasks have not let go of: a network may be removed while its last tasks
/// still stop, and one node cannot hold an address twice.
fn departing_subnets(tables: &Tables) -> impl Iterator<Item = Ipv4Network> {
    let there = tables.tasks.values().filter(|task| !task.status.state.is_terminal());
    let addresses = there.flat_map(|task| &task.attachments).map(|held| held.address);
    addresses.filter_map(|held| Ipv4Network::new(held.network(), held.prefix()).ok())
}

fn vni(tables: &Tables, spec: &NetworkSpec) -> Result<Vni, CallError> {
    let Some(text) = spec.options.get(VNI_OPTION) else {
        let used: BTreeSet<_> = tables.networks.values().map(|network| network.vni).collect();
        return vni::next(&used).ok_or_else(|| {
            CallError::manager(Code::FailedPrecondition, "no free VXLAN identifier is left")
        });
    };
    let wanted = text.parse().ok().and_then(Vni::new).ok_or_else(|| {
        let (first, last) = (Vni::FIRST_USABLE, Vni::MAX);
        CallError::invalid(format!("invalid VXLAN identifier '{text}': must be {first} to {last}"))
    })?;
    match tables.networks.values().find(|network| network.vni == wanted) {
        Some(other) => Err(CallError::invalid(format!(
            "VXLAN identifier {wanted} is already in use by network {}",
            other.spec.name
        ))),
        None => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{START, World};

    const GIVEN: &str = "
        network ingress 10.0.0.0/24
        network net 10.0.1.0/24";

    fn created(edit: impl FnOnce(&mut NetworkSpec)) -> Result<Network, String> {
        let mut spec = NetworkSpec { name: "new".to_owned(), ..NetworkSpec::default() };
        edit(&mut spec);
        match create(&World::given(GIVEN).tables, &spec, START, &mut || 1) {
            Ok(decision) => match decision.changes.as_slice() {
                [Change::CreateNetwork(network)] => Ok(Network::clone(network)),
                other => panic!("not one network: {other:?}"),
            },
            Err(error) => Err(error.to_string()),
        }
    }

    fn with_subnet(text: &str) -> impl FnOnce(&mut NetworkSpec) {
        let subnet = Some(text.parse().unwrap());
        move |spec| spec.ipam = vec![IpamConfig { subnet, ..IpamConfig::default() }]
    }

    fn with_option(key: &str, value: &str) -> impl FnOnce(&mut NetworkSpec) {
        let (key, value) = (key.to_owned(), value.to_owned());
        move |spec| {
            spec.options.insert(key, value);
        }
    }

    #[test]
    fn a_network_gets_the_first_free_subnet_and_the_next_vni() {
        let network = created(|_| {}).unwrap();
        assert_eq!(network.subnet.subnet.to_string(), "10.0.2.0/24");
        assert_eq!(network.subnet.gateway.to_string(), "10.0.2.1");
        assert_eq!(network.vni.get(), 4098);
    }

    #[test]
    fn the_subnet_of_a_removed_network_rests_until_its_tasks_have_stopped() {
        let chosen = |state: &str| {
            let task = format!("task web.1 t1 n1 {state} desired=remove address=10.0.2.3");
            let given = format!("{GIVEN}\n service web net=gone removed\n {task}");
            free_subnet(&World::given(&given).tables).unwrap().to_string()
        };
        assert_eq!(chosen("running"), "10.0.3.0/24");
        assert_eq!(chosen("shutdown"), "10.0.2.0/24");
    }

    #[test]
    fn a_named_subnet_and_vni_are_taken_as_they_are() {
        let network = created(with_subnet("192.168.7.9/16")).unwrap();
        assert_eq!(network.subnet.subnet.to_string(), "192.168.0.0/16");
        assert_eq!(created(with_option(VNI_OPTION, "77")).unwrap().vni.get(), 77);
    }

    #[test]
    fn overlapping_and_unusable_subnets_are_refused_with_the_reason() {
        assert_eq!(
            created(with_subnet("10.0.0.0/16")).unwrap_err(),
            "rpc error: code = InvalidArgument desc = ipam configuration: subnet 10.0.0.0/16 \
             overlaps with subnet 10.0.0.0/24 of network ingress"
        );
        for bad in ["127.0.0.0/8", "224.0.1.0/24", "0.0.0.0/8", "240.0.0.0/8", "169.254.1.0/24"] {
            assert!(created(with_subnet(bad)).unwrap_err().contains("invalid subnet"), "{bad}");
        }
        assert!(created(with_subnet("10.9.0.0/32")).unwrap_err().contains("too small"));
    }

    #[test]
    fn vnis_are_unique_and_in_range() {
        for (value, text) in [
            ("4097", "VXLAN identifier 4097 is already in use by network net"),
            ("3", "invalid VXLAN identifier '3': must be 16 to 16777215"),
            ("16777216", "invalid VXLAN identifier '16777216': must be 16 to 16777215"),
            ("x", "invalid VXLAN identifier 'x': must be 16 to 16777215"),
        ] {
            let error = created(with_option(VNI_OPTION, value)).unwrap_err();
            assert!(error.ends_with(text), "{error}");
        }
    }

    #[test]
    fn names_are_unique_and_not_predefined() {
        assert_eq!(
            created(|spec| "net".clone_into(&mut spec.name)).unwrap_err(),
            "network with name net already exists"
        );
        assert_eq!(
            created(|spec| "host".clone_into(&mut spec.name)).unwrap_err(),
            "host is a pre-defined network and cannot be created"
        );
    }

    #[test]
    fn there_is_one_ingress_network_and_it_is_not_attachable() {
        assert_eq!(
            created(|spec| spec.ingress = true).unwrap_err(),
            "rpc error: code = AlreadyExists desc = ingress network (ingress) is already present"
        );
        assert_eq!(
            created(|spec| (spec.ingress, spec.attachable) = (true, true)).unwrap_err(),
            "rpc error: code = InvalidArgument desc = ingress network cannot be attachable"
        );
    }

    #[test]
    fn an_encrypted_network_is_never_made_in_clear() {
        let error = created(with_option(ENCRYPTED_OPTION, "")).unwrap_err();
        assert!(error.starts_with("rpc error: code = Unimplemented"), "{error}");
        assert!(created(with_option(MTU_OPTION, "9000")).is_ok());
        assert!(created(with_option(MTU_OPTION, "big")).is_err());
    }

    #[test]
    fn a_network_in_use_stays() {
        let removed = |more: &str, id: &str| {
            let tables = World::given(&format!("{GIVEN}\n{more}")).tables;
            remove(&tables, &NetworkId::from_text(id))
                .map_or_else(|error| error.to_string(), |_| "removed".to_owned())
        };
        assert_eq!(removed("", "none"), "network none not found");
        assert_eq!(
            removed("service web net=net", "net"),
            "rpc error: code = FailedPrecondition desc = network net is in use by service web"
        );
        let stopping = "service web net=net removed\n task web.1 t1 n1 running desired=remove";
        assert_eq!(removed(stopping, "net"), "removed");
        assert_eq!(
            removed("service web net=net removed\n task web.1 t1 n1 running", "net"),
            "rpc error: code = FailedPrecondition desc = network net is in use by task t1"
        );
        assert_eq!(
            removed("service web publish=80", "ingress"),
            "rpc error: code = FailedPrecondition desc = ingress network cannot be removed because \
             service web depends on it"
        );
        assert_eq!(removed("service web net=net publish=80@host", "ingress"), "removed");
    }
}
