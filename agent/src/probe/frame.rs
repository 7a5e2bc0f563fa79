//! Pure: a frame of the connectivity test as the payload of a VXLAN datagram.

use swarmnet_ebpf::abi::{ETH_PROBE, Plain, ProbeHeader, VMAC, VNI_PROBE};

/// Smallest packet there is room for.
pub const SIZE_MIN: u32 = 64;

const VNI_PRESENT: u8 = 8;

/// Returns the payload of a datagram that stands for a packet of `size` bytes of a task.
pub fn datagram(kind: u8, test: u64, nonce: u64, size: u32) -> Vec<u8> {
    let [_, vni @ ..] = VNI_PROBE.to_be_bytes();
    let header = ProbeHeader { kind, pad: [0; 7], nonce, test };
    let vxlan = [&[VNI_PRESENT, 0, 0, 0][..], &vni, &[0]].concat();
    let ethernet = [&VMAC[..], &VMAC, &ETH_PROBE.to_be_bytes()].concat();
    let mut packet = header.as_bytes().to_vec();
    packet.resize(usize::try_from(size).unwrap_or(0).max(packet.len()), 0);
    [vxlan, ethernet, packet].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarmnet_ebpf::abi::PROBE_WHOLE;

    #[test]
    fn a_datagram_is_a_vxlan_header_a_frame_and_padding() {
        let bytes = datagram(PROBE_WHOLE, 9, 7, 1450);
        // With the headers of UDP and IPv4 this makes 1500.
        assert_eq!(bytes.len(), 8 + 14 + 1450);
        assert_eq!(bytes[..8], [8, 0, 0, 0, 0, 0, 3, 0]);
        assert_eq!(bytes[20..23], [0x88, 0xb5, PROBE_WHOLE]);
        assert_eq!(bytes[30..38], 7_u64.to_ne_bytes());
        assert_eq!(bytes[38..46], 9_u64.to_ne_bytes());
        assert!(bytes[46..].iter().all(|byte| *byte == 0));
    }
}
