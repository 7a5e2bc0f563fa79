//! A node with everything in its maps: tasks `t b` on overlay 4096, `t2` with the same address on
//! overlay 4097, their gateways `tg bg`, an uplink, two other nodes, a VIP and a published port.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use swarmnet_ebpf::abi::*;
use swarmnet_ebpf::map::*;
use swarmnet_ebpf::program::{Dataplane, Options};

pub(crate) const T: u32 = 11;
pub(crate) const B: u32 = 12;
pub(crate) const T2: u32 = 13;
pub(crate) const TG: u32 = 21;
pub(crate) const BG: u32 = 22;
pub(crate) const UP: u32 = 2;
pub(crate) const VX: u32 = 5;
pub(crate) const HOST: u32 = 6;
pub(crate) const HOSTP: u32 = 7;
pub(crate) const OVERLAY: u32 = 4096;
pub(crate) const OTHER: u32 = 4097;
pub(crate) const VXLAN_PORT: u16 = 4789;
pub(crate) const VIP_SVC: u32 = 1;
pub(crate) const MESH_SVC: u32 = 2;
pub(crate) const UP_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
pub(crate) const HOST_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 6];
pub(crate) const CLIENT_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x50];

pub(crate) struct World {
    pub plane: Dataplane,
    pub maps: Maps,
    _dir: tempfile::TempDir,
}

pub(crate) fn ip(text: &str) -> Be32 {
    Be32::new(text.parse::<Ipv4Addr>().unwrap())
}

/// Gives this thread a bpffs of its own; it vanishes with the thread.
pub(crate) fn private_bpffs(dir: &Path) {
    unshare(CloneFlags::CLONE_NEWNS).expect("these tests need root (namespaces, BPF)");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .expect("private mounts");
    mount(Some("bpf"), dir, Some("bpf"), MsFlags::empty(), None::<&str>).expect("a bpffs");
}

pub(crate) fn small_sizes(flows: u32) -> BTreeMap<MapId, u32> {
    use MapId as M;
    [
        (M::Eps, 64),
        (M::Slots, 4096),
        (M::Svc, 16),
        (M::Backends, 64),
        (M::MeshLocal, 64),
        (M::Ct, flows),
        (M::Frags, 1024),
        (M::SockRev, 1024),
        (M::Askers, 64),
        (M::Lflags, 64),
        (M::EpStats, 64),
        (M::SvcStats, 16),
    ]
    .into()
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_flows(4096)
    }

    /// A node whose flow table has room for `flows` entries.
    pub(crate) fn with_flows(flows: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        private_bpffs(dir.path());
        let options = Options {
            bpffs: dir.path().to_owned(),
            sizes: small_sizes(flows),
            test: true,
            ..Options::default()
        };
        let plane = Dataplane::load(&options).unwrap_or_else(|error| panic!("{error:?}"));
        let maps = plane.maps();
        let world = Self { plane, maps, _dir: dir };
        world.fill_devices();
        world.fill_overlay();
        world.fill_services();
        world
    }

    fn fill_devices(&self) {
        let m = &self.maps;
        let conf = ConfValue {
            node_addr: ip("10.20.20.100"),
            vx_if: VX,
            host_if: HOST,
            hostp_if: HOSTP,
            gw_pool: ip("172.31.0.0"),
            gw_mask: Be32::mask(16),
            host_mac: HOST_MAC,
            vxlan_port: Be16::new(VXLAN_PORT),
            ..ConfValue::default()
        };
        m.set::<Conf>(&0, &conf).unwrap();
        self.iface(T, OVERLAY, "10.0.1.3", 1, 0);
        self.iface(B, OVERLAY, "10.0.1.4", 2, 0);
        self.iface(T2, OTHER, "10.0.1.3", 5, 0);
        self.asker(1, T, "10.0.1.3");
        self.asker(5, T2, "10.0.1.3");
        self.iface(TG, 0, "172.31.0.3", 3, IFACE_GW);
        self.iface(BG, 0, "172.31.0.4", 4, IFACE_GW);
        let uplink = Iface { mac: UP_MAC, flags: IFACE_UPLINK, ..Iface::default() };
        m.set::<Ifaces>(&UP, &uplink).unwrap();
        m.set::<LocalAddrs>(&ip("10.20.20.100"), &UP).unwrap();
        for (index, addr) in [(1, "10.20.20.110"), (2, "10.20.20.120")] {
            m.set::<Nodes>(&index, &Node { addr: ip(addr), ..Node::default() }).unwrap();
            m.set::<Peers>(&ip(addr), &Peer { node: index, flags: 0 }).unwrap();
        }
    }

    pub(crate) fn iface(&self, ifindex: u32, vni: u32, addr: &str, lidx: u32, flags: u16) {
        let addr = ip(addr);
        let mac = task_mac(addr.addr());
        let mask = if flags & IFACE_GW == 0 { Be32::mask(24) } else { Be32::mask(32) };
        self.maps.set::<Ifaces>(&ifindex, &Iface { vni, addr, mask, mac, flags, lidx }).unwrap();
    }

    pub(crate) fn asker(&self, lidx: u32, ifindex: u32, addr: &str) {
        let (addr, mac) = (ip(addr), task_mac(ip(addr).addr()));
        self.maps.set::<Askers>(&lidx, &Asker { ifindex, addr, mac, pad: 0 }).unwrap();
    }

    fn fill_overlay(&self) {
        self.maps.set::<Vnis>(&OVERLAY, &VniValue::default()).unwrap();
        self.maps.set::<Vnis>(&OTHER, &VniValue::default()).unwrap();
        self.ep(OVERLAY, "10.0.1.1", EP_GATEWAY, 0, 0);
        self.ep(OVERLAY, "10.0.1.2", EP_VIP, 0, 0);
        self.ep(OVERLAY, "10.0.1.3", EP_LOCAL, 0, T);
        self.ep(OVERLAY, "10.0.1.4", EP_LOCAL, 0, B);
        self.ep(OVERLAY, "10.0.1.5", EP_REMOTE, 1, 0);
        self.ep(OVERLAY, "10.0.1.9", EP_GONE, 0, 0);
        self.ep(OTHER, "10.0.1.3", EP_LOCAL, 0, T2);
        self.ep(OTHER, "10.0.1.4", EP_REMOTE, 2, 0);
    }

    pub(crate) fn ep(&self, vni: u32, addr: &str, kind: u8, node: u32, ifindex: u32) {
        let addr = ip(addr);
        let lidx = match ifindex {
            T => 1,
            B => 2,
            T2 => 5,
            _ => 0,
        };
        let mac = task_mac(addr.addr());
        let svc = if kind == EP_VIP { VIP_SVC } else { 0 };
        let ep = Ep { kind, node, ifindex, lidx, addr, mac, svc, ..Ep::default() };
        self.maps.set::<Eps>(&EpKey { vni, addr }, &ep).unwrap();
    }

    fn fill_services(&self) {
        let used = Service { flags: SVC_USED, ..Service::default() };
        self.maps.set::<Svc>(&VIP_SVC, &used).unwrap();
        self.maps.set::<Svc>(&MESH_SVC, &used).unwrap();
        self.vip_backend(41, "10.0.1.4", 0, B, BE_ACTIVE);
        self.vip_backend(42, "10.0.1.5", 1, 0, BE_ACTIVE);
        self.vip_backend(43, "10.0.1.3", 0, T, BE_ACTIVE);
        self.mesh_backend(51, "172.31.0.4", 0, BG, BE_ACTIVE);
        self.mesh_backend(52, "172.31.0.8", 1, 0, BE_ACTIVE);
        self.mesh_backend(53, "172.31.0.3", 0, TG, BE_ACTIVE);
        self.publish(30000, 6, 80, 0);
        self.publish(30000, 17, 80, 0);
        for (addr, ifindex, lidx) in [("172.31.0.3", TG, 3), ("172.31.0.4", BG, 4)] {
            for proto in [6, 17] {
                self.mesh_target(addr, ifindex, lidx, proto, &[]);
            }
        }
    }

    pub(crate) fn mesh_target(&self, gw: &str, ifindex: u32, lidx: u32, proto: u8, nets: &[Net]) {
        let key = MeshKey { gw_addr: ip(gw), port: Be16::new(80), proto, pad: 0 };
        let mut target =
            MeshTarget { ifindex, lidx, mac: task_mac(ip(gw).addr()), ..Default::default() };
        target.nets = nets.len() as u16;
        target.net[..nets.len()].copy_from_slice(nets);
        self.maps.set::<MeshLocal>(&key, &target).unwrap();
    }

    pub(crate) fn vip_backend(&self, id: u32, addr: &str, node: u32, ifindex: u32, state: u8) {
        self.backend(id, addr, node, ifindex, (state, BE_VIP));
    }

    pub(crate) fn mesh_backend(&self, id: u32, addr: &str, node: u32, ifindex: u32, state: u8) {
        self.backend(id, addr, node, ifindex, (state, BE_MESH));
    }

    fn backend(&self, id: u32, addr: &str, node: u32, ifindex: u32, kind: (u8, u8)) {
        let mac = task_mac(ip(addr).addr());
        let vni = if kind.1 == BE_VIP { OVERLAY } else { 0 };
        let lidx = BTreeMap::from([(T, 1), (B, 2), (TG, 3), (BG, 4)]);
        let backend = Backend {
            vni,
            addr: ip(addr),
            node,
            ifindex,
            lidx: lidx.get(&ifindex).copied().unwrap_or(0),
            mac,
            state: kind.0,
            kind: kind.1,
            ..Backend::default()
        };
        self.maps.set::<Backends>(&id, &backend).unwrap();
    }

    pub(crate) fn publish(&self, port: u16, proto: u8, target: u16, flags: u16) {
        let key = PortKey { port: Be16::new(port), proto, ..PortKey::default() };
        let value = Port { svc: MESH_SVC, target_port: Be16::new(target), flags };
        self.maps.set::<Ports>(&key, &value).unwrap();
    }

    /// Lets the VIP 10.0.1.2 lead to these backends.
    pub(crate) fn vip_to(&self, backends: &[u32]) {
        self.maps.write_slots(100, backends).unwrap();
        let range = SlotRange { base: 100, count: backends.len() as u16, tag: 0 };
        self.maps.store_sel(VIP_SVC, range).unwrap();
    }

    /// Lets port 30000 lead to these backends.
    pub(crate) fn mesh_to(&self, backends: &[u32]) {
        self.maps.write_slots(200, backends).unwrap();
        let range = SlotRange { base: 200, count: backends.len() as u16, tag: 0 };
        self.maps.store_mg(MESH_SVC, range).unwrap();
    }
}
