//! The kernel as the subsystems touch it: programs, maps, netlink, and one reading of the host.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use swarmnet_ebpf::map::{MapError, Maps, TypedMap};
use swarmnet_ebpf::program::{Dataplane, DataplaneError, Hook};

use crate::edit::Edit;
use crate::netlink::snapshot::Snapshot;
use crate::netlink::{Netlink, NetlinkError};

/// A change that the kernel did not take.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Program(#[from] DataplaneError),
    #[error("writing a kernel setting")]
    Sysctl(#[source] io::Error),
    #[error("writing the journal")]
    Journal(#[source] io::Error),
    #[error("holding port {port}/{protocol}: is another program using it?")]
    PortTaken {
        port: u16,
        protocol: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("no free range of {count} slots")]
    NoSlots { count: usize },
}

/// One reading of the host, and the handles to change it.
#[derive(Clone)]
pub struct Kernel {
    pub netlink: Arc<Netlink>,
    pub plane: Arc<Dataplane>,
    pub maps: Maps,
    pub snapshot: Arc<Snapshot>,
    /// (program name, interface index) of everything attached; index 0 for cgroup programs.
    pub attached: BTreeSet<(String, u32)>,
}

impl Kernel {
    /// Reads the host.
    ///
    /// # Errors
    /// A netlink dump or the list of attached programs could not be read.
    pub async fn read(netlink: &Arc<Netlink>, plane: &Arc<Dataplane>) -> Result<Self, ApplyError> {
        let attached = plane.attached()?.into_iter().map(|a| (a.program, a.ifindex)).collect();
        Ok(Self {
            netlink: Arc::clone(netlink),
            plane: Arc::clone(plane),
            maps: plane.maps(),
            snapshot: Arc::new(Snapshot::read(netlink).await?),
            attached,
        })
    }

    /// True if a device carries our program.
    pub fn has_program(&self, hook: Hook, ifindex: u32) -> bool {
        self.attached.contains(&(hook.program().to_owned(), ifindex))
    }

    /// Writes one change of a map.
    ///
    /// # Errors
    /// The map is full, or the kernel refused.
    pub fn write<M: TypedMap>(&self, edit: &Edit<M::Key, M::Value>) -> Result<(), ApplyError> {
        match edit {
            Edit::Set(key, value) => self.maps.set::<M>(key, value)?,
            Edit::Remove(key) => {
                self.maps.delete::<M>(key)?;
            }
        }
        Ok(())
    }
}
