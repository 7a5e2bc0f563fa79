//! Outer packets, as VXLAN devices of other nodes make them.

use std::ops::Range;

use crate::frame::checksum;
use crate::world::{CLIENT_MAC, VXLAN_PORT};

/// The outer IP header in a wrapped frame.
pub(crate) const HEAD: Range<usize> = 14..34;

/// Returns the frame as it arrives from a node.
pub(crate) fn wrap(inner: &[u8], from: [u8; 4], vni: u32) -> Vec<u8> {
    let length = (inner.len() + 36) as u16;
    let head = [
        &[0x45, 0][..],
        &length.to_be_bytes(),
        &[0, 0, 0x40, 0, 64, 17, 0, 0],
        &from,
        &[10, 20, 20, 100],
    ]
    .concat();
    let ports = [50_000_u16, VXLAN_PORT, length - 20, 0].map(u16::to_be_bytes).concat();
    let vxlan = [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes()].concat();
    let ether = [&[0; 6][..], &CLIENT_MAC, &[8, 0]].concat();
    let mut frame = [&ether[..], &head, &ports, &vxlan, inner].concat();
    sum(&mut frame);
    frame
}

/// Puts the right sum into the outer IP header.
pub(crate) fn sum(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = checksum(&[&frame[HEAD]]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}
