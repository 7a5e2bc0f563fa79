//! Reads services, slots and backends from the maps.

use std::collections::BTreeMap;

use swarmnet_ebpf::abi::{SVC_USED, SlotRange};
use swarmnet_ebpf::map::{Backends, MapError, Maps, Svc};
use swarmnet_ebpf::program::SOCKET_PROGRAM;

use super::slots::Range;
use super::{ServiceEntry, State};
use crate::kernel::Kernel;
use crate::scope::Extent;

/// Returns what is there now, as much as `extent` says; services are read up to index `last`.
///
/// # Errors
/// A map could not be read.
pub fn observe(kernel: &Kernel, last: u32, extent: &Extent) -> Result<State, MapError> {
    let maps = &kernel.maps;
    let sockets = kernel.attached.contains(&(SOCKET_PROGRAM.to_owned(), 0));
    let keys = match extent {
        Extent::Everything => {
            let (services, backends) = (services(maps, last)?, maps.entries::<Backends>()?);
            return Ok(State { services, backends, sockets });
        }
        Extent::Keys(keys) => keys,
    };
    let mut state = State { sockets, ..State::default() };
    for index in &keys.services {
        state.services.extend(service(maps, *index)?.map(|entry| (*index, entry)));
    }
    for id in &keys.backends {
        state.backends.extend(maps.get::<Backends>(id)?.map(|backend| (*id, backend)));
    }
    Ok(state)
}

/// Returns the services in use up to index `last`, with their slots.
///
/// # Errors
/// A map could not be read.
pub fn services(maps: &Maps, last: u32) -> Result<BTreeMap<u32, ServiceEntry>, MapError> {
    let mut found = BTreeMap::new();
    for index in 0..=last {
        found.extend(service(maps, index)?.map(|entry| (index, entry)));
    }
    Ok(found)
}

/// An array element always exists; one without the flag is a free one.
fn service(maps: &Maps, index: u32) -> Result<Option<ServiceEntry>, MapError> {
    let service = maps.get::<Svc>(&index)?.unwrap_or_default();
    if service.flags & SVC_USED == 0 {
        return Ok(None);
    }
    Ok(Some(ServiceEntry {
        vni: service.vni,
        vip: service.vip,
        vip_slots: slots(maps, service.sel)?,
        mesh_slots: slots(maps, service.mg)?,
    }))
}

/// Returns the slot ranges that services up to index `last` use.
///
/// # Errors
/// A map could not be read.
pub fn ranges(maps: &Maps, last: u32) -> Result<Vec<Range>, MapError> {
    let mut found = Vec::new();
    for index in 0..=last {
        let service = maps.get::<Svc>(&index)?.unwrap_or_default();
        let words = [service.sel, service.mg, service.mgl].map(SlotRange::unpack);
        found.extend(words.iter().map(|range| (range.base, u32::from(range.count))));
    }
    found.retain(|range| range.1 > 0);
    Ok(found)
}

fn slots(maps: &Maps, word: u64) -> Result<Vec<u32>, MapError> {
    let range = SlotRange::unpack(word);
    if range.count == 0 { Ok(Vec::new()) } else { maps.slots(range.base, range.count.into()) }
}
