//! Pure: services and backends of the view → map entries and slots.

use std::collections::BTreeMap;

use swarmnet_ebpf::abi::{self, Backend, Be32};
use swarmnet_model::view::{self, BackendState};
use swarmnet_model::{ServiceId, TaskId};

use super::{ServiceEntry, State, maglev};
use crate::inputs::Inputs;
use crate::netlink::link::Link;
use crate::numbers::{BackendKey, ServiceKey};
use crate::plugin::journal::Endpoint;

/// Active tasks with their backend ids, by service and VNI (0: the mesh), in the order of the tasks.
type Active<'a> = BTreeMap<(&'a ServiceId, u32), Vec<(&'a TaskId, u32)>>;

/// Returns services with their active backends; draining ones are entries without a slot.
pub fn desired(inputs: &Inputs) -> State {
    let mut state = State { sockets: inputs.has_cgroup2, ..State::default() };
    let mut active = Active::new();
    // One walk for all services, and one look for each number: a view may hold a hundred thousand.
    for backend in inputs.serving() {
        add_vip_backends(inputs, backend, &mut state, &mut active);
        add_mesh_backend(inputs, backend, &mut state, &mut active);
    }
    add_vips(inputs, &active, &mut state);
    add_mesh(inputs, &active, &mut state);
    add_host_ports(inputs, &mut state);
    state
}

fn add_vip_backends<'a>(
    inputs: &Inputs,
    backend: &'a view::Backend,
    state: &mut State,
    active: &mut Active<'a>,
) {
    let Some(node) = inputs.node_index(&backend.node_id) else { return };
    for attachment in &backend.attachments {
        let Some(network) = inputs.network(&attachment.network_id) else { continue };
        let vni = network.vni.get();
        let place = if node == 0 {
            let Some(local) = local(inputs, &backend.task_id, vni) else { continue };
            place(local)
        } else {
            Backend { addr: Be32::new(attachment.address.ip()), node, ..Backend::default() }
        };
        let place = Backend { vni, kind: abi::BE_VIP, ..place };
        add_backend(inputs, backend, place, state, active);
    }
}

fn add_mesh_backend<'a>(
    inputs: &Inputs,
    backend: &'a view::Backend,
    state: &mut State,
    active: &mut Active<'a>,
) {
    let service = backend.service_id.as_ref();
    if !service.is_some_and(|service| inputs.publishes(service)) {
        return;
    }
    let Some(node) = inputs.node_index(&backend.node_id) else { return };
    let place = if node == 0 {
        let Some(local) = inputs.gateway_of(&backend.task_id) else { return };
        place(local)
    } else {
        let Some(gateway) = backend.gateway else { return };
        Backend { addr: Be32::new(gateway), node, ..Backend::default() }
    };
    let place = Backend { vni: abi::VNI_HOST, kind: abi::BE_MESH, ..place };
    add_backend(inputs, backend, place, state, active);
}

fn add_backend<'a>(
    inputs: &Inputs,
    backend: &'a view::Backend,
    place: Backend,
    state: &mut State,
    active: &mut Active<'a>,
) {
    let Some(id) = backend_id(inputs, &backend.task_id, place.vni) else { return };
    state.backends.insert(id, Backend { state: map_state(backend.state), ..place });
    if let Some(service) = backend.service_id.as_ref().filter(|_| is_active(backend)) {
        active.entry((service, place.vni)).or_default().push((&backend.task_id, id));
    }
}

fn is_active(backend: &view::Backend) -> bool {
    backend.state == BackendState::Active
}

fn add_vips(inputs: &Inputs, active: &Active<'_>, state: &mut State) {
    for service in inputs.services() {
        for vip in &service.vips {
            let key = ServiceKey::Vip(service.id.clone(), vip.network_id.clone());
            let found = inputs.network(&vip.network_id).zip(inputs.numbers.services.get(&key));
            let Some((network, index)) = found else { continue };
            let vni = network.vni.get();
            let tasks = active.get(&(&service.id, vni)).map_or(&[][..], Vec::as_slice);
            let entry = ServiceEntry {
                vni,
                vip: Be32::new(vip.address.ip()),
                vip_slots: tasks.iter().map(|(_, id)| *id).collect(),
                mesh_slots: Vec::new(),
            };
            state.services.insert(*index, entry);
        }
    }
}

fn add_mesh(inputs: &Inputs, active: &Active<'_>, state: &mut State) {
    for service in inputs.services().filter(|service| !service.ports.is_empty()) {
        let key = ServiceKey::Mesh(service.id.clone());
        let Some(index) = inputs.numbers.services.get(&key) else { continue };
        let tasks = active.get(&(&service.id, abi::VNI_HOST)).map_or(&[][..], Vec::as_slice);
        let entry = ServiceEntry { mesh_slots: mesh_slots(tasks), ..ServiceEntry::default() };
        state.services.insert(*index, entry);
    }
}

fn mesh_slots(tasks: &[(&TaskId, u32)]) -> Vec<u32> {
    let names: Vec<_> = tasks.iter().map(|(task, _)| *task).collect();
    let table = maglev::table(&names);
    table.into_iter().filter_map(|index| tasks.get(index)).map(|(_, id)| *id).collect()
}

/// Host-mode ports serve as soon as the task is wired: they are the business of this node alone.
fn add_host_ports(inputs: &Inputs, state: &mut State) {
    for task in inputs.host_tasks() {
        let id = &task.task.id;
        let Some(gateway) =
            inputs.gateway_of(id).filter(|_| !task.task.desired_state.is_terminal())
        else {
            continue;
        };
        let key = ServiceKey::Host(id.clone());
        let numbers = inputs.numbers.services.get(&key);
        let Some((index, backend)) = numbers.zip(backend_id(inputs, id, abi::VNI_HOST)) else {
            continue;
        };
        let (be_state, kind) = (abi::BE_ACTIVE, abi::BE_MESH);
        let value = Backend { state: be_state, kind, ..place(gateway) };
        state.backends.entry(backend).or_insert(value);
        let mesh_slots = mesh_slots(&[(id, backend)]);
        state.services.insert(*index, ServiceEntry { mesh_slots, ..ServiceEntry::default() });
    }
}

fn backend_id(inputs: &Inputs, task: &TaskId, vni: u32) -> Option<u32> {
    inputs.numbers.backends.get(&BackendKey { task: task.clone(), vni }).copied()
}

fn local<'a>(inputs: &'a Inputs, task: &TaskId, vni: u32) -> Option<(&'a Endpoint, &'a Link)> {
    inputs.endpoints_of(task).find(|(e, _)| !e.is_gateway() && e.vni == vni)
}

fn place((endpoint, link): (&Endpoint, &Link)) -> Backend {
    Backend {
        addr: Be32::new(endpoint.address.ip()),
        ifindex: link.index,
        lidx: endpoint.lidx,
        mac: endpoint.mac,
        ..Backend::default()
    }
}

fn map_state(state: BackendState) -> u8 {
    match state {
        BackendState::Placed | BackendState::Draining => abi::BE_DRAINING,
        BackendState::Active => abi::BE_ACTIVE,
        BackendState::Down => abi::BE_DOWN,
    }
}
