//! Pure: network calls: create, remove.

use std::collections::BTreeSet;
use std::sync::Arc;

use swarmnet_model::name::check_dns_name;
use swarmnet_model::{
    CallError, Code, IdSource, Network, NetworkId, NetworkSpec, NetworkUser, PublishMode, Service,
    Tables, Timestamp, Vni,
};

use super::call::Decision;
use super::subnet;
use crate::allocator::vni;
use crate::store::Change;

/// Driver option that names the VXLAN identifier.
const VNI_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";
const MTU_OPTION: &str = "com.docker.network.driver.mtu";
const ENCRYPTED_OPTION: &str = "encrypted";
/// Every IPv4 link carries this much.
const MTU_MIN: u16 = 68;
/// Users named in a refusal; a network may have thousands.
const USERS_NAMED_MAX: usize = 5;
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
    let subnet = subnet::choose(tables, spec)?;
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
        pending_delete: false,
    };
    Ok(Decision::created(Change::CreateNetwork(Box::new(network)), id))
}

/// Removes a network that nothing uses. What is being removed itself does not count.
pub(super) fn remove(tables: &Tables, id: &NetworkId) -> Result<Decision, CallError> {
    let network =
        tables.kept_network(id).ok_or_else(|| CallError::not_found("network", id.as_str()))?;
    let users: Vec<_> = match network.spec.ingress {
        true => publishing(tables).collect(),
        false => tables.users_of_network(id).collect(),
    };
    let Some(first) = users.first() else {
        return Ok(Decision::done(Change::RemoveNetwork { id: id.clone() }));
    };
    let names = names(&users);
    let message = match network.spec.ingress {
        true => {
            format!("ingress network cannot be removed because {first} depends on it ({names})")
        }
        false => format!("network {id} is in use by {first} ({names})"),
    };
    Err(CallError::manager(Code::FailedPrecondition, message))
}

fn publishing(tables: &Tables) -> impl Iterator<Item = NetworkUser<'_>> {
    let publishes = |service: &&Arc<Service>| {
        let mut ports = service.spec.endpoint.ports.iter();
        !service.pending_delete && ports.any(|port| port.mode == PublishMode::Ingress)
    };
    tables.services.values().filter(publishes).map(|service| NetworkUser::Service(service))
}

/// `web, api and 3 more`
fn names(users: &[NetworkUser<'_>]) -> String {
    let shown: Vec<_> = users.iter().take(USERS_NAMED_MAX).map(NetworkUser::name).collect();
    match users.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn check_name(tables: &Tables, name: &str) -> Result<(), CallError> {
    check_dns_name(name)?;
    if PREDEFINED.contains(&name) {
        let message = format!("{name} is a pre-defined network and cannot be created");
        return Err(CallError::api(Code::PermissionDenied, message));
    }
    if tables.kept_networks().any(|other| other.spec.name == name) {
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
        Some(other) => {
            let state = if other.pending_delete { ", whose last tasks still stop" } else { "" };
            let name = &other.spec.name;
            let message =
                format!("VXLAN identifier {wanted} is already in use by network {name}{state}");
            Err(CallError::invalid(message))
        }
        None => Ok(wanted),
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
