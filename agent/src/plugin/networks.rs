//! Pure: which engine networks a task needs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use swarmnet_model::view::{NetworkItem, NodeView};
use swarmnet_model::{Attachment, PredefinedNetwork, Task, TaskId};

use super::{DRIVER, GATEWAY_NETWORK, GATEWAY_VALUE, NETWORK_OPTION, TASK_OPTION};
use crate::inputs::network;
use crate::task::networks::{EngineNetworkSpec, PrepareError, TaskNetwork};

/// Characters of an id that tell two networks of one name apart, as lists show ids.
const SHORT_ID: usize = 12;

/// True unless all networks of the task are internal, it publishes nothing, and the user has not
/// asked for the engine's bridge, whose place the gateway takes.
pub fn needs_gateway(task: &Task, view: &NodeView) -> bool {
    !all_internal(&task.attachments, view)
        || !task.endpoint_spec.ports.is_empty()
        || task.spec.predefined == Some(PredefinedNetwork::Bridge)
}

/// True for attachments that leave no way out. Without any there is nothing to be shut in.
pub fn all_internal(attachments: &[Attachment], view: &NodeView) -> bool {
    let internal = |a: &Attachment| network(view, &a.network_id).is_some_and(|n| n.internal);
    !attachments.is_empty() && attachments.iter().all(internal)
}

/// Returns the overlay attachments of a task or plain container, in their order.
///
/// # Errors
/// `UnknownNetwork` until the view holds every one of them.
pub fn overlays(
    task: &TaskId,
    attachments: &[Attachment],
    view: &NodeView,
) -> Result<Vec<TaskNetwork>, PrepareError> {
    let overlay = |attachment: &Attachment| match network(view, &attachment.network_id) {
        Some(network) => Ok(task_network(task, attachment, network)),
        None => Err(PrepareError::UnknownNetwork { network: attachment.network_id.clone() }),
    };
    attachments.iter().map(overlay).collect()
}

fn task_network(task: &TaskId, attachment: &Attachment, network: &NetworkItem) -> TaskNetwork {
    TaskNetwork {
        engine_name: engine_name(network),
        network_id: Some(network.id.clone()),
        create: create(network.id.as_str(), network.subnet.subnet, network.internal),
        address: attachment.address.ip(),
        driver_options: endpoint_options(task, network.id.as_str()),
        aliases: attachment.aliases.clone(),
    }
}

/// The name alone would not do: a network may be removed and made again under its name while tasks of
/// the old one still stop on this node, and the user may have a local network of that name.
pub(crate) fn engine_name(network: &NetworkItem) -> String {
    let id = network.id.as_str();
    format!("{}.{}", network.name, id.get(..SHORT_ID).unwrap_or(id))
}

/// Returns the gateway attachment of a task.
pub fn gateway(task: &TaskId, address: Ipv4Addr, pool: Ipv4Network) -> TaskNetwork {
    TaskNetwork {
        engine_name: GATEWAY_NETWORK.to_owned(),
        network_id: None,
        create: create(GATEWAY_VALUE, pool, false),
        address,
        driver_options: endpoint_options(task, GATEWAY_VALUE),
        aliases: Vec::new(),
    }
}

/// The engine passes neither name nor labels of a network on, only options.
fn create(id: &str, subnet: Ipv4Network, internal: bool) -> EngineNetworkSpec {
    let options: BTreeMap<_, _> = [(NETWORK_OPTION.to_owned(), id.to_owned())].into();
    EngineNetworkSpec {
        driver: DRIVER.to_owned(),
        ipam_driver: DRIVER.to_owned(),
        ipam_options: options.clone(),
        subnet,
        options,
        labels: BTreeMap::new(),
        internal,
    }
}

fn endpoint_options(task: &TaskId, network: &str) -> BTreeMap<String, String> {
    [(TASK_OPTION, task.as_str()), (NETWORK_OPTION, network)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[cfg(test)]
mod tests {
    use swarmnet_model::{NetworkId, Subnet, Vni};

    use super::*;

    #[test]
    fn a_network_made_again_under_its_name_is_another_one_for_the_engine() {
        let network = |id: &str| NetworkItem {
            id: NetworkId::from_text(id),
            name: "s_front".to_owned(),
            vni: Vni::new(4097).unwrap(),
            subnet: Subnet {
                subnet: "10.0.1.0/24".parse().unwrap(),
                range: None,
                gateway: [10, 0, 1, 1].into(),
            },
            internal: false,
            attachable: false,
            mtu: None,
            shown: Default::default(),
        };
        let names = ["vby3ukx1ii312sevyorhpn6y8", "g9ormv5g0d9uvfkfciwd1fn6p"]
            .map(|id| engine_name(&network(id)));
        assert_eq!(names, ["s_front.vby3ukx1ii31", "s_front.g9ormv5g0d9u"]);
    }
}
