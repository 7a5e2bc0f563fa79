//! Does what a plan says to services, slots and backends, in an order packets cannot notice.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use swarmnet_ebpf::abi::{SVC_USED, Service, SlotRange};
use swarmnet_ebpf::map::{Backends, Maps, Svc};

use super::plan::Action;
use super::slots::{Range, Slots};
use super::{ServiceEntry, observe};
use crate::edit::Edit;
use crate::kernel::{ApplyError, Kernel};

/// A range that was switched away from is not written for this long: the longest run of a program
/// that still reads it is microseconds.
const REST: Duration = Duration::from_secs(1);

/// Writes services; remembers the ranges that rest.
#[derive(Debug, Default)]
pub struct Writer {
    /// In the order in which they were left.
    resting: VecDeque<(Range, Instant)>,
    /// `None`: to be read from the map.
    slots: Option<Slots>,
    /// Counts range switches; shown in dumps.
    tag: u16,
    cgroup: Option<PathBuf>,
}

impl Writer {
    /// Returns a writer that puts the socket programs on `cgroup`.
    pub fn new(cgroup: Option<PathBuf>) -> Self {
        Self { cgroup, ..Self::default() }
    }

    /// Forgets what is known of the maps: after a failure, and whenever all of them are read back.
    pub fn read_again(&mut self) {
        self.slots = None;
    }

    /// Applies one action; services up to index `last` may hold slots.
    ///
    /// # Errors
    /// The kernel refused, or there is no room for the slots.
    pub fn apply(&mut self, kernel: &Kernel, action: &Action, last: u32) -> Result<(), ApplyError> {
        match action {
            Action::Backend(edit) => kernel.write::<Backends>(edit),
            Action::Service(Edit::Set(index, entry)) => self.set(&kernel.maps, *index, entry, last),
            Action::Service(Edit::Remove(index)) => self.remove(&kernel.maps, *index),
            Action::AttachSockets => match &self.cgroup {
                Some(cgroup) => Ok(kernel.plane.attach_cgroup(cgroup)?),
                None => Ok(()),
            },
            Action::DetachSockets => Ok(kernel.plane.detach_cgroup()?),
        }
    }

    /// New slots go to a free range first; the switch is the store of one word.
    fn set(
        &mut self,
        maps: &Maps,
        index: u32,
        entry: &ServiceEntry,
        last: u32,
    ) -> Result<(), ApplyError> {
        let before = maps.get::<Svc>(&index)?.unwrap_or_default();
        if before.flags & SVC_USED == 0 || (before.vni, before.vip) != (entry.vni, entry.vip) {
            let (vni, vip) = (entry.vni, entry.vip);
            let fresh = Service { vni, vip, flags: SVC_USED, ..Service::default() };
            self.rest(before.sel);
            self.rest(before.mg);
            maps.set::<Svc>(&index, &fresh)?;
        }
        let current = maps.get::<Svc>(&index)?.unwrap_or_default();
        if self.read(maps, current.sel)? != entry.vip_slots {
            let range = self.fill(maps, &entry.vip_slots, last)?;
            maps.store_sel(index, range)?;
            self.rest(current.sel);
        }
        if self.read(maps, current.mg)? != entry.mesh_slots {
            let range = self.fill(maps, &entry.mesh_slots, last)?;
            maps.store_mg(index, range)?;
            self.rest(current.mg);
        }
        Ok(())
    }

    fn remove(&mut self, maps: &Maps, index: u32) -> Result<(), ApplyError> {
        let before = maps.get::<Svc>(&index)?.unwrap_or_default();
        maps.store_sel(index, SlotRange::default())?;
        maps.store_mg(index, SlotRange::default())?;
        maps.set::<Svc>(&index, &Service::default())?;
        self.rest(before.sel);
        self.rest(before.mg);
        Ok(())
    }

    fn read(&self, maps: &Maps, word: u64) -> Result<Vec<u32>, ApplyError> {
        let range = SlotRange::unpack(word);
        Ok(if range.count == 0 { Vec::new() } else { maps.slots(range.base, range.count.into())? })
    }

    fn fill(&mut self, maps: &Maps, ids: &[u32], last: u32) -> Result<SlotRange, ApplyError> {
        let none = || ApplyError::NoSlots { count: ids.len() };
        let count = u16::try_from(ids.len()).map_err(|_| none())?;
        if count == 0 {
            return Ok(SlotRange::default());
        }
        if self.slots.is_none() {
            self.slots = Some(self.taken(maps, last)?);
        }
        self.end_rest();
        let base = self.slots.as_mut().and_then(|slots| slots.give(count.into()));
        let base = base.ok_or_else(none)?;
        maps.write_slots(base, ids)?;
        self.tag = self.tag.wrapping_add(1);
        Ok(SlotRange { base, count, tag: self.tag })
    }

    fn taken(&self, maps: &Maps, last: u32) -> Result<Slots, ApplyError> {
        let resting = self.resting.iter().map(|(range, _)| *range);
        Ok(Slots::with(observe::ranges(maps, last)?.into_iter().chain(resting)))
    }

    /// Ranges that nobody reads any more are free again.
    fn end_rest(&mut self) {
        while let Some((range, _)) =
            self.resting.front().filter(|(_, since)| since.elapsed() >= REST)
        {
            if let Some(slots) = &mut self.slots {
                slots.give_back(*range);
            }
            self.resting.pop_front();
        }
    }

    fn rest(&mut self, word: u64) {
        let range = SlotRange::unpack(word);
        if range.count > 0 {
            self.resting.push_back(((range.base, range.count.into()), Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarmnet_ebpf::memory::MemoryMaps;

    fn entry(vip_slots: Vec<u32>) -> ServiceEntry {
        ServiceEntry { vip_slots, ..ServiceEntry::default() }
    }

    #[test]
    fn a_change_never_writes_into_the_range_in_use() {
        let maps = MemoryMaps::new().maps();
        let mut writer = Writer::new(None);
        writer.set(&maps, 1, &entry(vec![1, 2, 3]), 1).unwrap();
        let before = SlotRange::unpack(maps.get::<Svc>(&1).unwrap().unwrap().sel);
        writer.set(&maps, 1, &entry(vec![1, 3]), 1).unwrap();
        let after = SlotRange::unpack(maps.get::<Svc>(&1).unwrap().unwrap().sel);
        assert_ne!(before.base, after.base);
        assert_eq!(maps.slots(before.base, 3).unwrap(), [1, 2, 3], "the old range rests");
        assert_eq!(observe::services(&maps, 1).unwrap()[&1], entry(vec![1, 3]));
    }

    #[test]
    fn writing_the_same_service_again_writes_nothing() {
        let memory = MemoryMaps::new();
        let maps = memory.maps();
        let mut writer = Writer::new(None);
        writer.set(&maps, 1, &entry(vec![1, 2, 3]), 1).unwrap();
        let writes = memory.writes();
        writer.set(&maps, 1, &entry(vec![1, 2, 3]), 1).unwrap();
        assert_eq!(memory.writes(), writes);
    }

    #[test]
    fn services_of_one_round_get_ranges_of_their_own() {
        let maps = MemoryMaps::new().maps();
        let mut writer = Writer::new(None);
        for index in 1..=3 {
            writer.set(&maps, index, &entry(vec![index; 3]), 3).unwrap();
        }
        writer.read_again();
        writer.set(&maps, 4, &entry(vec![4; 3]), 4).unwrap();
        let found = observe::services(&maps, 4).unwrap();
        (1..=4).for_each(|index| assert_eq!(found[&index], entry(vec![index; 3])));
    }

    #[test]
    fn a_removed_service_leaves_no_trace() {
        let maps = MemoryMaps::new().maps();
        let mut writer = Writer::new(None);
        writer.set(&maps, 1, &entry(vec![1]), 1).unwrap();
        writer.remove(&maps, 1).unwrap();
        assert!(observe::services(&maps, 1).unwrap().is_empty());
        assert!(observe::ranges(&maps, 1).unwrap().is_empty());
    }
}
