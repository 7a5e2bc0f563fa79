//! Does what a plan says to the overlay's device and maps.

use swarmnet_ebpf::abi::{EP_GONE, Ep, Node};
use swarmnet_ebpf::map::{Eps, Nodes, Peers, Vnis};
use swarmnet_ebpf::program::Hook;

use super::plan::Action;
use super::{DEVICE, Device};
use crate::edit::Edit;
use crate::kernel::{ApplyError, Kernel};
use crate::netlink::link::LinkKind;
use crate::netlink::sysctl;

/// Applies one action.
///
/// # Errors
/// The kernel refused; the next pass plans from what is there then.
pub async fn apply(kernel: &Kernel, action: &Action) -> Result<(), ApplyError> {
    match action {
        Action::Device(device) => shape(kernel, *device).await,
        Action::Peer(edit) => kernel.write::<Peers>(edit),
        Action::Node(Edit::Remove(index)) => {
            kernel.write::<Nodes>(&Edit::Set(*index, Node::default()))
        }
        Action::Node(edit) => kernel.write::<Nodes>(edit),
        Action::Vni(edit) => kernel.write::<Vnis>(edit),
        Action::Endpoint(key, ep) => kernel.write::<Eps>(&Edit::Set(*key, *ep)),
        Action::Bury(key, until) => {
            let ep = Ep { kind: EP_GONE, addr: key.addr, generation: *until, ..Ep::default() };
            kernel.write::<Eps>(&Edit::Set(*key, ep))
        }
        Action::Forget(key) => kernel.write::<Eps>(&Edit::Remove(*key)),
    }
}

/// The port of a VXLAN device cannot be changed: another one means a new device.
async fn shape(kernel: &Kernel, device: Device) -> Result<(), ApplyError> {
    let right = LinkKind::Vxlan { port: device.port, external: true };
    if let Some(link) = kernel.snapshot.links.get(DEVICE).filter(|link| link.kind != right) {
        kernel.plane.detach(Hook::Tunnel, DEVICE, link.index)?;
        kernel.netlink.delete_link(link.index).await?;
    }
    if kernel.snapshot.links.get(DEVICE).is_none_or(|link| link.kind != right) {
        kernel.netlink.add_vxlan(DEVICE, device.port).await?;
    }
    let link = kernel.netlink.link(DEVICE).await?;
    sysctl::disable_ipv6(DEVICE).map_err(ApplyError::Sysctl)?;
    kernel.plane.attach(Hook::Tunnel, DEVICE, link.index)?;
    if !link.up {
        kernel.netlink.set_up(link.index).await?;
    }
    Ok(())
}
