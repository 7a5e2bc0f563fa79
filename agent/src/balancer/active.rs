//! Pure: the active backends of each service.

use swarmnet_model::TaskId;

/// A backend that gets new flows of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Active<'a> {
    /// Place of the service in the view.
    pub(super) service: u32,
    /// Of the network; 0: in the mesh.
    pub(super) vni: u32,
    pub(super) task: &'a TaskId,
    pub(super) id: u32,
}

/// All of a view, by service and VNI, in the order of the tasks.
pub(super) struct AllActive<'a>(Vec<Active<'a>>);

impl<'a> AllActive<'a> {
    /// Returns those of a service on a network; 0: in the mesh.
    pub(super) fn of(&self, service: u32, vni: u32) -> &[Active<'a>] {
        let key = (service, vni);
        let from = self.0.partition_point(|active| (active.service, active.vni) < key);
        let rest = self.0.get(from..).unwrap_or_default();
        let count = rest.partition_point(|active| (active.service, active.vni) == key);
        rest.get(..count).unwrap_or_default()
    }
}

impl<'a> FromIterator<Active<'a>> for AllActive<'a> {
    /// Takes them in the order of their tasks.
    fn from_iter<I: IntoIterator<Item = Active<'a>>>(active: I) -> Self {
        let mut all: Vec<_> = active.into_iter().collect();
        all.sort_by_key(|active| (active.service, active.vni));
        Self(all)
    }
}
