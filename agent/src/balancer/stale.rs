//! Pure: which UDP sockets lead to a backend that is gone.
//!
//! Socket load balancing writes a backend into a socket once, when it connects; nothing on the way
//! of its packets would change that later. Map `sock_rev` remembers what each socket had asked for.

use std::collections::{BTreeMap, BTreeSet};

use swarmnet_ebpf::abi::{
    BE_ACTIVE, BE_DRAINING, BE_MESH, BE_VIP, Backend, Be32, MESH_SELF, SVC_USED, Service, SockKey,
    SockValue,
};
use swarmnet_model::Protocol;

/// What sockets have asked for, by socket and backend.
pub type Remembered = BTreeMap<SockKey, SockValue>;

/// Where a backend is found: kind, network, address.
type Place = (u8, u32, Be32);

/// Returns the UDP entries whose backend serves no more, or whose service has gone.
///
/// `remembered` must have been read before `services` and `backends`: a socket that connects in
/// between is then not mistaken for one whose backend has left.
pub fn stale(
    remembered: &Remembered,
    services: &BTreeMap<u32, Service>,
    backends: &BTreeMap<u32, Backend>,
) -> BTreeSet<SockKey> {
    let serving: BTreeSet<Place> = backends
        .values()
        .filter(|backend| matches!(backend.state, BE_ACTIVE | BE_DRAINING))
        .map(|backend| (backend.kind, backend.vni, backend.addr))
        .collect();
    let serves = |key: &SockKey, asked: &SockValue| {
        let service = services.get(&asked.svc).filter(|service| service.flags & SVC_USED != 0);
        service.and_then(|service| place(service, key, asked)).is_some_and(|p| serving.contains(&p))
    };
    remembered
        .iter()
        .filter(|(key, _)| is_followed(key))
        .filter(|(key, asked)| !serves(key, asked))
        .map(|(key, _)| *key)
        .collect()
}

/// True for UDP sockets that go to a backend directly; TCP is told by a reset, and what goes
/// through `swn-host` is moved by the mesh.
pub fn is_followed(key: &SockKey) -> bool {
    key.proto == Protocol::Udp.number() && key.addr != Be32::new(MESH_SELF)
}

/// `None` if the index stands for another service now.
fn place(service: &Service, key: &SockKey, asked: &SockValue) -> Option<Place> {
    if service.vip == Be32::ZERO {
        return Some((BE_MESH, 0, key.addr));
    }
    (service.vip == asked.addr).then_some((BE_VIP, service.vni, key.addr))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use swarmnet_ebpf::abi::{BE_DOWN, Be16};

    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const VIP: u32 = 1;
    const MESH: u32 = 2;

    fn ip(last: u8) -> Be32 {
        Be32::new(Ipv4Addr::new(10, 0, 1, last))
    }

    fn gateway(last: u8) -> Be32 {
        Be32::new(Ipv4Addr::new(172, 31, 240, last))
    }

    fn socket(cookie: u64, addr: Be32, proto: u8) -> SockKey {
        SockKey { cookie, addr, port: Be16::new(53), proto, pad: 0 }
    }

    fn asked(addr: Be32, svc: u32) -> SockValue {
        SockValue { addr, port: Be16::new(53), pad: 0, svc }
    }

    fn services() -> BTreeMap<u32, Service> {
        let vip = Service { vni: 4096, vip: ip(2), flags: SVC_USED, ..Service::default() };
        let mesh = Service { flags: SVC_USED, ..Service::default() };
        [(VIP, vip), (MESH, mesh)].into()
    }

    fn backends() -> BTreeMap<u32, Backend> {
        let vip = |last, state| Backend {
            vni: 4096,
            addr: ip(last),
            kind: BE_VIP,
            state,
            ..Backend::default()
        };
        let mesh =
            Backend { addr: gateway(4), kind: BE_MESH, state: BE_ACTIVE, ..Backend::default() };
        let vips = [vip(4, BE_ACTIVE), vip(5, BE_DRAINING), vip(6, BE_DOWN)];
        vips.into_iter().chain([mesh]).zip(1..).map(|(backend, id)| (id, backend)).collect()
    }

    fn check(key: SockKey, value: SockValue) -> bool {
        stale(&[(key, value)].into(), &services(), &backends()).contains(&key)
    }

    #[test]
    fn a_socket_stays_while_its_backend_serves_and_goes_with_it() {
        let vip = |last| check(socket(1, ip(last), UDP), asked(ip(2), VIP));
        assert!(!vip(4), "active");
        assert!(!vip(5), "draining: it still answers");
        assert!(vip(6), "its node is lost");
        assert!(vip(7), "removed");
        let mesh = |last| check(socket(1, gateway(last), UDP), asked(ip(100), MESH));
        assert!(!mesh(4));
        assert!(mesh(5));
    }

    #[test]
    fn the_same_address_in_another_network_is_another_backend() {
        let mut backends = backends();
        backends.values_mut().for_each(|backend| backend.vni += 1);
        let key = socket(1, ip(4), UDP);
        let found = stale(&[(key, asked(ip(2), VIP))].into(), &services(), &backends);
        assert_eq!(found, [key].into());
    }

    #[test]
    fn a_socket_of_a_removed_service_goes_also_when_its_number_serves_again() {
        assert!(check(socket(1, ip(4), UDP), asked(ip(2), 9)));
        assert!(check(socket(1, ip(4), UDP), asked(ip(3), VIP)));
    }

    #[test]
    fn tcp_and_what_the_mesh_moves_are_left_alone() {
        assert!(!check(socket(1, ip(7), TCP), asked(ip(2), VIP)));
        assert!(!check(socket(1, Be32::new(MESH_SELF), UDP), asked(ip(100), MESH)));
    }
}
