//! Pure: the Rust mirror of `bpf/abi.h`: keys, values, enums and limits, in kernel layout.
//!
//! `abi.h` is the definition, this file follows; `tests/layout.rs` compares both through BTF. Byte
//! order is part of the type name: [`Be32`] and [`Be16`] are network order, plain integers are host
//! order. `node` is always an index into the map `nodes`, 0 is this node.

pub use crate::fixed::{
    ASKERS, ASKERS_PREFIX, ETH_PROBE, MAX_DROPS, MAX_SUBNETS, MESH_SELF, NEXT_HOP, RESOLVER,
    STAND_IN, VMAC, asker, task_mac,
};
pub use crate::plain::{Be16, Be32, EnumLayout, Field, Layout, Plain, SlotRange};
use crate::plain::{abi_enums, abi_structs, field_sum};

abi_structs! {
    /// Node-wide settings; the only element of map `conf`.
    ConfValue = "conf" {
        /// Cookie of the host's network namespace.
        host_netns_cookie: u64,
        /// The node's own address.
        node_addr: Be32,
        /// Index of `swn-vx`.
        vx_if: u32,
        /// Index of `swn-host`.
        host_if: u32,
        /// Index of `swn-hostp`.
        hostp_if: u32,
        /// Network of the gateway addresses of all nodes.
        gw_pool: Be32,
        /// Mask of `gw_pool`.
        gw_mask: Be32,
        /// Bits of `conf_feature`.
        features: u32,
        /// One of `trace` drops is put into `events`; 0 switches it off.
        trace: u32,
        /// New flows per second and CPU before `CT_FLOOD`; 0 means no limit.
        flow_budget: u32,
        /// Address of `swn-host`.
        host_mac: [u8; 6],
        /// UDP port whose frames leave their outer packet on the uplink; 0 leaves it to `swn-vx`.
        vxlan_port: Be16,
        /// Zero.
        pad: u32,
    }
    /// One of our devices; key of map `ifaces` is the interface index.
    Iface = "iface" {
        /// Network; 0 for gateways and uplinks.
        vni: u32,
        /// Address of the task on this attachment.
        addr: Be32,
        /// Netmask of the attachment.
        mask: Be32,
        /// MAC of the task side; of the device itself for an uplink.
        mac: [u8; 6],
        /// `IFACE_*`.
        flags: u16,
        /// Index for `lflags` and `ep_stats`.
        lidx: u32,
    }
    /// Key of map `eps`.
    EpKey = "ep_key" {
        /// Network.
        vni: u32,
        /// Overlay address.
        addr: Be32,
    }
    /// Where an overlay address is.
    Ep = "ep" {
        /// `EP_*`.
        kind: u8,
        /// Zero.
        state: u8,
        /// Zero.
        flags: u16,
        /// Index for `lflags` and `ep_stats` (local).
        lidx: u32,
        /// Node index; 0 is this node.
        node: u32,
        /// Host side device (local).
        ifindex: u32,
        /// Service index (VIP).
        svc: u32,
        /// Equal to the key's address.
        addr: Be32,
        /// MAC of the task side (local).
        mac: [u8; 6],
        /// Zero.
        pad: u16,
        /// Generation that wrote the entry.
        generation: u32,
    }
    /// Value of map `peers`; the key is an outer address.
    Peer = "peer" {
        /// Node index.
        node: u32,
        /// Zero.
        flags: u32,
    }
    /// Value of map `nodes`; the key is the node index.
    Node = "node" {
        /// Outer address to send to.
        addr: Be32,
        /// Own outer source address; zero lets the route decide.
        src: Be32,
        /// Zero.
        flags: u32,
        /// Longest IP packet that the tunnel there carries in one piece; zero if unknown.
        mtu: u32,
    }
    /// Value of map `vnis`; the key is the VNI.
    VniValue = "vni" {
        /// `VNI_*` flags.
        flags: u32,
    }
    /// Value of map `svc`; the key is the service index.
    Service = "svc" {
        /// VIP slots, see [`SlotRange`].
        sel: u64,
        /// Maglev table of the mesh, see [`SlotRange`].
        mg: u64,
        /// Maglev table of this node's own backends, see [`SlotRange`].
        mgl: u64,
        /// Network of the VIP.
        vni: u32,
        /// The VIP, zero if the service has none.
        vip: Be32,
        /// `SVC_*`.
        flags: u32,
        /// Zero.
        pad: [u32; 7],
    }
    /// Value of map `backends`; the key is a backend id, never reused.
    Backend = "be" {
        /// Network; 0 for `BE_MESH`.
        vni: u32,
        /// Overlay address, or gateway address for `BE_MESH`.
        addr: Be32,
        /// Node index.
        node: u32,
        /// Host side device (local).
        ifindex: u32,
        /// Index for `lflags` and `ep_stats` (local).
        lidx: u32,
        /// MAC of the task side (local).
        mac: [u8; 6],
        /// `BE_ACTIVE`, `BE_DRAINING`, `BE_DOWN`.
        state: u8,
        /// `BE_VIP`, `BE_MESH`.
        kind: u8,
        /// Generation that wrote the entry.
        generation: u32,
    }
    /// Key of map `ports`.
    PortKey = "port_key" {
        /// Address, zero for any address of the node.
        addr: Be32,
        /// Published port.
        port: Be16,
        /// IP protocol number.
        proto: u8,
        /// Zero.
        pad: u8,
    }
    /// Value of map `ports`.
    Port = "port" {
        /// Service index.
        svc: u32,
        /// Port inside the task.
        target_port: Be16,
        /// `PORT_*`.
        flags: u16,
    }
    /// Key of map `mesh_local`.
    MeshKey = "mesh_key" {
        /// Gateway address of the task.
        gw_addr: Be32,
        /// Target port.
        port: Be16,
        /// IP protocol number.
        proto: u8,
        /// Zero.
        pad: u8,
    }
    /// An address range of a task's own networks.
    Net = "net" {
        /// Network address.
        addr: Be32,
        /// Netmask.
        mask: Be32,
    }
    /// Value of map `mesh_local`: a published task of this node.
    MeshTarget = "mesh_target" {
        /// Host side of the gateway attachment.
        ifindex: u32,
        /// Index for `ep_stats`.
        lidx: u32,
        /// MAC of `gw0`.
        mac: [u8; 6],
        /// Number of used entries of `net`.
        nets: u16,
        /// The task's own overlay subnets: clients in them get a stand-in address.
        net: [Net; MAX_SUBNETS],
    }
    /// Value of map `askers`; the key is an lidx.
    Asker = "asker" {
        /// Host side of the overlay attachment.
        ifindex: u32,
        /// Address of the task on it.
        addr: Be32,
        /// MAC of the task side.
        mac: [u8; 6],
        /// Zero.
        pad: u16,
    }
    /// Key of map `allow_src` (longest prefix match).
    AllowKey = "allow_key" {
        /// 32 (the service) + prefix length of the address.
        prefixlen: u32,
        /// Service index.
        svc: u32,
        /// Client network.
        addr: Be32,
    }
    /// Key of map `ct`.
    CtKey = "ct_key" {
        /// Network, 0 for the mesh.
        vni: u32,
        /// Node index, see the table in `datapath` docs.
        node: u32,
        /// Source address.
        src: Be32,
        /// Destination address.
        dst: Be32,
        /// Source port, or ICMP echo identifier.
        sport: Be16,
        /// Destination port, or ICMP echo identifier.
        dport: Be16,
        /// IP protocol number.
        proto: u8,
        /// `CT_VIP_FWD` … `CT_BACK_REV`.
        dir: u8,
        /// Zero.
        pad: u16,
    }
    /// Value of map `ct`; the meaning of x and c per direction is in `abi.h`.
    CtValue = "ct_val" {
        /// Backend id.
        be: u32,
        /// Service index.
        svc: u32,
        /// Address the packet is rewritten to or from.
        xaddr: Be32,
        /// Client address.
        caddr: Be32,
        /// Port the packet is rewritten to or from.
        xport: Be16,
        /// Client port.
        cport: Be16,
        /// Node index.
        node: u32,
        /// Device towards the client.
        ifindex: u32,
        /// Next hop towards the client.
        mac: [u8; 6],
        /// `CT_SEEN_REPLY` …
        flags: u16,
        /// Seconds of `CLOCK_MONOTONIC_COARSE`.
        expires: u32,
        /// Seconds of `CLOCK_MONOTONIC_COARSE`.
        created: u32,
    }
    /// Key of map `frags`.
    FragKey = "frag_key" {
        /// Network, 0 for host and gateway side.
        vni: u32,
        /// Source address.
        src: Be32,
        /// Destination address.
        dst: Be32,
        /// IP identification.
        id: Be16,
        /// IP protocol number.
        proto: u8,
        /// Zero.
        pad: u8,
    }
    /// Value of map `frags`.
    FragValue = "frag_val" {
        /// Source port of the first fragment.
        sport: Be16,
        /// Destination port of the first fragment.
        dport: Be16,
        /// Seconds of `CLOCK_MONOTONIC_COARSE`.
        time: u32,
    }
    /// Key of map `sock_rev`.
    SockKey = "sock_key" {
        /// Socket cookie.
        cookie: u64,
        /// Address of the backend.
        addr: Be32,
        /// Port of the backend.
        port: Be16,
        /// IP protocol number.
        proto: u8,
        /// Zero.
        pad: u8,
    }
    /// Value of map `sock_rev`: what the process asked for.
    SockValue = "sock_val" {
        /// Original address.
        addr: Be32,
        /// Original port.
        port: Be16,
        /// Zero.
        pad: u16,
        /// Service index.
        svc: u32,
    }
    /// One attached subnet of a sandbox.
    Subnet = "subnet" {
        /// Network address.
        addr: Be32,
        /// Netmask.
        mask: Be32,
        /// Network.
        vni: u32,
    }
    /// Value of map `netns`; the key is a network namespace cookie.
    NetnsValue = "netns" {
        /// Number of used entries of `subnet`.
        n: u32,
        /// Attached subnets.
        subnet: [Subnet; MAX_SUBNETS],
        /// Zero.
        flags: u32,
    }
    /// Value of map `drops`, per CPU.
    Counter = "counter" {
        /// Packets.
        packets: u64,
        /// Bytes.
        bytes: u64,
    }
    /// Value of map `ep_stats`, per CPU; the key is an lidx.
    EpStat = "ep_stat" {
        /// Delivered to the task.
        rx_packets: u64,
        /// Delivered to the task.
        rx_bytes: u64,
        /// Sent by the task.
        tx_packets: u64,
        /// Sent by the task.
        tx_bytes: u64,
    }
    /// Value of map `svc_stats`, per CPU; the key is a service index.
    SvcStat = "svc_stat" {
        /// Client to backend.
        packets: u64,
        /// Client to backend.
        bytes: u64,
        /// Flows created.
        flows: u64,
        /// Packets refused for want of a backend.
        refused: u64,
    }
    /// Value of map `budget`, per CPU: what this second has used.
    Budget = "budget" {
        /// The second, `CLOCK_MONOTONIC_COARSE`.
        second: u32,
        /// New flows.
        flows: u32,
        /// Generated RST and ICMP packets.
        replies: u32,
        /// Frames of the connectivity test that were sent back.
        probes: u32,
    }
    /// Begins a frame of the connectivity test, behind the Ethernet header.
    ProbeHeader = "probe_header" {
        /// `PROBE_*`.
        kind: u8,
        /// Zero.
        pad: [u8; 7],
        /// Known to the sender only.
        nonce: u64,
        /// Number of the test.
        test: u64,
    }
    /// Value of map `probes`: a frame this node waits for.
    Probe = "probe" {
        /// Node it was sent to.
        node: u32,
        /// Zero.
        pad: u32,
        /// Nanoseconds of `CLOCK_MONOTONIC`; 0 while it has not come back.
        answered_ns: u64,
    }
    /// Element of the ring `events`.
    Event = "event" {
        /// Nanoseconds of `CLOCK_MONOTONIC`.
        time_ns: u64,
        /// Drop reason.
        reason: u32,
        /// Device the frame came from.
        ifindex: u32,
        /// Network.
        vni: u32,
        /// Source address.
        src: Be32,
        /// Destination address.
        dst: Be32,
        /// Source port.
        sport: Be16,
        /// Destination port.
        dport: Be16,
        /// IP protocol number.
        proto: u8,
        /// Zero.
        pad: [u8; 3],
        /// Frame length.
        len: u32,
    }
    /// Test builds only: stands for what the kernel would say about a frame.
    TestIn = "test_in" {
        /// Device the frame came from.
        ifindex: u32,
        /// 1 if there is tunnel metadata.
        has_key: u32,
        /// VNI of the tunnel metadata.
        vni: u32,
        /// Outer source of the tunnel metadata.
        remote: Be32,
    }
    /// Test builds only: what a program did with the frame.
    TestOut = "test_out" {
        /// Bit n: the frame was counted under drop reason n.
        reasons: u64,
        /// `ACT_*`.
        action: u32,
        /// Device.
        ifindex: u32,
        /// VNI of the tunnel key.
        vni: u32,
        /// Remote of the tunnel key.
        remote: Be32,
    }
}

abi_enums! {
    "reserved_vni" as u32 {
        VNI_HOST = 0, VNI_MESH_FWD = 1, VNI_MESH_RET = 2, VNI_PROBE = 3,
    }
    "iface_flag" as u16 {
        IFACE_GW = 1, IFACE_INTERNAL = 2, IFACE_PUBLISHES = 4, IFACE_UPLINK = 8,
        IFACE_ENCRYPTED = 16,
    }
    "ep_kind" as u8 {
        EP_LOCAL = 1, EP_REMOTE = 2, EP_VIP = 3, EP_GATEWAY = 4, EP_GONE = 5,
    }
    "be_state" as u8 { BE_ACTIVE = 1, BE_DRAINING = 2, BE_DOWN = 3, }
    "be_kind" as u8 { BE_VIP = 1, BE_MESH = 2, }
    "vni_flag" as u32 { VNI_ENCRYPTED = 1, VNI_INTERNAL = 2, }
    "svc_flag" as u32 { SVC_USED = 1, }
    "port_flag" as u16 {
        PORT_LOCAL_PREF = 1, PORT_CLIENT_AFFINITY = 2, PORT_ALLOWLIST = 4,
    }
    "lflag" as u32 { LFLAG_VIP_FLOWS = 1, }
    "conf_feature" as u32 { FEATURE_NONE = 0, }
    "ct_dir" as u8 {
        CT_VIP_FWD = 1, CT_VIP_REV = 2, CT_ENTRY_FWD = 3, CT_ENTRY_REV = 4, CT_BACK_FWD = 5,
        CT_BACK_REV = 6,
    }
    "ct_flag" as u16 {
        CT_SEEN_REPLY = 1, CT_FIN_A = 2, CT_FIN_B = 4, CT_RST = 8, CT_HAIRPIN = 16,
        CT_CLIENT_RW = 32, CT_LOCAL_ENTRY = 64, CT_TO_HOST = 128, CT_TO_TASK = 256,
        CT_HAIRPIN_BACK = 512,
    }
    "ct_timeout" as u32 {
        CT_TCP_ESTABLISHED = 21600, CT_TCP_NEW = 60, CT_TCP_CLOSING = 10, CT_OTHER = 60,
        CT_ICMP = 30,
    }
    "probe_kind" as u8 { PROBE_REQUEST = 1, PROBE_WHOLE = 2, PROBE_REPLY = 3, }
    "drop_reason" as u32 {
        DROP_NO_IFACE = 1, DROP_MALFORMED = 2, DROP_ETHERTYPE = 3, DROP_VLAN = 4,
        DROP_IPV6_OFF = 5, DROP_MCAST_BCAST = 6, DROP_SPOOF_MAC = 7, DROP_SPOOF_IP = 8,
        DROP_SPOOF_ARP = 9, DROP_ARP_UNKNOWN = 10, DROP_NO_ENDPOINT = 11,
        DROP_ENDPOINT_GONE = 12, DROP_VIP_NO_BACKEND = 13, DROP_PORT_NO_BACKEND = 14,
        DROP_CT_FULL = 15, DROP_CT_COLLISION = 16, DROP_CT_INVALID = 17,
        DROP_FRAG_NO_FIRST = 18, DROP_VTEP_NO_KEY = 19, DROP_VTEP_PEER = 20,
        DROP_VTEP_VNI = 21, DROP_VTEP_SRC = 22, DROP_VTEP_DST = 23,
        DROP_MESH_NOT_PUBLISHED = 24, DROP_MESH_CLIENT = 25, DROP_GW_ISOLATION = 26,
        DROP_TTL_EXPIRED = 27, DROP_TOO_BIG = 28, DROP_HELPER_FAILED = 29,
        DROP_ICMP_BAD_INNER = 30, DROP_NOT_ALLOWED = 31, DROP_ENCRYPT_REQUIRED = 32,
        DROP_LOOPBACK_SRC = 33, DROP_CT_FLOOD = 34, DROP_RESOLVER_ONLY = 35,
        DROP_ASKER_GONE = 36, DROP_PROBE = 37, COUNT_OUTER_FRAG = 38,
    }
    "test_action" as u32 {
        ACT_NONE = 0, ACT_PEER = 1, ACT_EGRESS = 2, ACT_INGRESS = 3, ACT_NEIGH = 4,
        ACT_TUNNEL = 5,
    }
}
