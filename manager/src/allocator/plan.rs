//! Pure: VIPs and ports for services, addresses for new tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use ipnetwork::Ipv4Network;
use swarmnet_model::{
    Attachment, EndpointMode, IdSource, Network, NetworkId, Service, ServiceEndpoint, ServiceId,
    Tables, Task, TaskId, TaskState, Timestamp, Vip,
};

use super::ipam::AddressPool;
use super::ports::{PortError, PortPool};
use crate::plan::Plan;
use crate::store::Change;

/// Why a service or task must wait for something to become free.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    #[error(transparent)]
    Port(#[from] PortError),
    /// Docker's words.
    #[error("no available IPv4 addresses on this network's address pools: {name} ({id})")]
    Addresses { name: String, id: NetworkId },
    #[error("network {id} not found")]
    NoNetwork { id: NetworkId },
    #[error("Address already in use: {address}")]
    InUse { address: Ipv4Addr },
    #[error("Invalid address {address}: It does not belong to any of this network's subnets")]
    Outside { address: Ipv4Addr },
}

/// Returns an address of a network for somebody who does not wait: the wished one, or a free one.
/// Nothing is taken: the write that follows is refused if another one came first.
///
/// # Errors
/// `Shortage` says what is in the way.
pub fn address(
    tables: &Tables,
    network: &Network,
    wished: Option<Ipv4Addr>,
) -> Result<Ipv4Network, Shortage> {
    let mut allocator = Pass::observe(tables);
    let Some(address) = wished else {
        return allocator.take(&network.id).map(|vip| vip.address);
    };
    if !network.subnet.subnet.contains(address) {
        return Err(Shortage::Outside { address });
    }
    let pool = allocator.pools.get_mut(&network.id);
    let claimed = pool.and_then(|pool| pool.claim(address));
    claimed.ok_or(Shortage::InUse { address })
}

/// Gives every service the endpoint its present spec asks for, then every new task its addresses.
///
/// What cannot be given is explained on the waiting tasks; the next change of the tables tries again.
pub fn plan(tables: &Tables, now: Timestamp, ids: &mut dyn IdSource) -> Plan {
    Allocator::default().plan(tables, now, ids)
}

/// The allocator of one leader: what is in use is read only when somebody waits for something.
#[derive(Default)]
pub struct Allocator {
    tables: Tables,
    /// New tasks that are wished to run.
    waiting: BTreeSet<TaskId>,
}

impl Allocator {
    /// As [`plan`].
    pub fn plan(&mut self, tables: &Tables, _now: Timestamp, _ids: &mut dyn IdSource) -> Plan {
        self.follow(tables);
        let mut plan = Plan::default();
        let unsettled =
            |service: &Arc<Service>| !service.pending_delete && !is_settled(service, tables);
        if self.waiting.is_empty() && !tables.services.values().any(unsettled) {
            return plan;
        }
        let mut pass = Pass::observe(tables);
        let without_endpoint = pass.services(&mut plan);
        let new = self.waiting.iter().filter_map(|id| tables.tasks.get(id));
        pass.tasks(new, &without_endpoint, &mut plan);
        plan
    }

    fn follow(&mut self, tables: &Tables) {
        let old = std::mem::replace(&mut self.tables, tables.clone());
        for difference in old.tasks.diff(&tables.tasks) {
            let (DiffItem::Add(id, task) | DiffItem::Update { new: (id, task), .. }) = difference
            else {
                let DiffItem::Remove(id, _) = difference else { continue };
                self.waiting.remove(id);
                continue;
            };
            if task.status.state == TaskState::New && !task.desired_state.is_terminal() {
                self.waiting.insert(id.clone());
            } else {
                self.waiting.remove(id);
            }
        }
    }
}

/// What is in use while one plan is made.
struct Pass<'a> {
    tables: &'a Tables,
    pools: BTreeMap<NetworkId, AddressPool>,
    ports: PortPool,
}

impl<'a> Pass<'a> {
    fn observe(tables: &'a Tables) -> Self {
        let pool = |network: &Arc<Network>| (network.id.clone(), AddressPool::of(network));
        let mut pools: BTreeMap<_, _> = tables.kept_networks().map(pool).collect();
        let vips = tables.services.values().filter(|service| !service.pending_delete);
        for vip in vips.filter_map(|service| service.endpoint.as_ref()).flat_map(|e| &e.vips) {
            if let Some(pool) = pools.get_mut(&vip.network_id) {
                pool.reserve(vip.address.ip());
            }
        }
        for task in tables.tasks.values().filter(|task| !task.status.state.is_terminal()) {
            for attachment in &task.attachments {
                if let Some(pool) = pools.get_mut(&attachment.network_id) {
                    pool.reserve(attachment.address.ip());
                }
            }
        }
        for attachment in tables.attached.values().flat_map(|container| &container.attachments) {
            if let Some(pool) = pools.get_mut(&attachment.network_id) {
                pool.reserve(attachment.address.ip());
            }
        }
        for (id, (_, address)) in newest_addresses(tables) {
            if let Some(pool) = pools.get_mut(&id) {
                pool.continue_after(address);
            }
        }
        Self { tables, pools, ports: PortPool::observe(tables) }
    }

    /// Returns the services that lack something, with the reason.
    fn services(&mut self, plan: &mut Plan) -> BTreeMap<ServiceId, Shortage> {
        let mut waiting = BTreeMap::new();
        let unsettled =
            |service: &&Arc<Service>| !service.pending_delete && !is_settled(service, self.tables);
        let unsettled: Vec<_> = self.tables.services.values().filter(unsettled).collect();
        for service in unsettled {
            match self.endpoint(service) {
                Ok(endpoint) => plan.changes.push(Change::SetServiceEndpoint {
                    id: service.id.clone(),
                    spec_version: service.spec_version,
                    endpoint: Box::new(endpoint),
                }),
                Err(shortage) => {
                    waiting.insert(service.id.clone(), shortage);
                }
            }
        }
        waiting
    }

    fn endpoint(&mut self, service: &Service) -> Result<ServiceEndpoint, Shortage> {
        let ports = self.ports.answer(service, self.tables)?;
        let mut held: BTreeMap<_, _> = service
            .endpoint
            .iter()
            .flat_map(|endpoint| &endpoint.vips)
            .map(|vip| (&vip.network_id, vip))
            .collect();
        let mut vips: Vec<Vip> = Vec::new();
        let mut given = Vec::new();
        for id in vip_networks(service) {
            if let Some(vip) = held.remove(id) {
                vips.push(vip.clone());
                continue;
            }
            match self.take(id) {
                Ok(vip) => {
                    given.push(vip.clone());
                    vips.push(vip);
                }
                Err(shortage) => {
                    self.give_back(&given);
                    return Err(shortage);
                }
            }
        }
        for lost in held.into_values() {
            self.give_back(std::slice::from_ref(lost));
        }
        Ok(ServiceEndpoint { spec: service.spec.endpoint.clone(), ports, vips })
    }

    fn tasks(
        &mut self,
        new: impl Iterator<Item = &'a Arc<Task>>,
        waiting: &BTreeMap<ServiceId, Shortage>,
        plan: &mut Plan,
    ) {
        for task in new {
            let outcome = match waiting.get(&task.service_id) {
                Some(shortage) => Err(shortage.clone()),
                None => self.attachments(task),
            };
            match outcome {
                Ok(attachments) => {
                    plan.changes.push(Change::AllocateTask { id: task.id.clone(), attachments });
                }
                Err(shortage) => plan.changes.extend(explain(task, shortage.to_string())),
            }
        }
    }

    fn attachments(&mut self, task: &Task) -> Result<Vec<Attachment>, Shortage> {
        let mut given: Vec<Vip> = Vec::new();
        for wanted in &task.spec.networks {
            match self.take(&wanted.network_id) {
                Ok(vip) => given.push(vip),
                Err(shortage) => {
                    self.give_back(&given);
                    return Err(shortage);
                }
            }
        }
        let attachment = |(vip, wanted): (Vip, &swarmnet_model::task::NetworkAttachmentSpec)| {
            let aliases = wanted.aliases.clone();
            Attachment { network_id: vip.network_id, address: vip.address, aliases }
        };
        Ok(given.into_iter().zip(&task.spec.networks).map(attachment).collect())
    }

    fn take(&mut self, id: &NetworkId) -> Result<Vip, Shortage> {
        let (network, pool) = self
            .tables
            .kept_network(id)
            .zip(self.pools.get_mut(id))
            .ok_or_else(|| Shortage::NoNetwork { id: id.clone() })?;
        let address = pool.take().ok_or_else(|| Shortage::Addresses {
            name: network.spec.name.clone(),
            id: id.clone(),
        })?;
        Ok(Vip { network_id: id.clone(), address })
    }

    fn give_back(&mut self, given: &[Vip]) {
        for vip in given {
            if let Some(pool) = self.pools.get_mut(&vip.network_id) {
                pool.release(vip.address.ip());
            }
        }
    }
}

/// True if the endpoint answers the present spec.
fn is_settled(service: &Service, tables: &Tables) -> bool {
    let known = |id: &NetworkId| tables.kept_network(id).is_some();
    service.endpoint.as_ref().is_some_and(|endpoint| {
        let held: BTreeSet<_> = endpoint.vips.iter().map(|vip| &vip.network_id).collect();
        endpoint.spec == service.spec.endpoint
            && held == vip_networks(service)
            && held.into_iter().all(known)
    })
}

/// Returns the networks on which the service wants a VIP, ordered by id.
fn vip_networks(service: &Service) -> BTreeSet<&NetworkId> {
    match service.spec.endpoint.mode {
        EndpointMode::Vip => service.spec.task.networks.iter().map(|n| &n.network_id).collect(),
        EndpointMode::Dnsrr => BTreeSet::new(),
    }
}

/// Returns per network the address that was given last, as far as the tables tell.
///
/// Ended tasks count: what they held should rest before it is given again.
fn newest_addresses(tables: &Tables) -> BTreeMap<NetworkId, (Timestamp, Ipv4Addr)> {
    let mut newest = BTreeMap::new();
    let mut note = |id: &NetworkId, found: (Timestamp, Ipv4Addr)| {
        let known = newest.entry(id.clone()).or_insert(found);
        *known = found.max(*known);
    };
    for service in tables.services.values() {
        for vip in service.endpoint.iter().flat_map(|endpoint| &endpoint.vips) {
            note(&vip.network_id, (service.created_at, vip.address.ip()));
        }
    }
    for task in tables.tasks.values() {
        for attachment in &task.attachments {
            note(&attachment.network_id, (task.created_at, attachment.address.ip()));
        }
    }
    for container in tables.attached.values() {
        for attachment in &container.attachments {
            note(&attachment.network_id, (container.created_at, attachment.address.ip()));
        }
    }
    newest
}

/// Tells why the task waits, unless it says so already.
fn explain(task: &Task, err: String) -> Option<Change> {
    let err = Some(err);
    (task.status.err != err).then(|| Change::ExplainTask {
        id: task.id.clone(),
        message: task.status.message.clone(),
        err,
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
