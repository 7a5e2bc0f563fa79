//! `swarmnet debug lb`: VIPs and published ports → backends, with their share of new flows.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use swarmnet_ebpf::abi::{BE_ACTIVE, BE_DOWN, BE_DRAINING};
use swarmnet_ebpf::conntrack;
use swarmnet_ebpf::map::{Backends, Ports};

use super::evidence::{Evidence, protocol};
use super::{DebugError, table};
use crate::balancer::ServiceEntry;
use crate::balancer::observe::services;
use crate::numbers::ServiceKey;

/// Services in the maps.
#[derive(Debug, Serialize)]
pub struct LbView {
    pub services: Vec<LbService>,
}

/// One VIP, or the published ports of one service.
#[derive(Debug, Serialize)]
pub struct LbService {
    pub service: String,
    /// `10.0.1.2 (front)`, or `30000->80/tcp`.
    pub frontend: String,
    /// Entries of the slot range or Maglev table.
    pub slots: usize,
    pub packets: u64,
    pub bytes: u64,
    pub new_flows: u64,
    pub refused: u64,
    pub backends: Vec<LbBackend>,
}

#[derive(Debug, Serialize)]
pub struct LbBackend {
    pub task: String,
    pub node: String,
    pub address: String,
    pub state: &'static str,
    /// Slots that lead here, of all slots of the service.
    pub share_percent: f64,
    /// Flows in the table now; those of socket load balancing are not in it.
    pub flows: usize,
}

/// Reads the view.
///
/// # Errors
/// `DebugError`.
pub fn view(bpffs: &Path, state_dir: &Path) -> Result<LbView, DebugError> {
    of(&Evidence::read(bpffs, state_dir)?)
}

/// Makes the view of what was read.
///
/// # Errors
/// `Maps` if a map cannot be read.
pub fn of(evidence: &Evidence) -> Result<LbView, DebugError> {
    let keys = evidence.service_keys();
    let flows = flows(evidence)?;
    let mut found = Vec::new();
    for (index, entry) in services(&evidence.maps, evidence.numbers.highest_service())? {
        let stat = evidence.maps.svc_stat(index)?;
        let slots = if entry.vip_slots.is_empty() { &entry.mesh_slots } else { &entry.vip_slots };
        found.push(LbService {
            service: name(evidence, index, keys.get(&index).copied()),
            frontend: frontend(evidence, index, &entry)?,
            slots: slots.len(),
            packets: stat.packets,
            bytes: stat.bytes,
            new_flows: stat.flows,
            refused: stat.refused,
            backends: backends(evidence, keys.get(&index).copied(), &entry, slots, &flows)?,
        });
    }
    found.sort_by(|a, b| (&a.service, &a.frontend).cmp(&(&b.service, &b.frontend)));
    Ok(LbView { services: found })
}

fn name(evidence: &Evidence, index: u32, key: Option<&ServiceKey>) -> String {
    match key {
        Some(ServiceKey::Vip(service, _) | ServiceKey::Mesh(service)) => {
            evidence.service_name(service)
        }
        Some(ServiceKey::Host(task)) => evidence.task_name(task),
        None => format!("service {index}"),
    }
}

fn frontend(evidence: &Evidence, index: u32, entry: &ServiceEntry) -> Result<String, DebugError> {
    if entry.vni != 0 {
        return Ok(format!("{} ({})", entry.vip, evidence.network_name(entry.vni)));
    }
    let ports = evidence.maps.entries::<Ports>()?;
    let texts: Vec<_> = ports
        .iter()
        .filter(|(_, port)| port.svc == index)
        .map(|(k, port)| format!("{}->{}/{}", k.port, port.target_port, protocol(k.proto)))
        .collect();
    Ok(if texts.is_empty() { "no port".to_owned() } else { texts.join(",") })
}

/// Those with a slot, and those of the service without one: they are draining.
fn backends(
    evidence: &Evidence,
    key: Option<&ServiceKey>,
    entry: &ServiceEntry,
    slots: &[u32],
    flows: &BTreeMap<u32, usize>,
) -> Result<Vec<LbBackend>, DebugError> {
    let keys = evidence.backend_keys();
    let mut found = Vec::new();
    for (id, backend) in evidence.maps.entries::<Backends>()? {
        let share = slots.iter().filter(|slot| **slot == id).count();
        let task = keys.get(&id).map(|key| &key.task);
        let ours = match key {
            Some(ServiceKey::Vip(service, _) | ServiceKey::Mesh(service)) => task
                .and_then(|task| evidence.backend(task))
                .is_some_and(|known| known.service_id.as_ref() == Some(service)),
            Some(ServiceKey::Host(_)) | None => false,
        };
        if share == 0 && !(ours && backend.vni == entry.vni) {
            continue;
        }
        let (share, all) = (u32::try_from(share), u32::try_from(slots.len().max(1)));
        found.push(LbBackend {
            task: task.map_or_else(|| format!("backend {id}"), |task| evidence.task_name(task)),
            node: evidence.node_name(backend.node),
            address: backend.addr.to_string(),
            state: state(backend.state),
            share_percent: f64::from(share.unwrap_or(0)) * 100.0 / f64::from(all.unwrap_or(1)),
            flows: flows.get(&id).copied().unwrap_or_default(),
        });
    }
    found.sort_by(|a, b| a.task.cmp(&b.task));
    Ok(found)
}

/// A flow is two entries; only one of them has `dir` forward.
fn flows(evidence: &Evidence) -> Result<BTreeMap<u32, usize>, DebugError> {
    let mut flows = BTreeMap::new();
    for (key, value) in conntrack::dump(&evidence.maps)? {
        let forward = [swarmnet_ebpf::abi::CT_VIP_FWD, swarmnet_ebpf::abi::CT_ENTRY_FWD];
        if forward.contains(&key.dir) {
            *flows.entry(value.be).or_default() += 1;
        }
    }
    Ok(flows)
}

fn state(state: u8) -> &'static str {
    match state {
        BE_ACTIVE => "active",
        BE_DRAINING => "draining",
        BE_DOWN => "down",
        _ => "unknown",
    }
}

impl fmt::Display for LbView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Vec::new();
        for service in &self.services {
            let head =
                |first: bool, text: &str| if first { text.to_owned() } else { String::new() };
            let new_flows = service.new_flows.to_string();
            let bytes = service.bytes.to_string();
            if service.backends.is_empty() {
                let none =
                    [service.service.as_str(), &service.frontend, "none", "", "", "", "", ""];
                let mut row: Vec<String> = none.iter().map(|cell| (*cell).to_owned()).collect();
                row.extend([new_flows, bytes]);
                rows.push(row);
                continue;
            }
            for (at, backend) in service.backends.iter().enumerate() {
                rows.push(vec![
                    head(at == 0, &service.service),
                    head(at == 0, &service.frontend),
                    backend.task.clone(),
                    backend.node.clone(),
                    backend.address.clone(),
                    backend.state.to_owned(),
                    format!("{:.1}%", backend.share_percent),
                    backend.flows.to_string(),
                    head(at == 0, &new_flows),
                    head(at == 0, &bytes),
                ]);
            }
        }
        let header = [
            "SERVICE",
            "FRONTEND",
            "TASK",
            "NODE",
            "ADDRESS",
            "STATE",
            "SHARE",
            "FLOWS",
            "NEW FLOWS",
            "BYTES",
        ];
        table::write(f, &header, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use swarmnet_ebpf::abi::{BE_MESH, Backend, Be16, Port, PortKey, SVC_USED, Service, SlotRange};
    use swarmnet_ebpf::map::Svc;
    use swarmnet_ebpf::memory::MemoryMaps;
    use swarmnet_model::{NodeView, ServiceId};

    #[test]
    fn shares_are_counted_from_the_slots_in_use() {
        let maps = MemoryMaps::new().maps();
        for id in [1, 2] {
            let backend = Backend { kind: BE_MESH, state: BE_ACTIVE, ..Backend::default() };
            maps.set::<Backends>(&id, &backend).unwrap();
        }
        maps.write_slots(8, &[1, 2, 2, 2]).unwrap();
        let mg = SlotRange { base: 8, count: 4, tag: 0 }.pack();
        maps.set::<Svc>(&1, &Service { mg, flags: SVC_USED, ..Service::default() }).unwrap();
        let key = PortKey { port: Be16::new(30_000), proto: 6, ..PortKey::default() };
        let port = Port { svc: 1, target_port: Be16::new(80), flags: 0 };
        maps.set::<Ports>(&key, &port).unwrap();
        let mut evidence = Evidence {
            maps,
            node_id: None,
            view: NodeView::new(),
            numbers: Default::default(),
            journal: Default::default(),
            conflicts: Vec::new(),
        };
        evidence.numbers.last_service = 1;
        evidence.numbers.services.insert(ServiceKey::Mesh(ServiceId::from_text("web")), 1);
        expect![[r#"
            SERVICE  FRONTEND       TASK       NODE    ADDRESS  STATE   SHARE  FLOWS  NEW FLOWS  BYTES
            web      30000->80/tcp  backend 1  node 0  0.0.0.0  active  25.0%  0      0          0
                                    backend 2  node 0  0.0.0.0  active  75.0%  0
        "#]]
        .assert_eq(&of(&evidence).unwrap().to_string());
    }
}
