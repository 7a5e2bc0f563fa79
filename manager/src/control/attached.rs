//! What a node may ask for its plain containers, decided on the leader.
//!
//! The caller is known by its certificate and may only ask for containers of its own.

use swarmnet_model::id::ID_LENGTH;
use swarmnet_model::limits::{
    ALIASES_PER_ATTACHMENT_MAX, ATTACHED_PER_NODE_MAX, CONTAINER_NAME_LENGTH_MAX,
    NETWORKS_PER_TASK_MAX,
};
use swarmnet_model::{
    AttachCall, AttachedContainer, Attachment, CallError, Code, Network, NodeId, Tables, TaskId,
    Timestamp, WantedAttachment,
};

use crate::allocator;
use crate::store::{Change, ProposeError, Store};

/// A call that lost a race this often is given up.
const ATTEMPTS: u32 = 3;

/// What a call writes, and the attachments it is answered with.
#[derive(Debug, Default, PartialEq)]
struct Decision {
    changes: Vec<Change>,
    attachments: Vec<Attachment>,
}

/// Carries out what `node` asks; only the leader may be asked.
///
/// # Errors
/// The call does not fit the present state, or the write was not confirmed.
pub async fn attached(
    store: &Store,
    node: &NodeId,
    call: &AttachCall,
) -> Result<Vec<Attachment>, CallError> {
    let mut attempt = 1;
    loop {
        let decision = decide(&store.snapshot(), node, call, store.now())?;
        match store.propose(decision.changes).await {
            Ok(_) => return Ok(decision.attachments),
            Err(ProposeError::Refused(_)) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

fn decide(
    tables: &Tables,
    node: &NodeId,
    call: &AttachCall,
    now: Timestamp,
) -> Result<Decision, CallError> {
    let (AttachCall::Attach { id, .. }
    | AttachCall::Detach { id, .. }
    | AttachCall::Report { id, .. }) = call;
    check_id(id)?;
    let present = tables.attached.get(id);
    if present.is_some_and(|present| present.node_id != *node) {
        let text = format!("attachment {id} belongs to another node");
        return Err(CallError::manager(Code::PermissionDenied, text));
    }
    let changed = match (call, present) {
        (AttachCall::Attach { name, networks, .. }, present) => {
            let begun = match present {
                Some(present) => AttachedContainer::clone(present),
                None => fresh(tables, id, node, name, now)?,
            };
            return attach(tables, begun, networks);
        }
        // Whatever it was, it is over.
        (AttachCall::Detach { .. } | AttachCall::Report { .. }, None) => {
            return Ok(Decision::default());
        }
        (AttachCall::Detach { from, .. }, Some(present)) => {
            let mut left = AttachedContainer::clone(present);
            left.attachments.retain(|held| {
                from.as_ref().is_some_and(|(network, address)| {
                    (&held.network_id, held.address.ip()) != (network, *address)
                })
            });
            left
        }
        (AttachCall::Report { name, container_id, running, .. }, Some(present)) => {
            check_name("name", name)?;
            check_name("container_id", container_id)?;
            let mut told = AttachedContainer::clone(present);
            (told.name, told.container_id) = (name.clone(), container_id.clone());
            told.running = *running;
            told
        }
    };
    Ok(Decision { changes: put(tables, changed), attachments: Vec::new() })
}

/// The changes that lead to `container`; one without any network is forgotten.
fn put(tables: &Tables, container: AttachedContainer) -> Vec<Change> {
    let present = tables.attached.get(&container.id);
    if present.is_some_and(|present| **present == container) {
        return Vec::new();
    }
    if container.attachments.is_empty() {
        return vec![Change::RemoveAttached { id: container.id }];
    }
    let expected = present.map(|present| present.version);
    vec![Change::PutAttached { container: Box::new(container), expected }]
}

fn fresh(
    tables: &Tables,
    id: &TaskId,
    node: &NodeId,
    name: &str,
    now: Timestamp,
) -> Result<AttachedContainer, CallError> {
    if tables.attached_on(node).count() >= ATTACHED_PER_NODE_MAX {
        let text = format!("a node has at most {ATTACHED_PER_NODE_MAX} containers on networks");
        return Err(CallError::manager(Code::FailedPrecondition, text));
    }
    if tables.tasks.contains_key(id) {
        return Err(CallError::invalid(format!("{id} is the id of a task")));
    }
    if !name.is_empty() {
        check_name("name", name)?;
    }
    Ok(AttachedContainer {
        id: id.clone(),
        version: tables.version,
        created_at: now,
        updated_at: now,
        node_id: node.clone(),
        name: name.to_owned(),
        container_id: String::new(),
        running: true,
        attachments: Vec::new(),
    })
}

fn attach(
    tables: &Tables,
    mut container: AttachedContainer,
    networks: &[WantedAttachment],
) -> Result<Decision, CallError> {
    let mut attachments = Vec::new();
    for wanted in networks {
        let network = find(tables, &wanted.network)
            .ok_or_else(|| CallError::not_found("network", &wanted.network))?;
        let given = attachment(tables, &container, network, wanted).map_err(|cause| {
            let text = format!("Could not attach to network {}: {cause}", wanted.network);
            CallError::api(cause.code, text)
        })?;
        if !container.attachments.contains(&given) {
            container.attachments.push(given.clone());
        }
        attachments.push(given);
    }
    if networks.is_empty() || container.attachments.len() > NETWORKS_PER_TASK_MAX {
        let text = format!("a container is on 1 to {NETWORKS_PER_TASK_MAX} networks");
        return Err(CallError::invalid(text));
    }
    Ok(Decision { changes: put(tables, container), attachments })
}

/// Full id, or name.
fn find<'a>(tables: &'a Tables, reference: &str) -> Option<&'a Network> {
    let by_id = tables.kept_networks().find(|network| network.id.as_str() == reference);
    let by_name = || tables.kept_networks().find(|network| network.spec.name == reference);
    by_id.or_else(by_name).map(AsRef::as_ref)
}

/// Returns what the container has on the network already, or what it gets.
fn attachment(
    tables: &Tables,
    container: &AttachedContainer,
    network: &Network,
    wanted: &WantedAttachment,
) -> Result<Attachment, CallError> {
    if !network.spec.attachable || network.spec.ingress {
        let text = format!("network {} not manually attachable", wanted.network);
        return Err(CallError::manager(Code::PermissionDenied, text));
    }
    if wanted.aliases.len() > ALIASES_PER_ATTACHMENT_MAX {
        let text = format!("a container has at most {ALIASES_PER_ATTACHMENT_MAX} aliases");
        return Err(CallError::invalid(text));
    }
    wanted.aliases.iter().try_for_each(|alias| check_name("alias", alias))?;
    let mut held = container.attachments.iter();
    if let Some(held) = held.find(|held| held.network_id == network.id) {
        return match wanted.address.is_none_or(|address| address == held.address.ip()) {
            true => Ok(held.clone()),
            false => Err(CallError::manager(
                Code::AlreadyExists,
                format!("the container has the address {} there", held.address.ip()),
            )),
        };
    }
    let address = allocator::address(tables, network, wanted.address)
        .map_err(|shortage| CallError::manager(Code::FailedPrecondition, shortage.to_string()))?;
    Ok(Attachment { network_id: network.id.clone(), address, aliases: wanted.aliases.clone() })
}

fn check_id(id: &TaskId) -> Result<(), CallError> {
    let id = id.as_str();
    let fits = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
    if id.len() == ID_LENGTH && id.chars().all(fits) {
        return Ok(());
    }
    Err(CallError::invalid("id: not 25 digits of base 36"))
}

fn check_name(what: &str, name: &str) -> Result<(), CallError> {
    let fits = |c: char| c.is_ascii_graphic();
    if (1..=CONTAINER_NAME_LENGTH_MAX).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    let text = format!("{what}: 1 to {CONTAINER_NAME_LENGTH_MAX} printable ASCII characters");
    Err(CallError::invalid(text))
}

#[cfg(test)]
#[path = "attached_tests.rs"]
mod tests;
