//! Reads services, slots and backends from the maps.

use std::collections::BTreeMap;

use swarmnet_ebpf::abi::{SVC_USED, SlotRange};
use swarmnet_ebpf::map::{Backends, MapError, Maps, Svc};
use swarmnet_ebpf::program::SOCKET_PROGRAM;

use super::slots::Range;
use super::{ServiceEntry, State};
use crate::kernel::Kernel;

/// Returns what is there now; services are read up to index `last`.
///
/// # Errors
/// A map could not be read.
pub fn observe(kernel: &Kernel, last: u32) -> Result<State, MapError> {
    Ok(State {
        services: services(&kernel.maps, last)?,
        backends: kernel.maps.entries::<Backends>()?,
        sockets: kernel.attached.contains(&(SOCKET_PROGRAM.to_owned(), 0)),
    })
}

/// Returns the services in use up to index `last`, with their slots.
///
/// # Errors
/// A map could not be read.
pub fn services(maps: &Maps, last: u32) -> Result<BTreeMap<u32, ServiceEntry>, MapError> {
    let mut found = BTreeMap::new();
    for index in 0..=last {
        let service = maps.get::<Svc>(&index)?.unwrap_or_default();
        if service.flags & SVC_USED == 0 {
            continue;
        }
        let entry = ServiceEntry {
            vni: service.vni,
            vip: service.vip,
            vip_slots: slots(maps, service.sel)?,
            mesh_slots: slots(maps, service.mg)?,
        };
        found.insert(index, entry);
    }
    Ok(found)
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
